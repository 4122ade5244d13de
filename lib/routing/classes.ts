// Difficulty and gradient class of a tile or patch, which sampler, calibration and routers use.
//
// native/core/math/route.h has the same two formulas, for the routers of the devices. They are written twice because here
// they are applied to single numbers in loops over patches and tiles, where a call of the addon for each of them would take
// many times as long as the formula. test/routing/routers.test.ts holds the two equal to the bit.
import type { ClassTable } from '../model-state.js'

/** Difficulty of the gradient vector at `index` of `vectors` (4 numbers each): its Euclidean norm. */
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
