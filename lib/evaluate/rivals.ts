// What routers are measured against: random subnets, an oracle that knows every tile's error with every subnet, and networks that
// see a tile.
import { createHash } from 'node:crypto'
import type { RgbImage } from '../data/decode.js'
import { upscale } from '../infer/upscale.js'
import type { ModelState, TileNetwork } from '../model-state.js'
import { native } from '../native.js'
import { randomFor } from '../random.js'
import { shareOfTiles } from '../routing/class-map.js'
import { fitBudget } from '../routing/fit-budget.js'
import { leastWithin } from '../routing/lagrange.js'
import { defaultRegionPixels } from '../routing/options.js'
import { bestAtPrice, bestWithinBudget } from '../routing/price.js'
import { addedErrors } from '../routing/tile-loss.js'
import { costShares } from '../tiling/flops.js'
import { type Grid, makeGrid, tileArea } from '../tiling/grid.js'
import { overlapOf } from '../tiling/overlap.js'
import { patchesOf, TileRunner } from './tile-network.js'

/** Of the tile's subnet: random ones at a mean cost; the cheapest that the true errors allow; or as a network says. */
export type Rival =
  | { kind: 'random'; budget: number | null; seed: number; tile: number }
  | { kind: 'oracle'; goal: { loss: number } | { budget: number }; tile: number }
  | { kind: 'classsr'; budget: number | null; tile: number }
  | { kind: 'predictor'; goal: { alpha: number } | { budget: number }; tile: number }

/** The subnets of all tiles at a mean cost, halo not counted; null: without a limit. */
type Choice = (budget: number | null) => number[]

// Keeps these draws apart from others of the same seed.
const RANDOM_TILES = 0x4a11d

/**
 * Probabilities of the subnets whose mean cost is the budget: proportional to exp(-t cost), the ones of greatest entropy.
 *
 * @param budget null: all as likely; below the cheapest cost the cheapest alone
 */
export function shuffledAt(costs: readonly number[], budget: number | null): number[] {
  const at = (t: number) => {
    const weights = costs.map((cost) => Math.exp(-t * (cost - costs[t > 0 ? 0 : costs.length - 1]!)))
    const total = weights.reduce((a, b) => a + b)
    return weights.map((weight) => weight / total)
  }
  if (budget === null) return at(0)
  const costAt = (t: number) => at(t).reduce((sum, p, m) => sum + p * costs[m]!, 0)
  let [low, high] = [-1e4, 1e4]
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2
    if (costAt(middle) > budget) low = middle
    else high = middle
  }
  return at((low + high) / 2)
}

/** Tiles get subnets whatever they show. A tile's number is drawn once, so that it never rises as the budget falls. */
function randomChoice(lr: RgbImage, grid: Grid, costs: readonly number[], seed: number): Choice {
  // Every picture draws its own numbers, in whatever order pictures come.
  const random = randomFor(seed, RANDOM_TILES, createHash('sha256').update(lr.data).digest().readUInt32LE(0))
  const numbers = Array.from({ length: grid.columns * grid.rows }, () => random.next())
  return (budget) => {
    const probabilities = shuffledAt(costs, budget)
    return numbers.map((number) => {
      let left = number
      return Math.max(
        0,
        probabilities.findIndex((p) => (left -= p) < 0),
      )
    })
  }
}

function areasOf(grid: Grid): ReturnType<typeof tileArea>[] {
  return Array.from({ length: grid.columns * grid.rows }, (_, i) =>
    tileArea(grid, i % grid.columns, Math.floor(i / grid.columns)),
  )
}

/** [tile][subnet]: mean squared error per RGB sample in [0, 1], of the subnet on the whole picture. */
async function tileErrors(
  state: ModelState,
  lr: RgbImage,
  hr: RgbImage,
  grid: Grid,
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  const { scale } = state.network
  const areas = areasOf(grid)
  const rects = Int32Array.from(areas.flatMap(({ x, y, width, height }) => [x, y, width, height])).map((n) => n * scale)
  const target = await native.toRgbFloat(hr.data, hr.width, hr.height, 3)
  const errors: number[][] = areas.map(() => [])
  for (const { index } of state.engine.subnets) {
    const options = { router: { subnet: index }, tile: 'image' as const, ...(signal && { signal }) }
    const { data } = await upscale(state, { ...lr, channels: 3 }, options)
    const made = await native.toRgbFloat(data, hr.width, hr.height, 3)
    const sums = await native.squaredErrors(made, target, hr.width, hr.height, rects)
    areas.forEach(({ width, height }, i) => errors[i]!.push(sums[i]! / (3 * width * height * scale * scale)))
  }
  return errors
}

/** The outputs of a network for every tile. */
function outputsOf(network: TileNetwork, lr: RgbImage, grid: Grid): number[][] {
  const runner = new TileRunner(network)
  return areasOf(grid).map((area) => Array.from(runner.run(patchesOf(lr, area))))
}

/**
 * The subnet of every tile of a picture, row by row; a budget includes halo and merging, as that of upscale.
 *
 * @param halo option of the run
 */
export async function rivalTiles(
  state: ModelState,
  { lr, hr }: { lr: RgbImage; hr: RgbImage },
  rival: Rival,
  halo: 'auto' | number | undefined,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const grid = makeGrid(lr.width, lr.height, rival.tile)
  const costs = costShares(state.engine.subnets)
  const shares = areasOf(grid).map(({ width, height }) => (width * height) / (lr.width * lr.height))
  const overlap = overlapOf(halo ?? 'auto', state.engine, state.source !== undefined)
  const within = (budget: number | null, choice: Choice): number[] => {
    if (budget === null || budget === 1) return choice(null)
    return fitBudget(budget, choice, (tiles) =>
      shareOfTiles(state.engine, grid, tiles, overlap, defaultRegionPixels(state)),
    )
  }
  if (rival.kind === 'random') {
    const choice = randomChoice(lr, grid, costs, rival.seed)
    return rival.budget === null ? choice(null) : within(Math.min(rival.budget, 1 - 1e-12), choice)
  }
  if (rival.kind === 'oracle') {
    const squaredError = await tileErrors(state, lr, hr, grid, signal)
    const { goal } = rival
    if ('loss' in goal) {
      // Every tile is a class of its own.
      const weight = addedErrors({ squaredError, frequency: shares })
      return leastWithin({ value: weight.map(() => costs), weight, frequency: shares }, 10 ** (goal.loss / 10) - 1)
    }
    const choices = { value: squaredError, weight: squaredError.map(() => costs), frequency: shares }
    return within(goal.budget, (budget) => leastWithin(choices, budget ?? Infinity))
  }
  if (rival.kind === 'classsr') {
    const { network, subnets } = state.tileRouters!.classsr!
    const outputs = outputsOf(network, lr, grid)
    const ofClasses = subnets.map((m) => costs[m]!)
    const choice = byPrice(outputs, ofClasses, shares)
    return within(rival.budget, (budget) => choice(budget).map((k) => subnets[k]!))
  }
  const psnr = outputsOf(state.tileRouters!.predictor!.network, lr, grid).map((losses) => [
    ...losses.map((loss) => -loss),
    0,
  ])
  return 'alpha' in rival.goal
    ? bestAtPrice(psnr, costs, rival.goal.alpha)
    : within(rival.goal.budget, byPrice(psnr, costs, shares))
}

/** The choice by the lowest price at which the mean cost is within the budget. */
function byPrice(values: readonly number[][], costs: readonly number[], shares: readonly number[]): Choice {
  return (budget) => (budget === null ? bestAtPrice(values, costs, 0) : bestWithinBudget(values, costs, shares, budget))
}
