// Assembles tiles of a stream to bands: checks each tile, collects the tiles of a picture by group in any order, and
// joins a group's pixels and context.
import { invalidOption } from '../errors.js'
import { pixelsLike } from '../images/pixels.js'
import type { NativeEngine } from '../native.js'
import { checkInteger } from '../options.js'
import type { PixelBand } from '../routing/route-group.js'
import { type Grid, groupSpan, makeGrid } from '../tiling/grid.js'
import type { PixelArray, Tile } from '../types.js'
import { checkTile, type Halo, haloOf, NO_HALO } from './check-tile.js'

/**
 * Checks a tile; if it is part of a picture, it must lie on the grid.
 *
 * @throws WbsrError WBSR_INVALID_OPTION naming the property
 */
export function checkGridTile(value: unknown): Tile {
  const tile = checkTile(value)
  if (tile.picture !== undefined) checkPlace(tile)
  return tile
}

/**
 * Checks that the network accepts the picture's size; unlike upscale(), a stream does not pad.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function checkSides(tile: Tile, { minimumSize = 1, sizeMultiple = 1 }: NativeEngine): void {
  const { picture, width, height } = tile
  const sides: [string, number][] = picture
    ? [
        ['picture.width', picture.width],
        ['picture.height', picture.height],
      ]
    : [
        ['width', width],
        ['height', height],
      ]
  for (const [name, side] of sides)
    if (side < minimumSize || side % sizeMultiple !== 0)
      throw invalidOption(
        `tile.${name}`,
        sizeMultiple > 1
          ? `a multiple of ${sizeMultiple}, which this network needs`
          : `at least ${minimumSize} pixels, which this network needs`,
        side,
      )
  if (picture && picture.tileSize % sizeMultiple !== 0)
    throw invalidOption(
      'tile.picture.tileSize',
      `a multiple of ${sizeMultiple}, which this network needs`,
      picture.tileSize,
    )
}

function checkPlace({ x, y, width, height, halo, picture }: Tile): void {
  checkInteger(picture!.tileSize, 'tile.picture.tileSize', 4)
  const place = (position: number, length: number, size: number, names: [string, string]) => {
    if (position >= size || position % picture!.tileSize !== 0)
      throw invalidOption(
        `tile.${names[0]}`,
        `a multiple of the tile size ${picture!.tileSize} below ${size}`,
        position,
      )
    const expected = Math.min(picture!.tileSize, size - position)
    if (length !== expected)
      throw invalidOption(
        `tile.${names[1]}`,
        `${expected} (tile size ${picture!.tileSize}, clipped at the picture's border)`,
        length,
      )
  }
  place(x, width, picture!.width, ['x', 'width'])
  place(y, height, picture!.height, ['y', 'height'])
  const { left, top, right, bottom } = halo ?? NO_HALO
  if (left > x || top > y || x + width + right > picture!.width || y + height + bottom > picture!.height) {
    throw invalidOption('tile.halo', 'context inside the picture', halo)
  }
}

/** Whether two tiles can belong to one picture. */
export function samePicture(a: Tile, b: Tile): boolean {
  const [p, q] = [a.picture!, b.picture!]
  if (p === q) return true
  const same = p.width === q.width && p.height === q.height && p.tileSize === q.tileSize
  return same && p.name === q.name && p.page === q.page
}

/** The tiles of one picture that have arrived, by group. */
export class TilePicture {
  readonly grid: Grid
  readonly first: Tile
  readonly #groups = new Map<number, Map<number, Tile>>()
  #missing: number
  readonly #seen: Uint8Array

  constructor(first: Tile, groupRows: number | undefined) {
    const { width, height, tileSize } = first.picture!
    this.first = first
    this.grid = makeGrid(width, height, tileSize, groupRows)
    this.#missing = this.grid.columns * this.grid.rows
    this.#seen = new Uint8Array(this.#missing)
  }

  /** True when all tiles have arrived. */
  get complete(): boolean {
    return this.#missing === 0
  }

  /** @throws WbsrError WBSR_INVALID_OPTION: a second tile at one place, or one of other pixels than the first */
  add(tile: Tile): void {
    const { grid, first } = this
    const index = (tile.y / grid.tile) * grid.columns + tile.x / grid.tile
    if (this.#seen[index])
      throw invalidOption(
        'tile',
        `one tile at each place of a picture (pictures come one after the other)`,
        `a second one at ${tile.x}, ${tile.y}`,
      )
    if (tile.channels !== first.channels)
      throw invalidOption('tile.channels', `${first.channels} as in the picture's first tile`, tile.channels)
    if (tile.data.constructor !== first.data.constructor)
      throw invalidOption(
        'tile.data',
        `a ${first.data.constructor.name} as in the picture's first tile`,
        tile.data.constructor.name,
      )
    if ((tile.alpha ?? 'opacity') !== (first.alpha ?? 'opacity'))
      throw invalidOption('tile.alpha', `${first.alpha ?? 'opacity'} as in the picture's first tile`, tile.alpha)
    this.#seen[index] = 1
    this.#missing--
    const group = Math.floor(tile.y / grid.tile / grid.groupRows)
    if (!this.#groups.has(group)) this.#groups.set(group, new Map())
    this.#groups.get(group)!.set(index, tile)
  }

  /** True when all of a group's tiles are held. */
  isReady(group: number): boolean {
    const { firstRow, endRow } = groupSpan(this.grid, group)
    return this.#groups.get(group)?.size === (endRow - firstRow) * this.grid.columns
  }

  /** Groups with tiles that are held, in order. */
  waiting(): number[] {
    return [...this.#groups.keys()].sort((a, b) => a - b)
  }

  /** The tiles of a group, row by row; they are not held any longer. */
  take(group: number): Tile[] {
    const tiles = [...this.#groups.get(group)!.entries()].sort(([a], [b]) => a - b).map(([, tile]) => tile)
    this.#groups.delete(group)
    return tiles
  }
}

/** LR rows [top, bottom) around a group from its tiles: halos first, then the tiles themselves over them. */
export function assembleBand(
  grid: Grid,
  group: number,
  { top, bottom }: { top: number; bottom: number },
  tiles: readonly Tile[],
): PixelBand {
  const { data: like, channels } = tiles[0]!
  const data = pixelsLike(like, grid.width * (bottom - top) * channels)
  const mask = new Uint8Array(grid.width * (bottom - top))
  const paint = (tile: Tile, halo: Halo) => {
    const own = haloOf(tile)
    const stride = own.left + tile.width + own.right
    const width = halo.left + tile.width + halo.right
    const x = tile.x - halo.left
    for (let y = Math.max(top, tile.y - halo.top); y < Math.min(bottom, tile.y + tile.height + halo.bottom); y++) {
      const from = ((y - tile.y + own.top) * stride + own.left - halo.left) * channels
      const to = (y - top) * grid.width + x
      data.set(tile.data.subarray(from, from + width * channels), to * channels)
      mask.fill(1, to, to + width)
    }
  }
  for (const tile of tiles) if (tile.halo) paint(tile, tile.halo)
  for (const tile of tiles) paint(tile, NO_HALO)
  return mask.includes(0) ? trimBand({ data, top, bottom, mask }, grid, group, channels) : { data, top, bottom }
}

/** Drops context rows without pixels; with alpha, which is interpolated across the whole row, rows with any gap. */
function trimBand(
  band: Required<Omit<PixelBand, 'colours' | 'picture'>>,
  grid: Grid,
  group: number,
  channels: number,
): PixelBand {
  const { y0, y1 } = groupSpan(grid, group)
  const { data, mask } = band
  const useless = (y: number) => {
    const row = mask.subarray((y - band.top) * grid.width, (y - band.top + 1) * grid.width)
    return channels === 2 || channels === 4 ? row.includes(0) : !row.includes(1)
  }
  let { top, bottom } = band
  while (top < y0 && useless(top)) top++
  while (bottom > y1 && useless(bottom - 1)) bottom--
  const cut = (values: PixelArray, unit: number) =>
    values.subarray((top - band.top) * grid.width * unit, (bottom - band.top) * grid.width * unit)
  const rest = cut(mask, 1) as Uint8Array
  return { data: cut(data, channels), top, bottom, ...(rest.includes(0) && { mask: rest }) }
}
