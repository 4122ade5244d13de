// The training loop: one object per run, which owns the engine's training state between two steps and nothing else.
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import type { Batch, Dataset } from '../data/dataset.js'
import { Prefetcher } from '../data/prefetcher.js'
import type { ValidationSet } from '../data/validation.js'
import { aborted, WbsrError } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { BEST_FILE, BestTracker, keepAsBest, noBest } from './best.js'
import { type Fingerprint, type Progress, type Snapshot, takeSnapshot, writeSnapshot } from './checkpoint.js'
import { DivergenceGuard, diverged, validationDiverged, validationsDiverged } from './divergence.js'
import type { Estimate } from './estimate.js'
import { type Ended, Flight } from './flight.js'
import { interruptible } from './interruptible.js'
import type { LossController } from './loss.js'
import type { TrainPlan } from './options.js'
import type { RunProgress } from './progress.js'
import { type EpochSums, type HistoryEntry, Meter, noSums } from './reports.js'
import { measure, onAverage } from './validation.js'

/** After these the weights are worth nothing. */
const LOST: ReadonlySet<string> = new Set(['WBSR_NON_FINITE', 'WBSR_DIVERGED'])

export interface RunParts {
  plan: TrainPlan
  dataset: Dataset
  validation: ValidationSet | null
  state: ModelState
  loss: LossController
  /** null: no checkpoints. */
  checkpointFile: string | null
  fingerprint: Fingerprint
  /** Where a resumed or extended run goes on. */
  from: Pick<Progress, 'step' | 'history' | 'epoch' | 'best' | 'guard'>
  progress: RunProgress
  estimate: Estimate
}

export class Trainer {
  readonly history: HistoryEntry[]
  readonly #parts: RunParts
  readonly #meter: Meter
  readonly #cancel = new Int32Array(1)
  readonly #epochs: number
  readonly #best: BestTracker
  readonly #guard: DivergenceGuard | null
  #step: number
  #sums: EpochSums
  /** There is more to save than the checkpoint that the run came from has. */
  #changed = false
  #epochStarted = performance.now()
  /** When the last step was booked, or the first of several given out. */
  #stepStarted = 0
  /** Taken after a step, written once the next one shows that its weights give a finite loss. */
  #pending: { snapshot: Snapshot; best: boolean } | null = null

  constructor(parts: RunParts) {
    this.#parts = parts
    this.#meter = new Meter(parts.plan.batchSize)
    const { dataset, plan, from, state } = parts
    this.#epochs = Math.ceil(dataset.steps / dataset.stepsPerEpoch)
    this.#best = new BestTracker(parts.validation !== null, from.best ?? noBest())
    const run = { first: from.step, length: dataset.steps - from.step, scale: state.network.scale }
    this.#guard = plan.divergence === 'ignore' ? null : new DivergenceGuard(run, from.guard)
    this.#step = parts.from.step
    this.#sums = parts.from.epoch
    this.history = parts.from.history
  }

  /**
   * Runs all steps that are left.
   *
   * @throws WbsrError WBSR_NON_FINITE, WBSR_DIVERGED, WBSR_ABORTED, WBSR_IO; what a callback throws, as it is
   */
  async run(): Promise<void> {
    const { plan, dataset, from } = this.#parts
    const stop = () => Atomics.store(this.#cancel, 0, 1)
    plan.signal?.addEventListener('abort', stop, { once: true })
    const { engine } = this.#parts.state
    // A pipelined device cuts its crops itself, while it works on the step before.
    const produce = (step: number): Promise<Batch> =>
      engine.device.pipelined ? dataset.source(step) : dataset.batch(step)
    const batches = new Prefetcher(produce, { first: from.step, end: dataset.steps })
    const flight = new Flight({
      plan,
      engine,
      loss: this.#parts.loss,
      batches,
      begin: dataset.first,
      end: dataset.steps,
      first: from.step,
      onBatch: async (...batch) => this.#guard?.see(...batch),
      cancel: this.#cancel,
    })
    this.#tellProgress()
    try {
      if (this.#step > 0 && (await this.#settle()) && this.#parts.checkpointFile)
        await writeSnapshot(this.#parts.checkpointFile, this.#snapshot())
      while (this.#step < dataset.steps) await this.#advance(flight)
    } catch (error) {
      const rest = await flight.drain()
      // The weights are worth nothing then, abort or not.
      if (!plan.signal?.aborted || (error instanceof WbsrError && LOST.has(error.code))) throw error
      // What the device had done already counts, though nobody is told of it any more.
      for (const ended of rest) this.#book(ended)
      await this.#saveOnAbort()
      throw aborted('Training', plan.signal)
    } finally {
      plan.signal?.removeEventListener('abort', stop)
      await batches.close()
    }
  }

  /** One step and what is due after it. */
  async #advance(flight: Flight): Promise<void> {
    const { plan, dataset } = this.#parts
    if (flight.empty) this.#stepStarted = performance.now()
    // What is due after a step needs the engine as that step left it.
    while (!flight.full && (flight.empty || !this.#isDue(flight.next))) await flight.give()
    const ended = await flight.take()
    const { step, report } = ended
    const gradientRatio = this.#book(ended)
    this.#checkDivergence(ended)
    await this.#writePending()
    this.#tellProgress()
    await this.#call(plan.onStep, {
      ...this.#position(),
      loss: report.loss,
      data: report.data,
      balance: report.balance,
      gradientRatio,
      learningRate: step.learningRate,
      sigma: step.sigma,
      losses: step.subnets.map((subnet, i) => ({ subnet, loss: report.losses[i]! })),
      ...this.#meter.read(),
      eta: this.#parts.estimate.seconds() ?? 0,
      ...(report.parts > 1 && { parts: report.parts }),
    })

    await this.#settle()
    const last = this.#step === dataset.steps
    const due = last || (this.#step % (plan.checkpoint?.everySteps ?? Infinity) === 0 && !this.#guard?.suspicious)
    if (plan.checkpoint && due) {
      const best = this.#best.saved(this.#step)
      this.#pending = { snapshot: this.#snapshot(), best }
      // No step comes after the last one: its weights are taken by their looks.
      if (last && allFinite(this.#pending.snapshot)) await this.#writePending()
    }
  }

  /** @throws WbsrError WBSR_DIVERGED */
  #checkDivergence({ step, report }: Ended): void {
    const { dataset } = this.#parts
    const seen =
      this.#guard?.book(step.index, report.data) ??
      (this.#step === dataset.steps ? this.#guard?.finish(this.#step) : null)
    if (seen)
      throw diverged(seen, { step: this.#step, loss: report.loss, learningRate: step.learningRate }, this.#saved())
  }

  /** What can be gone on from. */
  #saved(): string {
    const { checkpointFile } = this.#parts
    if (!checkpointFile) return 'no checkpoints were asked for'
    const { step } = this.#best
    if (step === null) return 'no state was good enough for a best checkpoint'
    return `the best checkpoint, of step ${step}, is ${path.join(path.dirname(checkpointFile), BEST_FILE)}`
  }

  /** Where the run is, between two steps. */
  #tellProgress(): void {
    const { dataset, estimate, progress } = this.#parts
    estimate.steps(dataset.steps - this.#step, this.#meter.seconds, this.#validationsLeft())
    if (progress.phase === 'steps') progress.advance(this.#step)
    else progress.enter('steps', dataset.steps, this.#step)
  }

  #validationsLeft(): number {
    const { plan, dataset, validation } = this.#parts
    if (!validation) return 0
    const every = plan.validateEverySteps ?? dataset.stepsPerEpoch
    const { steps } = dataset
    return (
      Math.floor(steps / every) - Math.floor(this.#step / every) + (steps % every !== 0 && this.#step < steps ? 1 : 0)
    )
  }

  /** Whether something follows `steps` steps that reads the engine or ends an epoch. */
  #isDue(steps: number): boolean {
    const { plan, dataset } = this.#parts
    const every = [dataset.stepsPerEpoch, plan.validateEverySteps, plan.checkpoint?.everySteps]
    return steps === dataset.steps || every.some((n) => n && steps % n === 0)
  }

  /**
   * Counts a step that ended; returns its gradient ratio. No waiting in here: an abort in between would save a state that
   * belongs to no step.
   *
   * @throws WbsrError WBSR_NON_FINITE naming the step; the engine has updated nothing then, nor will it in later steps
   */
  #book({ step, report }: Ended): number {
    if (!report.finite || !Number.isFinite(report.loss)) {
      throw new WbsrError(
        'WBSR_NON_FINITE',
        `The loss of step ${step.index + 1} is not finite (learning rate ${step.learningRate}); a lower optimizer.learningRate may help`,
      )
    }
    this.#parts.loss.update(report.sigmaGradient)
    this.#step = step.index + 1
    this.#changed = true
    const now = performance.now()
    this.#meter.add((now - this.#stepStarted) / 1000, step.waited)
    this.#stepStarted = now
    const gradientRatio = report.dataGradient > 0 ? report.balanceGradient / report.dataGradient : 0
    const { dataset } = this.#parts
    this.#best.book(report.loss, step.index > dataset.first && step.index === dataset.sampler.classLevelStep)
    this.#sums.steps++
    this.#sums.loss += report.loss
    this.#sums.data += report.data
    this.#sums.balance += report.balance
    this.#sums.gradientRatio += gradientRatio
    return gradientRatio
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

  #position() {
    const { dataset } = this.#parts
    return {
      step: this.#step,
      steps: dataset.steps,
      epoch: Math.ceil(this.#step / dataset.stepsPerEpoch),
      epochs: this.#epochs,
    }
  }

  async #endEpoch(at: { step: number; steps: number; epoch: number; epochs: number }): Promise<void> {
    const { steps, loss, data, balance, gradientRatio } = this.#sums
    const seconds = (performance.now() - this.#epochStarted) / 1000
    this.#sums = noSums()
    this.#changed = true
    await this.#call(this.#parts.plan.onEpoch, {
      ...at,
      loss: loss / steps,
      data: data / steps,
      balance: balance / steps,
      gradientRatio: gradientRatio / steps,
      stepsRun: steps,
      seconds,
    })
    this.#epochStarted = performance.now()
  }

  async #validate(
    validation: ValidationSet,
    at: { step: number; steps: number; epoch: number; epochs: number },
  ): Promise<void> {
    const { plan, state, progress, checkpointFile } = this.#parts
    const started = performance.now()
    const ema = plan.ema > 0
    progress.enter('validation', validation.files.length)
    const scores = await onAverage(state.engine, ema, () =>
      measure(state, validation, plan.signal ?? undefined, (done) => progress.advance(done)),
    )
    const entry = { ...at, ...scores, ema }
    this.history.push(entry)
    this.#changed = true
    if (this.#guard && validationsDiverged(this.history)) throw validationDiverged(entry, this.#saved())
    const best = this.#best.validated(entry)
    if (best && checkpointFile) {
      const snapshot = this.#snapshot()
      if (allFinite(snapshot)) await writeSnapshot(path.join(path.dirname(checkpointFile), BEST_FILE), snapshot)
    }
    this.#tellProgress()
    await this.#call(plan.onValidation, { ...entry, best, seconds: (performance.now() - started) / 1000 })
    // Validation is no part of an epoch's seconds.
    this.#epochStarted += performance.now() - started
  }

  /** Callbacks may take their time, but not stand in the way of an abort, their own included. After one nothing is told: a step that was under way counts all the same. */
  async #call<T>(callback: ((report: T) => unknown) | null, report: T): Promise<void> {
    if (!callback) return
    this.#checkAborted()
    await interruptible(Promise.resolve(callback(report)), this.#parts.plan.signal)
    this.#checkAborted()
  }

  #checkAborted(): void {
    const { signal } = this.#parts.plan
    if (signal?.aborted) throw aborted('Training', signal)
  }

  #snapshot(): Snapshot {
    const { plan, dataset, state, fingerprint, loss } = this.#parts
    const progress: Progress = {
      step: this.#step,
      loss: loss.state(),
      mixture: state.mixture,
      history: this.history,
      epoch: this.#sums,
      best: this.#best.state(),
      guard: this.#guard?.state() ?? null,
    }
    return takeSnapshot(
      state.engine,
      plan.ema > 0,
      { network: state.network, classes: dataset.classes, fingerprint },
      progress,
    )
  }

  async #writePending(): Promise<void> {
    const pending = this.#pending
    this.#pending = null
    if (!pending) return
    const file = this.#parts.checkpointFile!
    await writeSnapshot(file, pending.snapshot)
    if (pending.best) await keepAsBest(file)
  }

  /** An aborted run can go on where it stopped. */
  async #saveOnAbort(): Promise<void> {
    if (!this.#parts.checkpointFile || !this.#changed) return
    const snapshot = this.#snapshot()
    if (allFinite(snapshot)) await writeSnapshot(this.#parts.checkpointFile, snapshot)
  }
}

/** Tens of millions of values: 0 x a finite value is 0, and a sum is ten times faster than a call per value. */
function allFinite({ tensors }: Snapshot): boolean {
  return tensors.every(({ data }) => {
    if (!(data instanceof Float32Array)) return true
    let zero = 0
    for (let i = 0; i < data.length; i++) zero += 0 * data[i]!
    return zero === 0
  })
}
