// What routers are measured against: random subnets, and an oracle that knows every tile's error with every subnet.
import { createHash } from 'node:crypto'
import type { RgbImage } from '../data/decode.js'
import { upscale } from '../infer/upscale.js'
import type { ModelState } from '../model-state.js'
import { native } from '../native.js'
import { randomFor } from '../random.js'
import { leastWithin } from '../routing/lagrange.js'
import { addedErrors } from '../routing/tile-loss.js'
import { costShares } from '../tiling/flops.js'
import { type Grid, makeGrid, tileArea } from '../tiling/grid.js'

/** Of the tile's subnet: random ones at a mean cost, or the cheapest ones that the true errors allow. */
export type Rival =
  | { kind: 'random'; budget: number | null; seed: number; tile: number }
  | { kind: 'oracle'; goal: { loss: number } | { budget: number }; tile: number }

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

/** Tiles get subnets whatever they show. */
function randomTiles(state: ModelState, lr: RgbImage, grid: Grid, rival: Rival & { kind: 'random' }): number[] {
  const probabilities = shuffledAt(costShares(state.engine.subnets), rival.budget)
  // Every picture draws its own numbers, in whatever order pictures come.
  const random = randomFor(rival.seed, RANDOM_TILES, createHash('sha256').update(lr.data).digest().readUInt32LE(0))
  return Array.from({ length: grid.columns * grid.rows }, () => {
    let left = random.next()
    return Math.max(
      0,
      probabilities.findIndex((p) => (left -= p) < 0),
    )
  })
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

/** The cheapest subnets with which this picture loses at most so much PSNR, or the best ones within a mean cost. */
async function oracleTiles(
  state: ModelState,
  pair: { lr: RgbImage; hr: RgbImage },
  grid: Grid,
  { goal }: Rival & { kind: 'oracle' },
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const costs = costShares(state.engine.subnets)
  const squaredError = await tileErrors(state, pair.lr, pair.hr, grid, signal)
  const whole = pair.lr.width * pair.lr.height
  const frequency = areasOf(grid).map(({ width, height }) => (width * height) / whole)
  if ('loss' in goal) {
    // Every tile is a class of its own.
    const weight = addedErrors({ squaredError, frequency })
    return leastWithin({ value: weight.map(() => costs), weight, frequency }, 10 ** (goal.loss / 10) - 1)
  }
  return leastWithin({ value: squaredError, weight: squaredError.map(() => costs), frequency }, goal.budget)
}

/** The subnet of every tile of a picture, row by row. */
export async function rivalTiles(
  state: ModelState,
  pair: { lr: RgbImage; hr: RgbImage },
  rival: Rival,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const grid = makeGrid(pair.lr.width, pair.lr.height, rival.tile)
  return rival.kind === 'random'
    ? randomTiles(state, pair.lr, grid, rival)
    : await oracleTiles(state, pair, grid, rival, signal)
}
