// Whether a run has left all reason: its loss is far above that of bicubic interpolation on the same patches, for long.
//
// The measure is the data term of the loss. For some batches it is computed as well for predictions whose error is FAR times
// that of bicubic (the limit). A run is suspected when the mean over a window of steps exceeds the limit, and also three times
// its own start, since networks without an image skip begin far above bicubic. Limits are then computed for the very batches
// that follow: a run diverged when two more windows exceed them too. So neither a switch to harder patches nor a noisy batch
// ends a run.
import type { Batch } from '../data/dataset.js'
import { WbsrError } from '../errors.js'
import { type NativeLoss, native } from '../native.js'
import type { HistoryEntry } from './reports.js'

/** Errors this many times those of bicubic are far above it. */
const FAR = 10
/** A network that has not come below this many times bicubic's error, nor improved, is stuck. */
const STUCK = 3
/** Errors below are never called far above bicubic's, which is exact on flat patches. In [0, 1] units. */
const SMALLEST_ERROR = 0.01
/** How far the loss of the start must be exceeded. */
const WORSE_THAN_START = 3
/** Steps in a window, less in short runs. */
const WINDOW = 25
/** Windows over which a suspicion must be confirmed. */
const CONFIRMING = 2
/** Share of their steps that must exceed the limit, so that a spike does not stand for all. */
const MOST = 0.8
/** Batches at the start whose limits are computed. */
const FIRST_LIMITS = 4
/** Steps without improvement after which a run that never came near bicubic is suspected. */
const PATIENCE = 2000
/** Validations this far below bicubic, in dB. */
const FAR_BELOW = 10
const VALIDATIONS = 3

/** What the guard keeps in checkpoints: the data term of the first step over its limit. */
export interface GuardState {
  start: number | null
}

/** Data terms of a batch for predictions that err as much as a run must not. */
export interface Limits {
  far: number
  stuck: number
  bicubic: number
}

/** Sums over the steps of a window. */
interface Evidence extends Limits {
  data: number
  steps: number
  /** Steps that exceed the limit of their own batch. */
  above: number
  kind: 'far' | 'stuck'
}

export interface Divergence {
  /** Steps (from 1) of the window, and means over it. */
  from: number
  to: number
  data: number
  bicubic: number
}

export class DivergenceGuard {
  readonly #scale: number
  readonly #window: number
  readonly #patience: number
  readonly #first: number
  #start: number | null
  /** Mean limits of the batches measured last. */
  #known: Limits | null = null
  #measured = 0
  /** Data terms of the last steps. */
  #recent: number[] = []
  #evidence: Evidence | null = null
  #best = { ratio: Infinity, step: 0 }

  /** @param run the first step of the run that this process makes, and the number of steps from there on */
  constructor(run: { first: number; length: number; scale: number }, state: GuardState | null) {
    this.#scale = run.scale
    this.#first = run.first
    this.#window = Math.min(WINDOW, Math.max(2, Math.floor(run.length / 4)))
    this.#patience = Math.max(PATIENCE, Math.floor(run.length / 5))
    this.#start = state?.start ?? null
    this.#best.step = run.first
  }

  /** No checkpoint should be replaced now. */
  get suspicious(): boolean {
    return this.#evidence !== null
  }

  state(): GuardState {
    return { start: this.#start }
  }

  /** Before a step: the limits of each part of its batch, if they are wanted, else null. */
  async see(parts: readonly Batch[], loss: NativeLoss): Promise<Limits[] | null> {
    if (this.#evidence === null && this.#measured >= FIRST_LIMITS) return null
    this.#measured++
    const limits: Limits[] = []
    for (const part of parts) limits.push(await limitsOf(part, this.#scale, loss))
    return limits
  }

  /**
   * Counts a step that ended. Not null: the run has diverged.
   *
   * @param limits of the whole batch, if see() gave those of its parts
   */
  book(index: number, data: number, limits: Limits | null): Divergence | null {
    // The first step's loss is that of the weights as they were at the start.
    if (index === this.#first) {
      if (this.#start === null && limits) this.#start = data / limits.far
      if (limits) this.#known = limits
      return null
    }
    if (limits && this.#evidence === null) this.#known = this.#known ? meanOf(this.#known, limits) : limits
    this.#recent.push(data)
    if (this.#recent.length > this.#window) this.#recent.shift()
    if (this.#evidence) return limits ? this.#weigh(this.#evidence, index, data, limits) : null
    if (this.#recent.length < this.#window || !this.#known) return null
    const kind = this.#suspect(index)
    if (kind) this.#evidence = { data: 0, far: 0, stuck: 0, bicubic: 0, steps: 0, above: 0, kind }
    return null
  }

  /** At the end of the run: whether the last steps, though fewer than are required before, are evidence enough. */
  finish(last: number): Divergence | null {
    if (this.#evidence && this.#evidence.steps > 0)
      return this.#confirms(this.#evidence) ? found(this.#evidence, last) : null
    if (!this.#known || this.#recent.length === 0) return null
    const data = mean(this.#recent)
    if (data / this.#known.far <= WORSE_THAN_START * this.#threshold()) return null
    return { from: last - this.#recent.length + 1, to: last, data, bicubic: this.#known.bicubic }
  }

  #confirms({ kind, data, far, stuck, above, steps }: Evidence): boolean {
    return kind === 'far' ? data / far > this.#threshold() && above >= MOST * steps : data > stuck
  }

  #threshold(): number {
    return Math.max(1, WORSE_THAN_START * (this.#start ?? 0))
  }

  #suspect(index: number): Evidence['kind'] | null {
    const data = mean(this.#recent)
    if (data / this.#known!.far > this.#threshold()) return 'far'
    const ratio = data / this.#known!.stuck
    if (ratio < 0.99 * this.#best.ratio) this.#best = { ratio, step: index }
    return ratio > 1 && index - this.#best.step >= this.#patience ? 'stuck' : null
  }

  #weigh(evidence: Evidence, index: number, data: number, limits: Limits): Divergence | null {
    evidence.data += data
    for (const key of ['far', 'stuck', 'bicubic'] as const) evidence[key] += limits[key]
    evidence.steps++
    if (data / limits.far > this.#threshold()) evidence.above++
    if (evidence.steps < CONFIRMING * this.#window) return null
    if (this.#confirms(evidence)) return found(evidence, index + 1)
    const { steps } = evidence
    // The patches have become harder, or the run has recovered.
    this.#known = { far: evidence.far / steps, stuck: evidence.stuck / steps, bicubic: evidence.bicubic / steps }
    this.#evidence = null
    this.#recent = []
    this.#best = { ratio: Infinity, step: index }
    return null
  }
}

const found = ({ data, bicubic, steps }: Evidence, last: number): Divergence => ({
  from: last + 1 - steps,
  to: last,
  data: data / steps,
  bicubic: bicubic / steps,
})

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

const meanOf = (a: Limits, b: Limits): Limits => ({
  far: (a.far + b.far) / 2,
  stuck: (a.stuck + b.stuck) / 2,
  bicubic: (a.bicubic + b.bicubic) / 2,
})

/** (N, 3, size, size) as (N, size, size, 3). */
function interleave(planes: Float32Array, count: number, size: number): Float32Array {
  const area = size * size
  const out = new Float32Array(planes.length)
  for (let n = 0; n < count; n++)
    for (let c = 0; c < 3; c++)
      for (let i = 0, from = (n * 3 + c) * area; i < area; i++) out[(n * area + i) * 3 + c] = planes[from + i]!
  return out
}

/** The data term for predictions whose errors are FAR and STUCK times those of bicubic, and for bicubic itself. */
async function limitsOf(batch: Batch, scale: number, loss: NativeLoss): Promise<Limits> {
  const { batchSize, lrSize, hrSize } = batch
  const { lr, hr } =
    'source' in batch ? await native.assembleBatch({ ...batch.source, patchSize: hrSize, scale }) : batch
  const target = interleave(hr, batchSize, hrSize)
  const low = interleave(lr, batchSize, lrSize)
  const bicubic = new Float32Array(target.length)
  const values = 3 * lrSize * lrSize
  for (let n = 0; n < batchSize; n++) {
    const picture = low.subarray(n * values, (n + 1) * values)
    bicubic.set(await native.resizeBicubic(picture, lrSize, lrSize, 3, hrSize, hrSize, 0), n * 3 * hrSize * hrSize)
  }
  const dataAt = async (factor: number): Promise<number> => {
    const prediction = bicubic.map((value, i) => {
      const error = value - target[i]!
      return target[i]! + factor * (Math.abs(error) < SMALLEST_ERROR ? SMALLEST_ERROR : error)
    })
    return (await native.evaluateLoss(prediction, target, loss)).data
  }
  return {
    far: await dataAt(FAR),
    stuck: await dataAt(STUCK),
    bicubic: (await native.evaluateLoss(bicubic, target, loss)).data,
  }
}

/**
 * Whether the last validations are all far below bicubic and have not become better: weights that a validation sees (their
 * moving average) may be lost where the loss of the steps is not.
 */
export function validationsDiverged(history: readonly HistoryEntry[]): boolean {
  const last = history.slice(-VALIDATIONS)
  if (last.length < VALIDATIONS || last.at(-1)!.step - last[0]!.step < 8 * WINDOW) return false
  const below = ({ bicubic, smallest, largest }: HistoryEntry): number => bicubic.y - Math.max(smallest.y, largest.y)
  const best = Math.min(...history.slice(0, 1 - VALIDATIONS).map(below))
  return last.every((entry) => below(entry) > FAR_BELOW) && last.slice(1).every((entry) => below(entry) > best - 0.1)
}

/** @param saved what can be gone on from, in words */
export function diverged(
  seen: Divergence,
  last: { step: number; loss: number; learningRate: number },
  saved: string,
): WbsrError {
  const { from, to, data, bicubic } = seen
  const times = (data / bicubic).toPrecision(3)
  return new WbsrError(
    'WBSR_DIVERGED',
    `Training diverged: over steps ${from} to ${to} the data term of the loss was ${data.toPrecision(4)}, ${times} times that of bicubic interpolation on the same patches (${bicubic.toPrecision(4)}); the loss of step ${last.step} is ${last.loss.toPrecision(4)} at learning rate ${last.learningRate}. A lower optimizer.learningRate may help; ${saved}`,
  )
}

/** The same where the validations say it. */
export function validationDiverged({ step, bicubic, smallest, largest }: HistoryEntry, saved: string): WbsrError {
  const gap = (bicubic.y - Math.max(smallest.y, largest.y)).toFixed(1)
  return new WbsrError(
    'WBSR_DIVERGED',
    `Training diverged: the validation of step ${step} is ${gap} dB below bicubic interpolation (${largest.y.toFixed(2)} dB, bicubic ${bicubic.y.toFixed(2)} dB), the third in a row; a lower optimizer.learningRate may help; ${saved}`,
  )
}
