// How long a job takes on a number of workers: list scheduling of its bands, and the parts that are not shared.

import { ASSUMED, type Speeds } from './assumed.js'
import type { Price } from './picture-job.js'

/** What the prediction takes for granted. */
export interface Assumptions extends Speeds {
  /** 2 x MAC that each worker does in a second. */
  rate: number
}

/** How long a job is expected to take, from {@link predict}. */
export interface Prediction {
  workers: number
  /** From the submission to the result. */
  seconds: number
  /** Of them: before the first band, bands, and after the last one. */
  parts: { splitting: number; bands: number; assembly: number }
  /** Share of the workers' time for bands in which they work. */
  busy: number
}

/** When the last of some jobs is done, each of which goes to the worker that is free first; in the order given. */
export function makespan(seconds: readonly number[], workers: number): number {
  const free = new Array<number>(workers).fill(0)
  for (const length of seconds) {
    const first = free.indexOf(Math.min(...free))
    free[first]! += length
  }
  return Math.max(...free)
}

/**
 * Expected seconds of a job on a number of workers.
 *
 * @param prices of one picture, or of those of a folder, whose files are put together while other bands run
 * @param assumed in place of what the machine that planned was measured to do
 */
export function predict(prices: readonly Price[], workers: number, assumed: Partial<Assumptions> = {}): Prediction {
  const { rate, perBand, assembly, splitting } = {
    ...ASSUMED,
    ...prices[0]?.speeds,
    rate: prices[0]?.rate ?? 1,
    ...assumed,
  }
  const lengths = prices.flatMap(({ bands }) => bands.map(({ flops }) => flops / rate + perBand)).sort((a, b) => b - a)
  const bands = makespan(lengths, workers)
  const last = prices.reduce((most, { kind, bytes }) => Math.max(most, kind === 'bands' ? bytes.result : 0), 0)
  const parts = {
    splitting: prices.reduce((sum, price) => sum + (price.splitting ?? price.bytes.input / splitting), 0),
    bands,
    assembly: last / assembly,
  }
  const total = lengths.reduce((sum, length) => sum + length, 0)
  return {
    workers,
    seconds: parts.splitting + parts.bands + parts.assembly,
    parts,
    busy: bands > 0 ? total / (bands * workers) : 1,
  }
}
