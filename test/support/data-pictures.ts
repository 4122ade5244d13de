// Small pictures for the tests of lib/data, and the same crops computed by hand.
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { randomFor } from '../../lib/random.js'

export interface Picture {
  data: Uint8Array
  width: number
  height: number
}

/** Slopes plus noise of an amplitude in grey levels that grows to the right, so that difficulties spread. */
export function picture(width: number, height: number, seed: number, noise = 100): Picture {
  const random = randomFor(seed, 77)
  const data = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++)
        data[(y * width + x) * 3 + c] = Math.round(
          60 + (40 * y) / height + 10 * c + ((noise * x) / width) * random.next(),
        )
    }
  }
  return { data, width, height }
}

export async function save(file: string, { data, width, height }: Picture): Promise<string> {
  await mkdir(path.dirname(file), { recursive: true })
  await sharp(data, { raw: { width, height, channels: 3 } }).toFile(file)
  return file
}

/** Pixels [0, 1] as (3, size, size) of a crop that is mirrored first and transposed then. */
export function crop(
  from: Picture,
  x0: number,
  y0: number,
  size: number,
  turn: { flipX: boolean; flipY: boolean; transpose: boolean },
): Float32Array {
  const out = new Float32Array(3 * size * size)
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        let [u, v] = turn.transpose ? [y, x] : [x, y]
        if (turn.flipX) u = size - 1 - u
        if (turn.flipY) v = size - 1 - v
        out[(c * size + y) * size + x] = from.data[((y0 + v) * from.width + x0 + u) * 3 + c]! / 255
      }
    }
  }
  return out
}
