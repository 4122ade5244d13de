// Cuts a picture into bands of equal cost. A band is some groups of tile rows; the rows that two groups blend belong to the
// lower band, which therefore computes the last regions of the group above once more: its seam.
import type { ModelState } from '../model-state.js'
import type { InferRegion } from '../native.js'
import { regionFlops } from '../tiling/flops.js'
import { type Grid, groupSpan } from '../tiling/grid.js'
import type { Overlap } from '../tiling/overlap.js'
import { groupBand, groupRegions } from '../tiling/regions.js'

/** Groups [first, end) of a picture and their cost, the seam included. */
export interface Band {
  first: number
  end: number
  /** 2 x MAC. */
  flops: number
}

/** 2 x MAC of a group, and of those of its regions that reach into the rows that the next group blends. */
export interface GroupCost {
  flops: number
  seam: number
}

/** All regions of a group, as upscale() runs them. subnets: of the picture's tiles, row by row. */
export function regionsOf(
  { engine }: Pick<ModelState, 'engine'>,
  grid: Grid,
  group: number,
  subnets: Uint8Array | Int32Array,
  overlap: Overlap,
  regionPixels: number,
): { regions: InferRegion[]; top: number } {
  const { firstRow, endRow } = groupSpan(grid, group)
  const band = groupBand(engine, grid, group, overlap.margin)
  const own = subnets.subarray(firstRow * grid.columns, endRow * grid.columns)
  return { regions: groupRegions(engine, grid, group, band, own, overlap, regionPixels), top: band.top }
}

/** The regions of a group that the rows from `row` (of the picture) on need. top: the row that regions count from. */
export function seamRegions({ regions, top }: { regions: InferRegion[]; top: number }, row: number): InferRegion[] {
  return regions.filter(({ keepY, keepHeight }) => top + keepY + keepHeight > row)
}

export function groupCosts(
  state: ModelState,
  grid: Grid,
  subnets: Uint8Array | Int32Array,
  overlap: Overlap,
  regionPixels: number,
): GroupCost[] {
  const sum = (regions: readonly InferRegion[]) =>
    regions.reduce((total, region) => total + regionFlops(region, state.engine.subnets[region.subnet]!), 0)
  return Array.from({ length: grid.groups }, (_, group) => {
    const all = regionsOf(state, grid, group, subnets, overlap, regionPixels)
    const last = groupSpan(grid, group).y1 - overlap.blend
    return { flops: sum(all.regions), seam: group + 1 < grid.groups ? sum(seamRegions(all, last)) : 0 }
  })
}

/** Bands from the top as long as each costs at most `most`, at least one group each. */
function cutBelow(costs: readonly GroupCost[], most: number): Band[] {
  const bands: Band[] = []
  for (let group = 0; group < costs.length; group++) {
    const { flops } = costs[group]!
    const band = bands.at(-1)
    if (band && band.flops + flops <= most) {
      band.end = group + 1
      band.flops += flops
    } else bands.push({ first: group, end: group + 1, flops: flops + (costs[group - 1]?.seam ?? 0) })
  }
  return bands
}

/**
 * At most `count` bands whose costliest costs as little as possible: by bisection of what a band may cost.
 *
 * @param count at least 1; no more than there are groups are made
 */
export function cutBands(costs: readonly GroupCost[], count: number): Band[] {
  let high = costs.reduce((sum, { flops }) => sum + flops, 0)
  let low = high / Math.max(1, count)
  let best = cutBelow(costs, high)
  for (let step = 0; step < 50 && high > low * (1 + 1e-6); step++) {
    const middle = (low + high) / 2
    const bands = cutBelow(costs, middle)
    if (bands.length <= count) {
      best = bands
      high = middle
    } else low = middle
  }
  return best
}
