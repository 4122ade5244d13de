// Seeded pictures with flat, smooth and noisy areas, so that every class occurs; and plain nearest upscaling of them.
import { cutPixels } from '../../lib/images/pixels.js'
import type { PixelArray } from '../../lib/native.js'
import type { RawImage, Tile } from '../../lib/types.js'
import { random } from './random.js'

export function picture(
  width: number,
  height: number,
  channels: 1 | 2 | 3 | 4 = 3,
  type: 'uint8' | 'uint16' | 'float' = 'uint8',
  seed = 1,
): RawImage {
  const next = random(seed)
  const max = type === 'uint8' ? 255 : type === 'uint16' ? 65535 : 1
  const data: PixelArray =
    type === 'uint8'
      ? new Uint8Array(width * height * channels)
      : type === 'uint16'
        ? new Uint16Array(width * height * channels)
        : new Float32Array(width * height * channels)
  const hasAlpha = channels === 2 || channels === 4
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const noise = 0.5 * Math.max(0, Math.sin(x / 37) * Math.cos(y / 29))
      for (let c = 0; c < channels; c++) {
        const isAlpha = hasAlpha && c === channels - 1
        const value = isAlpha ? 0.6 + 0.4 * Math.sin(x / 11 + y / 7) : 0.3 + 0.2 * Math.sin(x / 9 + c) + noise * next()
        const v = Math.min(1, Math.max(0, value)) * max
        data[(y * width + x) * channels + c] = type === 'float' ? v : Math.round(v)
      }
    }
  }
  return { data, width, height, channels }
}

export function nearest(image: RawImage, scale: number): PixelArray {
  const { data, width, height, channels } = image
  const out = new (data.constructor as new (length: number) => PixelArray)(data.length * scale * scale)
  for (let y = 0; y < height * scale; y++) {
    for (let x = 0; x < width * scale; x++) {
      const from = (Math.floor(y / scale) * width + Math.floor(x / scale)) * channels
      for (let c = 0; c < channels; c++) out[(y * width * scale + x) * channels + c] = data[from + c]!
    }
  }
  return out
}

/** A picture's tiles, row by row, with `halo` pixels of context where there are some. */
export function tilesFrom(image: RawImage, size: number, halo = 8, name?: string): Tile[] {
  const { data, width, height, channels } = image
  const tiles: Tile[] = []
  for (let y = 0; y < height; y += size) {
    for (let x = 0; x < width; x += size) {
      const [w, h] = [Math.min(size, width - x), Math.min(size, height - y)]
      const sides = {
        left: Math.min(halo, x),
        top: Math.min(halo, y),
        right: Math.min(halo, width - x - w),
        bottom: Math.min(halo, height - y - h),
      }
      const pixels = cutPixels(
        data,
        width,
        channels,
        x - sides.left,
        y - sides.top,
        sides.left + w + sides.right,
        sides.top + h + sides.bottom,
      )
      tiles.push({
        x,
        y,
        width: w,
        height: h,
        data: pixels,
        channels,
        halo: sides,
        picture: { width, height, tileSize: size, ...(name && { name }) },
      })
    }
  }
  return tiles
}
