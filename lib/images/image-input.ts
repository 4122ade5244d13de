// What an image input is before it is decoded: a checked RawImage, or an encoded image of which the header is known
// and from which sharp can be asked for pixels. The rules on colour live here, once, for whole pictures and for rows.
import { access, constants, open as openFile, readFile, stat } from 'node:fs/promises'
import sharp, { type Metadata, type Region, type Sharp, type SharpOptions } from 'sharp'
import { invalidOption, WbsrError } from '../errors.js'
import { checkInteger } from '../options.js'
import type { ImageInput, PixelArray, RawImage } from '../types.js'

/** What is known of a picture without decoding it; width and height are those after EXIF orientation. */
export interface ImageHeader {
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  /** Per channel: 8 (Uint8Array), 16 (Uint16Array) or 32 (Float32Array; raw input only). */
  bits: 8 | 16 | 32
}

/** A rectangle of whole rows in the upright picture. */
export interface RowRange {
  first: number
  rows: number
}

export const PIXEL_ARRAYS = [Uint8Array, Uint8ClampedArray, Uint16Array, Float32Array] as const

/** Checks decoded pixels that a user made. @throws WbsrError WBSR_INVALID_OPTION naming the property */
export function checkRawImage(value: unknown, name: string): RawImage {
  const { data, width, height, channels } = value as RawImage
  if (!PIXEL_ARRAYS.some((type) => data instanceof type))
    throw invalidOption(`${name}.data`, 'a Uint8Array, Uint8ClampedArray, Uint16Array or Float32Array', data)
  checkInteger(width, `${name}.width`, 1)
  checkInteger(height, `${name}.height`, 1)
  checkInteger(channels, `${name}.channels`, 1, 4)
  const count = width * height * channels
  if (data.length !== count)
    throw invalidOption(
      `${name}.data`,
      `${count} values (${width} x ${height} pixels of ${channels} channels)`,
      data.length,
    )
  return value as RawImage
}

export function bitsOf(data: PixelArray): 8 | 16 | 32 {
  return data instanceof Float32Array ? 32 : data instanceof Uint16Array ? 16 : 8
}

/** sharp's bytes as pixels, without a copy where the alignment allows it. */
export function asPixels(bytes: Buffer, bits: 8 | 16): Uint8Array | Uint16Array {
  if (bits === 8) return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.byteOffset % 2 === 0) return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2)
  return new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
}

/** Whether an embedded colour profile says that the pixels are sRGB already (its description does, in either coding). */
function isSrgbProfile(profile: Buffer): boolean {
  return profile.includes('sRGB', 0, 'latin1') || profile.includes(Buffer.from('\0s\0R\0G\0B', 'latin1'))
}

/** An encoded image, its header read. */
export class EncodedImage {
  readonly label: string
  readonly header: ImageHeader & { bits: 8 | 16 }
  readonly #source: string | Buffer
  readonly #metadata: Metadata

  private constructor(source: string | Buffer, label: string, metadata: Metadata) {
    const { depth, space, hasAlpha, channels } = metadata
    // libvips could turn floats, 32-bit integers and spectra into bytes, but not in a way that a user would expect.
    if (depth !== 'uchar' && depth !== 'ushort')
      throw new WbsrError(
        'WBSR_INVALID_IMAGE',
        `Cannot use ${label}: expected 8 or 16 bits per channel but it has ${depth} samples`,
      )
    if (channels > (space === 'cmyk' ? 5 : 4) || String(space) === 'multiband')
      throw new WbsrError(
        'WBSR_INVALID_IMAGE',
        `Cannot use ${label}: expected 1 to 4 channels of grey or colour but it has ${channels} of ${space}`,
      )
    const grey = space === 'b-w' || space === 'grey16'
    this.label = label
    this.header = {
      ...metadata.autoOrient,
      channels: ((grey ? 1 : 3) + (hasAlpha ? 1 : 0)) as ImageHeader['channels'],
      bits: space === 'rgb16' || space === 'grey16' ? 16 : 8,
    }
    this.#source = source
    this.#metadata = metadata
  }

  static async open(input: string | Buffer, name: string): Promise<EncodedImage> {
    const label = typeof input === 'string' ? input : `${name} (${input.length} bytes)`
    if (input.length === 0)
      throw typeof input === 'string'
        ? invalidOption(name, 'a file path', input)
        : new WbsrError('WBSR_INVALID_IMAGE', `Expected an encoded image for ${name} but the Buffer is empty`)
    let source = input
    if (typeof input === 'string') {
      await checkReadable(input)
      // libvips takes a bracket at the end of a name for options, and keeps WebP files by their name: one that was
      // replaced would come out as the old picture.
      if (input.endsWith(']') || (await isWebp(input))) source = await readFile(input)
    }
    const metadata = await read(label, () => open(source).metadata())
    return new EncodedImage(source, label, metadata)
  }

  /**
   * Decodes the whole picture, or only some of its rows. What is not asked for is skipped by the decoder where the
   * format allows it and is never held as pixels (progressive JPEG, interlaced PNG and WebP keep the whole picture).
   */
  async decode(range?: RowRange): Promise<RawImage> {
    const { width, height, channels, bits } = this.header
    const { space, icc, orientation } = this.#metadata
    const { label } = this
    const grey = channels < 3
    // The values of the file are kept: conversion by a colour management system would move them by one here and there.
    // Only a profile of another colour space than sRGB is applied (CMYK without one has libvips' own), and never to grey.
    const convert = space === 'cmyk' || (!grey && icc !== undefined && !isSrgbProfile(icc))
    // sharp drops the alpha channel of 8-bit grey; at 16 bits it keeps it, each value v as 257 v.
    const asDeep = bits === 16 || channels === 2
    let pipeline = open(this.#source, { ignoreIcc: !convert })
    if (range) pipeline = pipeline.extract(storedRectangle(range, width, height, orientation ?? 1))
    pipeline = pipeline.autoOrient().toColourspace(asDeep ? (grey ? 'grey16' : 'rgb16') : grey ? 'b-w' : 'srgb')
    // sharp works in Display P3 on 16-bit pictures with a profile.
    if (convert && bits === 16) pipeline = pipeline.withIccProfile('srgb')
    const { data, info } = await read(label, () =>
      pipeline.raw({ depth: asDeep ? 'ushort' : 'uchar' }).toBuffer({ resolveWithObject: true }),
    )
    const rows = range ? range.rows : height
    if (info.width !== width || info.height !== rows || info.channels !== channels) {
      throw new WbsrError(
        'WBSR_INVALID_IMAGE',
        `Cannot use ${label}: expected ${width} x ${rows} pixels of ${channels} channels but found ${info.width} x ${info.height} of ${info.channels}`,
      )
    }
    const pixels = asPixels(data, asDeep ? 16 : 8)
    // Narrowing a typed array takes the low byte, which is v again.
    return { data: asDeep && bits === 8 ? new Uint8Array(pixels) : pixels, width, height: rows, channels }
  }
}

function open(source: string | Buffer, options: SharpOptions = {}): Sharp {
  // failOn warning: what a decoder calls a warning is mostly missing or damaged picture data.
  return sharp(source, { failOn: 'warning', limitInputPixels: false, sequentialRead: true, ...options })
}

/** Where rows of the upright picture lie in the stored one, by EXIF orientation 1..8. */
function storedRectangle({ first, rows }: RowRange, width: number, height: number, orientation: number): Region {
  const fromEnd = height - first - rows
  if (orientation >= 7) return { left: fromEnd, top: 0, width: rows, height: width }
  if (orientation >= 5) return { left: first, top: 0, width: rows, height: width }
  return { left: 0, top: orientation >= 3 ? fromEnd : first, width, height: rows }
}

async function isWebp(file: string): Promise<boolean> {
  const handle = await openFile(file)
  try {
    const { buffer } = await handle.read(Buffer.alloc(12), 0, 12, 0)
    return buffer.toString('latin1', 0, 4) === 'RIFF' && buffer.toString('latin1', 8, 12) === 'WEBP'
  } finally {
    await handle.close()
  }
}

async function checkReadable(file: string): Promise<void> {
  try {
    const stats = await stat(file)
    if (stats.isDirectory()) throw new WbsrError('WBSR_INVALID_IMAGE', `Expected an image file but ${file} is a folder`)
    if (!stats.isFile())
      throw new WbsrError('WBSR_INVALID_IMAGE', `Expected an image file but ${file} is not a regular file`)
    if (stats.size === 0) throw new WbsrError('WBSR_INVALID_IMAGE', `Expected an image file but ${file} is empty`)
    await access(file, constants.R_OK)
  } catch (error) {
    if (error instanceof WbsrError) throw error
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new WbsrError('WBSR_NOT_FOUND', `Image ${file} does not exist`, { cause: error })
    throw new WbsrError('WBSR_IO', `Cannot read ${file}: ${message}`, { cause: error })
  }
}

async function read<T>(label: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    const message = (cause as Error).message.trim().split('\n')[0]!
    if (/unsupported image format/.test(message))
      throw new WbsrError(
        'WBSR_INVALID_IMAGE',
        `Expected an image (PNG, JPEG, WebP, TIFF, AVIF, GIF ...) but ${label} is of another or an unknown format`,
        { cause },
      )
    if (/out of memory/i.test(message))
      throw new WbsrError('WBSR_OUT_OF_MEMORY', `Not enough memory to decode ${label}: ${message}`, { cause })
    throw new WbsrError('WBSR_INVALID_IMAGE', `Cannot decode ${label}, is it damaged or truncated? (${message})`, {
      cause,
    })
  }
}

/** Opens any image input: encoded images get their header read, raw ones are checked. */
export async function openImage(input: ImageInput, name: string): Promise<EncodedImage | RawImage> {
  if (typeof input === 'string' || Buffer.isBuffer(input)) return EncodedImage.open(input, name)
  if (input instanceof Uint8Array) {
    const bytes = input as Uint8Array
    return EncodedImage.open(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), name)
  }
  if (typeof input !== 'object' || input === null || !('data' in input))
    throw invalidOption(name, 'a file path, an encoded image in a Buffer or { data, width, height, channels }', input)
  return checkRawImage(input, name)
}
