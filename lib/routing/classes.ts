// Difficulty and gradient class of a tile or patch, by which sampler, calibration and routers tell easy from hard.
import type { ClassTable } from '../model-state.js'

/** Difficulty of a gradient vector: its Euclidean norm, bit-identical to native/core/math/route.h. */
export function difficultyOf(vectors: ArrayLike<number>, index: number): number {
  const [a, b, c, d] = [vectors[4 * index]!, vectors[4 * index + 1]!, vectors[4 * index + 2]!, vectors[4 * index + 3]!]
  return Math.sqrt(a * a + b * b + c * c + d * d)
}

/** The class 1 .. K of a difficulty: 1 + number of thresholds that are smaller. */
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
