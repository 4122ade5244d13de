// Tiles back to rows. Tiles come in any order inside a line of tiles, and lines may overtake each other a little; rows
// leave from top to bottom. Held are the lines that are not complete and those that wait for one above them.
import { invalidOption, WbsrError } from '../errors.js'
import { bitsOf } from '../images/raw-image.js'
import type { PixelArray, Tile } from '../types.js'
import { checkTile, haloOf } from './check-tile.js'

/** The picture that the tiles make, as the first tile says. */
export interface BandPicture {
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  bits: 8 | 16 | 32
  tileSize: number | null
  name: string | undefined
}

interface Band {
  y: number
  height: number
  data: PixelArray
  /** Columns that are there, as [from, to). */
  parts: [number, number][]
  columns: number
}

const ARRAYS = { 8: Uint8Array, 16: Uint16Array, 32: Float32Array } as const

/** A tile that, if it is part of a picture, lies inside. @throws WbsrError WBSR_INVALID_OPTION naming the property */
export function checkBandTile(value: unknown): Tile {
  const tile = checkTile(value)
  const { x, y, width, height, picture } = tile
  if (picture && (x + width > picture.width || y + height > picture.height)) {
    throw invalidOption(
      'tile',
      `a tile inside its picture of ${picture.width} x ${picture.height}`,
      `${width} x ${height} at ${x}, ${y}`,
    )
  }
  return tile
}

/** Puts the tiles of one picture together. `label` names what is made, for errors. */
export class BandAssembler {
  readonly picture: BandPicture
  readonly #label: string
  readonly #bands = new Map<number, Band>()
  #nextRow = 0
  #tiles = 0

  /** @param first a checked tile, of which the picture's size and type are taken; it is not added */
  constructor(first: Tile, label: string) {
    const { width, height, picture } = first
    this.picture = {
      width: picture?.width ?? width,
      height: picture?.height ?? height,
      channels: first.channels,
      bits: bitsOf(first.data),
      tileSize: picture?.tileSize ?? null,
      name: picture?.name,
    }
    this.#label = label
  }

  /** Rows that are held, complete or not. */
  get heldRows(): number {
    let rows = 0
    for (const { height } of this.#bands.values()) rows += height
    return rows
  }

  #fail(what: string): never {
    throw new WbsrError('WBSR_INVALID_IMAGE', `Cannot put ${this.#label} together: ${what}`)
  }

  /** Adds a checked tile; its halo is dropped. @throws WbsrError WBSR_INVALID_IMAGE if it does not fit the others */
  add(tile: Tile): void {
    const { width, height, channels, bits, name } = this.picture
    const alone = tile.picture === undefined
    const { x, y } = alone ? { x: 0, y: 0 } : tile
    const where = `the tile of ${tile.width} x ${tile.height} at ${x}, ${y}`
    const own = tile.picture ?? { width: tile.width, height: tile.height, name: undefined }
    if (own.width !== width || own.height !== height || own.name !== name)
      this.#fail(
        `${where} is of another picture (${own.name ?? 'no name'}, ${own.width} x ${own.height}) than the first (${name ?? 'no name'}, ${width} x ${height})`,
      )
    if (tile.channels !== channels) this.#fail(`${where} has ${tile.channels} channels, the first had ${channels}`)
    if (bitsOf(tile.data) !== bits)
      this.#fail(`${where} has ${bitsOf(tile.data)} bits per sample, the first had ${bits}`)

    const band = this.#bandAt(y, tile.height, where)
    if (band.parts.some(([from, to]) => x < to && from < x + tile.width)) this.#fail(`${where} overlaps another one`)
    band.parts.push([x, x + tile.width])
    band.columns += tile.width
    this.#tiles++
    const { left, top, right } = haloOf(tile)
    const stride = (left + tile.width + right) * channels
    for (let row = 0; row < tile.height; row++) {
      const from = (top + row) * stride + left * channels
      band.data.set(tile.data.subarray(from, from + tile.width * channels), (row * width + x) * channels)
    }
  }

  #bandAt(y: number, height: number, where: string): Band {
    const band = this.#bands.get(y)
    if (band) {
      if (band.height !== height)
        this.#fail(`${where} is not as high as its neighbours (${band.height}): tiles must form lines`)
      return band
    }
    if (y < this.#nextRow) this.#fail(`${where} overlaps rows that are complete already`)
    for (const other of this.#bands.values()) {
      if (y < other.y + other.height && other.y < y + height)
        this.#fail(
          `${where} overlaps the line of tiles in rows ${other.y}..${other.y + other.height}: tiles must form lines`,
        )
    }
    const { width, channels, bits } = this.picture
    const made: Band = { y, height, data: new ARRAYS[bits](width * height * channels), parts: [], columns: 0 }
    this.#bands.set(y, made)
    return made
  }

  /** The next rows from the top that are complete, if there are any. */
  take(): PixelArray | null {
    const band = this.#bands.get(this.#nextRow)
    if (!band || band.columns < this.picture.width) return null
    this.#bands.delete(band.y)
    this.#nextRow += band.height
    return band.data
  }

  /** What is still missing, in words, or null when all rows were taken. */
  missing(): string | null {
    const { width, height, tileSize } = this.picture
    if (this.#nextRow === height) return null
    let rows = height - this.#nextRow
    for (const band of this.#bands.values()) if (band.columns === width) rows -= band.height
    const expected = tileSize ? Math.ceil(width / tileSize) * Math.ceil(height / tileSize) : 0
    const tiles = expected > this.#tiles ? `, ${expected - this.#tiles} of ${expected} tiles` : ''
    return `${rows} of ${height} rows are missing or incomplete${tiles}`
  }
}
