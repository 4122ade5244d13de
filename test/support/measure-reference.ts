// Reference for the native image operations: plain loops written from the definitions, independent of native/.
import type { PixelArray, RawImage } from '../../lib/types.js'
import { random } from './random.js'

export type Kind = 'u8' | 'u16' | 'f32'
export const KINDS = ['u8', 'u16', 'f32'] as const
const TOP = { u8: 255, u16: 65535, f32: 1 }

export function newArray(kind: Kind, length: number): PixelArray {
  return kind === 'u8' ? new Uint8Array(length) : kind === 'u16' ? new Uint16Array(length) : new Float32Array(length)
}

export const topOf = (data: PixelArray): number =>
  data instanceof Float32Array ? 1 : data instanceof Uint16Array ? 65535 : 255

/** Noise on a ramp: neighbours differ little in one half of the picture and much in the other. */
export function testImage(kind: Kind, width: number, height: number, channels: 1 | 2 | 3 | 4, seed = 1): RawImage {
  const next = random(seed)
  const data = newArray(kind, width * height * channels)
  for (let i = 0; i < data.length; i++) {
    const x = Math.floor(i / channels) % width
    const value = x * 2 < width ? (x / width + next() * 0.05) % 1 : next()
    data[i] = kind === 'f32' ? value : Math.floor(value * (TOP[kind] + 1))
  }
  return { data, width, height, channels }
}

/** imresize of MATLAB, as its source computes it: contributions of each output sample along one axis. */
function contributions(inLength: number, outLength: number, border: 0 | 1): { index: number[]; weight: number[] }[] {
  const scale = outLength / inLength
  const kernel = (x: number) => {
    const d = Math.abs(x)
    return d <= 1 ? 1.5 * d ** 3 - 2.5 * d ** 2 + 1 : d <= 2 ? -0.5 * d ** 3 + 2.5 * d ** 2 - 4 * d + 2 : 0
  }
  const h = scale < 1 ? (x: number) => scale * kernel(scale * x) : kernel
  const width = scale < 1 ? 4 / scale : 4
  const aux = [...Array(inLength).keys(), ...[...Array(inLength).keys()].reverse()]
  return Array.from({ length: outLength }, (_, i) => {
    const u = (i + 1) / scale + 0.5 * (1 - 1 / scale) // from 1
    const left = Math.floor(u - width / 2)
    const places = Array.from({ length: Math.ceil(width) + 2 }, (_, k) => left + k)
    const raw = places.map((p) => h(u - p))
    const sum = raw.reduce((a, b) => a + b, 0)
    const index = places.map((p) => {
      const zero = p - 1
      return border === 1
        ? Math.min(Math.max(zero, 0), inLength - 1)
        : aux[((zero % aux.length) + aux.length) % aux.length]!
    })
    return { index, weight: raw.map((w) => w / sum) }
  })
}

export function resizeReference(image: RawImage, outWidth: number, outHeight: number, border: 0 | 1): Float64Array {
  const { channels } = image
  const integer = !(image.data instanceof Float32Array)
  const top = topOf(image.data)
  const round = (v: number) => (integer ? Math.min(Math.max(Math.floor(v + 0.5), 0), top) : v)
  let now = { data: Float64Array.from(image.data), width: image.width, height: image.height }
  const vertical = () => {
    const taps = contributions(now.height, outHeight, border)
    const row = now.width * channels
    const out = new Float64Array(row * outHeight)
    taps.forEach(({ index, weight }, y) => {
      for (let x = 0; x < row; x++)
        out[y * row + x] = round(index.reduce((sum, j, k) => sum + weight[k]! * now.data[j * row + x]!, 0))
    })
    now = { data: out, width: now.width, height: outHeight }
  }
  const horizontal = () => {
    const taps = contributions(now.width, outWidth, border)
    const out = new Float64Array(outWidth * now.height * channels)
    for (let y = 0; y < now.height; y++) {
      taps.forEach(({ index, weight }, x) => {
        for (let c = 0; c < channels; c++) {
          out[(y * outWidth + x) * channels + c] = round(
            index.reduce((sum, i, k) => sum + weight[k]! * now.data[(y * now.width + i) * channels + c]!, 0),
          )
        }
      })
    }
    now = { data: out, width: outWidth, height: now.height }
  }
  const passes = outHeight / image.height <= outWidth / image.width ? [vertical, horizontal] : [horizontal, vertical]
  for (const pass of passes) pass()
  return now.data
}

const yOf = (r: number, g: number, b: number) => 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255

/** The planes that are compared, shaved: each a list of rows. */
function planes(image: RawImage, y: boolean, shave: number): number[][][] {
  const { data, width, height, channels } = image
  const luma = y && channels === 3
  return Array.from({ length: y ? 1 : channels }, (_, c) =>
    Array.from({ length: height - 2 * shave }, (_, j) =>
      Array.from({ length: width - 2 * shave }, (_, i) => {
        const at = ((j + shave) * width + i + shave) * channels
        return luma ? yOf(data[at]!, data[at + 1]!, data[at + 2]!) : data[at + c]!
      }),
    ),
  )
}

export function psnrReference(a: RawImage, b: RawImage, y: boolean, shave: number): number {
  const p = planes(a, y, shave).flat(2)
  const q = planes(b, y, shave).flat(2)
  const mse = p.reduce((sum, v, i) => sum + (v - q[i]!) ** 2, 0) / p.length
  return 20 * Math.log10(255 / Math.sqrt(mse))
}

/** SSIM with the two-dimensional window, nothing separated. */
export function ssimReference(a: RawImage, b: RawImage, y: boolean, shave: number): number {
  const side = [...Array(11).keys()]
  const window = side.map((j) => side.map((i) => Math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5 ** 2))))
  const total = window.flat().reduce((x, w) => x + w, 0)
  const c1 = (0.01 * 255) ** 2,
    c2 = (0.03 * 255) ** 2
  const q = planes(b, y, shave)
  const values = planes(a, y, shave).flatMap((plane, c) => {
    const result: number[] = []
    for (let j = 0; j + 11 <= plane.length; j++) {
      for (let i = 0; i + 11 <= plane[0]!.length; i++) {
        let ma = 0,
          mb = 0
        for (const v of side)
          for (const u of side) {
            ma += (window[v]![u]! / total) * plane[j + v]![i + u]!
            mb += (window[v]![u]! / total) * q[c]![j + v]![i + u]!
          }
        let aa = 0,
          bb = 0,
          ab = 0
        for (const v of side)
          for (const u of side) {
            const w = window[v]![u]! / total,
              da = plane[j + v]![i + u]! - ma,
              db = q[c]![j + v]![i + u]! - mb
            aa += w * da * da
            bb += w * db * db
            ab += w * da * db
          }
        result.push(((2 * ma * mb + c1) * (2 * ab + c2)) / ((ma * ma + mb * mb + c1) * (aa + bb + c2)))
      }
    }
    return result
  })
  return values.reduce((x, v) => x + v, 0) / values.length
}

/** Premultiplied RGB in [0, 1] of pixel i. */
export function rgbOf({ data, channels }: RawImage, i: number): [number, number, number] {
  const v = (c: number) => data[i * channels + c]! / topOf(data)
  const a = channels === 2 ? v(1) : channels === 4 ? v(3) : 1
  return channels <= 2 ? [v(0) * a, v(0) * a, v(0) * a] : [v(0) * a, v(1) * a, v(2) * a]
}

export function gradientReference(image: RawImage, x0: number, y0: number, width: number, height: number): number[] {
  const luma = (x: number, y: number) => {
    const i = Math.min(Math.max(x, 0), width - 1),
      j = Math.min(Math.max(y, 0), height - 1)
    const [r, g, b] = rgbOf(image, (y0 + j) * image.width + x0 + i)
    return 0.299 * r + 0.587 * g + 0.114 * b
  }
  const gx: number[] = [],
    gy: number[] = []
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const kernel = [
        [-1, -2, -1],
        [0, 0, 0],
        [1, 2, 1],
      ]
      let h = 0,
        v = 0
      for (let j = -1; j <= 1; j++)
        for (let i = -1; i <= 1; i++) {
          h += kernel[i + 1]![j + 1]! * luma(x + i, y + j)
          v += kernel[j + 1]![i + 1]! * luma(x + i, y + j)
        }
      gx.push(Math.abs(h / 8))
      gy.push(Math.abs(v / 8))
    }
  }
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
  const std = (values: number[]) => {
    const middle = mean(values)
    return Math.sqrt(mean(values.map((v) => (v - middle) ** 2)))
  }
  return [mean(gx), std(gx), mean(gy), std(gy)]
}
