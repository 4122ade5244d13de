// What regions cost on one machine: FLOP/s of every subnet by size of region, and the seconds of a list of regions that follow
// from it (method.md section 6). Pure functions; lib/infer/measure-costs.ts measures the table.
import { invalidOption } from '../errors.js'
import type { InferRegion, NativeEngine } from '../native.js'
import { checkObject } from '../options.js'
import { regionFlops } from '../tiling/flops.js'

/** Edges of the tiles that are tried, the usual one first. */
export const TILES: readonly number[] = [64, 32, 128]

/** Speed of a model on one machine, measured by `model.measureCosts()`. Plain JSON; of use on a like machine only. */
export interface CostTable {
  /** Threads that the device computed with. */
  threads: number
  /** Square roots of the LR pixels that regions were measured with, ascending. */
  edges: number[]
  /** By subnet and edge: FLOP/s (2 x MAC) of one thread, with a region on every thread, blending included. */
  apart: number[][]
  /** By subnet: FLOP/s of all threads together on one region of the largest edge. */
  together: number[]
  /** Seconds per LR pixel that no choice of regions changes: difficulties, conversion of pixels, finishing of rows. */
  perPixel: number
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkCostTable(value: unknown, { subnets, device }: NativeEngine): CostTable {
  const table = checkObject(value, 'costs', ['threads', 'edges', 'apart', 'together', 'perPixel'])
  const positive = (list: unknown, length: number) =>
    Array.isArray(list) && list.length === length && list.every((x) => typeof x === 'number' && x > 0 && x < Infinity)
  const { threads, edges, apart, together, perPixel } = table
  const count = Array.isArray(edges) ? edges.length : 0
  const valid =
    count > 0 &&
    positive(edges, count) &&
    (edges as number[]).every((edge, i, all) => i === 0 || edge > all[i - 1]!) &&
    Array.isArray(apart) &&
    apart.length === subnets.length &&
    apart.every((row) => positive(row, count)) &&
    positive(together, subnets.length) &&
    positive([perPixel], 1)
  if (!valid)
    throw invalidOption('costs', `a table of this model's ${subnets.length} subnets, from model.measureCosts()`, value)
  if (threads !== device.threads)
    throw invalidOption('costs', `a table that was measured with the device's ${device.threads} threads`, `${threads}`)
  return table as unknown as CostTable
}

/** FLOP/s of one thread on a region of so many LR pixels: linear in the logarithm of the edge, constant outside. */
export function rateOf({ edges, apart }: CostTable, subnet: number, pixels: number): number {
  const rates = apart[subnet]!
  const edge = Math.sqrt(pixels)
  const above = edges.findIndex((at) => at >= edge)
  if (above === 0) return rates[0]!
  if (above < 0) return rates.at(-1)!
  const [low, high] = [edges[above - 1]!, edges[above]!]
  const share = Math.log(edge / low) / Math.log(high / low)
  return rates[above - 1]! + share * (rates[above]! - rates[above - 1]!)
}

/** By how much more than an even division the longest thread may take before threads share a region (cpu/device_infer.cc). */
const BARRIERS = 1.15

/** FLOPs or seconds of the thread that gets the most, where each takes the next job once it is free. */
function longestShare(jobs: readonly number[], threads: number): number {
  const busy = new Array<number>(threads).fill(0)
  for (const job of jobs) busy[busy.indexOf(Math.min(...busy))]! += job
  return Math.max(...busy)
}

/** Predicted seconds of regions that run as one job, in the order in which the device runs them: the costliest first. */
export function regionSeconds(table: CostTable, engine: NativeEngine, regions: readonly InferRegion[]): number {
  const { threads } = table
  const jobs = regions
    .map((region) => ({
      subnet: region.subnet,
      pixels: region.width * region.height,
      flops: regionFlops(region, engine.subnets[region.subnet]!),
    }))
    .sort((a, b) => b.flops - a.flops)
  let seconds = 0
  let rest = jobs
  let total = jobs.reduce((sum, { flops }) => sum + flops, 0)
  while (threads > 1 && rest.length > 0) {
    const flops = rest.map((job) => job.flops)
    if (longestShare(flops, threads) <= (BARRIERS * total) / threads) break
    const [first] = rest
    seconds += first!.flops / table.together[first!.subnet]!
    total -= first!.flops
    rest = rest.slice(1)
  }
  const apart = rest.map(({ flops, subnet, pixels }) => flops / rateOf(table, subnet, pixels))
  return seconds + (apart.length > 0 ? longestShare(apart, threads) : 0)
}
