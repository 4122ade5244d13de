// Regions of few different shapes, for devices that compile every shape (CUDA: cuDNN plans and a graph for each), whereas
// merge.ts makes as few regions as possible. Tiles of one subnet become squares of 4 x 4, 2 x 2 and single tiles, whose
// inputs have one size each: at the borders of the picture and of the band the input window is shifted inwards instead of
// cut, which costs a little more. Kept parts and ramps are those of merge.ts.
import type { InferRegion, NativeSubnet } from '../native.js'
import { type Area, type Band, type Grid, groupSpan, tileArea } from './grid.js'
import { keptOf, type MergedTiles, reach } from './merge.js'

/** Edges in tiles, largest first. */
const SQUARES = [4, 2, 1]

export interface RegularContext {
  halo: number
  blend: number
  /** Upper bound of a region's LR pixels without halo, unless a single tile has more. */
  regionPixels: number
}

/**
 * Squares that cover each tile of some tile rows exactly once, aligned to their size within the group.
 *
 * @param subnets row by row; -1: no tile there
 * @param firstRow tile row of subnets[0] in the picture
 */
export function mergeSquares(
  subnets: ArrayLike<number>,
  columns: number,
  firstRow: number,
  largest: number,
): MergedTiles[] {
  const rows = subnets.length / columns
  const merged: MergedTiles[] = []
  const uniform = (column: number, row: number, edge: number, subnet: number) => {
    for (let y = row; y < row + edge; y++)
      for (let x = column; x < column + edge; x++) if (subnets[y * columns + x] !== subnet) return false
    return true
  }
  const split = (column: number, row: number, level: number) => {
    if (column >= columns || row >= rows) return
    const edge = SQUARES[level]!
    const subnet = subnets[row * columns + column]!
    if (column + edge <= columns && row + edge <= rows && uniform(column, row, edge, subnet)) {
      if (subnet >= 0) merged.push({ column, row: firstRow + row, columns: edge, rows: edge, subnet })
      return
    }
    const half = edge / 2
    for (const [dx, dy] of [
      [0, 0],
      [half, 0],
      [0, half],
      [half, half],
    ] as const)
      split(column + dx, row + dy, level + 1)
  }
  const level = SQUARES.findIndex((edge) => edge <= largest)
  const step = SQUARES[level]!
  for (let row = 0; row < rows; row += step)
    for (let column = 0; column < columns; column += step) split(column, row, level)
  return merged
}

/** Edge of the largest square that holds at most `regionPixels` LR pixels. */
export function largestSquare(grid: Grid, regionPixels: number): number {
  return SQUARES.find((edge) => edge <= grid.groupRows && (edge * grid.tile) ** 2 <= regionPixels) ?? 1
}

/** A length cut into pieces that differ by one at most, as [start, length]. */
function evenly(start: number, length: number, pieces: number): [number, number][] {
  const cut = (i: number) => start + Math.floor((length * i) / pieces)
  return Array.from({ length: pieces }, (_, i) => [cut(i), cut(i + 1) - cut(i)])
}

/** Cores of a group that has one subnet: near-square parts of at most `regionPixels` LR pixels, none smaller than a tile. */
function wholeCores(grid: Grid, group: number, regionPixels: number): Area[] {
  const { firstRow, endRow, y0, y1 } = groupSpan(grid, group)
  const height = y1 - y0
  const rows = Math.min(endRow - firstRow, Math.ceil(height / Math.sqrt(regionPixels)))
  const columns = Math.min(grid.columns, Math.ceil((grid.width * Math.ceil(height / rows)) / regionPixels))
  return evenly(y0, height, rows).flatMap(([y, h]) =>
    evenly(0, grid.width, columns).map(([x, width]) => ({ x, y, width, height: h })),
  )
}

/** Regions of one group whose band misses no pixel. subnets: of the group's tiles, row by row, -1 where one is missing. */
export function regularRegions(
  grid: Grid,
  group: number,
  band: Band,
  subnets: ArrayLike<number>,
  byIndex: readonly NativeSubnet[],
  context: RegularContext,
): InferRegion[] {
  const first = subnets[0]!
  const whole = first >= 0 && Array.prototype.every.call(subnets, (subnet) => subnet === first)
  if (whole) {
    const cores = wholeCores(grid, group, context.regionPixels)
    const width = Math.max(...cores.map((core) => core.width))
    const height = Math.max(...cores.map((core) => core.height))
    return cores.map((core) => windowOf(core, width, height, first, grid, band, byIndex, context))
  }
  const { firstRow } = groupSpan(grid, group)
  return mergeSquares(subnets, grid.columns, firstRow, largestSquare(grid, context.regionPixels)).map(
    ({ column, row, columns, rows, subnet }) =>
      windowOf(
        tileArea(grid, column, row, columns, rows),
        columns * grid.tile,
        rows * grid.tile,
        subnet,
        grid,
        band,
        byIndex,
        context,
      ),
  )
}

/** The region of one core, with an input window for cores of spanWidth x spanHeight. */
function windowOf(
  core: Area,
  spanWidth: number,
  spanHeight: number,
  subnet: number,
  grid: Grid,
  band: Band,
  byIndex: readonly NativeSubnet[],
  { halo, blend }: RegularContext,
): InferRegion {
  const margin = blend + Math.min(halo, byIndex[subnet]!.receptiveField)
  const width = Math.min(spanWidth + 2 * margin, grid.width)
  const height = Math.min(spanHeight + 2 * margin, band.bottom - band.top)
  const x = Math.max(0, Math.min(core.x - margin, grid.width - width))
  const y = Math.max(band.top, Math.min(core.y - margin, band.bottom - height))
  return {
    picture: 0,
    subnet,
    x,
    y: y - band.top,
    width,
    height,
    ...keptOf(core, reach(core, margin, grid, band), band, blend),
  }
}
