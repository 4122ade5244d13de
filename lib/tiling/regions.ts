// Regions of a group of tile rows, depending on the engine's device: as few as possible (merge.ts) or of few shapes
// (regular.ts).
import type { InferRegion, NativeEngine } from '../native.js'
import { type Band, bandSpan, evenBandSpan, type Grid, groupSpan } from './grid.js'
import { mergeTiles, regionLimits, regionOf } from './merge.js'
import type { Overlap } from './overlap.js'
import { regularRegions } from './regular.js'

/** Regions of few shapes do not begin at multiples of pixels. */
const isRegular = ({ device, sizeMultiple = 1 }: NativeEngine) => device.regular && sizeMultiple === 1

/** LR rows that a group's band should hold on this engine's device. */
export function groupBand(
  engine: NativeEngine,
  grid: Grid,
  group: number,
  margin: number,
): { top: number; bottom: number } {
  return (isRegular(engine) ? evenBandSpan : bandSpan)(grid, group, margin)
}

/** Regions of one group. subnets: of the group's tiles, row by row, -1 where a tile is missing. */
export function groupRegions(
  engine: NativeEngine,
  grid: Grid,
  group: number,
  band: Band,
  subnets: ArrayLike<number>,
  overlap: Overlap,
  regionPixels: number,
): InferRegion[] {
  const { subnets: byIndex } = engine
  // Where pixels are missing, region shapes vary in any case.
  if (isRegular(engine) && !band.mask)
    return regularRegions(grid, group, band, subnets, byIndex, { ...overlap, regionPixels })
  const { maxColumns, maxRows } = regionLimits(grid, regionPixels)
  return mergeTiles(subnets, grid.columns, groupSpan(grid, group).firstRow, maxColumns, maxRows).map((merged) =>
    regionOf(merged, grid, band, byIndex[merged.subnet]!, overlap.halo, overlap.blend),
  )
}

/** Regions of a whole picture, group by group. subnets: of all tiles, row by row. */
export function* pictureRegions(
  engine: NativeEngine,
  grid: Grid,
  subnets: ArrayLike<number>,
  overlap: Overlap,
  regionPixels: number,
): Generator<InferRegion[]> {
  for (let group = 0; group < grid.groups; group++) {
    const { firstRow, endRow } = groupSpan(grid, group)
    const own = Array.prototype.slice.call(subnets, firstRow * grid.columns, endRow * grid.columns)
    const band = groupBand(engine, grid, group, overlap.margin)
    yield groupRegions(engine, grid, group, band, own, overlap, regionPixels)
  }
}
