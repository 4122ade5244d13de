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
