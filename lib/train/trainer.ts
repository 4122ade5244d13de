// The training loop: one object per run, which owns the engine's training state between two steps and nothing else.
// due.ts decides what follows a step, saves.ts writes checkpoints.
import { performance } from 'node:perf_hooks'
import type { Batch, Dataset } from '../data/dataset.js'
import { Prefetcher } from '../data/prefetcher.js'
import type { ValidationSet } from '../data/validation.js'
import { aborted, WbsrError } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { BestTracker, noBest } from './best.js'
import { type Fingerprint, type Progress, type Snapshot, takeSnapshot } from './checkpoint.js'
import { DivergenceGuard, diverged, validationDiverged, validationsDiverged } from './divergence.js'
import { Due, type Position } from './due.js'
import type { Estimate } from './estimate.js'
import { type Ended, Flight } from './flight.js'
import { interruptible } from './interruptible.js'
import type { LossController } from './loss.js'
import type { TrainSettings } from './options.js'
import type { RunProgress } from './progress.js'
import type { RunReport } from './report/report.js'
import { addToSums, type EpochSums, type HistoryEntry, Meter, meansOf, noSums } from './reports.js'
import { Saves } from './saves.js'
import type { Stepper } from './stepper.js'
import { measure, onAverage } from './validation.js'

/** After these errors the weights are unusable. */
const LOST: ReadonlySet<string> = new Set(['WBSR_NON_FINITE', 'WBSR_DIVERGED'])

const isLost = (error: unknown): boolean => LOST.has(String((error as { code?: unknown } | null)?.code))

export interface RunParts {
  settings: TrainSettings
  dataset: Dataset
  validation: ValidationSet | null
  state: ModelState
  loss: LossController
  stepper: Stepper
  /** null: no checkpoints. */
  checkpointFile: string | null
  fingerprint: Fingerprint
  /** The state from which a resumed or extended run continues. */
  from: Pick<Progress, 'step' | 'history' | 'epoch' | 'best' | 'guard'>
  progress: RunProgress
  estimate: Estimate
  /** null: none is wanted. */
  report: RunReport | null
}

export class Trainer {
  readonly history: HistoryEntry[]
  readonly #parts: RunParts
  readonly #meter: Meter
  readonly #cancel = new Int32Array(1)
  readonly #due: Due
  readonly #saves: Saves
  readonly #best: BestTracker
  readonly #guard: DivergenceGuard | null
  #step: number
  #sums: EpochSums
  /** The state differs from the checkpoint that the run started from. */
  #changed = false
  #epochStarted = performance.now()
  /** Time at which the last step was booked, or the first of several was submitted. */
  #stepStarted = 0

  constructor(parts: RunParts) {
    this.#parts = parts
    this.#meter = new Meter(parts.settings.batchSize)
    const { dataset, settings, from, state } = parts
    this.#due = new Due(dataset, settings)
    this.#saves = new Saves(parts.checkpointFile)
    this.#best = new BestTracker(parts.validation !== null, from.best ?? noBest())
    const run = { first: from.step, length: dataset.steps - from.step, scale: state.network.scale }
    this.#guard = settings.divergence === 'ignore' ? null : new DivergenceGuard(run, from.guard)
    this.#step = parts.from.step
    this.#sums = parts.from.epoch
    this.history = parts.from.history
  }

  /**
   * Runs all steps that are left.
   *
   * @throws WbsrError WBSR_NON_FINITE, WBSR_DIVERGED, WBSR_ABORTED, WBSR_IO; errors of callbacks unchanged
   */
  async run(): Promise<void> {
    const { settings, dataset, from } = this.#parts
    const stop = () => Atomics.store(this.#cancel, 0, 1)
    settings.signal?.addEventListener('abort', stop, { once: true })
    const { engine } = this.#parts.state
    // A pipelined device cuts its crops itself while it runs the previous step.
    const produce = (step: number): Promise<Batch> =>
      engine.device.pipelined ? dataset.source(step) : dataset.batch(step)
    const batches = new Prefetcher(produce, { first: from.step, end: dataset.steps })
    const flight = new Flight({
      settings,
      engine,
      stepper: this.#parts.stepper,
      loss: this.#parts.loss,
      batches,
      begin: dataset.first,
      end: dataset.steps,
      first: from.step,
      onBatch: async (...batch) => (await this.#guard?.see(...batch)) ?? null,
      cancel: this.#cancel,
    })
    this.#reportProgress()
    try {
      if (this.#step > 0 && (await this.#settle()) && this.#saves.enabled) await this.#saves.write(this.#snapshot())
      while (this.#step < dataset.steps) await this.#advance(flight)
    } catch (error) {
      const rest = await flight.drain()
      // These errors are more important than an abort.
      if (!settings.signal?.aborted || isLost(error) || isLost((settings.signal.reason as Error | null)?.cause))
        throw error
      // Steps that the device had completed count, without a callback.
      for (const ended of rest) this.#book(ended)
      await this.#saveOnAbort()
      throw aborted('Training', settings.signal)
    } finally {
      settings.signal?.removeEventListener('abort', stop)
      await batches.close()
    }
  }

  /** One step, and the reports, validation and checkpoint that follow it. */
  async #advance(flight: Flight): Promise<void> {
    const { settings } = this.#parts
    if (flight.empty) this.#stepStarted = performance.now()
    // Work that follows a step needs the engine's state after that step.
    while (!flight.full && (flight.empty || !this.#due.any(flight.next))) await flight.give()
    const ended = await flight.take()
    const { step, report } = ended
    const gradientRatio = this.#book(ended)
    this.#checkDivergence(ended)
    await this.#saves.writePending()
    this.#reportProgress()
    const told = {
      ...this.#due.position(this.#step),
      loss: report.loss,
      data: report.data,
      balance: report.balance,
      frequency: report.frequency,
      gradientRatio,
      learningRate: step.learningRate,
      sigma: step.sigma,
      losses: step.subnets.map((subnet, i) => ({ subnet, loss: report.losses[i]! })),
      ...this.#meter.read(),
      eta: this.#parts.estimate.seconds() ?? 0,
      ...(report.parts > 1 && { parts: report.parts }),
    }
    this.#parts.report?.step(told)
    await this.#call(settings.onStep, told)

    await this.#settle()
    const last = this.#due.isLast(this.#step)
    const due = last || (this.#due.saves(this.#step) && !this.#guard?.suspicious)
    if (settings.checkpoint && due) {
      const best = this.#best.saved(this.#step)
      this.#saves.hold(this.#snapshot(), best)
      if (last) await this.#saves.writePendingIfFinite()
    }
  }

  /** @throws WbsrError WBSR_DIVERGED */
  #checkDivergence({ step, report, limits }: Ended): void {
    const seen =
      this.#guard?.book(step.index, report.data, limits) ??
      (this.#due.isLast(this.#step) ? this.#guard?.finish(this.#step) : null)
    if (seen)
      throw diverged(
        seen,
        { step: this.#step, loss: report.loss, learningRate: step.learningRate },
        this.#saves.describe(this.#best.step),
      )
  }

  /** Reports the position of the run between two steps. */
  #reportProgress(): void {
    const { dataset, estimate, progress, validation } = this.#parts
    const validations = validation ? this.#due.validationsAfter(this.#step) : 0
    estimate.steps(dataset.steps - this.#step, this.#meter.seconds, validations)
    if (progress.phase === 'steps') progress.advance(this.#step)
    else progress.enter('steps', dataset.steps, this.#step)
  }

  /**
   * Counts a step that ended; returns its gradient ratio. It must not wait: an abort in between would save a state that
   * belongs to no step.
   *
   * @throws WbsrError WBSR_NON_FINITE naming the step; this step and later ones then update nothing
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
    addToSums(this.#sums, { ...report, gradientRatio })
    return gradientRatio
  }

  /**
   * Ends the epoch and validates, where that is due at this step and not done yet: a run that was aborted in between does
   * it when it continues. Returns whether anything was done.
   */
  async #settle(): Promise<boolean> {
    const { validation } = this.#parts
    const at = this.#due.position(this.#step)
    const closes = this.#due.endsEpoch(this.#step) && this.#sums.steps > 0
    if (closes) await this.#endEpoch(at)
    const validates = validation !== null && this.#due.validates(this.#step) && this.history.at(-1)?.step !== this.#step
    if (validates) await this.#validate(validation, at)
    // The engine is idle then.
    const { report, state, settings } = this.#parts
    if (report?.wantsExamples && this.#due.any(this.#step))
      await onAverage(state.engine, settings.ema > 0, () => report.makeExamples(state, this.#step))
    return closes || validates
  }

  async #endEpoch(at: Position): Promise<void> {
    const sums = this.#sums
    const seconds = (performance.now() - this.#epochStarted) / 1000
    this.#sums = noSums()
    this.#changed = true
    await this.#call(this.#parts.settings.onEpoch, {
      ...at,
      ...meansOf(sums),
      stepsRun: sums.steps,
      seconds,
    })
    this.#epochStarted = performance.now()
  }

  async #validate(validation: ValidationSet, at: Position): Promise<void> {
    const { settings, state, progress, report } = this.#parts
    const started = performance.now()
    const ema = settings.ema > 0
    const classes = report?.classQuality() ?? null
    progress.enter('validation', validation.files.length)
    const scores = await onAverage(state.engine, ema, () =>
      measure(state, validation, settings.signal ?? undefined, (done) => progress.advance(done), classes),
    )
    const entry = { ...at, ...scores, ema }
    this.history.push(entry)
    this.#changed = true
    if (this.#guard && validationsDiverged(this.history))
      throw validationDiverged(entry, this.#saves.describe(this.#best.step))
    const best = this.#best.validated(entry)
    if (best && this.#saves.enabled) await this.#saves.writeBest(this.#snapshot())
    this.#reportProgress()
    const seconds = (performance.now() - started) / 1000
    if (classes) report?.validated(entry, best, seconds, classes.scores())
    await this.#call(settings.onValidation, { ...entry, best, seconds })
    // The seconds of an epoch do not include validation.
    this.#epochStarted += performance.now() - started
  }

  /**
   * Waits for a callback, but an abort, also by the callback, ends the wait. After an abort no callback is called; a step
   * that was under way counts nevertheless.
   */
  async #call<T>(callback: ((report: T) => unknown) | null, report: T): Promise<void> {
    if (!callback) return
    this.#checkAborted()
    await interruptible(Promise.resolve(callback(report)), this.#parts.settings.signal)
    this.#checkAborted()
  }

  #checkAborted(): void {
    const { signal } = this.#parts.settings
    if (signal?.aborted) throw aborted('Training', signal)
  }

  #snapshot(): Snapshot {
    const { settings, dataset, state, fingerprint, loss } = this.#parts
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
      settings.ema > 0,
      { network: state.network, classes: dataset.classes, fingerprint },
      progress,
    )
  }

  /** Saves the state of an aborted run, so that it can continue from there. */
  async #saveOnAbort(): Promise<void> {
    if (this.#saves.enabled && this.#changed) await this.#saves.write(this.#snapshot())
  }
}
