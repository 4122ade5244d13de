// The start of the tile stream: reads a picture in bands of rows and cuts it into tiles. Memory grows with the width of
// the picture, not with its height.

import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { aborted, wrapError } from '../errors.js'
import { AlphaJudge, type AlphaUse, hasAlpha } from '../images/alpha.js'
import { type ImageHeader, type ReadOptions, RowSource } from '../images/images.js'
import { cutPixels } from '../images/pixels.js'
import { checkReadOptions, READ_KEYS } from '../images/read-options.js'
import { checkWrap, readContinued, type Wrap, wrapPixels } from '../images/wrap.js'
import { type AlphaChannel, checkAlphaChannel } from '../infer/options.js'
import { checkInteger, checkObject, checkSignal } from '../options.js'
import { isURL } from '../realms.js'
import type { ImageInput, PixelArray, Tile, TilePictureInfo } from '../types.js'

/** How {@link tilesOf} cuts a picture into tiles. */
export interface TilesOptions extends Omit<ReadOptions, 'page'> {
  /** Side of a tile in LR pixels, at least 1; default 64. Tiles at the right and bottom are smaller where the picture ends. */
  size?: number
  /** Context around each tile in LR pixels, cut off at the picture's borders; 'auto' (default) is 16. */
  halo?: number | 'auto'
  /** The page or frame, from 0; 'all': one picture after the other. Default as in ReadOptions. */
  page?: number | 'all'
  /**
   * The meaning of alpha (see UpscaleOptions). 'auto' decodes a picture of more than 64 MiB once before its first tile.
   */
  alphaChannel?: AlphaChannel
  /**
   * The picture is a texture that repeats in x, y or both (true). Tiles are then those of the picture with its opposite
   * sides around it, which stitchTo drops. Default false.
   */
  wrap?: Wrap
  signal?: AbortSignal
}

/**
 * More than the infer stream uses by default (6), so that larger values of its option `halo` have their context too.
 */
const READ_HALO = 16

/** Decoded pixels of one row of tiles, with the context above and below. */
interface TileRow {
  data: PixelArray
  y: number
  height: number
  top: number
  bottom: number
}

/** A Readable of Tile objects (row by row, left to right). Emits 'header' (ImageHeader) for each picture, before its tiles. */
export class TileReader extends Readable {
  /** Facts about the current picture, once its header was read. */
  header: ImageHeader | null = null
  readonly #input: ImageInput
  readonly #size: number
  readonly #halo: number
  readonly #read: ReadOptions
  readonly #allPages: boolean
  readonly #alphaChannel: AlphaChannel
  readonly #wrap: { x: boolean; y: boolean }
  readonly #bandBytes: number | undefined
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = () => this.destroy(aborted('tilesOf', this.#signal!))
  #rows: RowSource | null = null
  /** Facts that all tiles of the picture share. */
  #shared: Pick<Tile, 'picture' | 'alpha' | 'channels'> | null = null
  #pad = { x: 0, y: 0 }
  #tileRow: TileRow | null = null
  #x = 0
  #y = 0

  /** @param bandBytes decoded bytes that are held at most (see RowSource) */
  constructor(input: ImageInput, options: TilesOptions = {}, bandBytes?: number) {
    const known = ['size', 'halo', 'signal', 'alphaChannel', 'wrap', ...READ_KEYS]
    const given = checkObject(options, 'options', known) as TilesOptions
    const { halo = 'auto', signal, page } = given
    // Checked before super(), because _construct is called after super() even if the constructor throws.
    const size = checkInteger(given.size ?? 64, 'options.size', 1)
    const context = halo === 'auto' ? READ_HALO : checkInteger(halo, "options.halo (or 'auto')", 0)
    const read = checkReadOptions({ ...given, page: page === 'all' ? 0 : page }, 'options.')
    const alphaChannel = checkAlphaChannel(given.alphaChannel, 'options.alphaChannel')
    const wrap = checkWrap(given.wrap, 'options.wrap')
    const checkedSignal = signal === undefined ? undefined : checkSignal(signal, 'options.signal')
    super({ objectMode: true })
    this.#input = input
    this.#size = size
    this.#halo = context
    this.#allPages = page === 'all'
    this.#read = read
    this.#alphaChannel = alphaChannel
    this.#wrap = wrap
    this.#bandBytes = bandBytes
    this.#signal = checkedSignal
    this.#signal?.addEventListener('abort', this.#onAbort)
    if (this.#signal?.aborted) this.#onAbort()
  }

  /** Decoded rows that are held at the moment. */
  get heldRows(): number {
    return this.#rows?.heldRows ?? 0
  }

  /** @internal */
  override _construct(callback: (error?: Error | null) => void): void {
    this.#open(this.#read.page).then(
      () => {
        callback()
        this.emit('header', this.header)
      },
      (error: unknown) => callback(wrapError(error)),
    )
  }

  async #open(page: number | undefined): Promise<void> {
    const rows = await RowSource.open(this.#input, 'input', this.#bandBytes, { ...this.#read, page })
    await this.#rows?.close()
    this.#rows = rows
    const { width, height, channels, metadata, pages } = rows.header
    const pixels = wrapPixels(this.#halo)
    this.#pad = { x: this.#wrap.x ? pixels : 0, y: this.#wrap.y ? pixels : 0 }
    const picture: TilePictureInfo = {
      width: width + 2 * this.#pad.x,
      height: height + 2 * this.#pad.y,
      tileSize: this.#size,
      ...(pages > 1 && { page: rows.header.page }),
      ...(metadata && { metadata }),
      ...((this.#wrap.x || this.#wrap.y) && { wrap: this.#pad }),
    }
    if (typeof this.#input === 'string') picture.name = this.#input
    else if (isURL(this.#input)) picture.name = fileURLToPath(this.#input)
    const alpha = hasAlpha(channels) ? await this.#alphaOf(rows, channels) : undefined
    this.#shared = { picture, channels, ...(alpha === 'data' && { alpha }) }
    this.#y = 0
    this.header = rows.header
  }

  async #alphaOf(rows: RowSource, channels: 2 | 4): Promise<AlphaUse> {
    if (this.#alphaChannel !== 'auto') return this.#alphaChannel
    const judge = new AlphaJudge(channels)
    const { height } = rows.header
    for (let y = 0; y < height && !this.destroyed; y += rows.bandRows)
      judge.add(await rows.read(y, Math.min(rows.bandRows, height - y)))
    return judge.verdict
  }

  /** @internal */
  override _read(): void {
    if (this.#tileRow) this.push(this.#cut(this.#tileRow))
    else if (this.#y < this.#shared!.picture!.height) void this.#nextTileRow(this.#y)
    else void this.#nextPage()
  }

  async #nextPage(): Promise<void> {
    const { page, pages } = this.header!
    if (!this.#allPages || page + 1 >= pages) {
      this.push(null)
      return
    }
    try {
      await this.#open(page + 1)
      if (this.destroyed) {
        await this.#rows?.close()
        return
      }
      this.emit('header', this.header)
      await this.#nextTileRow(0)
    } catch (error) {
      this.destroy(wrapError(error))
    }
  }

  async #nextTileRow(y: number): Promise<void> {
    const { height: pictureHeight } = this.#shared!.picture!
    const height = Math.min(this.#size, pictureHeight - y)
    const top = Math.min(this.#halo, y)
    const bottom = Math.min(this.#halo, pictureHeight - y - height)
    try {
      const data = await readContinued(this.#rows!, this.#pad, y - top, top + height + bottom)
      if (this.destroyed) return
      this.#tileRow = { data, y, height, top, bottom }
      this.#x = 0
      this.push(this.#cut(this.#tileRow))
    } catch (error) {
      this.destroy(wrapError(error))
    }
  }

  /** The tile at #x; advances #x and drops the row's pixels after its last tile. */
  #cut(tileRow: TileRow): Tile {
    const shared = this.#shared!
    const { width: pictureWidth } = shared.picture!
    const x = this.#x
    const width = Math.min(this.#size, pictureWidth - x)
    const left = Math.min(this.#halo, x)
    const right = Math.min(this.#halo, pictureWidth - x - width)
    const rows = tileRow.top + tileRow.height + tileRow.bottom
    const data = cutPixels(tileRow.data, pictureWidth, shared.channels, x - left, 0, left + width + right, rows)
    this.#x += width
    if (this.#x === pictureWidth) {
      this.#tileRow = null
      this.#y = tileRow.y + tileRow.height
    }
    return {
      x,
      y: tileRow.y,
      width,
      height: tileRow.height,
      data,
      halo: { left, top: tileRow.top, right, bottom: tileRow.bottom },
      ...shared,
      picture: { ...shared.picture! },
    }
  }

  /** @internal */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#tileRow = null
    const closed = this.#rows?.close() ?? Promise.resolve()
    closed.then(() => callback(error), callback)
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
