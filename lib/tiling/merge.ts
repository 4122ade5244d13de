// Merges neighbouring tiles of one subnet into regions, so that their halo is not computed twice (method.md section 6). Pure
// functions: numbers in, rectangles out.
import type { InferRegion, NativeSubnet } from '../native.js'
import { type Area, type Band, type Grid, tileArea } from './grid.js'

/** A rectangle of tiles of one subnet: tile positions in the picture's grid. */
export interface MergedTiles {
  column: number
  row: number
  columns: number
  rows: number
  subnet: number
}

/**
 * Merges the tiles of some tile rows into rectangles that cover each tile exactly once: first runs within a row (long runs
 * are cut evenly), then equal runs of consecutive rows.
 *
 * @param subnets row by row; -1: no tile there
 * @param firstRow tile row of subnets[0] in the picture
 */
export function mergeTiles(
  subnets: ArrayLike<number>,
  columns: number,
  firstRow: number,
  maxColumns: number,
  maxRows: number,
): MergedTiles[] {
  const merged: MergedTiles[] = []
  // Keyed by first column, for linear time: pictures can be thousands of tiles wide, and routing tries several maps.
  let above = new Map<number, MergedTiles>()
  for (let row = 0; row * columns < subnets.length; row++) {
    const current = new Map<number, MergedTiles>()
    for (let start = 0; start < columns; ) {
      const subnet = subnets[row * columns + start]!
      let end = start + 1
      while (end < columns && subnets[row * columns + end] === subnet) end++
      if (subnet >= 0) {
        const pieces = Math.ceil((end - start) / maxColumns)
        for (let i = 0; i < pieces; i++) {
          const column = start + Math.floor(((end - start) * i) / pieces)
          const next = start + Math.floor(((end - start) * (i + 1)) / pieces)
          let region = above.get(column)
          if (region && region.columns === next - column && region.subnet === subnet && region.rows < maxRows)
            region.rows++
          else merged.push((region = { column, row: firstRow + row, columns: next - column, rows: 1, subnet }))
          current.set(column, region)
        }
      }
      start = end
    }
    above = current
  }
  return merged
}

/** Largest region in tiles that has at most about `maxPixels` LR pixels. Its rows divide the group evenly. */
export function regionLimits(grid: Grid, maxPixels: number): { maxColumns: number; maxRows: number } {
  let maxRows = grid.groupRows
  while (maxRows > 1 && maxRows * grid.tile > Math.sqrt(maxPixels)) maxRows = Math.ceil(maxRows / 2)
  return { maxColumns: Math.max(1, Math.floor(maxPixels / (maxRows * grid.tile * grid.tile))), maxRows }
}

/**
 * Context pixels of a region at each side of its core (left, top, right, bottom): `wanted`, less where the pixels end.
 */
export function reach(core: Area, wanted: number, grid: Grid, band: Band): [number, number, number, number] {
  const right = core.x + core.width
  const below = core.y + core.height
  const limits: [number, number, number, number] = [
    Math.min(wanted, core.x),
    Math.min(wanted, core.y - band.top),
    Math.min(wanted, grid.width - right),
    Math.min(wanted, band.bottom - below),
  ]
  const { mask } = band
  if (!mask) return limits
  // First rows over the core's width, then columns over these rows too, so that the input is a full rectangle.
  const full = (x0: number, y0: number, x1: number, y1: number) => {
    for (let y = y0; y < y1; y++) {
      const start = (y - band.top) * grid.width
      for (let x = x0; x < x1; x++) if (mask[start + x] === 0) return false
    }
    return true
  }
  const grow = (limit: number, free: (step: number) => boolean) => {
    let n = 0
    while (n < limit && free(n + 1)) n++
    return n
  }
  const top = grow(limits[1], (n) => full(core.x, core.y - n, right, core.y - n + 1))
  const bottom = grow(limits[3], (n) => full(core.x, below + n - 1, right, below + n))
  const left = grow(limits[0], (n) => full(core.x - n, core.y - top, core.x - n + 1, below + bottom))
  const rightReach = grow(limits[2], (n) => full(right + n - 1, core.y - top, right + n, below + bottom))
  return [left, top, rightReach, bottom]
}

/**
 * The region of one merged rectangle. Its kept part is the core and `blend` pixels over each inner edge, with a ramp
 * across that overlap; its input has `halo` pixels more (at most the receptive field). Positions count from the band's
 * first pixel.
 */
export function regionOf(
  merged: MergedTiles,
  grid: Grid,
  band: Band,
  subnet: NativeSubnet,
  halo: number,
  blend: number,
): InferRegion {
  const core = tileArea(grid, merged.column, merged.row, merged.columns, merged.rows)
  const around = reach(core, blend + Math.min(halo, subnet.receptiveField), grid, band)
  const [left, top, right, bottom] = around
  const seen = {
    x: core.x - left,
    y: core.y - band.top - top,
    width: core.width + left + right,
    height: core.height + top + bottom,
  }
  return { picture: 0, subnet: merged.subnet, ...seen, ...keptOf(core, around, band, blend) }
}

/** Kept part and ramps of a region. around: context pixels at its left, top, right and bottom. */
export function keptOf(
  core: Area,
  around: readonly [number, number, number, number],
  band: Band,
  blend: number,
): Omit<InferRegion, 'picture' | 'subnet' | keyof Area> {
  const [left, top, right, bottom] = around.map((n) => Math.min(blend, n)) as [number, number, number, number]
  const keepWidth = core.width + left + right
  const keepHeight = core.height + top + bottom
  return {
    keepX: core.x - left,
    keepY: core.y - band.top - top,
    keepWidth,
    keepHeight,
    // The neighbour extends as far over the same edge, so the two ramps coincide and sum to one.
    rampLeft: Math.min(2 * left, keepWidth),
    rampTop: Math.min(2 * top, keepHeight),
    rampRight: Math.min(2 * right, keepWidth),
    rampBottom: Math.min(2 * bottom, keepHeight),
  }
}
