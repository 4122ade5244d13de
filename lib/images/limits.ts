// The limits of picture formats and the room on the disk, checked before anything is computed for a file.
import { statfs } from 'node:fs/promises'
import path from 'node:path'
import { WbsrError } from '../errors.js'
import type { OutputFormat } from './formats.js'

/** Largest width and height: of WebP and JPEG (libjpeg) by the format, of AVIF by its encoder, of TIFF by libvips. */
const MOST_PIXELS: Record<OutputFormat, number> = {
  webp: 16383,
  jpeg: 65500,
  avif: 16384,
  png: 2 ** 31 - 1,
  tiff: 100_000_000,
}

export interface OutputShape {
  width: number
  height: number
  channels: number
  bits: 8 | 16
}

/** @throws WbsrError WBSR_INVALID_IMAGE: larger than the format allows */
export function checkOutputSize(
  { width, height }: Pick<OutputShape, 'width' | 'height'>,
  format: OutputFormat,
  file: string,
): void {
  const most = MOST_PIXELS[format]
  if (Math.max(width, height) > most)
    throw new WbsrError(
      'WBSR_INVALID_IMAGE',
      `Cannot write ${file}: ${width} x ${height} pixels are too large for ${format.toUpperCase()}, which holds at most ${most} a side (PNG and TIFF hold more)`,
    )
}

/** Share of the pixels' bytes that a file takes at least, of pictures that are worth enlarging. */
const SHARE = { lossless: 1 / 4, lossy: 1 / 20 }

/** Bytes that are needed at least while a file of this shape is written: the others are made of a temporary PNG. */
export function bytesNeeded(shape: OutputShape, format: OutputFormat, compressionLevel: number): number {
  const { width, height, channels, bits } = shape
  const raw = width * height * channels * (bits / 8)
  if (format === 'png') return compressionLevel === 0 ? raw : raw * SHARE.lossless
  return raw * SHARE.lossless + raw * (format === 'tiff' ? SHARE.lossless : SHARE.lossy)
}

/** @throws WbsrError WBSR_IO: the disk has less room than `bytes`. Not checked if the system does not report it. */
export async function checkRoom(file: string, bytes: number): Promise<void> {
  let free: number
  try {
    const { bavail, bsize } = await statfs(path.dirname(path.resolve(file)))
    free = bavail * bsize
  } catch {
    return
  }
  if (free < bytes)
    throw new WbsrError(
      'WBSR_IO',
      `Cannot write ${file}: it takes about ${megabytes(bytes)} MB or more, and ${megabytes(free)} MB are free (checkSpace: false writes all the same)`,
    )
}

const megabytes = (bytes: number) => (bytes / 1e6).toPrecision(3)
