// Assembles tiles to rows of a picture. Tiles of a tile row and tile rows may arrive in any order; complete rows of
// pixels are returned from top to bottom. Incomplete tile rows, and those that wait for one above them, are held in
// memory.
import { invalidOption, WbsrError } from '../errors.js'
import { bitsOf } from '../images/raw-image.js'
import type { PixelArray, Tile } from '../types.js'
import { checkTile, haloOf } from './check-tile.js'

/** The picture as the first tile describes it. */
export interface AssembledPicture {
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  bits: 8 | 16 | 32
  tileSize: number | null
  name: string | undefined
}

/** A row of tiles that is not complete or not returned yet. */
interface TileRow {
  y: number
  height: number
  data: PixelArray
  /** Columns that have arrived, as [from, to). */
  parts: [number, number][]
  columns: number
}

const ARRAYS = { 8: Uint8Array, 16: Uint16Array, 32: Float32Array } as const

/** Checks a tile and, if it is part of a picture, that it lies inside. @throws WbsrError WBSR_INVALID_OPTION naming the property */
export function checkPlacedTile(value: unknown): Tile {
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

/** Assembles the tiles of one picture. */
export class PictureAssembler {
  readonly picture: AssembledPicture
  readonly #label: string
  readonly #tileRows = new Map<number, TileRow>()
  #nextRow = 0
  #tiles = 0

  /** @param first a checked tile, which gives the picture's size and type; it is not added. label: names the result in errors */
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

  /** Rows of pixels that are held, complete or not. */
  get heldRows(): number {
    let rows = 0
    for (const { height } of this.#tileRows.values()) rows += height
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

    const { left, top, right } = haloOf(tile)
    // Whole rows that are the next to be written are not copied.
    const whole = y === this.#nextRow && tile.width === width && left + top + right === 0
    const rows = whole ? tile.data.subarray(0, tile.height * width * channels) : null
    const tileRow = this.#tileRowAt(y, tile.height, where, rows)
    if (tileRow.parts.some(([from, to]) => x < to && from < x + tile.width)) this.#fail(`${where} overlaps another one`)
    tileRow.parts.push([x, x + tile.width])
    tileRow.columns += tile.width
    this.#tiles++
    if (tileRow.data === rows) return
    const stride = (left + tile.width + right) * channels
    for (let row = 0; row < tile.height; row++) {
      const from = (top + row) * stride + left * channels
      tileRow.data.set(tile.data.subarray(from, from + tile.width * channels), (row * width + x) * channels)
    }
  }

  #tileRowAt(y: number, height: number, where: string, whole: PixelArray | null): TileRow {
    const row = this.#tileRows.get(y)
    if (row) {
      if (row.height !== height)
        this.#fail(`${where} is not as high as its neighbours (${row.height}): tiles must form lines`)
      return row
    }
    if (y < this.#nextRow) this.#fail(`${where} overlaps rows that are complete already`)
    for (const other of this.#tileRows.values()) {
      if (y < other.y + other.height && other.y < y + height)
        this.#fail(
          `${where} overlaps the line of tiles in rows ${other.y}..${other.y + other.height}: tiles must form lines`,
        )
    }
    const { width, channels, bits } = this.picture
    const data = whole ?? new ARRAYS[bits](width * height * channels)
    const made: TileRow = { y, height, data, parts: [], columns: 0 }
    this.#tileRows.set(y, made)
    return made
  }

  /** The next rows from the top, or null if they are not complete. */
  take(): PixelArray | null {
    const row = this.#tileRows.get(this.#nextRow)
    if (!row || row.columns < this.picture.width) return null
    this.#tileRows.delete(row.y)
    this.#nextRow += row.height
    return row.data
  }

  /** A description of the missing tiles; null when all rows were returned. */
  missing(): string | null {
    const { width, height, tileSize } = this.picture
    if (this.#nextRow === height) return null
    let rows = height - this.#nextRow
    for (const row of this.#tileRows.values()) if (row.columns === width) rows -= row.height
    const expected = tileSize ? Math.ceil(width / tileSize) * Math.ceil(height / tileSize) : 0
    const tiles = expected > this.#tiles ? `, ${expected - this.#tiles} of ${expected} tiles` : ''
    return `${rows} of ${height} rows are missing or incomplete${tiles}`
  }
}
