// Cutting rectangles out of interleaved pixels: rows are moved whole, nothing is computed.
import type { PixelArray } from '../types.js'

/** Cuts `width` x `height` pixels at (x, y) out of rows of `rowWidth` pixels. Always a copy, of the same type. */
export function cutPixels<T extends PixelArray>(source: T, rowWidth: number, channels: number, x: number, y: number, width: number, height: number): T {
  const out = new (source.constructor as new (length: number) => T)(width * height * channels)
  for (let row = 0; row < height; row++) {
    const start = ((y + row) * rowWidth + x) * channels
    out.set(source.subarray(start, start + width * channels), row * width * channels)
  }
  return out
}
