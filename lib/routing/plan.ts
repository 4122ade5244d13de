// From difficulties and a budget to the class -> subnet map of one picture or of a stream (method.md section 6).

import type { RoutingSettings } from '../infer/options.js'
import type { ModelState } from '../model-state.js'
import type { InferRegion } from '../native.js'
import { bandSpan, evenBandSpan, type Grid, groupSpan, tileArea } from '../tiling/grid.js'
import { AUTO_HALO, type Band, BLEND, mergeTiles, regionFlops, regionLimits, regionOf } from '../tiling/merge.js'
import { regularRegions } from '../tiling/regular.js'
import { type ClassMap, calibratedMap, fitBudget, projectionBudgetMap, projectionMap } from './routers.js'

/** Tiles of a picture are on average merged to about two by two. */
export const MERGED_TILES = 2

/** Halo and overlap of a run, in LR pixels. `margin` is what a band needs around a group. */
export interface Context {
  halo: number
  blend: number
  margin: number
}

export function contextOf(settings: Pick<RoutingSettings, 'halo'>): Context {
  const halo = settings.halo === 'auto' ? AUTO_HALO : settings.halo
  const blend = Math.min(BLEND, halo)
  return { halo, blend, margin: halo + blend }
}

/** LR rows that a group's band should hold on this engine. */
export function groupBand(
  state: ModelState,
  grid: Grid,
  group: number,
  margin: number,
): { top: number; bottom: number } {
  return (state.engine.device.regular ? evenBandSpan : bandSpan)(grid, group, margin)
}

/** Regions of one group. subnets: of the group's tiles, row by row, -1 where a tile is missing. */
export function groupRegions(
  state: ModelState,
  grid: Grid,
  group: number,
  band: Band,
  subnets: ArrayLike<number>,
  context: Context,
  regionPixels: number,
): InferRegion[] {
  const { device, subnets: byIndex } = state.engine
  // Around missing pixels every region is another anyway.
  if (device.regular && !band.mask)
    return regularRegions(grid, group, band, subnets, byIndex, { ...context, regionPixels })
  const { maxColumns, maxRows } = regionLimits(grid, regionPixels)
  return mergeTiles(subnets, grid.columns, groupSpan(grid, group).firstRow, maxColumns, maxRows).map((merged) =>
    regionOf(merged, grid, band, byIndex[merged.subnet]!, context.halo, context.blend),
  )
}

/** What the largest subnet costs on the whole picture: 2 x MAC. */
export function largestFlops(state: ModelState, width: number, height: number): number {
  return (state.engine.subnets.at(-1)!.flops * width * height) / 1024
}

/** Real cost of a map on a picture, merged and with halo, as a share of largestFlops. */
function shareOfPicture(
  state: ModelState,
  grid: Grid,
  classes: ArrayLike<number>,
  map: ClassMap,
  context: Context,
  regionPixels: number,
): number {
  let flops = 0
  for (let group = 0; group < grid.groups; group++) {
    const { firstRow, endRow } = groupSpan(grid, group)
    const subnets = new Int32Array((endRow - firstRow) * grid.columns)
    for (let i = 0; i < subnets.length; i++) subnets[i] = map[classes[firstRow * grid.columns + i]! - 1]!
    for (const region of groupRegions(
      state,
      grid,
      group,
      groupBand(state, grid, group, context.margin),
      subnets,
      context,
      regionPixels,
    )) {
      flops += regionFlops(region, state.engine.subnets[region.subnet]!)
    }
  }
  return flops / largestFlops(state, grid.width, grid.height)
}

/** The router at a budget, for tiles of these class frequencies, with costs as shares of the largest subnet's. */
function mapAt(state: ModelState, settings: RoutingSettings, frequency: readonly number[], budget: number): ClassMap {
  const { count } = state.classes
  const { subnets } = state.engine
  const costs = subnets.map((subnet) => subnet.flops / subnets.at(-1)!.flops)
  if (typeof settings.router === 'object') return Array<number>(count).fill(settings.router.subnet)
  if (settings.router === 'projection') return projectionMap(count, subnets.length)
  if (settings.router === 'projection-budget') return projectionBudgetMap(count, costs, budget, settings.alpha)
  return calibratedMap(state.router!.squaredError, costs, frequency, budget)
}

/** Budget 1 is none, and the other routers have none. */
function hasBudget(settings: RoutingSettings): boolean {
  return typeof settings.router !== 'object' && settings.router !== 'projection' && settings.budget < 1
}

/** No cost limits the calibrated router then; projection-budget keeps its C_t. */
function unlimited(settings: RoutingSettings): number {
  return settings.router === 'calibrated' ? Infinity : settings.budget
}

/**
 * The map for one picture whose tiles' classes are all known: its real cost is within the budget.
 *
 * @param classes of all tiles of the grid, row by row
 */
export function planPicture(
  state: ModelState,
  settings: RoutingSettings,
  grid: Grid,
  classes: ArrayLike<number>,
  context: Context,
): ClassMap {
  const frequency = new Array<number>(state.classes.count).fill(0)
  for (let i = 0; i < classes.length; i++) {
    const { width, height } = tileArea(grid, i % grid.columns, Math.floor(i / grid.columns))
    frequency[classes[i]! - 1]! += (width * height) / (grid.width * grid.height)
  }
  if (!hasBudget(settings)) return mapAt(state, settings, frequency, unlimited(settings))
  return fitBudget(
    settings.budget,
    (budget) => mapAt(state, settings, frequency, budget),
    (map) => shareOfPicture(state, grid, classes, map, context, settings.regionPixels),
  )
}

/**
 * The map where the picture's difficulties are not known beforehand: frequencies are those of the router table (equal
 * ones without a table), and halo is counted as if every region were `edge` LR pixels wide and high.
 */
export function planDataset(state: ModelState, settings: RoutingSettings, edge: number, context: Context): ClassMap {
  const { count } = state.classes
  const frequency = state.router?.frequency ?? new Array<number>(count).fill(1 / count)
  if (!hasBudget(settings)) return mapAt(state, settings, frequency, unlimited(settings))
  const largest = state.engine.subnets.at(-1)!.flops
  const costs = state.engine.subnets.map((subnet) => {
    const seen = edge + 2 * (context.blend + Math.min(context.halo, subnet.receptiveField))
    const kept = Math.min(seen, edge + 2 * (context.blend + subnet.tailField))
    return ((subnet.flops - subnet.tailFlops) * seen ** 2 + subnet.tailFlops * kept ** 2) / (largest * edge ** 2)
  })
  return fitBudget(
    settings.budget,
    (budget) => mapAt(state, settings, frequency, budget),
    (map) => map.reduce((sum, m, k) => sum + frequency[k]! * costs[m]!, 0),
  )
}

/**
 * The map of the paper's protocol: every tile has the same size and no halo is counted. 'projection-budget' is the
 * paper's formula as it stands; only 'calibrated' has a mean cost to meet, and needs no correction for it.
 */
export function planPaper(state: ModelState, settings: RoutingSettings, classes: ArrayLike<number>): ClassMap {
  const frequency = new Array<number>(state.classes.count).fill(0)
  for (let i = 0; i < classes.length; i++) frequency[classes[i]! - 1]! += 1 / classes.length
  return mapAt(state, settings, frequency, hasBudget(settings) ? settings.budget : unlimited(settings))
}
