// The edge score of ARM (Chen et al., ECCV 2022): the mean absolute Laplacian of a tile's 8-bit luma (method.md section 6).
// A loop over single numbers in TypeScript: routers of the devices have the gradient vector only, and this one is measured
// against them, not built for speed.
import { isFloat32Array, isUint16Array } from 'node:util/types'
import type { PixelArray } from '../types.js'

const largestOf = (data: PixelArray): number => (isFloat32Array(data) ? 1 : isUint16Array(data) ? 65535 : 255)

/** Luma of a rectangle, 0 .. 255, rounded; colour is premultiplied where there is alpha. */
function lumaOf(
  data: PixelArray,
  stride: number,
  channels: number,
  [x, y, width, height]: readonly [number, number, number, number],
): Int32Array {
  const luma = new Int32Array(width * height)
  const largest = largestOf(data)
  const grey = channels < 3
  const alpha = channels % 2 === 0
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const at = (y + row) * stride + (x + column) * channels
      const colour = grey ? data[at]! : 0.299 * data[at]! + 0.587 * data[at + 1]! + 0.114 * data[at + 2]!
      const share = alpha ? data[at + channels - 1]! / largest : 1
      const value = Math.round((255 * colour * share) / largest)
      luma[row * width + column] = Math.min(255, Math.max(0, value))
    }
  }
  return luma
}

/** Of positions beyond an edge those mirrored at the outermost pixel, which is not repeated. */
const mirrored = (position: number, length: number): number =>
  length === 1 ? 0 : position < 0 ? -position : position >= length ? 2 * length - 2 - position : position

/** Mean of min(255, |Laplacian|) with the kernel 2 0 2 / 0 -8 0 / 2 0 2, the tile mirrored at its edges. */
function meanLaplacian(luma: Int32Array, width: number, height: number): number {
  let sum = 0
  for (let y = 0; y < height; y++) {
    const above = mirrored(y - 1, height) * width
    const below = mirrored(y + 1, height) * width
    for (let x = 0; x < width; x++) {
      const left = mirrored(x - 1, width)
      const right = mirrored(x + 1, width)
      const diagonals = luma[above + left]! + luma[above + right]! + luma[below + left]! + luma[below + right]!
      sum += Math.min(255, Math.abs(2 * diagonals - 8 * luma[y * width + x]!))
    }
  }
  return sum / (width * height)
}

/**
 * Edge scores of rectangles of interleaved pixels, 0 .. 255.
 *
 * @param width of the picture
 * @param rects x, y, width, height of each
 */
export function edgeScores(data: PixelArray, width: number, channels: number, rects: Int32Array): Float64Array {
  return Float64Array.from({ length: rects.length / 4 }, (_, i) => {
    const rect = [rects[4 * i]!, rects[4 * i + 1]!, rects[4 * i + 2]!, rects[4 * i + 3]!] as const
    return meanLaplacian(lumaOf(data, width * channels, channels, rect), rect[2], rect[3])
  })
}
