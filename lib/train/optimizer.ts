// The `optimizer` option of trainSupernet.
import { invalidOption } from '../errors.js'
import { checkNumber, checkObject } from '../options.js'

/** Adam with decoupled weight decay; the learning rate follows a cosine. */
export interface OptimizerOptions {
  /** Adam's learning rate at the first step. Default 2e-4. */
  learningRate?: number
  /** At the last step, reached along a cosine. Default 1e-7. */
  finalLearningRate?: number
  /** Default [0.9, 0.999]. */
  betas?: readonly [number, number]
  /** Default 1e-8. */
  epsilon?: number
  /** Decoupled (AdamW), the paper's lambda. Default 0. */
  weightDecay?: number
}

/** A number in [0, 1). */
export function checkBelowOne(value: unknown, name: string, what = 'a number'): number {
  if (typeof value !== 'number' || !(value >= 0 && value < 1))
    throw invalidOption(name, `${what} of at least 0 and below 1`, value)
  return value
}

/** Fills in the defaults. @throws WbsrError WBSR_INVALID_OPTION */
export function checkOptimizer(value: unknown): Required<OptimizerOptions> {
  const optimizer = checkObject(value ?? {}, 'optimizer', [
    'learningRate',
    'finalLearningRate',
    'betas',
    'epsilon',
    'weightDecay',
  ])
  const learningRate = checkNumber(optimizer['learningRate'] ?? 2e-4, 'optimizer.learningRate', 0)
  const betas = optimizer['betas'] ?? [0.9, 0.999]
  if (!Array.isArray(betas) || betas.length !== 2) throw invalidOption('optimizer.betas', 'two numbers', betas)
  return {
    learningRate,
    finalLearningRate: checkNumber(
      optimizer['finalLearningRate'] ?? Math.min(1e-7, learningRate),
      'optimizer.finalLearningRate',
      0,
      learningRate,
    ),
    betas: [checkBelowOne(betas[0], 'optimizer.betas[0]'), checkBelowOne(betas[1], 'optimizer.betas[1]')],
    epsilon: checkNumber(optimizer['epsilon'] ?? 1e-8, 'optimizer.epsilon', Number.MIN_VALUE),
    weightDecay: checkNumber(optimizer['weightDecay'] ?? 0, 'optimizer.weightDecay', 0),
  }
}
