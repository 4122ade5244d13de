// Image files -> 8-bit RGB, as training and validation use them, and a bounded store of decoded ones.
import { readFile } from 'node:fs/promises'
import sharp from 'sharp'
import { WbsrError, wrapError } from '../errors.js'
import { cutPixels } from '../images/pixels.js'

/** Interleaved (height, width, 3). */
export interface RgbImage {
  data: Uint8Array
  width: number
  height: number
}

/**
 * Decodes to 8-bit sRGB, off the event loop. Grey becomes RGB, 16 bits keep their upper 8, an embedded colour profile is
 * applied, EXIF orientation too. Alpha is ignored: what lies under transparent pixels counts as it is stored.
 *
 * @param file for messages
 * @throws WbsrError WBSR_INVALID_IMAGE: damaged, truncated or no image
 */
export async function decodeRgb(bytes: Buffer, file: string): Promise<RgbImage> {
  try {
    const { data, info } = await sharp(bytes, { failOn: 'error' })
      .autoOrient()
      .removeAlpha()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    if (info.channels !== 3)
      throw new WbsrError(
        'WBSR_INVALID_IMAGE',
        `${file}: Expected an RGB or grey image but it has ${info.channels} channels`,
      )
    return { data, width: info.width, height: info.height }
  } catch (error) {
    if (error instanceof WbsrError) throw error
    // libvips' message may go on with details over several lines.
    const reason = String((error as Error).message ?? error).split('\n')[0]
    throw new WbsrError('WBSR_INVALID_IMAGE', `${file}: cannot be decoded (${reason})`, { cause: error })
  }
}

/**
 * Reads and decodes a file as decodeRgb does.
 *
 * @throws WbsrError WBSR_NOT_FOUND, WBSR_IO or WBSR_INVALID_IMAGE, naming the file
 */
export async function readRgb(file: string): Promise<RgbImage> {
  return await decodeRgb(await readBytes(file), file)
}

/** The bytes of a file. @throws WbsrError WBSR_NOT_FOUND or WBSR_IO, naming the file */
export async function readBytes(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    throw wrapError(error, 'WBSR_IO', file)
  }
}

/** A file that is left out of a data set instead of ending the run. */
export class Unusable extends Error {
  constructor(
    readonly file: string,
    readonly reason: string,
  ) {
    super(`${file}: ${reason}`)
  }
}

/** Turns the failure of reading or decoding a file into Unusable. */
export async function usable<T>(file: string, value: Promise<T>): Promise<T> {
  try {
    return await value
  } catch (error) {
    if (!(error instanceof WbsrError)) throw error
    throw new Unusable(file, error.message.replace(`${file}: `, ''))
  }
}

/** The top left part of an image (no copy of the rows where only rows are cut off). */
export function cropTopLeft(image: RgbImage, width: number, height: number): RgbImage {
  if (image.width === width) return { data: image.data.subarray(0, width * height * 3), width, height }
  return { data: cutPixels(image.data, image.width, 3, 0, 0, width, height), width, height }
}

/** Cuts an image down (right and bottom) to a multiple of the scale. */
export function cropToScale(image: RgbImage, scale: number): RgbImage {
  return cropTopLeft(image, image.width - (image.width % scale), image.height - (image.height % scale))
}

/**
 * Decoded images, the least recently used ones dropped beyond a number of bytes. Whoever holds an image keeps it alive, so
 * the images of the batches under way come on top of the bound. Requests for an image that is on its way share it.
 */
export class ImageCache {
  /** Images loaded so far. */
  loads = 0
  /** Bytes held. */
  bytes = 0
  readonly #budget: number
  readonly #images = new Map<string, { image: Promise<RgbImage>; bytes: number }>()

  constructor(budget: number) {
    this.#budget = budget
  }

  async get(key: string, load: () => Promise<RgbImage>): Promise<RgbImage> {
    const held = this.#images.get(key)
    if (held) {
      // A Map keeps the order of insertion: last is most recent.
      this.#images.delete(key)
      this.#images.set(key, held)
      return await held.image
    }
    this.loads++
    const entry = { image: load(), bytes: 0 }
    this.#images.set(key, entry)
    try {
      const image = await entry.image
      // Unless it was cleared away meanwhile.
      if (this.#images.get(key) === entry) {
        entry.bytes = image.data.byteLength
        this.bytes += entry.bytes
        this.#trim()
      }
      return image
    } catch (error) {
      if (this.#images.get(key) === entry) this.#images.delete(key)
      throw error
    }
  }

  #trim(): void {
    for (const [key, entry] of this.#images) {
      if (this.bytes <= this.#budget) return
      if (entry.bytes === 0) continue // still on its way
      this.#images.delete(key)
      this.bytes -= entry.bytes
    }
  }

  clear(): void {
    this.#images.clear()
    this.bytes = 0
  }
}
