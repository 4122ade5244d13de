// Cutting rectangles out of interleaved pixels: rows are moved whole, nothing is computed.
import type { PixelArray } from '../types.js'

/** New pixels, all 0, of the same type. Of a Buffer, as sharp makes them, a Uint8Array. */
export function pixelsLike<T extends PixelArray>(source: T, length: number): T {
  const type = Buffer.isBuffer(source) ? Uint8Array : source.constructor
  return new (type as unknown as new (length: number) => T)(length)
}

/** Cuts `width` x `height` pixels at (x, y) out of rows of `rowWidth` pixels. Always a copy, of the same type. */
export function cutPixels<T extends PixelArray>(
  source: T,
  rowWidth: number,
  channels: number,
  x: number,
  y: number,
  width: number,
  height: number,
): T {
  const out = pixelsLike(source, width * height * channels)
  for (let row = 0; row < height; row++) {
    const start = ((y + row) * rowWidth + x) * channels
    out.set(source.subarray(start, start + width * channels), row * width * channels)
  }
  return out
}

/** sharp's bytes as pixels, without a copy where the alignment allows it. */
export function asPixels(bytes: Buffer, bits: 8 | 16): Uint8Array | Uint16Array {
  if (bits === 8) return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.byteOffset % 2 === 0) return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2)
  return new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
}
