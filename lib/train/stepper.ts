// One optimizer step of a batch: at once, or in micro-batches whose gradients are summed in a fixed order (distributed/tree.ts),
// here or on several ranks.
import type { Batch } from '../data/dataset.js'
import type { NativeEngine, TrainData, TrainJob, TrainReport } from '../native.js'
import type { Gradients } from './distributed/gradients.js'
import type { Group } from './distributed/group.js'
import { treeSum } from './distributed/tree.js'
import type { Limits } from './divergence.js'

/** All of a step but its pixels. */
export type StepJob = Omit<TrainJob, 'batch' | 'width' | 'height' | 'lr' | 'hr' | 'source'>

/** A step that ended. `limits`: of the whole batch, where those of its parts were given. */
export interface Stepped {
  report: TrainReport
  limits: Limits | null
}

export interface Stepper {
  /** The parts of a batch of which gradients are computed at once. */
  parts(batch: Batch): Batch[]
  /** @param limits of each part; null: not wanted */
  run(parts: Batch[], job: StepJob, limits: Limits[] | null): Promise<Stepped>
}

const pixelsOf = (batch: Batch): TrainData & { batch: number; width: number; height: number } => ({
  batch: batch.batchSize,
  width: batch.lrSize,
  height: batch.lrSize,
  ...('source' in batch ? { source: batch.source } : { lr: batch.lr, hr: batch.hr }),
})

/** The whole batch at once. */
export class WholeBatch implements Stepper {
  readonly #engine: NativeEngine

  constructor(engine: NativeEngine) {
    this.#engine = engine
  }

  parts(batch: Batch): Batch[] {
    return [batch]
  }

  async run(parts: Batch[], job: StepJob, limits: Limits[] | null): Promise<Stepped> {
    const [batch] = parts as [Batch]
    return { report: await this.#engine.train({ ...pixelsOf(batch), ...job }), limits: limits && limits[0]! }
  }
}

/** Crops [from, from + count) of a batch. */
function cut(batch: Batch, from: number, count: number): Batch {
  const { step, lrSize, hrSize, level } = batch
  const to = from + count
  const facts = {
    step,
    batchSize: count,
    lrSize,
    hrSize,
    level,
    patches: batch.patches.subarray(from, to),
    classes: batch.classes.slice(from, to),
  }
  if ('source' in batch) return { ...facts, source: { ...batch.source, crops: batch.source.crops.slice(from, to) } }
  const planes = (values: Float32Array, size: number) => values.subarray(3 * size ** 2 * from, 3 * size ** 2 * to)
  return { ...facts, lr: planes(batch.lr, lrSize), hr: planes(batch.hr, hrSize) }
}

/** Numbers that are summed beside a gradient: those of a report, of limits, and the loss of each subnet. */
const MEANS = ['loss', 'data', 'balance', 'frequency', 'dataGradient', 'balanceGradient', 'sigmaGradient'] as const
const LIMITS = ['far', 'stuck', 'bicubic'] as const
const NUMBERS = 1 + MEANS.length + LIMITS.length

interface Summand<T> {
  gradient: T
  /** Whether something was not finite (0 or 1), MEANS, LIMITS, losses. */
  numbers: Float64Array
}

/** In micro-batches of equal size. A batch has those of this rank alone; the others come from the other ranks. */
export class MicroBatches<T> implements Stepper {
  readonly #engine: NativeEngine
  readonly #group: Group
  readonly #gradients: Gradients<T>
  readonly #count: number
  readonly #size: number

  /** @param micro how many a step has on all ranks, and crops in each */
  constructor(engine: NativeEngine, group: Group, gradients: Gradients<T>, micro: { count: number; size: number }) {
    this.#engine = engine
    this.#group = group
    this.#gradients = gradients
    this.#count = micro.count
    this.#size = micro.size
  }

  parts(batch: Batch): Batch[] {
    const count = batch.batchSize / this.#size
    return Array.from({ length: count }, (_, i) => cut(batch, i * this.#size, this.#size))
  }

  async run(parts: Batch[], job: StepJob, limits: Limits[] | null): Promise<Stepped> {
    const [group, gradients] = [this.#group, this.#gradients]
    const own = { seconds: 0, parts: 1 }
    let next = 0
    const leaf = async (): Promise<Summand<T>> => {
      const at = next++
      const report = await this.#engine.gradients({ ...pixelsOf(parts[at]!), ...job })
      own.seconds += report.seconds
      own.parts = Math.max(own.parts, report.parts)
      const limit = limits?.[at]
      const numbers = Float64Array.of(
        report.finite ? 0 : 1,
        ...MEANS.map((key) => report[key]),
        ...LIMITS.map((key) => limit?.[key] ?? 0),
        ...report.losses,
      )
      return { gradient: await gradients.hold(), numbers }
    }
    const empty = (): Summand<T> => ({
      gradient: gradients.take(),
      numbers: new Float64Array(NUMBERS + job.subnets.length),
    })
    const send = async ({ gradient, numbers }: Summand<T>, to: number): Promise<void> => {
      await gradients.send(gradient, to)
      await group.send(to, 'numbers', numbers)
    }
    const receive = async (into: Summand<T>, from: number): Promise<Summand<T>> => {
      await gradients.receive(into.gradient, from)
      await group.receive(from, 'numbers', into.numbers)
      return into
    }
    const sum =
      (await treeSum<Summand<T>>(this.#count, group, {
        leaf,
        add: async (into, other) => {
          await gradients.add(into.gradient, other.gradient)
          other.numbers.forEach((number, i) => {
            into.numbers[i]! += number
          })
          gradients.free(other.gradient)
        },
        send: async (value, to) => {
          await send(value, to)
          gradients.free(value.gradient)
        },
        receive: (from) => receive(empty(), from),
      })) ?? empty()
    await group.spread(
      (to) => send(sum, to),
      (from) => receive(sum, from),
    )
    await gradients.use(sum.gradient, 1 / this.#count)
    gradients.free(sum.gradient)
    const update = await this.#engine.apply(job)
    return this.#stepped(sum.numbers, { ...own, seconds: own.seconds + update.seconds }, update.finite, limits !== null)
  }

  #stepped(
    numbers: Float64Array,
    own: Pick<TrainReport, 'seconds' | 'parts'>,
    updated: boolean,
    limited: boolean,
  ): Stepped {
    const mean = numbers.map((number) => number / this.#count)
    const named = <K extends string>(keys: readonly K[], from: number) =>
      Object.fromEntries(keys.map((key, i) => [key, mean[from + i]!])) as Record<K, number>
    return {
      report: {
        finite: updated && numbers[0] === 0,
        ...named(MEANS, 1),
        losses: mean.subarray(NUMBERS),
        ...own,
      },
      limits: limited ? named(LIMITS, 1 + MEANS.length) : null,
    }
  }
}
