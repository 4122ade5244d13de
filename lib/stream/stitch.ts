// The end of the tile stream: tiles become the rows of a picture file, which is either complete or not there. Memory
// grows with the width of the picture, not with its height.
import { Writable } from 'node:stream'
import sharp from 'sharp'
import { aborted, WbsrError, wrapError } from '../errors.js'
import { AtomicFile } from '../files/atomic.js'
import {
  checkEncodeOptions,
  type EncodeOptions,
  encodePipeline,
  type OutputFormat,
  outputFormat,
  outputSpace,
  quantise,
} from '../images/encode.js'
import { PngEncoder } from '../images/png.js'
import { checkSignal } from '../options.js'
import type { PixelArray } from '../types.js'
import { checkPlacedTile, PictureAssembler } from './picture-assembler.js'

export interface StitchOptions extends EncodeOptions {
  signal?: AbortSignal
}

export interface StitchResult {
  file: string
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
}

/** The Writable that stitchTo makes. */
export class Stitcher extends Writable {
  /** Set before 'finish'. */
  result: StitchResult | null = null
  readonly #file: string
  readonly #format: OutputFormat
  readonly #options: Required<EncodeOptions>
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = () => this.destroy(aborted('stitchTo', this.#signal!))
  /** What is going on; _destroy waits for it before it removes files. */
  #work: Promise<void> = Promise.resolve()
  #atomic: AtomicFile | null = null
  #assembler: PictureAssembler | null = null
  #png: PngEncoder | null = null

  constructor(file: string, options: StitchOptions = {}) {
    const format = outputFormat(file, 'file')
    const checked = checkEncodeOptions(options, 'options', ['signal'])
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
    return this.#assembler?.heldRows ?? 0
  }

  #run(work: () => Promise<void>, callback: (error?: Error | null) => void): void {
    this.#work = work().then(
      () => callback(),
      (error: unknown) => callback(wrapError(error)),
    )
  }

  // The file is opened before the first tile, so that a folder without permission is known before hours of inference.
  override _construct(callback: (error?: Error | null) => void): void {
    this.#run(async () => {
      this.#atomic = await AtomicFile.open(this.#file)
    }, callback)
  }

  override _write(value: unknown, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#run(async () => {
      const tile = checkPlacedTile(value)
      this.#assembler ??= new PictureAssembler(tile, this.#file)
      this.#assembler.add(tile)
      for (let rows = this.#assembler.take(); rows && !this.destroyed; rows = this.#assembler.take()) {
        this.#png ??= this.#startPng()
        await this.#png.rows(await this.#integers(rows))
      }
    }, callback)
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#run(async () => {
      const missing = this.#assembler ? this.#assembler.missing() : 'no tile came'
      if (missing) throw new WbsrError('WBSR_INVALID_IMAGE', `Cannot complete ${this.#file}: ${missing}`)
      await this.#png!.end()
      const { width, height, channels } = this.#assembler!.picture
      if (this.#format === 'png') await this.#atomic!.commit()
      else await this.#transcode()
      this.#atomic = null
      this.result = { file: this.#file, width, height, channels }
    }, callback)
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    const clean = async () => {
      await this.#png?.destroy()
      await this.#work
      await this.#atomic?.discard()
    }
    clean().then(() => callback(error), callback)
  }

  /** Bits of what is written; floats get 16 where the format has them. */
  #bits(): 8 | 16 {
    const { bits } = this.#assembler!.picture
    return bits === 8 ? 8 : bits === 16 || this.#format === 'png' || this.#format === 'tiff' ? 16 : 8
  }

  async #integers(rows: PixelArray): Promise<Uint8Array | Uint16Array> {
    return rows instanceof Float32Array ? quantise(rows, this.#bits()) : (rows as Uint8Array | Uint16Array)
  }

  #startPng(): PngEncoder {
    const { width, height, channels } = this.#assembler!.picture
    const compressionLevel = this.#format === 'png' ? this.#options.compressionLevel : 1
    return new PngEncoder({ width, height, channels, bits: this.#bits(), compressionLevel }, (bytes) =>
      this.#atomic!.write(bytes),
    )
  }

  /** The other formats: sharp reads the PNG that was made row by row, and writes another file. */
  async #transcode(): Promise<void> {
    const { width, height, channels } = this.#assembler!.picture
    const deep = this.#bits() === 16 && this.#format === 'tiff'
    const pipeline = sharp(this.#atomic!.temporary, { limitInputPixels: false, sequentialRead: true }).toColourspace(
      outputSpace(channels, deep),
    )
    await encodePipeline(
      pipeline,
      this.#file,
      this.#format,
      this.#options,
      width * height * channels * (deep ? 2 : 1),
      this.#signal,
    )
    await this.#atomic!.discard()
  }
}

/**
 * A Writable (object mode) that puts the tiles of one picture together and writes them to a .png, .jpg, .jpeg, .webp,
 * .tif, .tiff or .avif file. Tiles may come in any order within a line of tiles, lines may overtake each other; what
 * waits for a missing tile is held in memory. A tile without `picture` is the whole picture; halos are dropped.
 * PNG is written row by row (16 bits for Uint16Array, and for Float32Array 0..1); the other formats go through a
 * temporary PNG beside the file, and WebP and AVIF encoders hold the whole picture.
 *
 * The file appears, complete, before 'finish'; then `result` is { file, width, height, channels }. On any error, abort or
 * early end nothing is left, and an older file of that name survives.
 *
 * @throws WbsrError WBSR_INVALID_OPTION at once for wrong options or a file name of another format; the stream ends with
 *   WBSR_INVALID_IMAGE (tiles missing, overlapping, or of another picture, type or number of channels),
 *   WBSR_INVALID_OPTION (not a tile), WBSR_IO (full disk, permissions), WBSR_ABORTED
 */
export function stitchTo(file: string, options: StitchOptions = {}): Stitcher {
  return new Stitcher(file, options)
}
