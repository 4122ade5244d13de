// Pads pictures whose sides a network does not accept (too small for its pooling, or no multiple of its unshuffling) to
// the right and at the bottom, and crops the result.
import { cutPixels, pixelsLike } from '../images/pixels.js'
import type { NativeEngine } from '../native.js'
import type { RawImage } from '../types.js'
import type { PixelResult } from './result.js'

/** The least side that the network accepts and that is no less than this one. */
export function paddedSide(side: number, { minimumSize = 1, sizeMultiple = 1 }: NativeEngine): number {
  return Math.ceil(Math.max(side, minimumSize) / sizeMultiple) * sizeMultiple
}

/** The picture, padded by reflection (by its edge where it is too small for that) to sides that the network accepts. */
export function padPicture(image: RawImage, engine: NativeEngine): RawImage {
  const width = paddedSide(image.width, engine)
  const height = paddedSide(image.height, engine)
  if (width === image.width && height === image.height) return image
  const { channels } = image
  const data = pixelsLike(image.data, width * height * channels)
  const columns = mirrored(image.width, width)
  mirrored(image.height, height).forEach((row, y) => {
    const from = row * image.width * channels
    const to = y * width * channels
    data.set(image.data.subarray(from, from + image.width * channels), to)
    for (let x = image.width; x < width; x++)
      for (let c = 0; c < channels; c++) data[to + x * channels + c] = image.data[from + columns[x]! * channels + c]!
  })
  return { data, width, height, channels }
}

/** For each of `count` pixels the index, below `side`, of its source. */
export function mirrored(side: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    if (i < side) return i
    const reflected = 2 * (side - 1) - i
    return reflected >= 0 ? reflected : side - 1
  })
}

/** The part of the result that belongs to the picture without the padding of padPicture. */
export function cropResult(result: PixelResult, picture: RawImage, scale: number): PixelResult {
  const width = picture.width * scale
  const height = picture.height * scale
  if (width === result.width && height === result.height) return result
  const data = cutPixels(result.data, result.width, result.channels, 0, 0, width, height)
  const tiles = result.allocation.tiles
    .filter(({ x, y }) => x < picture.width && y < picture.height)
    .map((tile) => ({
      ...tile,
      width: Math.min(tile.width, picture.width - tile.x),
      height: Math.min(tile.height, picture.height - tile.y),
    }))
  return { ...result, data, width, height, allocation: { ...result.allocation, tiles } }
}
