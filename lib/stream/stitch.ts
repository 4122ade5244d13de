// The end of the tile stream: writes tiles to a picture file, which is complete or absent in the end. Memory grows with
// the width of the picture, not with its height.
import { Writable } from 'node:stream'
import { aborted, invalidOption, wrapError } from '../errors.js'
import { checkEncodeOptions, type EncodeOptions } from '../images/encode.js'
import { type OutputFormat, outputFormat } from '../images/formats.js'
import { checkBoolean, checkChoice, checkSignal } from '../options.js'
import type { Tile } from '../types.js'
import { checkPlacedTile } from './picture-assembler.js'
import { PictureFile, type PictureFileOptions, type PictureFileResult } from './picture-file.js'

/** How {@link stitchTo} writes a picture. */
export interface StitchOptions extends EncodeOptions {
  /**
   * Colour profile, EXIF, XMP and resolution of the picture that the tiles come from: 'keep' (default) writes them,
   * 'strip' writes sRGB pixels and nothing else.
   */
  metadata?: 'keep' | 'strip'
  /**
   * The colour space of a picture with a profile. 'input' (default): that profile, which is embedded. 'srgb': sRGB,
   * declared in the file.
   */
  colourSpace?: 'input' | 'srgb'
  /** Fail at the first tile if the disk has too little room for the result. Default true. */
  checkSpace?: boolean
  signal?: AbortSignal
}

/** A file that {@link stitchTo} wrote, with its size in pixels. */
export type StitchResult = PictureFileResult

/** In a file name: replaced by the page's number, from 0. */
const PAGE = '{page}'

/** The Writable that stitchTo makes. */
export class Stitcher extends Writable {
  /** The (last) file, set before 'finish'. */
  result: StitchResult | null = null
  /** All files: more than one for the pages of a file. */
  readonly results: StitchResult[] = []
  readonly #file: string
  readonly #format: OutputFormat
  readonly #options: PictureFileOptions
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = () => this.destroy(aborted('stitchTo', this.#signal!))
  /** The work in progress; _destroy waits for it before it removes files. */
  #work: Promise<void> = Promise.resolve()
  #current: PictureFile | null = null
  #page: number | undefined

  constructor(file: string, options: StitchOptions = {}) {
    const format = outputFormat(file, 'file')
    const more = ['signal', 'metadata', 'colourSpace', 'checkSpace']
    const encode = checkEncodeOptions(options, 'options', more)
    const { metadata, colourSpace, checkSpace } = options
    const checked: PictureFileOptions = {
      ...encode,
      metadata: checkChoice<'keep' | 'strip'>(metadata ?? 'keep', 'options.metadata', ['keep', 'strip']),
      colourSpace: checkChoice<'input' | 'srgb'>(colourSpace ?? 'input', 'options.colourSpace', ['input', 'srgb']),
      checkSpace: checkBoolean(checkSpace ?? true, 'options.checkSpace'),
    }
    const signal = options.signal === undefined ? undefined : checkSignal(options.signal, 'options.signal')
    super({ objectMode: true })
    this.#file = file
    this.#format = format
    this.#options = checked
    this.#signal = signal
    signal?.addEventListener('abort', this.#onAbort)
    if (signal?.aborted) this.#onAbort()
  }

  /** Rows that wait for missing tiles. */
  get heldRows(): number {
    return this.#current?.heldRows ?? 0
  }

  #run(work: () => Promise<void>, callback: (error?: Error | null) => void): void {
    this.#work = work().then(
      () => callback(),
      (error: unknown) => callback(wrapError(error)),
    )
  }

  // The file is opened before the first tile, so that missing permission is reported before hours of inference.
  /** @internal */
  override _construct(callback: (error?: Error | null) => void): void {
    this.#run(() => this.#open(0), callback)
  }

  async #open(page: number): Promise<void> {
    const file = this.#file.replaceAll(PAGE, String(page))
    this.#current = await PictureFile.open(file, this.#format, this.#options, this.#signal)
  }

  /** @internal */
  override _write(value: unknown, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#run(async () => {
      const tile = checkPlacedTile(value)
      await this.#turnTo(tile)
      await this.#current!.add(tile, () => this.destroyed)
    }, callback)
  }

  /** Starts another file if the tile belongs to another page than the last one. */
  async #turnTo(tile: Tile): Promise<void> {
    const page = tile.picture?.page
    const started = this.#current!.picture !== null
    const named = this.#file.includes(PAGE)
    if (started ? page === this.#page : (page ?? 0) === 0 || !named) {
      this.#page = page
      return
    }
    if (!named)
      throw invalidOption('file', `a name with ${PAGE}, as pages of a file come (out-${PAGE}.png)`, this.#file)
    if (started) await this.#finish()
    else await this.#current!.discard()
    this.#page = page
    await this.#open(page ?? 0)
  }

  async #finish(): Promise<void> {
    const result = await this.#current!.finish()
    this.#current = null
    this.result = result
    this.results.push(result)
  }

  /** @internal */
  override _final(callback: (error?: Error | null) => void): void {
    this.#run(() => this.#finish(), callback)
  }

  /** @internal */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    const clean = async () => {
      await this.#current?.stop()
      await this.#work
      await this.#current?.discard()
    }
    clean().then(() => callback(error), callback)
  }
}

/**
 * A Writable (object mode) that assembles the tiles of one picture and writes them to a .png, .jpg, .jpeg, .webp, .tif,
 * .tiff or .avif file. Tiles may come in any order; rows that wait for a missing tile are held in memory. A tile
 * without `picture` is the whole picture; halos are dropped.
 * PNG is written row by row (16 bits for Uint16Array, and for Float32Array 0..1); the other formats go through a
 * temporary PNG beside the file, and WebP and AVIF encoders hold the whole picture.
 *
 * Colour profile, EXIF, XMP and resolution of the picture come with its tiles and are written if the format supports
 * them (docs/pictures.md). For the pages of a file (tilesOf with page: 'all') `file` must contain "{page}".
 *
 * The first tile is checked for a size that the format does not support and for too little room on the disk. The
 * complete file appears before 'finish'; then `result` is { file, width, height, channels }. After any error, abort or
 * early end nothing is left, and an older file of that name is unchanged.
 *
 * @throws WbsrError WBSR_INVALID_OPTION at once for wrong options or a file name of another format; the stream ends with
 *   WBSR_INVALID_IMAGE (tiles missing, overlapping, or of another picture, type or number of channels),
 *   WBSR_INVALID_OPTION (not a tile), WBSR_IO (full disk, permissions), WBSR_ABORTED
 */
export function stitchTo(file: string, options: StitchOptions = {}): Stitcher {
  return new Stitcher(file, options)
}
