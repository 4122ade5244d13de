// The class -> subnet map of one picture, of a stream or of the paper's protocol, at a budget (method.md section 6).
import type { ModelState, RouterTable } from '../model-state.js'
import type { NativeEngine } from '../native.js'
import { costShares, flopsOf, pictureFlops, regionFlops } from '../tiling/flops.js'
import { areaShares, type Grid } from '../tiling/grid.js'
import type { Overlap } from '../tiling/overlap.js'
import { pictureRegions } from '../tiling/regions.js'
import { fitBudget } from './fit-budget.js'
import { routedState } from './measure.js'
import type { RoutingSettings } from './options.js'
import type { ClassMap, Goal } from './router.js'
import { expectedLoss, expectedLossOverall } from './tile-loss.js'

/** Average edge, in tiles, of the regions that a picture's tiles are merged into. */
export const MERGED_TILES = 2

/** Actual cost of the subnets of a picture's tiles, after merging and with halo, as a share of the largest subnet's. */
export function shareOfTiles(
  engine: NativeEngine,
  grid: Grid,
  tiles: readonly number[],
  overlap: Overlap,
  regionPixels: number,
): number {
  let flops = 0
  for (const regions of pictureRegions(engine, grid, tiles, overlap, regionPixels))
    for (const region of regions) flops += regionFlops(region, engine.subnets[region.subnet]!)
  return flops / pictureFlops(engine.subnets.at(-1)!, grid.width, grid.height)
}

/** The router's map for tiles of these class frequencies. */
function mapAt(model: ModelState, settings: RoutingSettings, frequency: readonly number[], goal: Goal): ClassMap {
  const state = routedState(model, settings)
  const { subnets } = state.engine
  const costs = costShares(subnets)
  const { router, alpha, subnets: allowed } = settings
  const input = { classes: state.classes.count, costs, frequency, goal, alpha, table: state.router }
  if (!allowed) return router.map(input)
  const of = <T>(values: readonly T[]): T[] => allowed.map((m) => values[m]!)
  const table = state.router && only(state.router, of)
  return router.map({ ...input, costs: of(costs), table }).map((m) => allowed[m]!)
}

/** A table of fewer subnets. */
function only(table: RouterTable, of: <T>(values: readonly T[]) => T[]): RouterTable {
  const { tileLosses, psnr } = table
  return {
    ...table,
    squaredError: table.squaredError.map(of),
    ...(psnr && { psnr: psnr.map(of) }),
    ...(tileLosses && { tileLosses: { ...tileLosses, quantiles: tileLosses.quantiles.map(of) } }),
  }
}

/** The map that a quality decides: one for all pictures, whose frequencies are those of the router table. */
function mapForQuality(state: ModelState, settings: RoutingSettings): ClassMap | null {
  if ('budget' in settings.goal) return null
  return mapAt(state, settings, routedState(state, settings).router!.frequency, settings.goal)
}

/** The router's map at the largest budget at which its actual cost, by `shareOf`, is within the wanted budget. */
function mapWithin(
  state: ModelState,
  settings: RoutingSettings,
  frequency: readonly number[],
  shareOf: (map: ClassMap) => number,
): ClassMap {
  const { router, goal } = settings
  if (!('budget' in goal) || !router.goals.includes('budget') || goal.budget === 1)
    return mapAt(state, settings, frequency, goal)
  return fitBudget(goal.budget, (budget) => mapAt(state, settings, frequency, { budget }), shareOf)
}

/** What the router table expects of a map. */
export interface Expectation {
  /** Loss of a picture's PSNR against the largest subnet (of those that the option `subnets` allows), dB. */
  loss: number
  /** Mean cost as a share of the largest subnet's, halo not counted. */
  cost: number
}

/**
 * What a map is expected to lose and cost; null: the model has no table.
 *
 * @param frequency shares of a picture's tiles by class; absent: mean over the pictures of the calibration
 */
export function expectationOf(
  state: ModelState,
  settings: Pick<RoutingSettings, 'router' | 'subnets'>,
  map: ClassMap,
  frequency?: readonly number[],
): Expectation | null {
  const { router: table } = routedState(state, settings)
  if (!table) return null
  const { subnets: allowed } = settings
  const against = allowed?.at(-1)
  const { subnets } = state.engine
  const shares = frequency ?? table.frequency
  return {
    loss: frequency ? expectedLoss(table, frequency, map, against) : expectedLossOverall(table, map, against),
    cost: shares.reduce((sum, share, k) => sum + share * subnets[map[k]!]!.flops, 0) / subnets.at(-1)!.flops,
  }
}

/** Shares of a picture's area by class of the router. */
export function frequencyIn(
  state: ModelState,
  settings: Pick<RoutingSettings, 'router'>,
  grid: Grid,
  classes: ArrayLike<number>,
): number[] {
  const frequency = new Array<number>(routedState(state, settings).classes.count).fill(0)
  areaShares(grid).forEach((share, i) => {
    frequency[classes[i]! - 1]! += share
  })
  return frequency
}

/**
 * The map for one picture whose tiles' classes are all known; its actual cost is within the budget.
 *
 * @param classes of all tiles of the grid, row by row
 */
export function mapForPicture(
  state: ModelState,
  settings: RoutingSettings,
  grid: Grid,
  classes: ArrayLike<number>,
  overlap: Overlap,
): ClassMap {
  const quality = mapForQuality(state, settings)
  if (quality) return quality
  return mapWithin(state, settings, frequencyIn(state, settings, grid, classes), (map) =>
    shareOfTiles(
      state.engine,
      grid,
      Array.from(classes, (k) => map[k - 1]!),
      overlap,
      settings.regionPixels,
    ),
  )
}

/**
 * The map for a picture whose difficulties are not known in advance: class frequencies come from the router table (equal
 * ones without a table), and halo is counted as if every region were `edge` LR pixels wide and high.
 */
export function mapForDataset(state: ModelState, settings: RoutingSettings, edge: number, overlap: Overlap): ClassMap {
  const quality = mapForQuality(state, settings)
  if (quality) return quality
  const { classes, router } = routedState(state, settings)
  const frequency = router?.frequency ?? new Array<number>(classes.count).fill(1 / classes.count)
  const largest = pictureFlops(state.engine.subnets.at(-1)!, edge, edge)
  const costs = state.engine.subnets.map((subnet) => {
    const seen = edge + 2 * (overlap.blend + Math.min(overlap.halo, subnet.receptiveField))
    const kept = Math.min(seen, edge + 2 * (overlap.blend + subnet.tailField))
    return flopsOf(subnet, seen ** 2, kept ** 2) / largest
  })
  return mapWithin(state, settings, frequency, (map) => map.reduce((sum, m, k) => sum + frequency[k]! * costs[m]!, 0))
}

/** Shares of tiles of one size by class of the router. */
export function frequencyOfTiles(
  state: ModelState,
  settings: Pick<RoutingSettings, 'router'>,
  classes: ArrayLike<number>,
): number[] {
  const frequency = new Array<number>(routedState(state, settings).classes.count).fill(0)
  for (let i = 0; i < classes.length; i++) frequency[classes[i]! - 1]! += 1 / classes.length
  return frequency
}

/**
 * The map of the paper's protocol, where all tiles have one size and no halo is counted: routers get the budget as it is,
 * without a correction for halo and merging.
 */
export function mapForPaper(state: ModelState, settings: RoutingSettings, classes: ArrayLike<number>): ClassMap {
  return (
    mapForQuality(state, settings) ?? mapAt(state, settings, frequencyOfTiles(state, settings, classes), settings.goal)
  )
}
