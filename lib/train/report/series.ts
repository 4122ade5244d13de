// Values of every step in bounded room: means over so many steps that at most MOST of them are kept.

/** Most means that are kept. */
const MOST = 1000

/** What is drawn of a step. */
export interface StepValues {
  loss: number
  data: number
  balance: number
  frequency: number
  learningRate: number
  sigma: number
  imagesPerSecond: number
  waitForData: number
}

const KEYS = [
  'loss',
  'data',
  'balance',
  'frequency',
  'learningRate',
  'sigma',
  'imagesPerSecond',
  'waitForData',
] as const

/** Plain JSON: the last step of each mean, how many steps it is of, and the means by name. */
export interface SeriesState {
  /** Steps of a mean. */
  every: number
  steps: number[]
  counts: number[]
  values: Record<keyof StepValues, number[]>
}

export const noSeries = (): SeriesState => ({
  every: 1,
  steps: [],
  counts: [],
  values: Object.fromEntries(KEYS.map((key) => [key, [] as number[]])) as SeriesState['values'],
})

/** Five digits: what a chart shows, in a third of the room. */
const rounded = (value: number): number => Number(value.toPrecision(5))

export class Series {
  readonly #state: SeriesState
  /** Of the mean under way. */
  #sums: StepValues | null = null
  #count = 0
  #step = 0

  constructor(state: SeriesState) {
    this.#state = state
  }

  add(step: number, values: StepValues): void {
    const sums = (this.#sums ??= { ...values })
    if (this.#count > 0) for (const key of KEYS) sums[key] += values[key]
    this.#count++
    this.#step = step
    if (step % this.#state.every === 0) this.#close()
  }

  /** With the mean under way. */
  state(): SeriesState {
    const open = this.#count > 0 ? [this.#count] : []
    const { every, steps, counts, values } = this.#state
    return {
      every,
      steps: [...steps, ...open.map(() => this.#step)],
      counts: [...counts, ...open],
      values: Object.fromEntries(
        KEYS.map((key) => [key, [...values[key], ...open.map((n) => rounded(this.#sums![key] / n))]]),
      ) as SeriesState['values'],
    }
  }

  #close(): void {
    const { steps, counts, values } = this.#state
    steps.push(this.#step)
    counts.push(this.#count)
    for (const key of KEYS) values[key].push(rounded(this.#sums![key] / this.#count))
    this.#sums = null
    this.#count = 0
    if (steps.length > MOST) this.#halve()
  }

  /** Twice as many steps in a mean. */
  #halve(): void {
    const state = this.#state
    state.every *= 2
    const groups: number[][] = []
    for (const [i, step] of state.steps.entries()) {
      const last = groups.at(-1)
      if (last && Math.ceil(state.steps[last[0]!]! / state.every) === Math.ceil(step / state.every)) last.push(i)
      else groups.push([i])
    }
    const total = (group: number[]) => group.reduce((sum, i) => sum + state.counts[i]!, 0)
    for (const key of KEYS)
      state.values[key] = groups.map((group) =>
        rounded(group.reduce((sum, i) => sum + state.values[key][i]! * state.counts[i]!, 0) / total(group)),
      )
    const { counts, steps } = state
    state.steps = groups.map((group) => steps[group.at(-1)!]!)
    state.counts = groups.map((group) => group.reduce((sum, i) => sum + counts[i]!, 0))
  }
}

/** With zeros for values that the wbsr that wrote it did not know. */
export function completeSeries(series: SeriesState): SeriesState {
  const known: Partial<SeriesState['values']> = series.values
  const zeros = series.steps.map(() => 0)
  const values = Object.fromEntries(KEYS.map((key) => [key, known[key] ?? [...zeros]])) as SeriesState['values']
  return { ...series, values }
}

/** Without what came after a step, from which the run goes on. */
export function seriesUntil({ every, steps, counts, values }: SeriesState, step: number): SeriesState {
  const kept = steps.filter((last) => last <= step).length
  return {
    every,
    steps: steps.slice(0, kept),
    counts: counts.slice(0, kept),
    values: Object.fromEntries(KEYS.map((key) => [key, values[key].slice(0, kept)])) as SeriesState['values'],
  }
}
