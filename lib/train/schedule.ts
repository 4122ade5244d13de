// What a training step depends on besides the data: learning rate, EMA decay and the sampled subnets, each a pure
// function of the step number, so that a resumed run needs no stored generator state.
import { randomFor } from '../random.js'

/** Which subnets a step trains (method.md section 1). */
export type SubnetsPerStep = 'sandwich' | 'single' | 'single-by-cost'
export const SUBNETS_PER_STEP: readonly SubnetsPerStep[] = ['sandwich', 'single', 'single-by-cost']

// Tells these numbers from those of the sampler, which draws with the same seed.
const SUBNET_STREAM = 0x5b9e7

/**
 * Cosine from `first` at step 0 to `last` at step steps - 1 (Loshchilov and Hutter 2017, without restarts).
 * `step` counts from 0.
 */
export function learningRateAt(step: number, steps: number, first: number, last: number): number {
  if (steps <= 1) return first
  return last + 0.5 * (first - last) * (1 + Math.cos((Math.PI * step) / (steps - 1)))
}

/**
 * The decay of the weights' moving average at a step counted from 0: min(decay, (1 + step) / (10 + step)), so that the
 * average forgets its start. 0 stays 0 (off).
 */
export function emaDecayAt(step: number, decay: number): number {
  return Math.min(decay, (1 + step) / (10 + step))
}

/**
 * Indices (into the subnets sorted by cost) that a step trains. `sandwich`: the largest, the smallest and a random one of
 * those between; all of them when there are fewer than three. `single`: one random subnet. `single-by-cost`: one, with a
 * probability proportional to the square of its cost, as ARM trains.
 *
 * @param costs of every subnet, in any unit
 */
export function subnetsOfStep(mode: SubnetsPerStep, costs: readonly number[], seed: number, step: number): number[] {
  const random = randomFor(seed, SUBNET_STREAM, step)
  const subnets = costs.length
  if (mode === 'single-by-cost') return [drawn(shareOfSteps(mode, costs), random.next())]
  if (mode === 'single') return [random.integer(subnets)]
  if (subnets === 1) return [0]
  if (subnets === 2) return [1, 0]
  return [subnets - 1, 0, 1 + random.integer(subnets - 2)]
}

/** Of the modes that train one subnet in a step: how often each is trained, sums to 1. */
export function shareOfSteps(mode: 'single' | 'single-by-cost', costs: readonly number[]): number[] {
  const weights = costs.map((cost) => (mode === 'single' ? 1 : cost ** 2))
  const total = weights.reduce((a, b) => a + b)
  return weights.map((weight) => weight / total)
}

/** The index in whose part of [0, 1) a number lies. */
function drawn(shares: readonly number[], number: number): number {
  let left = number
  const index = shares.findIndex((share) => (left -= share) < 0)
  return index < 0 ? shares.length - 1 : index
}
