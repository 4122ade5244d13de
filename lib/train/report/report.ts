// The report of a run: it gathers what the callbacks tell, and writes the page now and then while the run goes on. Steps never
// wait for a file; the interval between two of them grows with the time that one takes, so that writing costs at most a
// hundredth of the run.
import { performance } from 'node:perf_hooks'
import type { Dataset } from '../../data/dataset.js'
import { Sampler } from '../../data/sampler.js'
import { ValidationSet } from '../../data/validation.js'
import { WbsrError } from '../../errors.js'
import { AtomicFile, writeFileAtomic } from '../../files/atomic.js'
import type { ModelState } from '../../model-state.js'
import { permutation, randomFor } from '../../random.js'
import type { TrainSettings } from '../options.js'
import type { HistoryEntry, StepReport } from '../reports.js'
import { ClassGroups, ClassQuality } from './class-quality.js'
import { Examples } from './examples.js'
import { reportPage } from './page.js'
import {
  addValidation,
  type ClassScores,
  digestOf,
  newRecord,
  type RunFacts,
  type RunRecord,
  readRecord,
  recordUntil,
} from './record.js'
import { Series } from './series.js'

/** Least ratio of the time between two writings to the time of one. */
const RATIO = 100
// Keeps the choice of examples apart from the other random numbers of a seed.
const EXAMPLE_STREAM = 0xe8a3

export interface ReportParts {
  settings: TrainSettings
  dataset: Dataset
  validation: ValidationSet | null
  fingerprint: Record<string, unknown>
  facts: RunFacts
  /** Steps done already. */
  first: number
}

export class RunReport {
  readonly #parts: ReportParts
  readonly #file: string
  readonly #record: RunRecord
  readonly #series: Series
  readonly #groups: ClassGroups
  readonly #sampler: Sampler
  readonly #examples: Examples | null
  readonly #everyMs: number
  /** Seconds of earlier processes. */
  readonly #before: number
  readonly #started = performance.now()
  #wrote = performance.now()
  #cost = 0
  #writing: Promise<void> | null = null
  #exampled = Number.NEGATIVE_INFINITY
  #warned = false

  private constructor(parts: ReportParts, record: RunRecord, groups: ClassGroups) {
    const { settings, dataset, validation } = parts
    const { file, everySeconds, examples } = settings.report!
    this.#parts = parts
    this.#file = file
    this.#record = record
    this.#series = new Series(record.series)
    this.#groups = groups
    this.#everyMs = 1000 * everySeconds
    this.#before = record.seconds
    const { batchSize, seed, sampler } = settings
    // Of its own: the run's keeps the order of the epochs that it reads ahead.
    const run = { batchSize, seed, first: dataset.first, steps: dataset.steps }
    this.#sampler = new Sampler(dataset.index.difficulties, run, sampler)
    this.#examples =
      examples > 0 ? new Examples(exampleImages(settings, dataset, validation), settings.network.scale) : null
    this.#countDrawn(parts.first)
  }

  /**
   * Begins a report, or goes on with that of the run that is continued.
   *
   * @throws WbsrError WBSR_INVALID_FILE: the file is something else; WBSR_IO: it cannot be written
   */
  static async open(parts: ReportParts): Promise<RunReport> {
    const { settings, dataset, validation, fingerprint, facts, first } = parts
    const { file, everySeconds } = settings.report!
    const old = await readRecord(file)
    // Known now, and not when hours have passed.
    await (await AtomicFile.open(file)).discard()
    const groups = new ClassGroups(dataset.classes)
    const indexed = groups.counts(dataset.sampler.members)
    const digest = digestOf(fingerprint)
    const continues = old !== null && first > 0 && (old.runs.includes(digest) || settings.extend !== null)
    const now = {
      facts,
      steps: dataset.steps,
      epochs: Math.ceil(dataset.steps / dataset.stepsPerEpoch),
      everySeconds,
      classes: groups.names,
      indexed,
      exampleSource: validation ? ('validation' as const) : ('training' as const),
    }
    const record = continues
      ? { ...recordUntil(old, first), ...now, status: 'running' as const, message: null }
      : { ...newRecord(now), step: first, ...(first > 0 && { resumed: [first] }) }
    if (record.drawn.counts.length !== indexed.length || !continues)
      record.drawn = { step: first, counts: indexed.map(() => 0) }
    record.runs = [...record.runs.filter((run) => run !== digest), digest].slice(-20)
    const report = new RunReport(parts, record, groups)
    await report.#write()
    return report
  }

  /** Sums for the PSNR of the classes of a validation. */
  classQuality(): ClassQuality {
    return new ClassQuality(this.#groups)
  }

  /** A step ended. */
  step(report: Omit<StepReport, 'losses'>): void {
    const { step, epoch, eta } = report
    Object.assign(this.#record, { step, epoch, eta })
    this.#series.add(step, report)
    this.#countDrawn(step)
    this.#writeIfDue()
  }

  validated(
    { step, bicubic, smallest, largest }: HistoryEntry,
    best: boolean,
    seconds: number,
    classes: ClassScores,
  ): void {
    const finite = (value: number) => (Number.isFinite(value) ? value : null)
    addValidation(this.#record, {
      step,
      bicubic: finite(bicubic.y),
      smallest: finite(smallest.y),
      largest: finite(largest.y),
      best,
      seconds,
      classes,
    })
    this.#writeIfDue()
  }

  /** Whether new examples are due: as often as the page is written. */
  get wantsExamples(): boolean {
    return this.#examples !== null && performance.now() - this.#exampled >= this.#everyMs
  }

  /** A row of the table about the run. */
  addFact(name: string, value: string): void {
    this.#record.facts.rows.push([name, value])
  }

  /**
   * Makes the examples with the weights that the engine has. What goes wrong is a warning, as of files.
   *
   * @throws WbsrError WBSR_ABORTED
   */
  async makeExamples(state: ModelState, step: number): Promise<void> {
    if (!this.#examples) return
    try {
      this.#record.examples = await this.#examples.make(state, this.#parts.settings.signal ?? undefined)
      this.#record.exampleStep = step
    } catch (error) {
      if (error instanceof WbsrError && error.code === 'WBSR_ABORTED') throw error
      this.#warn(error)
    } finally {
      this.#exampled = performance.now()
    }
  }

  /** The last state of the page. Never throws. */
  async end(status: 'finished' | 'stopped' | 'failed', message: string | null): Promise<void> {
    Object.assign(this.#record, { status, message, eta: null })
    await this.#writing
    await this.#write().catch((error) => this.#warn(error))
  }

  /** Counts the classes of the patches of steps up to `step`; of a run that goes on before what was counted, takes them back. */
  #countDrawn(step: number): void {
    const { drawn } = this.#record
    const sign = step > drawn.step ? 1 : -1
    const [from, to] = sign > 0 ? [drawn.step, step] : [step, drawn.step]
    const { difficulties } = this.#parts.dataset.index
    for (let k = from; k < to; k++)
      for (const patch of this.#sampler.draw(k)) drawn.counts[this.#groups.ofDifficulty(difficulties[patch]!)]! += sign
    drawn.step = step
  }

  #writeIfDue(): void {
    const interval = Math.max(this.#everyMs, RATIO * this.#cost)
    if (this.#writing || performance.now() - this.#wrote < interval) return
    this.#writing = this.#write()
      .catch((error) => this.#warn(error))
      .finally(() => {
        this.#writing = null
      })
  }

  async #write(): Promise<void> {
    const started = performance.now()
    const record = this.#record
    record.updated = new Date().toISOString()
    record.seconds = this.#before + (started - this.#started) / 1000
    const html = reportPage({ ...record, series: this.#series.state() })
    try {
      await writeFileAtomic(this.#file, Buffer.from(html))
    } finally {
      this.#wrote = performance.now()
      this.#cost = this.#wrote - started
    }
  }

  /** A run of days does not end because its report cannot be written. */
  #warn(error: unknown): void {
    if (this.#warned) return
    this.#warned = true
    process.emitWarning(`The report is not up to date: ${(error as Error).message}`, 'WbsrWarning')
  }
}

/** A seeded choice of a few validation images, or of training images where there are none. */
function exampleImages(
  { seed, report, network, data }: TrainSettings,
  dataset: Dataset,
  validation: ValidationSet | null,
) {
  const { scale } = network
  const all =
    validation?.files ??
    dataset.index.images.map(({ hr, lr, width, height }) => ({ hr, lr, width: width / scale, height: height / scale }))
  const order = permutation(all.length, randomFor(seed, EXAMPLE_STREAM)).subarray(0, report!.examples)
  const chosen = [...order].sort((a, b) => a - b).map((i) => all[i]!)
  return new ValidationSet(chosen, scale, data.degradation)
}

/** How a run ended, for end(). */
export function endOf(error: unknown, signal: AbortSignal | null): ['stopped' | 'failed', string | null] {
  const code = error instanceof WbsrError ? error.code : null
  if (code === 'WBSR_ABORTED' || (signal?.aborted && code !== 'WBSR_IO')) return ['stopped', null]
  return ['failed', String((error as Error)?.message ?? error)]
}
