// The training loop: one object per run, which owns the engine's training state between two steps and nothing else.
import { performance } from 'node:perf_hooks'
import type { Batch, Dataset } from '../data/dataset.js'
import { Prefetcher } from '../data/prefetcher.js'
import type { ValidationSet } from '../data/validation.js'
import { aborted, WbsrError, wrapError } from '../errors.js'
import type { ModelState } from '../model-state.js'
import type { NativeLoss, TrainReport } from '../native.js'
import { takeSnapshot, writeSnapshot, type Fingerprint, type Progress, type Snapshot } from './checkpoint.js'
import type { LossController } from './loss.js'
import type { TrainPlan } from './options.js'
import { Meter, noSums, type EpochSums, type HistoryEntry } from './reports.js'
import { emaDecayAt, learningRateAt, subnetsOfStep } from './schedule.js'
import { measure, onAverage } from './validation.js'

export interface RunParts {
  plan: TrainPlan
  dataset: Dataset
  validation: ValidationSet | null
  state: ModelState
  loss: LossController
  /** null: no checkpoints. */
  checkpointFile: string | null
  fingerprint: Fingerprint
  /** Where a resumed run goes on. */
  from: { step: number; history: HistoryEntry[]; epoch: EpochSums }
}

export class Trainer {
  readonly history: HistoryEntry[]
  readonly #parts: RunParts
  readonly #meter: Meter
  readonly #cancel = new Int32Array(1)
  readonly #epochs: number
  #step: number
  #sums: EpochSums
  /** There is more to save than the checkpoint that the run came from has. */
  #changed = false
  #epochStarted = performance.now()
  /** Taken after a step, written once the next one shows that its weights give a finite loss. */
  #pending: Snapshot | null = null

  constructor(parts: RunParts) {
    this.#parts = parts
    this.#meter = new Meter(parts.plan.batchSize)
    this.#epochs = Math.ceil(parts.dataset.steps / parts.dataset.stepsPerEpoch)
    this.#step = parts.from.step
    this.#sums = parts.from.epoch
    this.history = parts.from.history
  }

  /**
   * Runs all steps that are left.
   *
   * @throws WbsrError WBSR_NON_FINITE, WBSR_ABORTED, WBSR_IO; what a callback throws, as it is
   */
  async run(): Promise<void> {
    const { plan, dataset, from } = this.#parts
    const stop = () => Atomics.store(this.#cancel, 0, 1)
    plan.signal?.addEventListener('abort', stop, { once: true })
    const batches = new Prefetcher((step) => dataset.batch(step), { first: from.step, end: dataset.steps })
    try {
      if (this.#step > 0 && (await this.#settle()) && this.#parts.checkpointFile) await writeSnapshot(this.#parts.checkpointFile, this.#snapshot())
      while (this.#step < dataset.steps) await this.#advance(batches)
    } catch (error) {
      // After a loss that is not finite the weights are worth nothing, abort or not.
      if (!plan.signal?.aborted || (error instanceof WbsrError && error.code === 'WBSR_NON_FINITE')) throw error
      await this.#saveOnAbort()
      throw aborted('Training', plan.signal)
    } finally {
      plan.signal?.removeEventListener('abort', stop)
      await batches.close()
    }
  }

  /** One step and what is due after it. */
  async #advance(batches: Prefetcher<Batch>): Promise<void> {
    const { plan, dataset, state, loss } = this.#parts
    const started = performance.now()
    const batch = await interruptible(batches.next(), plan.signal)
    const step = this.#step
    const subnets = subnetsOfStep(plan.subnetsPerStep, state.engine.subnets.length, plan.seed, step)
    const learningRate = learningRateAt(step, dataset.steps, plan.optimizer.learningRate, plan.optimizer.finalLearningRate)
    const progress = step / Math.max(1, dataset.steps - 1)
    const sigma = loss.sigma(progress)
    const report = await this.#train(batch, subnets, learningRate, await loss.nativeLoss(progress))
    if (!report.finite || !Number.isFinite(report.loss)) {
      throw new WbsrError('WBSR_NON_FINITE', `The loss of step ${step + 1} is not finite (learning rate ${learningRate}); a lower optimizer.learningRate may help`)
    }
    loss.update(report.sigmaGradient)
    // No waiting from here to the last sum: an abort in between would save a state that belongs to no step.
    this.#step = step + 1
    this.#changed = true
    this.#meter.add((performance.now() - started) / 1000, batches.lastWait)
    const gradientRatio = report.dataGradient > 0 ? report.balanceGradient / report.dataGradient : 0
    this.#sums.steps++
    this.#sums.loss += report.loss
    this.#sums.data += report.data
    this.#sums.balance += report.balance
    this.#sums.gradientRatio += gradientRatio
    await this.#writePending()
    await this.#call(plan.onStep, {
      ...this.#position(), loss: report.loss, data: report.data, balance: report.balance, gradientRatio, learningRate, sigma,
      losses: subnets.map((subnet, i) => ({ subnet, loss: report.losses[i]! })),
      ...this.#meter.read(dataset.steps - this.#step),
    })

    await this.#settle()
    const last = this.#step === dataset.steps
    if (plan.checkpoint && (last || this.#step % plan.checkpoint.everySteps === 0)) {
      this.#pending = this.#snapshot()
      // No step comes after the last one: its weights are taken by their looks.
      if (last && isFinite(this.#pending)) await this.#writePending()
    }
  }

  /**
   * The ends of an epoch and the validations that are due at this step and not done yet: a run that was aborted in the
   * middle of them makes up for them when it goes on. True when there was anything.
   */
  async #settle(): Promise<boolean> {
    const { plan, dataset, validation } = this.#parts
    const at = this.#position()
    const last = this.#step === dataset.steps
    const epochEnds = last || this.#step % dataset.stepsPerEpoch === 0
    const closes = epochEnds && this.#sums.steps > 0
    if (closes) await this.#endEpoch(at)
    const due = last || (plan.validateEverySteps === null ? epochEnds : this.#step % plan.validateEverySteps === 0)
    const validates = validation !== null && due && this.history.at(-1)?.step !== this.#step
    if (validates) await this.#validate(validation, at)
    return closes || validates
  }

  async #train(batch: Batch, subnets: number[], learningRate: number, loss: NativeLoss): Promise<TrainReport> {
    const { plan, state } = this.#parts
    if (plan.signal?.aborted) throw aborted('Training', plan.signal)
    const { epsilon, weightDecay, betas } = plan.optimizer
    try {
      return await state.engine.train({
        lr: batch.lr, hr: batch.hr, batch: batch.batchSize, width: batch.lrSize, height: batch.lrSize, subnets, loss,
        learningRate, beta1: betas[0], beta2: betas[1], epsilon, weightDecay, emaDecay: emaDecayAt(this.#step, plan.ema), cancel: this.#cancel,
      })
    } catch (error) {
      throw wrapError(error, 'WBSR_INTERNAL', `Step ${this.#step + 1}`)
    }
  }

  #position() {
    const { dataset } = this.#parts
    return { step: this.#step, steps: dataset.steps, epoch: Math.ceil(this.#step / dataset.stepsPerEpoch), epochs: this.#epochs }
  }

  async #endEpoch(at: { step: number; steps: number; epoch: number; epochs: number }): Promise<void> {
    const { steps, loss, data, balance, gradientRatio } = this.#sums
    const seconds = (performance.now() - this.#epochStarted) / 1000
    this.#sums = noSums()
    this.#changed = true
    await this.#call(this.#parts.plan.onEpoch, {
      ...at, loss: loss / steps, data: data / steps, balance: balance / steps, gradientRatio: gradientRatio / steps, stepsRun: steps, seconds,
    })
    this.#epochStarted = performance.now()
  }

  async #validate(validation: ValidationSet, at: { step: number; steps: number; epoch: number; epochs: number }): Promise<void> {
    const { plan, state } = this.#parts
    const started = performance.now()
    const ema = plan.ema > 0
    const scores = await onAverage(state.engine, ema, () => measure(state, validation, plan.signal ?? undefined))
    const entry = { ...at, ...scores, ema }
    this.history.push(entry)
    this.#changed = true
    await this.#call(plan.onValidation, { ...entry, seconds: (performance.now() - started) / 1000 })
    // Validation is no part of an epoch's seconds.
    this.#epochStarted += performance.now() - started
  }

  /** Callbacks may take their time, but not stand in the way of an abort. */
  async #call<T>(callback: ((report: T) => unknown) | null, report: T): Promise<void> {
    if (callback) await interruptible(Promise.resolve(callback(report)), this.#parts.plan.signal)
  }

  #snapshot(): Snapshot {
    const { plan, dataset, state, fingerprint, loss } = this.#parts
    const progress: Progress = { step: this.#step, loss: loss.state(), mixture: state.mixture, history: this.history, epoch: this.#sums }
    return takeSnapshot(state.engine, plan.ema > 0, { network: state.network, classes: dataset.classes, fingerprint }, progress)
  }

  async #writePending(): Promise<void> {
    const snapshot = this.#pending
    this.#pending = null
    if (snapshot) await writeSnapshot(this.#parts.checkpointFile!, snapshot)
  }

  /** An aborted run can go on where it stopped. */
  async #saveOnAbort(): Promise<void> {
    if (!this.#parts.checkpointFile || !this.#changed) return
    const snapshot = this.#snapshot()
    if (isFinite(snapshot)) await writeSnapshot(this.#parts.checkpointFile, snapshot)
  }
}

/** Tens of millions of values: 0 x a finite value is 0, and a sum is ten times faster than a call per value. */
function isFinite({ tensors }: Snapshot): boolean {
  return tensors.every(({ data }) => {
    if (!(data instanceof Float32Array)) return true
    let zero = 0
    for (let i = 0; i < data.length; i++) zero += 0 * data[i]!
    return zero === 0
  })
}

/** Waits for `promise`, or rejects with WBSR_ABORTED as soon as the signal fires; the promise's own end is then ignored. */
export async function interruptible<T>(promise: Promise<T>, signal: AbortSignal | null): Promise<T> {
  if (!signal) return promise
  let stop: () => void
  const fired = new Promise<never>((_, reject) => {
    stop = () => reject(aborted('Training', signal))
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([promise, fired])
  } finally {
    signal.removeEventListener('abort', stop!)
    promise.catch(() => {})
  }
}
