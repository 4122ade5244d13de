// The start of the tile stream: a picture, read in bands of rows, cut into tiles. Memory grows with the width of the
// picture, not with its height.
import { Readable } from 'node:stream'
import { aborted, wrapError } from '../errors.js'
import { type ImageHeader, RowSource } from '../images/images.js'
import { cutPixels } from '../images/pixels.js'
import { checkInteger, checkObject, checkSignal } from '../options.js'
import type { ImageInput, PixelArray, Tile } from '../types.js'

export interface TilesOptions {
  /** Side of a tile in LR pixels, at least 1; default 64. Tiles at the right and bottom are smaller where the picture ends. */
  size?: number
  /** Context around each tile in LR pixels, cut off at the picture's borders; 'auto' (default) is 16. */
  halo?: number | 'auto'
  signal?: AbortSignal
}

/** More than the infer stream uses by default (6), so that larger values of its option `halo` find their context too. */
const READ_HALO = 16

/** Decoded pixels of one row of tiles, with the context above and below. */
interface TileRow {
  data: PixelArray
  y: number
  height: number
  top: number
  bottom: number
}

/** A Readable of Tile objects (row by row, left to right). Emits 'header' (ImageHeader) when the picture is known. */
export class TileReader extends Readable {
  /** Size, channels and bits of the picture, once its header was read. */
  header: ImageHeader | null = null
  readonly #input: ImageInput
  readonly #size: number
  readonly #halo: number
  readonly #bandBytes: number | undefined
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = () => this.destroy(aborted('tilesOf', this.#signal!))
  #rows: RowSource | null = null
  #tileRow: TileRow | null = null
  #x = 0
  #y = 0

  /** @param bandBytes decoded bytes that are held at most (see RowSource) */
  constructor(input: ImageInput, options: TilesOptions = {}, bandBytes?: number) {
    const {
      size = 64,
      halo = 'auto',
      signal,
    } = checkObject(options, 'options', ['size', 'halo', 'signal']) as TilesOptions
    super({ objectMode: true })
    this.#input = input
    this.#size = checkInteger(size, 'options.size', 1)
    this.#halo = halo === 'auto' ? READ_HALO : checkInteger(halo, "options.halo (or 'auto')", 0)
    this.#bandBytes = bandBytes
    this.#signal = signal === undefined ? undefined : checkSignal(signal, 'options.signal')
    this.#signal?.addEventListener('abort', this.#onAbort)
    if (this.#signal?.aborted) this.#onAbort()
  }

  /** Decoded rows that are held at the moment. */
  get heldRows(): number {
    return this.#rows?.heldRows ?? 0
  }

  override _construct(callback: (error?: Error | null) => void): void {
    RowSource.open(this.#input, 'input', this.#bandBytes).then(
      (rows) => {
        this.#rows = rows
        this.header = rows.header
        callback()
        this.emit('header', rows.header)
      },
      (error: unknown) => callback(wrapError(error)),
    )
  }

  override _read(): void {
    if (this.#tileRow) this.push(this.#cut(this.#tileRow))
    else if (this.#y < this.header!.height) void this.#nextTileRow(this.#y)
    else this.push(null)
  }

  async #nextTileRow(y: number): Promise<void> {
    const rows = this.#rows!
    const height = Math.min(this.#size, rows.header.height - y)
    const top = Math.min(this.#halo, y)
    const bottom = Math.min(this.#halo, rows.header.height - y - height)
    try {
      const data = await rows.read(y - top, top + height + bottom)
      if (this.destroyed) return
      this.#tileRow = { data, y, height, top, bottom }
      this.#x = 0
      this.push(this.#cut(this.#tileRow))
    } catch (error) {
      this.destroy(wrapError(error))
    }
  }

  /** The tile at #x. Moves #x to the next one, and drops the row's pixels after its last tile. */
  #cut(tileRow: TileRow): Tile {
    const { width: pictureWidth, height: pictureHeight, channels } = this.header!
    const x = this.#x
    const width = Math.min(this.#size, pictureWidth - x)
    const left = Math.min(this.#halo, x)
    const right = Math.min(this.#halo, pictureWidth - x - width)
    const rows = tileRow.top + tileRow.height + tileRow.bottom
    const data = cutPixels(tileRow.data, pictureWidth, channels, x - left, 0, left + width + right, rows)
    this.#x += width
    if (this.#x === pictureWidth) {
      this.#tileRow = null
      this.#y = tileRow.y + tileRow.height
    }
    const picture: Tile['picture'] = { width: pictureWidth, height: pictureHeight, tileSize: this.#size }
    if (typeof this.#input === 'string') picture.name = this.#input
    return {
      x,
      y: tileRow.y,
      width,
      height: tileRow.height,
      data,
      channels,
      halo: { left, top: tileRow.top, right, bottom: tileRow.bottom },
      picture,
    }
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#rows?.close()
    this.#tileRow = null
    callback(error)
  }
}

/**
 * A Readable (object mode) of the tiles of a picture, row by row, each with its halo, for `inferStream` and `stitchTo`.
 * Rows are decoded only as tiles are taken; a picture whose pixels take less than 64 MiB is decoded once, a larger one
 * in bands of that size. Progressive JPEG, interlaced PNG and WebP are held decoded by their decoders.
 *
 * @throws WbsrError WBSR_INVALID_OPTION at once for wrong options; the stream ends with the errors of decodeImage
 *   (WBSR_INVALID_IMAGE, WBSR_NOT_FOUND, WBSR_INVALID_OPTION, WBSR_IO) or with WBSR_ABORTED
 */
export function tilesOf(input: ImageInput, options: TilesOptions = {}): TileReader {
  return new TileReader(input, options)
}
