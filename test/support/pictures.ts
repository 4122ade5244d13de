// Small pictures for tests of several folders.
import type { RawImage } from '../../lib/types.js'

export type Channels = RawImage['channels']

/** Samples that differ in every channel, row and byte. */
export function pattern(width: number, height: number, channels: Channels, bits: 8 | 16): RawImage {
  const data = bits === 8 ? new Uint8Array(width * height * channels) : new Uint16Array(width * height * channels)
  for (let i = 0; i < data.length; i++) data[i] = bits === 8 ? (i * 37 + (i >> 5)) % 256 : (i * 7919 + 13) % 65536
  return { data, width, height, channels }
}

/** Whether two pictures have equal type, shape and samples (tap's own comparison takes seconds for large arrays). */
export function samePicture(a: RawImage, b: RawImage): boolean {
  return a.width === b.width && a.height === b.height && a.channels === b.channels && sameSamples(a.data, b.data)
}

export function sameSamples(a: RawImage['data'], b: RawImage['data']): boolean {
  const bytes = (data: RawImage['data']) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return a.constructor === b.constructor && bytes(a).equals(bytes(b))
}

/** The largest difference of two samples; Infinity for different lengths, NaN where one is NaN. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity
  let largest = 0
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!)
    if (!(difference <= largest)) largest = difference
  }
  return largest
}
