// PSNR per difficulty class: squared errors of the tiles of each class, over all validation images.
import type { RgbImage } from '../../data/decode.js'
import type { ClassTable } from '../../model-state.js'
import { classOf } from '../../routing/classes.js'
import { pictureTiles } from '../../routing/picture-tiles.js'
import type { ClassScores } from './record.js'

/** Most groups that classes are counted in. */
const MOST_GROUPS = 20

const RESULTS = ['bicubic', 'smallest', 'largest'] as const

/** Difficulty classes, or groups of neighbours where there are many. */
export class ClassGroups {
  readonly names: string[]
  readonly #classes: ClassTable

  constructor(classes: ClassTable) {
    const groups = Math.min(classes.count, MOST_GROUPS)
    this.#classes = classes
    this.names = Array.from({ length: groups }, (_, group) => {
      const [first, last] = [group, group + 1].map((g) => Math.ceil((g * classes.count) / groups))
      return last! - first! === 1 ? `${first! + 1}` : `${first! + 1}-${last}`
    })
  }

  /** Of a class 1 .. K. */
  of(k: number): number {
    return Math.floor(((k - 1) * this.names.length) / this.#classes.count)
  }

  ofDifficulty(difficulty: number): number {
    return this.of(classOf(this.#classes, difficulty))
  }

  counts(members: readonly { length: number }[]): number[] {
    const counts = this.names.map(() => 0)
    for (const [i, { length }] of members.entries()) counts[this.of(i + 1)]! += length
    return counts
  }
}

export type Results = Record<(typeof RESULTS)[number], Uint8Array>

/** Sums over images. */
export class ClassQuality {
  readonly #groups: ClassGroups
  readonly #sums: Record<keyof Results, Float64Array>
  readonly #pixels: Float64Array

  constructor(groups: ClassGroups) {
    const zeros = () => new Float64Array(groups.names.length)
    this.#groups = groups
    this.#sums = { bicubic: zeros(), smallest: zeros(), largest: zeros() }
    this.#pixels = zeros()
  }

  /** Adds an image; `shave` HR pixels of its border are left out, as of the PSNR of all of it. */
  async add({ lr, hr }: { lr: RgbImage; hr: RgbImage }, results: Results, scale: number, shave: number): Promise<void> {
    for (const { difficulty, ...area } of await pictureTiles(lr, lr, hr, scale, shave)) {
      const group = this.#groups.ofDifficulty(difficulty)
      this.#pixels[group]! += area.width * area.height
      for (const name of RESULTS) this.#sums[name][group]! += squaredErrors(results[name], hr, area)
    }
  }

  /** PSNR on Y of each group; null: it has no pixels, or no error. */
  scores(): ClassScores {
    const psnr = (sums: Float64Array) =>
      Array.from(sums, (sum, group) => {
        const pixels = this.#pixels[group]!
        return pixels === 0 || sum === 0 ? null : 10 * Math.log10((255 ** 2 * pixels) / sum)
      })
    const { bicubic, smallest, largest } = this.#sums
    return { bicubic: psnr(bicubic), smallest: psnr(smallest), largest: psnr(largest) }
  }
}

interface Rectangle {
  x: number
  y: number
  width: number
  height: number
}

/**
 * Of luma, whose difference is a sum of those of R, G and B (lib/measure/quality.ts). In JavaScript: some milliseconds a
 * megapixel, against seconds for the network.
 */
function squaredErrors(sr: Uint8Array, hr: RgbImage, { x, y, width, height }: Rectangle): number {
  const { data } = hr
  let sum = 0
  for (let row = y; row < y + height; row++) {
    const start = 3 * (row * hr.width + x)
    for (let i = start; i < start + 3 * width; i += 3) {
      const error =
        (65.481 * (sr[i]! - data[i]!) + 128.553 * (sr[i + 1]! - data[i + 1]!) + 24.966 * (sr[i + 2]! - data[i + 2]!)) /
        255
      sum += error * error
    }
  }
  return sum
}
