// Values of any realm. A vm context, Jest's or jsdom's environment and an Electron window have constructors of their own, which
// instanceof does not take for ours; what node:util/types and these functions look at is the same in all of them.
import { isFloat32Array, isNativeError, isUint8Array, isUint8ClampedArray, isUint16Array } from 'node:util/types'
import type { PixelArray } from './types.js'

const hasTag = (value: unknown, tags: readonly string[]): boolean =>
  typeof value === 'object' &&
  value !== null &&
  tags.includes((value as { [Symbol.toStringTag]?: string })[Symbol.toStringTag]!)

export const isURL = (value: unknown): value is URL => hasTag(value, ['URL'])

export const isBlob = (value: unknown): value is Blob =>
  hasTag(value, ['Blob', 'File']) && typeof (value as Blob).arrayBuffer === 'function'

export const isAbortSignal = (value: unknown): value is AbortSignal =>
  hasTag(value, ['AbortSignal']) &&
  typeof (value as AbortSignal).aborted === 'boolean' &&
  typeof (value as AbortSignal).addEventListener === 'function'

export const isRangeError = (error: unknown): error is RangeError => isNativeError(error) && error.name === 'RangeError'

export const isPixelArray = (value: unknown): value is PixelArray =>
  isUint8Array(value) || isUint8ClampedArray(value) || isUint16Array(value) || isFloat32Array(value)

/** The same memory as an array of this realm, which sharp asks for. */
export function ownArray<T extends PixelArray>(data: T): T
export function ownArray(data: PixelArray): PixelArray {
  const { buffer, byteOffset, length } = data
  if (isFloat32Array(data)) return data instanceof Float32Array ? data : new Float32Array(buffer, byteOffset, length)
  if (isUint16Array(data)) return data instanceof Uint16Array ? data : new Uint16Array(buffer, byteOffset, length)
  if (isUint8Array(data)) return data instanceof Uint8Array ? data : new Uint8Array(buffer, byteOffset, length)
  return data instanceof Uint8ClampedArray ? data : new Uint8ClampedArray(buffer, byteOffset, length)
}
