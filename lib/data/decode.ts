// Image files -> 8-bit RGB, as training and validation use them, and a bounded store of decoded ones.

import { readFile, stat } from 'node:fs/promises'
import { isUint8Array, isUint16Array } from 'node:util/types'
import { WbsrError, wrapError } from '../errors.js'
import { DARK_DEPTH, darkWarning, type ImageHeader, largestColour } from '../images/decoder.js'
import { readImage } from '../images/images.js'
import { cutPixels } from '../images/pixels.js'
import type { ReadOptions } from '../images/read-options.js'
import type { RawImage } from '../types.js'

/** Interleaved (height, width, 3). */
export interface RgbImage {
  data: Uint8Array
  width: number
  height: number
}

/** Grey becomes RGB, alpha is ignored, of 16 bits the upper 8 are kept. */
function toRgb8({ data, width, height, channels }: RawImage): RgbImage {
  if (isUint8Array(data) && channels === 3) return { data, width, height }
  const out = new Uint8Array(width * height * 3)
  const shift = isUint16Array(data) ? 8 : 0
  const step = channels < 3 ? 0 : 1
  for (let from = 0, to = 0; to < out.length; from += channels, to += 3) {
    out[to] = data[from]! >> shift
    out[to + 1] = data[from + step]! >> shift
    out[to + 2] = data[from + 2 * step]! >> shift
  }
  return { data: out, width, height }
}

/**
 * Decodes to 8-bit sRGB by the decoder that upscale reads with (docs/pictures.md), so that both see one picture. Alpha is
 * ignored: what lies under transparent pixels counts as it is stored.
 *
 * @param file for messages
 * @param onHeader is told what is known of the file, warnings included
 * @throws WbsrError WBSR_INVALID_IMAGE: damaged, cut off, no image, or of samples that cannot be learned from (floats,
 *   32-bit or signed integers, more than four channels, 12 bits in samples of 16)
 */
export async function decodeRgb(
  bytes: Uint8Array,
  file: string,
  options: ReadOptions = {},
  onHeader?: (header: ImageHeader) => void,
): Promise<RgbImage> {
  try {
    const { image, header } = await readImage(bytes, file, { ...options, quiet: onHeader === undefined })
    onHeader?.(header)
    if (isUint16Array(image.data)) {
      const most = largestColour(image.data, image.channels)
      // Next to black in 8 bits.
      if (most > 0 && most <= DARK_DEPTH) throw new WbsrError('WBSR_INVALID_IMAGE', darkWarning(most))
    }
    return toRgb8(image)
  } catch (error) {
    if (!(error instanceof WbsrError) || error.code !== 'WBSR_INVALID_IMAGE') throw error
    const reason = error.message.replace(`${file} (${bytes.byteLength} bytes)`, 'it').replace(/^Cannot use it: /, '')
    throw new WbsrError('WBSR_INVALID_IMAGE', `${file}: cannot be decoded (${reason})`, { cause: error })
  }
}

/**
 * Reads and decodes a file as decodeRgb does.
 *
 * @throws WbsrError WBSR_NOT_FOUND, WBSR_IO or WBSR_INVALID_IMAGE, naming the file
 */
export async function readRgb(file: string, options: ReadOptions = {}): Promise<RgbImage> {
  return await decodeRgb(await readBytes(file), file, options)
}

/** The bytes of a file. @throws WbsrError WBSR_NOT_FOUND or WBSR_IO, naming the file */
export async function readBytes(file: string): Promise<Buffer> {
  try {
    // Reading a pipe would wait for its writer.
    const found = await stat(file)
    if (!found.isFile() && !found.isDirectory()) throw new WbsrError('WBSR_IO', `${file}: is not a regular file`)
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
