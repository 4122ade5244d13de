// The tiles and regions of one picture that a machine is predicted to be fastest with, at the price of errors that the option
// `loss` sets (method.md section 6). Tiles of several sizes are candidates, with and without smoothing and with large and small
// regions, and so is every subnet on the whole picture.
import { setImmediate as turn } from 'node:timers/promises'
import type { Cancellation } from '../cancellation.js'
import type { ModelState } from '../model-state.js'
import type { RouteResult } from '../native.js'
import { priceOfError } from '../routing/calibrated.js'
import type { Expectation } from '../routing/class-map.js'
import { type CostTable, rateOf, regionSeconds, TILES } from '../routing/cost-table.js'
import { smoothed } from '../routing/smooth.js'
import { addedErrors, expectedLossOfTiles } from '../routing/tile-loss.js'
import { costShares, pictureFlops } from '../tiling/flops.js'
import { areaShares, type Grid, makeGrid } from '../tiling/grid.js'
import type { Overlap } from '../tiling/overlap.js'
import { pictureRegions } from '../tiling/regions.js'
import type { UpscaleSettings } from './options.js'
import { type Plan, tileEdge } from './plan.js'

const REGION_PIXELS = [1 << 15, 1 << 13]
/** A picture of at most so many LR pixels may be a single region, which has no context to compute twice. */
const SINGLE_REGION = 1 << 17

/**
 * @param route difficulties and classes of a grid's tiles
 * @param settings goal: a loss
 */
export async function fastestPlan(
  state: ModelState,
  settings: UpscaleSettings,
  costs: CostTable,
  { width, height }: { width: number; height: number },
  overlap: Overlap,
  route: (grid: Grid) => Promise<RouteResult>,
  cancellation: Cancellation,
): Promise<Plan> {
  const { engine } = state
  const { goal, given } = settings
  const table = state.router!
  const allowed = settings.subnets ?? engine.subnets.map(({ index }) => index)
  const largest = allowed.at(-1)!
  const regionPixels = given.regionPixels ? [settings.regionPixels] : REGION_PIXELS
  const most = Math.max(width, height)
  const tiles = given.tile
    ? [tileEdge(settings.tile, width, height)]
    : TILES.filter((tile, i) => i === 0 || tile < most)

  /** Seconds of one thread per LR pixel in regions of a usual size. */
  const perPixel = engine.subnets.map((subnet, m) => pictureFlops(subnet, 1, 1) / rateOf(costs, m, 2 ** 14))
  const added = addedErrors(table, largest)
  const shares = allowed.map((m) => perPixel[m]! / perPixel[largest]!)
  const price = priceOfError(
    added.map((row) => allowed.map((m) => row[m]!)),
    shares,
    table.frequency,
    'loss' in goal ? goal.loss : 0,
  )

  /** Cost of a class with a subnet on the whole picture, in units of the largest subnet's time. */
  const costOf = (k: number, m: number) => perPixel[m]! / perPixel[largest]! + price * added[k]![m]!
  const cheapest = added.map((_, k) =>
    allowed.reduce((best, m) => (costOf(k, m) < costOf(k, best) ? m : best), largest),
  )

  let best: (Omit<Plan, 'expected' | 'expectedOverall'> & { seconds: number; cost: number }) | null = null
  const whole = (width * height * perPixel[largest]!) / costs.threads
  const offer = (grid: Grid, routed: RouteResult, subnets: Int32Array, sizes = regionPixels) => {
    const error = areaShares(grid).reduce(
      (sum, share, i) => sum + share * added[routed.classes[i]! - 1]![subnets[i]!]!,
      0,
    )
    for (const pixels of sizes) {
      let seconds = 0
      for (const regions of pictureRegions(engine, grid, subnets, overlap, pixels))
        seconds += regionSeconds(costs, engine, regions)
      const cost = seconds / whole + price * error
      if (best === null || cost < best.cost)
        best = {
          grid,
          ...routed,
          subnets,
          regionPixels: pixels,
          seconds: seconds + width * height * costs.perPixel,
          cost,
        }
    }
  }
  for (const [i, tile] of tiles.entries()) {
    const grid = makeGrid(width, height, tile, settings.groupRows)
    const routed = await route(grid)
    const subnets = Int32Array.from(routed.classes, (k) => cheapest[k - 1]!)
    offer(grid, routed, subnets)
    const ofTile = areaShares(grid)
    const smooth = smoothed(subnets, grid, {
      own: Array.from(routed.classes, (k, t) =>
        engine.subnets.map((_, m) => (allowed.includes(m) ? costOf(k - 1, m) * ofTile[t]! : Infinity)),
      ),
      edge: perPixel.map((seconds) => (seconds / perPixel[largest]!) * ((overlap.margin * tile) / (width * height))),
    })
    offer(grid, routed, smooth)
    if (i === 0) for (const m of allowed) offer(grid, routed, new Int32Array(subnets.length).fill(m))
    // Large pictures have many tiles; other work of the event loop goes between the candidates.
    await turn()
    cancellation.check()
  }
  if (!given.tile && !given.regionPixels && width * height <= SINGLE_REGION) {
    const grid = makeGrid(width, height, most, settings.groupRows)
    const routed = await route(grid)
    for (const m of allowed) offer(grid, routed, Int32Array.of(m), [width * height])
  }
  const plan = best!
  return { ...plan, expected: expectationOfTiles(state, plan, largest), expectedOverall: null }
}

/** What the router table expects of the plan. */
function expectationOfTiles(
  { router, engine }: ModelState,
  { grid, classes, subnets }: Pick<Plan, 'grid' | 'classes' | 'subnets'>,
  against: number,
): Expectation {
  const tiles = Array.from(areaShares(grid), (share, i) => ({ class: classes[i]!, subnet: subnets[i]!, share }))
  const cost = costShares(engine.subnets)
  return {
    loss: expectedLossOfTiles(router!, tiles, against),
    cost: tiles.reduce((sum, { subnet, share }) => sum + share * cost[subnet]!, 0),
  }
}
