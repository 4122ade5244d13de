// Decoded pixels that a user made.
import { invalidOption } from '../errors.js'
import { checkInteger } from '../options.js'
import type { PixelArray, RawImage } from '../types.js'

export const PIXEL_ARRAYS = [Uint8Array, Uint8ClampedArray, Uint16Array, Float32Array] as const

/** @throws WbsrError WBSR_INVALID_OPTION naming the property */
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
