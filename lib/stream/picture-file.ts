// Writes one picture file from tiles, top to bottom. In the end the file is complete or absent.

import { isFloat32Array } from 'node:util/types'
import { WbsrError } from '../errors.js'
import { AtomicFile } from '../files/atomic.js'
import { type EncodeSettings, encodePipeline, outputSpace, quantise } from '../images/encode.js'
import type { OutputFormat } from '../images/formats.js'
import { bytesNeeded, checkOutputSize, checkRoom } from '../images/limits.js'
import { metadataChunks } from '../images/metadata-chunks.js'
import { PngEncoder } from '../images/png.js'
import { type ProfileWriter, profileWriter } from '../images/profile.js'
import { loadSharp } from '../images/sharp.js'
import { addTiffMetadata } from '../images/tiff-metadata.js'
import { Unwrapper } from '../images/wrap.js'
import type { PictureMetadata, PixelArray, Tile } from '../types.js'
import { type AssembledPicture, PictureAssembler } from './picture-assembler.js'

export interface PictureFileOptions extends EncodeSettings {
  metadata: 'keep' | 'strip'
  colourSpace: 'input' | 'srgb'
  checkSpace: boolean
}

/** A file that {@link stitchTo} wrote, with its size in pixels. */
export interface PictureFileResult {
  file: string
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
}

export class PictureFile {
  readonly #file: string
  readonly #format: OutputFormat
  readonly #options: PictureFileOptions
  readonly #signal: AbortSignal | undefined
  readonly #atomic: AtomicFile
  #assembler: PictureAssembler | null = null
  #png: PngEncoder | null = null
  #unwrapper: Unwrapper | null = null
  #profile: ProfileWriter | null = null
  #kept: PictureMetadata | null = null
  #done = false

  private constructor(
    file: string,
    format: OutputFormat,
    options: PictureFileOptions,
    signal: AbortSignal | undefined,
    atomic: AtomicFile,
  ) {
    this.#file = file
    this.#format = format
    this.#options = options
    this.#signal = signal
    this.#atomic = atomic
  }

  /** Opens the temporary file, so that missing permission is reported before anything is computed. */
  static async open(
    file: string,
    format: OutputFormat,
    options: PictureFileOptions,
    signal?: AbortSignal,
  ): Promise<PictureFile> {
    return new PictureFile(file, format, options, signal, await AtomicFile.open(file))
  }

  /** Rows that wait for missing tiles. */
  get heldRows(): number {
    return this.#assembler?.heldRows ?? 0
  }

  /** The picture of the tiles; null before the first one. */
  get picture(): AssembledPicture | null {
    return this.#assembler?.picture ?? null
  }

  /** Adds a checked tile and writes the rows that are complete. `stopped` ends it early. */
  async add(tile: Tile, stopped: () => boolean): Promise<void> {
    if (!this.#assembler) {
      this.#assembler = new PictureAssembler(tile, this.#file)
      await this.#begin(tile)
    }
    this.#assembler.add(tile)
    for (let rows = this.#assembler.take(); rows && !stopped(); rows = this.#assembler.take()) {
      const texture = this.#unwrapper ? this.#unwrapper.push(rows) : rows
      if (texture) await this.#png!.rows(await this.#written(texture))
    }
  }

  /** Completes the file. @throws WbsrError WBSR_INVALID_IMAGE: tiles are missing */
  async finish(): Promise<PictureFileResult> {
    const missing = this.#assembler ? this.#assembler.missing() : 'no tile came'
    if (missing) throw new WbsrError('WBSR_INVALID_IMAGE', `Cannot complete ${this.#file}: ${missing}`)
    await this.#png!.end()
    const { width, height, channels } = this.#shape()
    if (this.#format === 'png') await this.#atomic.commit()
    else await this.#transcode()
    this.#done = true
    await this.#profile?.close()
    return { file: this.#file, width, height, channels }
  }

  /** Aborts an encoder that a caller waits for. */
  async stop(): Promise<void> {
    await this.#png?.destroy()
  }

  /** Removes an incomplete file. */
  async discard(): Promise<void> {
    await this.#png?.destroy()
    if (this.#done) return
    await this.#profile?.close()
    await this.#atomic.discard()
  }

  /** Checks the properties of the picture that the first tile gives. */
  async #begin(tile: Tile): Promise<void> {
    const { picture } = this.#assembler!
    if (tile.picture?.wrap) this.#unwrapper = new Unwrapper(picture, tile.picture.wrap)
    const shape = this.#shape()
    checkOutputSize(shape, this.#format, this.#file)
    const { compressionLevel, checkSpace, metadata, colourSpace } = this.#options
    if (checkSpace) await checkRoom(this.#file, bytesNeeded(shape, this.#format, compressionLevel))
    const kept = tile.picture?.metadata ?? (tile as { metadata?: PictureMetadata | null }).metadata ?? null
    if (kept?.icc && kept.colourSpace === 'srgb' && colourSpace === 'input' && metadata === 'keep')
      this.#profile = await profileWriter(kept.icc, shape.channels)
    this.#kept = metadata === 'keep' ? kept : null
    this.#png = new PngEncoder(
      {
        ...shape,
        compressionLevel: this.#format === 'png' ? compressionLevel : 1,
        chunks: this.#kept ? await metadataChunks(this.#kept, shape.channels, colourSpace) : [],
      },
      (bytes) => this.#atomic.write(bytes),
    )
  }

  #shape() {
    const { channels } = this.#assembler!.picture
    const { width, height } = this.#unwrapper ?? this.#assembler!.picture
    return { width, height, channels, bits: this.#bits() }
  }

  /** Bits per sample in the file; 16 for floats if the format supports them. */
  #bits(): 8 | 16 {
    const { bits } = this.#assembler!.picture
    return bits === 8 ? 8 : bits === 16 || this.#format === 'png' || this.#format === 'tiff' ? 16 : 8
  }

  async #written(rows: PixelArray): Promise<Uint8Array | Uint16Array> {
    const pixels = isFloat32Array(rows) ? await quantise(rows, this.#bits()) : (rows as Uint8Array | Uint16Array)
    return this.#profile ? this.#profile.rows(pixels, this.#shape().width) : pixels
  }

  /** For the other formats sharp converts the PNG that was written row by row. */
  async #transcode(): Promise<void> {
    const { width, height, channels, bits } = this.#shape()
    const deep = bits === 16 && this.#format === 'tiff'
    // ignoreIcc: the samples must stay in the space of the profile.
    let pipeline = loadSharp()(this.#atomic.temporary, {
      limitInputPixels: false,
      sequentialRead: true,
      ignoreIcc: true,
    }).toColourspace(outputSpace(channels, deep))
    if (this.#kept) pipeline = pipeline.keepMetadata()
    await encodePipeline(
      pipeline,
      this.#file,
      this.#format,
      this.#options,
      width * height * channels * (deep ? 2 : 1),
      this.#signal,
      {
        density: this.#kept?.density,
        amend:
          this.#format === 'tiff' && this.#kept?.exif ? (file) => addTiffMetadata(file, this.#kept!.exif!) : undefined,
      },
    )
    await this.#atomic.discard()
  }
}
