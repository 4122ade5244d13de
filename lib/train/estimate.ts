// How long the rest of a run takes. Steps, validations and the calibration are all passes of subnets over pixels: what has
// been measured of one gives a first guess of the others, by their multiply-adds, until they are measured themselves.
import { performance } from 'node:perf_hooks'
import type { NativeSubnet } from '../native.js'
import { type SubnetsPerStep, shareOfSteps } from './schedule.js'

/**
 * - 'index': the images are found, decoded and their patches measured (or read from the cache); counts images
 * - 'mixture': pixels are drawn for the mixture of BDLoss; counts images
 * - 'steps': counts optimizer steps, from 0 to all steps of the run, those of an earlier process included
 * - 'validation': counts images of the validation under way
 * - 'calibration': the router's table is measured; counts pictures read, then tiles per subnet
 */
export type Phase = 'index' | 'mixture' | 'steps' | 'validation' | 'calibration'

/** 2 x MAC of what a run consists of. */
export interface Work {
  /** Of one step: forward, and twice as much backward. */
  step: number
  /** Of one validation. */
  validation: number
  calibration: number
}

/** @param pixels LR pixels of a step's batch, of the validation images, and of the tiles that calibration measures */
export function workOf(
  subnets: readonly Pick<NativeSubnet, 'flops'>[],
  mode: SubnetsPerStep,
  pixels: { step: number; validation: number; calibration: number },
): Work {
  const flops = subnets.map((subnet) => subnet.flops / 1024)
  const all = flops.reduce((sum, n) => sum + n, 0)
  const ends = subnets.length === 1 ? flops[0]! : flops[0]! + flops.at(-1)!
  const between = subnets.length > 2 ? (all - ends) / (subnets.length - 2) : 0
  const single = (drawing: 'single' | 'single-by-cost') =>
    shareOfSteps(drawing, flops).reduce((sum, share, m) => sum + share * flops[m]!, 0)
  return {
    step: 3 * pixels.step * (mode === 'sandwich' ? ends + between : single(mode)),
    validation: pixels.validation * (flops[0]! + flops.at(-1)!),
    calibration: pixels.calibration * all,
  }
}

export class Estimate {
  #work: Work | null = null
  #steps: { left: number; seconds: number | null } = { left: 0, seconds: null }
  #validationsLeft = 0
  #validationSeconds: number | null = null
  #phase: Phase = 'index'
  /** Share of the phase that is done, and when it began and how much was done then. */
  #share = 0
  #from = { time: 0, share: 0 }

  /** What the run consists of; nothing can be estimated before. */
  plan(work: Work): void {
    this.#work = work
  }

  /** Steps to go and the seconds of one, null where none was measured; validations to go, the one under way included. */
  steps(left: number, seconds: number | null, validationsLeft: number): void {
    this.#steps = { left, seconds: seconds ?? this.#steps.seconds }
    this.#validationsLeft = validationsLeft
  }

  /** So much of a phase is done. */
  at(phase: Phase, done: number, total: number): void {
    const share = total === 0 ? 1 : done / total
    const now = performance.now()
    if (phase !== this.#phase || share < this.#share || share === 0) this.#from = { time: now, share }
    this.#phase = phase
    this.#share = share
    if (phase === 'validation' && share === 1 && this.#from.share === 0)
      this.#validationSeconds = (now - this.#from.time) / 1000
  }

  /** Seconds until the end of the run; null while no speed is known. */
  seconds(): number | null {
    const { left, seconds } = this.#steps
    if (!this.#work || this.#phase === 'index' || this.#phase === 'mixture') return null
    const own = this.#ownRest()
    if (this.#phase === 'calibration') return own ?? this.#predicted(this.#work.calibration)
    if (left > 0 && seconds === null) return null
    const validation = this.#validationSeconds ?? this.#predicted(this.#work.validation)
    const calibration = this.#predicted(this.#work.calibration)
    if (validation === null || calibration === null) return null
    const validating = this.#phase === 'validation'
    const current = validating ? (own ?? validation * (1 - this.#share)) : 0
    const later = Math.max(this.#validationsLeft - (validating ? 1 : 0), 0)
    return left * (seconds ?? 0) + current + later * validation + calibration
  }

  /** Seconds until the end of the phase under way, by its own speed. */
  #ownRest(): number | null {
    const gained = this.#share - this.#from.share
    if (gained <= 0) return this.#share === 1 ? 0 : null
    return (((performance.now() - this.#from.time) / 1000) * (1 - this.#share)) / gained
  }

  /** Seconds of a forward pass, by the speed of validations, else of steps. */
  #predicted(flops: number): number | null {
    if (flops === 0) return 0
    const work = this.#work!
    if (this.#validationSeconds !== null && work.validation > 0)
      return (flops * this.#validationSeconds) / work.validation
    return this.#steps.seconds === null ? null : (flops * this.#steps.seconds) / work.step
  }
}
