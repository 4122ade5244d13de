// Alpha as opacity or as data (gloss, height, a mask): taking pictures apart into colours and alpha, and judging which of
// the two a picture's alpha is. docs/pictures.md gives the reasons.
import { isFloat32Array, isUint16Array } from 'node:util/types'
import type { PixelArray } from '../types.js'
import { pixelsLike } from './pixels.js'

/** 'opacity': colour is premultiplied while it is enlarged. 'data': alpha and colour are enlarged independently. */
export type AlphaUse = 'opacity' | 'data'

export function hasAlpha(channels: number): channels is 2 | 4 {
  return channels === 2 || channels === 4
}

/** The colours of pixels with alpha, one channel less: a copy. */
export function splitColours<T extends PixelArray>(data: T, channels: 2 | 4): T {
  const colours = pixelsLike(data, (data.length / channels) * (channels - 1))
  if (channels === 2) for (let i = 0; i < colours.length; i++) colours[i] = data[2 * i]!
  else
    for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
      colours[to] = data[from]!
      colours[to + 1] = data[from + 1]!
      colours[to + 2] = data[from + 2]!
    }
  return colours
}

/** Colours and alpha (0..1) as pixels with alpha, in `into` where it is given. */
export function joinAlpha<T extends PixelArray>(colours: T, alpha: Float32Array, channels: 2 | 4, into?: T): T {
  const out = into ?? pixelsLike(colours, (colours.length / (channels - 1)) * channels)
  const float = isFloat32Array(out)
  const max = float ? 1 : isUint16Array(out) ? 65535 : 255
  for (let from = 0, to = 0, i = 0; to < out.length; from += channels - 1, to += channels, i++) {
    for (let c = 0; c < channels - 1; c++) out[to + c] = colours[from + c]!
    const a = Math.min(1, Math.max(0, alpha[i]!)) * max
    out[to + channels - 1] = float ? a : Math.floor(a + 0.5)
  }
  return out
}

/** Alpha up to an eighth of full counts as low. */
const LOW = 1 / 8
/** Share of the pixels that must have a low alpha, where none has alpha 0. */
const LOW_SHARE = 0.05
/** Shares of such pixels that differ in colour from the one before. */
const VARIED = { zero: 0.01, low: 0.1 }

interface Tally {
  count: number
  varied: number
}

/** Determines the meaning of a picture's alpha from its pixels, which are added in pieces of any size. */
export class AlphaJudge {
  readonly #channels: 2 | 4
  readonly #zero: Tally = { count: 0, varied: 0 }
  readonly #low: Tally = { count: 0, varied: 0 }
  #pixels = 0
  /** Whether alpha is full in all pixels so far. */
  opaque = true

  constructor(channels: 2 | 4) {
    this.#channels = channels
  }

  add(data: PixelArray): void {
    const channels = this.#channels
    const max = isFloat32Array(data) ? 1 : isUint16Array(data) ? 65535 : 255
    const near = (2 * max) / 255
    let lastZero = -1
    let lastLow = -1
    for (let i = 0; i < data.length; i += channels) {
      const a = data[i + channels - 1]!
      if (!(a >= max)) this.opaque = false
      if (a > LOW * max) continue
      const tally = a === 0 ? this.#zero : this.#low
      const last = a === 0 ? lastZero : lastLow
      tally.count++
      if (last >= 0)
        for (let c = 0; c < channels - 1; c++)
          if (Math.abs(data[i + c]! - data[last + c]!) > near) {
            tally.varied++
            break
          }
      if (a === 0) lastZero = i
      else lastLow = i
    }
    this.#pixels += data.length / channels
  }

  /**
   * 'data' where transparent pixels hold a picture: those of alpha 0 where there are some, else those of low alpha, if
   * they are more than soft edges have.
   */
  get verdict(): AlphaUse {
    if (this.#zero.count > 0) return this.#zero.varied > VARIED.zero * this.#zero.count ? 'data' : 'opacity'
    const many = this.#low.count > LOW_SHARE * this.#pixels
    return many && this.#low.varied > VARIED.low * this.#low.count ? 'data' : 'opacity'
  }
}

/** What the alpha of a whole picture is. */
export function judgeAlpha(data: PixelArray, channels: number): AlphaUse {
  if (!hasAlpha(channels)) return 'opacity'
  const judge = new AlphaJudge(channels)
  judge.add(data)
  return judge.verdict
}
