// Textures that repeat: the picture is continued beyond its edges by its opposite side, enlarged with that, and cut back.
// Where the two versions of an edge meet they fade into each other, so that no seam is left even if the tiles at both
// sides were enlarged by different subnets.
import { isFloat32Array } from 'node:util/types'
import { invalidOption } from '../errors.js'
import type { PixelArray, RawImage } from '../types.js'
import { pixelsLike } from './pixels.js'

/** In which directions a texture repeats; true: both. */
export type Wrap = boolean | 'x' | 'y' | 'both'

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkWrap(value: unknown, name: string): { x: boolean; y: boolean } {
  if (value === undefined || value === false) return { x: false, y: false }
  if (value === true || value === 'both') return { x: true, y: true }
  if (value !== 'x' && value !== 'y') throw invalidOption(name, "true, false, 'x', 'y' or 'both'", value)
  return { x: value === 'x', y: value === 'y' }
}

/** Share of the continued pixels over which the two versions of an edge fade into each other. */
const FADE = 1 / 4
const LEAST = 16

/** Pixels to continue a picture by, so that `seen` of them are there beyond what is faded. */
export function wrapPixels(seen: number): number {
  return Math.max(LEAST, Math.ceil(seen / (1 - FADE)))
}

const modulo = (n: number, size: number) => ((n % size) + size) % size

/** Rows with `pad` more pixels at the left and right, from the other side. */
function widen<T extends PixelArray>(rows: T, width: number, channels: number, pad: number): T {
  if (pad === 0) return rows
  const count = rows.length / (width * channels)
  const wide = width + 2 * pad
  const out = pixelsLike(rows, count * wide * channels)
  for (let y = 0; y < count; y++) {
    const row = rows.subarray(y * width * channels, (y + 1) * width * channels)
    for (let x = -pad; x < width + pad; ) {
      const from = modulo(x, width)
      const length = Math.min(width - from, width + pad - x)
      out.set(row.subarray(from * channels, (from + length) * channels), (y * wide + x + pad) * channels)
      x += length
    }
  }
  return out
}

/** What rows are read from: a picture, strip by strip. */
interface Rows {
  readonly header: { width: number; height: number; channels: 1 | 2 | 3 | 4 }
  read(first: number, rows: number): Promise<PixelArray>
}

/** Rows [first, first + rows) of a picture that is continued by `pad.x` pixels at the sides and `pad.y` above and below. */
export async function readContinued(
  source: Rows,
  pad: { x: number; y: number },
  first: number,
  rows: number,
): Promise<PixelArray> {
  const { width, height, channels } = source.header
  if (pad.x === 0 && pad.y === 0) return source.read(first, rows)
  const stride = (width + 2 * pad.x) * channels
  let out: PixelArray | null = null
  for (let y = first; y < first + rows; ) {
    const from = modulo(y - pad.y, height)
    const count = Math.min(height - from, first + rows - y)
    const part = widen(await source.read(from, count), width, channels, pad.x)
    if (count === rows) return part
    out ??= pixelsLike(part, rows * stride)
    out.set(part, (y - first) * stride)
    y += count
  }
  return out!
}

/** A whole picture, continued. */
export async function continueImage(image: RawImage, pad: { x: number; y: number }): Promise<RawImage> {
  const { data, width, height, channels } = image
  const source: Rows = {
    header: image,
    read: async (first, rows) => data.subarray(first * width * channels, (first + rows) * width * channels),
  }
  const [wide, high] = [width + 2 * pad.x, height + 2 * pad.y]
  return { data: await readContinued(source, pad, 0, high), width: wide, height: high, channels }
}

/** a (1 - w) + b w of each sample, in a. */
function fade(a: PixelArray, b: PixelArray, weight: number): void {
  const round = isFloat32Array(a) ? 0 : 0.5
  for (let i = 0; i < a.length; i++) {
    const value = a[i]! * (1 - weight) + b[i]! * weight
    a[i] = round ? Math.floor(value + round) : value
  }
}

/** Takes the rows of a continued, enlarged picture from top to bottom and gives those of the texture. */
export class Unwrapper {
  readonly width: number
  readonly height: number
  readonly #wide: number
  readonly #channels: number
  readonly #pad: { x: number; y: number }
  readonly #fade: { x: number; y: number }
  /** The last rows of the texture as the continuation above its first row has them. */
  readonly #above: PixelArray[] = []
  #row = 0

  /** @param picture size with the continuation; `wrap`: its pixels at each side */
  constructor(picture: { width: number; height: number; channels: number }, wrap: { x: number; y: number }) {
    this.#wide = picture.width
    this.#channels = picture.channels
    this.#pad = wrap
    this.width = picture.width - 2 * wrap.x
    this.height = picture.height - 2 * wrap.y
    this.#fade = {
      x: Math.min(this.width, Math.floor(wrap.x * FADE)),
      y: Math.min(this.height, Math.floor(wrap.y * FADE)),
    }
  }

  /** The next rows; what they give of the texture, if anything. */
  push(rows: PixelArray): PixelArray | null {
    const stride = this.#wide * this.#channels
    const given: PixelArray[] = []
    for (let at = 0; at < rows.length; at += stride) {
      const y = this.#row++ - this.#pad.y
      if (y < -this.#fade.y || y >= this.height) continue
      const row = this.#narrow(rows.subarray(at, at + stride))
      if (y < 0) {
        this.#above.push(row)
        continue
      }
      const j = y - (this.height - this.#fade.y)
      if (j >= 0) fade(row, this.#above[j]!, (j + 0.5) / this.#fade.y)
      given.push(row)
    }
    if (given.length === 0) return null
    const out = pixelsLike(rows, given.length * this.width * this.#channels)
    for (const [i, row] of given.entries()) out.set(row, i * row.length)
    return out
  }

  /** A row without the continuation: a copy. */
  #narrow(row: PixelArray): PixelArray {
    const channels = this.#channels
    const start = this.#pad.x * channels
    const end = start + this.width * channels
    const out = row.slice(start, end)
    for (let x = 0; x < this.#fade.x; x++) {
      const pixel = out.subarray(x * channels, (x + 1) * channels)
      fade(pixel, row.subarray(end + x * channels, end + (x + 1) * channels), 1 - (x + 0.5) / this.#fade.x)
    }
    return out
  }
}
