// What a model is made of, shared by lib/train (makes it), lib/models/model-file (stores it) and lib/infer (uses it).
import type { NativeEngine } from './native.js'
import type { Network } from './networks/network.js'

/** Gradient classes (method.md section 3). */
export interface ClassTable {
  /** K. */
  count: number
  /** K - 1 ascending inner thresholds t_1 .. t_{K-1}: class = 1 + number of thresholds smaller than the difficulty. */
  thresholds: number[]
  kind: 'interval' | 'quantile'
}

/** Difficulty of a gradient vector: its Euclidean norm, to the bit as native/core/math/route.h has it. */
export function difficultyOf(vectors: ArrayLike<number>, index: number): number {
  const [a, b, c, d] = [vectors[4 * index]!, vectors[4 * index + 1]!, vectors[4 * index + 2]!, vectors[4 * index + 3]!]
  return Math.sqrt(a * a + b * b + c * c + d * d)
}

/** The class 1 .. K of a difficulty: 1 + number of thresholds smaller than it. */
export function classOf(table: ClassTable, difficulty: number): number {
  let low = 0
  let high = table.thresholds.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (table.thresholds[middle]! < difficulty) low = middle + 1
    else high = middle
  }
  return low + 1
}

/** What the calibrated router knows (method.md section 6), measured on validation tiles. */
export interface RouterTable {
  /** [class - 1][subnet]: mean squared error per RGB sample in [0, 1]. */
  squaredError: number[][]
  /** [class - 1]: the same of plain bicubic, for the table in reports. */
  bicubicSquaredError: number[]
  /** [class - 1]: share of validation tiles, sums to 1. */
  frequency: number[]
  tiles: number
  tileSize: number
}

/** The mixture that models p_train(y) for BDLoss. */
export interface Mixture {
  dimension: 1 | 3
  weights: number[]
  means: number[][]
  covariances: number[][][]
}

export interface ModelState {
  engine: NativeEngine
  network: Network
  classes: ClassTable
  router: RouterTable | null
  mixture: Mixture | null
  /** Free-form record of how it was trained, stored in the file. */
  training: Record<string, unknown> | null
  fallbackReason: string | null
  disposed: boolean
}
