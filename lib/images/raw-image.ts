// Decoded pixels that a user made.
import { isFloat32Array, isUint16Array } from 'node:util/types'
import { invalidOption } from '../errors.js'
import { checkInteger } from '../options.js'
import { isPixelArray, ownArray } from '../realms.js'
import type { PixelArray, RawImage } from '../types.js'

/** @throws WbsrError WBSR_INVALID_OPTION naming the property */
export function checkRawImage(value: unknown, name: string): RawImage {
  const { data, width, height, channels } = value as RawImage
  if (!isPixelArray(data))
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
  const own = ownArray(data)
  return own === data ? (value as RawImage) : { ...(value as RawImage), data: own }
}

export function bitsOf(data: PixelArray): 8 | 16 | 32 {
  return isFloat32Array(data) ? 32 : isUint16Array(data) ? 16 : 8
}
