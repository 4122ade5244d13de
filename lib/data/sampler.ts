// Gradient classes, Hierarchical Equalization Sampling (HES) and the samplers it is compared with: which patches a step gets
// (method.md section 3).
import { invalidOption } from '../errors.js'
import type { ClassTable } from '../model-state.js'
import { checkChoice, checkInteger, checkNumber, checkObject } from '../options.js'
import { permutation, randomFor } from '../random.js'
import { classOf } from '../routing/classes.js'

/** How the patches of a step are drawn (docs/method.md section 3). */
export interface SamplerOptions {
  /**
   * - `hes` (default): patches first, classes later.
   * - `uniform`: every patch once an epoch.
   * - `balanced`: half of a batch uniformly, the other half by class, each class as often as the others (like BSPA).
   * - `hardest`: only the `share` of patches with the largest difficulty, each once an epoch (like SamplingAug).
   * - `difficulty`: patches with a probability proportional to their difficulty (like DDA).
   */
  kind?: SamplerKind
  /** K, 2 .. 1000, default 10. */
  classes?: number
  /** Share of the run, 0 .. 1, after which classes are drawn instead of patches, default 0.7 (paper). */
  classLevelFrom?: number
  /** In (0, 1], default 0.9 (decided): class k is drawn with weight delta^(K - k), so the hardest class K most often. */
  delta?: number
  /** How difficulties are cut into classes, default `interval` (decided; `quantile` is the paper's formula). */
  thresholds?: 'interval' | 'quantile'
  /** Of 'hardest': share of the patches that are drawn, in (0, 1], default 0.1. */
  share?: number
}

const KINDS = ['hes', 'uniform', 'balanced', 'hardest', 'difficulty'] as const
/** How patches are drawn: HES of the paper, or one of the samplers that it is compared with (docs/method.md). */
export type SamplerKind = (typeof KINDS)[number]

/** All filled in; `share` where the kind uses it, so that checkpoints of other runs do not depend on it. */
export type SamplerSettings = Required<Omit<SamplerOptions, 'share'>> & Pick<SamplerOptions, 'share'>

/** Fills in the defaults. @throws WbsrError WBSR_INVALID_OPTION */
export function checkSamplerOptions(options: unknown, name = 'sampler'): SamplerSettings {
  const given = checkObject(options ?? {}, name, [
    'kind',
    'classes',
    'classLevelFrom',
    'delta',
    'thresholds',
    'share',
  ]) as SamplerOptions
  const delta = checkNumber(given.delta ?? 0.9, `${name}.delta`, 0, 1)
  if (delta === 0) throw invalidOption(`${name}.delta`, 'a number above 0 and at most 1', delta)
  const share = checkNumber(given.share ?? 0.1, `${name}.share`, 0, 1)
  if (share === 0) throw invalidOption(`${name}.share`, 'a number above 0 and at most 1', share)
  const kind = checkChoice(given.kind ?? 'hes', `${name}.kind`, KINDS)
  return {
    kind,
    classes: checkInteger(given.classes ?? 10, `${name}.classes`, 2, 1000),
    classLevelFrom: checkNumber(given.classLevelFrom ?? 0.7, `${name}.classLevelFrom`, 0, 1),
    delta,
    thresholds: checkChoice(given.thresholds ?? 'interval', `${name}.thresholds`, ['interval', 'quantile']),
    ...(kind === 'hardest' && { share }),
  }
}

/** The value below which a share of the ascending values lies, interpolated. */
function quantile(sorted: Float64Array, share: number): number {
  const position = share * (sorted.length - 1)
  const below = Math.floor(position)
  const low = sorted[below]!
  return low + (position - below) * (sorted[Math.min(below + 1, sorted.length - 1)]! - low)
}

/**
 * The class thresholds of a set of difficulties (at least one). `interval` splits the range between their 0.5 % and 99.5 %
 * quantiles evenly; `quantile` takes t_k = t[k N / K] of the sorted difficulties, so that classes are equally large.
 */
export function buildClasses(
  difficulties: ArrayLike<number>,
  options: { classes: number; thresholds: 'interval' | 'quantile' },
): ClassTable {
  const { classes: count, thresholds: kind } = options
  const sorted = Float64Array.from(difficulties).sort()
  const low = quantile(sorted, 0.005)
  const high = quantile(sorted, 0.995)
  const thresholds = Array.from({ length: count - 1 }, (_, i) => {
    const k = i + 1
    if (kind === 'interval') return low + (k / count) * (high - low)
    // t[.] counts from 1: class k is (t_(k-1), t_k] and holds N / K values.
    return sorted[Math.max(0, Math.ceil((k * sorted.length) / count) - 1)]!
  })
  return { count, thresholds, kind }
}

// First key of every stream of random numbers in lib/data, so that none is used twice.
export const streams = {
  order: 1,
  classLevel: 2,
  crop: 3,
  pixels: 4,
  degradation: 5,
  validation: 6,
  difficulty: 7,
} as const

/**
 * Draws the patches of each step. What step k gets is a function of the seed, k and the number of steps alone: a resumed
 * run needs nothing but those.
 */
export class Sampler {
  readonly options: SamplerSettings
  readonly classes: ClassTable
  /** First step (counted as in the run) that draws by class; `steps` when none does. */
  readonly classLevelStep: number
  /** Patches of class k at index k - 1. */
  readonly members: readonly Uint32Array[]
  /** Patches of which every epoch has each once. */
  readonly #pool: Uint32Array
  readonly #batchSize: number
  readonly #seed: number
  /** Cumulative weights of the classes, the last one 1. */
  readonly #cumulative: readonly number[]
  /** Cumulative difficulties of the patches, of 'difficulty'. */
  readonly #difficulty: Float64Array
  /** Orders of the epochs in use, newest last. A batch can reach into the next epoch. */
  readonly #orders = new Map<number, Uint32Array>()

  /**
   * @param difficulties of all patches, at least one
   * @param run steps [first, steps); the share classLevelFrom is one of these steps
   */
  constructor(
    difficulties: ArrayLike<number>,
    run: { batchSize: number; first?: number; steps: number; seed: number },
    options?: SamplerOptions,
  ) {
    this.options = checkSamplerOptions(options)
    this.#batchSize = run.batchSize
    this.#seed = run.seed
    this.classes = buildClasses(difficulties, this.options)
    const members: number[][] = Array.from({ length: this.classes.count }, () => [])
    for (let patch = 0; patch < difficulties.length; patch++)
      members[classOf(this.classes, difficulties[patch]!) - 1]!.push(patch)
    this.members = members.map((list) => Uint32Array.from(list))
    const first = run.first ?? 0
    // 0.07 * 100 must be step 7 although the product is a little more than 7.
    this.classLevelStep =
      this.options.kind !== 'hes'
        ? run.steps
        : Math.min(run.steps, first + Math.ceil(this.options.classLevelFrom * (run.steps - first) - 1e-9))
    const delta = this.options.kind === 'balanced' ? 1 : this.options.delta
    const weights = this.members.map((list, i) => (list.length === 0 ? 0 : delta ** (this.classes.count - 1 - i)))
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    let sum = 0
    this.#cumulative = weights.map((weight) => (sum += weight) / total)
    this.#pool = Uint32Array.from(difficulties, (_, patch) => patch)
    if (this.options.kind === 'hardest') {
      const byDifficulty = this.#pool.sort((a, b) => difficulties[b]! - difficulties[a]! || a - b)
      this.#pool = byDifficulty.slice(0, Math.ceil(this.options.share! * difficulties.length))
    }
    this.#difficulty = new Float64Array(this.options.kind === 'difficulty' ? difficulties.length : 0)
    let reached = 0
    for (let i = 0; i < this.#difficulty.length; i++) this.#difficulty[i] = reached += difficulties[i]!
  }

  /** Whether step k (from 0) draws patches or classes. */
  level(step: number): 'sample' | 'class' {
    return step < this.classLevelStep ? 'sample' : 'class'
  }

  /** The batchSize patches of step k (from 0), as indices into the difficulties. */
  draw(step: number): Uint32Array {
    const patches = new Uint32Array(this.#batchSize)
    for (let slot = 0; slot < patches.length; slot++) patches[slot] = this.#patch(step, slot)
    return patches
  }

  #patch(step: number, slot: number): number {
    const { kind } = this.options
    const position = step * this.#batchSize + slot
    // Of 'balanced' every second patch of the run, so that odd batches are balanced too.
    if (kind === 'balanced') return position % 2 === 0 ? this.#bySample(position / 2) : this.#byClass(step, slot)
    if (kind === 'difficulty' && this.#difficulty.at(-1)! > 0) return this.#byDifficulty(step, slot)
    return this.level(step) === 'sample' ? this.#bySample(position) : this.#byClass(step, slot)
  }

  /** Every patch of the pool once an epoch, in another order in each. */
  #bySample(position: number): number {
    const count = this.#pool.length
    const epoch = Math.floor(position / count)
    let order = this.#orders.get(epoch)
    if (!order) {
      order = permutation(count, randomFor(this.#seed, streams.order, epoch))
      this.#orders.set(epoch, order)
      if (this.#orders.size > 2) this.#orders.delete(this.#orders.keys().next().value!)
    }
    return this.#pool[order[position % count]!]!
  }

  #byDifficulty(step: number, slot: number): number {
    const drawn = randomFor(this.#seed, streams.difficulty, step, slot).next() * this.#difficulty.at(-1)!
    let [low, high] = [0, this.#difficulty.length - 1]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#difficulty[middle]! > drawn) high = middle
      else low = middle + 1
    }
    return low
  }

  #byClass(step: number, slot: number): number {
    const random = randomFor(this.#seed, streams.classLevel, step, slot)
    const drawn = random.next()
    // Never an empty class: its cumulative weight equals its predecessor's. The fallback is for rounding at the end.
    let index = this.#cumulative.findIndex((cumulative) => drawn < cumulative)
    if (index < 0) index = this.members.findLastIndex((list) => list.length > 0)
    const members = this.members[index]!
    return members[random.integer(members.length)]!
  }
}
