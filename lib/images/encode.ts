// Whole pictures out, by sharp. Pictures that are made row by row go through png.ts instead.

import { setImmediate } from 'node:timers/promises'
import { isFloat32Array, isUint8ClampedArray, isUint16Array } from 'node:util/types'
import type { Sharp } from 'sharp'
import { invalidOption, WbsrError } from '../errors.js'
import { AtomicFile } from '../files/atomic.js'
import { checkBoolean, checkInteger, checkObject } from '../options.js'
import { ownArray } from '../realms.js'
import type { PixelArray, RawImage } from '../types.js'
import { type OutputFormat, outputFormat } from './formats.js'
import { checkOutputSize } from './limits.js'
import { checkRawImage } from './raw-image.js'
import { loadSharp } from './sharp.js'

/** How a picture is encoded. */
export interface EncodeOptions {
  /** JPEG, WebP and AVIF: 1..100, default 95. */
  quality?: number
  /** PNG: 0 (none, fast) .. 9, default 6. */
  compressionLevel?: number
  /** TIFF: side of its tiles, a multiple of 16 up to 4096. Default: strips. */
  tileSize?: number
  /** TIFF: offsets of 64 bits (BigTIFF). Default: where the pixels take more than 4 GB. */
  bigTiff?: boolean
}

export const ENCODE_KEYS = ['quality', 'compressionLevel', 'tileSize', 'bigTiff']

/** Checked options with defaults. */
export type EncodeSettings = Required<Pick<EncodeOptions, 'quality' | 'compressionLevel'>> &
  Pick<EncodeOptions, 'tileSize' | 'bigTiff'>

export function checkEncodeOptions(options: unknown, name: string, more: readonly string[] = []): EncodeSettings {
  const given = checkObject(options, name, [...ENCODE_KEYS, ...more]) as EncodeOptions
  const { quality, compressionLevel, tileSize, bigTiff } = given
  if (tileSize !== undefined && checkInteger(tileSize, `${name}.tileSize`, 16, 4096) % 16 !== 0)
    throw invalidOption(`${name}.tileSize`, 'a multiple of 16', tileSize)
  return {
    quality: quality === undefined ? 95 : checkInteger(quality, `${name}.quality`, 1, 100),
    compressionLevel:
      compressionLevel === undefined ? 6 : checkInteger(compressionLevel, `${name}.compressionLevel`, 0, 9),
    ...(tileSize !== undefined && { tileSize }),
    ...(bigTiff !== undefined && { bigTiff: checkBoolean(bigTiff, `${name}.bigTiff`) }),
  }
}

/** Bytes of pixels up to which libjpeg looks for the best codes, for which it holds four times as much; a file is some % smaller. */
const HELD_JPEG = 1 << 24

const QUANTISE_CHUNK = 1 << 20

/** Float samples 0..1 as integers, rounded to the nearest and clamped; NaN becomes 0. Lets the event loop breathe. */
export async function quantise(data: Float32Array, bits: 8 | 16): Promise<Uint8Array | Uint16Array> {
  const max = bits === 8 ? 255 : 65535
  const out = bits === 8 ? new Uint8Array(data.length) : new Uint16Array(data.length)
  for (let start = 0; start < data.length; start += QUANTISE_CHUNK) {
    if (start > 0) await setImmediate()
    const end = Math.min(data.length, start + QUANTISE_CHUNK)
    for (let i = start; i < end; i++) out[i] = Math.min(1, Math.max(0, data[i]!)) * max + 0.5
  }
  return out
}

/** sharp's name for the colour space of what is written; without it grey would become RGB and 16 bits 8. */
export function outputSpace(channels: number, deep: boolean): string {
  return deep ? (channels < 3 ? 'grey16' : 'rgb16') : channels < 3 ? 'b-w' : 'srgb'
}

/** Pixels that sharp writes as they are: integers, and 8 bits where the format has no more. */
async function integers(data: PixelArray, format: OutputFormat): Promise<Uint8Array | Uint16Array> {
  if (isFloat32Array(data)) return quantise(data, format === 'png' || format === 'tiff' ? 16 : 8)
  return isUint8ClampedArray(data) ? new Uint8Array(data.buffer, data.byteOffset, data.length) : ownArray(data)
}

/**
 * Encodes what `pipeline` holds into a file, atomically.
 *
 * @param bytes of the uncompressed pixels
 * @param extra density: pixels per inch, for TIFF (others take it from the pipeline); amend: works on the finished file
 *   before it gets its name
 */
export async function encodePipeline(
  pipeline: Sharp,
  file: string,
  format: OutputFormat,
  options: EncodeSettings,
  bytes: number,
  signal?: AbortSignal,
  { density, amend }: { density?: number; amend?: (file: string) => Promise<void> } = {},
): Promise<void> {
  const { quality, compressionLevel, tileSize, bigTiff } = options
  switch (format) {
    case 'png':
      pipeline = pipeline.png({ compressionLevel, adaptiveFiltering: true })
      break
    // JPEG has no alpha: transparent parts become white, like the paper they are mostly printed on.
    case 'jpeg':
      pipeline = pipeline
        .flatten({ background: '#ffffff' })
        .jpeg({ quality, chromaSubsampling: '4:4:4', optimiseCoding: bytes <= HELD_JPEG })
      break
    case 'webp':
      pipeline = pipeline.webp({ quality })
      break
    // sharp's default for TIFF is lossy.
    case 'tiff':
      pipeline = pipeline.tiff({
        compression: 'deflate',
        predictor: 'horizontal',
        bigtiff: bigTiff ?? bytes > 4e9,
        ...(tileSize !== undefined && { tile: true, tileWidth: tileSize, tileHeight: tileSize }),
        // Pixels per millimetre; sharp does not take them from the picture.
        ...(density && { xres: density / 25.4, yres: density / 25.4, resolutionUnit: 'inch' }),
      })
      break
    case 'avif':
      pipeline = pipeline.avif({ quality })
      break
  }
  const atomic = await AtomicFile.open(file)
  try {
    await pipeline.toFile(atomic.temporary)
    await amend?.(atomic.temporary)
  } catch (cause) {
    await atomic.discard()
    const text = (cause as Error).message
    const message = /no space left/i.test(text) ? 'no space left on the disk' : text.trim().split('\n')[0]!
    // A size that the format cannot have is the picture's fault, all else (full disk) the system's.
    const code = /too large|too big|dimension|limit/i.test(message) ? 'WBSR_INVALID_IMAGE' : 'WBSR_IO'
    throw new WbsrError(code, `Cannot write ${file}: ${message}`, { cause })
  }
  if (signal?.aborted) {
    await atomic.discard()
    throw new WbsrError('WBSR_ABORTED', `Writing ${file} was aborted`, { cause: signal.reason })
  }
  await atomic.commit()
}

/**
 * Writes a picture to a .png, .jpg, .jpeg, .webp, .tif, .tiff or .avif file: complete or not at all (see
 * writeFileAtomic). PNG and TIFF are lossless and keep 16 bits (Float32Array 0..1 becomes 16 bits there and 8
 * elsewhere); JPEG, WebP and AVIF are 8 bits, full chroma resolution where they have it. JPEG is flattened on white.
 *
 * @throws WbsrError WBSR_INVALID_OPTION, WBSR_INVALID_IMAGE (too large for the format), WBSR_IO
 */
export async function encodeImage(image: RawImage, file: string, options: EncodeOptions = {}): Promise<void> {
  const format = outputFormat(file, 'file')
  const checked = checkEncodeOptions(options, 'options')
  if (typeof image !== 'object' || image === null)
    throw invalidOption('image', '{ data, width, height, channels }', image)
  const { data, width, height, channels } = checkRawImage(image, 'image')
  checkOutputSize(image, format, file)
  const pixels = await integers(data, format)
  const deep = isUint16Array(pixels) && (format === 'png' || format === 'tiff')
  const pipeline = loadSharp()(pixels, { raw: { width, height, channels }, limitInputPixels: false }).toColourspace(
    outputSpace(channels, deep),
  )
  await encodePipeline(pipeline, file, format, checked, pixels.byteLength)
}
