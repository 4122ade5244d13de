// Measures of difficulty: the gradient vector of the paper, which devices compute, or the edge score of ARM.
import type { ClassTable, ModelState } from '../model-state.js'
import { native } from '../native.js'
import type { PixelArray } from '../types.js'
import { difficultyOf } from './classes.js'
import { edgeScores } from './edge-score.js'
import type { RouterKind } from './router.js'

/**
 * A model as a router sees it: with the classes and the table of the router's own measure. For routing only: it does not
 * notice that the model is disposed of later.
 */
export function routedState(state: ModelState, { router }: { router: RouterKind }): ModelState {
  return router.measure === 'edge' && state.arm
    ? { ...state, classes: state.arm.classes, router: state.arm.table }
    : state
}

/** Difficulties of rectangles of a picture, by the measure of the classes; rects = x, y, width, height. */
export async function difficultiesOf(
  classes: Pick<ClassTable, 'measure'>,
  image: { data: PixelArray; width: number; height: number; channels: number },
  rects: Int32Array,
): Promise<Float64Array> {
  const { data, width, height, channels } = image
  if (classes.measure === 'edge') return edgeScores(data, width, channels, rects)
  const vectors = await native.gradientVectors(data, width, height, channels, rects)
  return Float64Array.from({ length: rects.length / 4 }, (_, i) => difficultyOf(vectors, i))
}
