// Steps that the engine has and has not reported yet. On a pipelined device two, so that it begins the next step while
// the report of this one is on its way and handled; else one.
//
// A learned sigma, and a gradient that is summed from micro-batches, need the report of a step before the next one can be given
// out: then there is one at a time, on every device. A lag would make its runs depend on the device.
import { performance } from 'node:perf_hooks'
import type { Batch } from '../data/dataset.js'
import type { Prefetcher } from '../data/prefetcher.js'
import { aborted, wrapError } from '../errors.js'
import type { NativeEngine, NativeLoss, TrainReport } from '../native.js'
import type { Limits } from './divergence.js'
import { interruptible } from './interruptible.js'
import type { LossController } from './loss.js'
import type { TrainSettings } from './options.js'
import { emaDecayAt, learningRateAt, subnetsOfStep } from './schedule.js'
import { type Stepped, type Stepper, WholeBatch } from './stepper.js'

/** One submitted step. */
export interface Step {
  /** From 0. */
  index: number
  subnets: number[]
  learningRate: number
  sigma: number
  /** Seconds that the device had nothing to do before it. */
  waited: number
}

interface Underway extends Step {
  result: Promise<Stepped>
  /** When it came. */
  ended: number | null
}

export interface Ended {
  step: Step
  report: TrainReport
  /** See DivergenceGuard. */
  limits: Limits | null
}

export interface FlightParts {
  settings: TrainSettings
  engine: NativeEngine
  stepper: Stepper
  loss: LossController
  batches: Prefetcher<Batch>
  /** The schedules of the run go over steps [begin, end). */
  begin: number
  end: number
  /** The first step to give out. */
  first: number
  /** Sees the parts of each batch before its step. */
  onBatch: (parts: readonly Batch[], loss: NativeLoss) => Promise<Limits[] | null>
  cancel: Int32Array
}

export class Flight {
  readonly #parts: FlightParts
  readonly #depth: number
  readonly #underway: Underway[] = []
  readonly #costs: readonly number[]
  #next: number

  constructor(parts: FlightParts) {
    const { settings, engine, stepper } = parts
    const learns = settings.loss.kind === 'bd' && settings.loss.sigma.learn
    this.#parts = parts
    this.#costs = engine.subnets.map(({ flops }) => flops)
    this.#depth = engine.device.pipelined && !learns && stepper instanceof WholeBatch ? 2 : 1
    this.#next = parts.first
  }

  /** The step to give out next. */
  get next(): number {
    return this.#next
  }
  get empty(): boolean {
    return this.#underway.length === 0
  }
  get full(): boolean {
    return this.#underway.length >= this.#depth || this.#next >= this.#parts.end
  }

  /** Gives the next step out as soon as its batch is there. @throws WbsrError WBSR_ABORTED; what the data ended with */
  async give(): Promise<void> {
    const { settings, stepper, loss, batches, begin, end } = this.#parts
    const from = performance.now()
    const batch = await interruptible(batches.next(), settings.signal)
    // What is under way keeps the device busy; its last step may have ended meanwhile.
    const before = this.#underway.at(-1)
    const idleFrom = before === undefined ? from : before.ended
    const waited = idleFrom === null ? 0 : Math.max(0, performance.now() - Math.max(from, idleFrom)) / 1000
    const index = this.#next
    const [at, steps] = [index - begin, end - begin]
    const progress = at / Math.max(1, steps - 1)
    const step: Step = {
      index,
      waited,
      subnets: subnetsOfStep(settings.subnetsPerStep, this.#costs, settings.seed, index),
      learningRate: learningRateAt(at, steps, settings.optimizer.learningRate, settings.optimizer.finalLearningRate),
      sigma: loss.sigma(progress),
    }
    const native = await loss.nativeLoss(progress)
    const parts = stepper.parts(batch)
    const limits = await this.#parts.onBatch(parts, native)
    if (settings.signal?.aborted) throw aborted('Training', settings.signal)
    const { epsilon, weightDecay, betas } = settings.optimizer
    const job = {
      subnets: step.subnets,
      loss: native,
      distillation: settings.distillation,
      learningRate: step.learningRate,
      beta1: betas[0],
      beta2: betas[1],
      epsilon,
      weightDecay,
      emaDecay: emaDecayAt(index, settings.ema),
      cancel: this.#parts.cancel,
    }
    const result = stepper
      .run(parts, job, limits)
      .catch((error: unknown) => Promise.reject(wrapError(error, 'WBSR_INTERNAL', `Step ${index + 1}`)))
    const underway: Underway = { ...step, result, ended: null }
    // take() rethrows the failure.
    result
      .catch(() => {})
      .then(() => {
        underway.ended = performance.now()
      })
    this.#underway.push(underway)
    this.#next = index + 1
  }

  /** The oldest step that is under way, ended. @throws WbsrError: its failure */
  async take(): Promise<Ended> {
    const step = this.#underway.shift()!
    return { step, ...(await step.result) }
  }

  /** Waits for all that are under way; those that ended with a report, up to the first that did not. */
  async drain(): Promise<Ended[]> {
    const steps = this.#underway.splice(0)
    const results = await Promise.allSettled(steps.map((step) => step.result))
    const failed = results.findIndex((result) => result.status === 'rejected')
    return steps
      .slice(0, failed < 0 ? steps.length : failed)
      .map((step, i) => ({ step, ...(results[i] as PromiseFulfilledResult<Stepped>).value }))
  }
}
