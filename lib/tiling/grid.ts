// A picture's grid of tiles, and the groups of tile rows that are in memory together.

/** A rectangle in LR pixels. */
export interface Area {
  x: number
  y: number
  width: number
  height: number
}

/** Tiles at multiples of `tile`, the last of each row and column clipped; groups of `groupRows` tile rows. */
export interface Grid {
  width: number
  height: number
  tile: number
  columns: number
  rows: number
  groupRows: number
  groups: number
}

/**
 * @param groupRows tile rows in memory together; by default about 256 LR pixels high, so that memory grows with
 *   the picture's width only and little halo is computed twice
 */
export function makeGrid(
  width: number,
  height: number,
  tile: number,
  groupRows = Math.max(1, Math.round(256 / tile)),
): Grid {
  const columns = Math.ceil(width / tile)
  const rows = Math.ceil(height / tile)
  return { width, height, tile, columns, rows, groupRows, groups: Math.ceil(rows / groupRows) }
}

/** `columns` x `rows` tiles from (column, row) on, clipped at the picture's border. */
export function tileArea(grid: Grid, column: number, row: number, columns = 1, rows = 1): Area {
  const x = column * grid.tile
  const y = row * grid.tile
  return {
    x,
    y,
    width: Math.min((column + columns) * grid.tile, grid.width) - x,
    height: Math.min((row + rows) * grid.tile, grid.height) - y,
  }
}

/** Share of the picture's area that each tile has, row by row. */
export function areaShares(grid: Grid): Float64Array {
  return Float64Array.from({ length: grid.columns * grid.rows }, (_, i) => {
    const { width, height } = tileArea(grid, i % grid.columns, Math.floor(i / grid.columns))
    return (width * height) / (grid.width * grid.height)
  })
}

/** Tile rows and LR rows of a group, [first, end). */
export function groupSpan(grid: Grid, group: number): { firstRow: number; endRow: number; y0: number; y1: number } {
  const firstRow = group * grid.groupRows
  const endRow = Math.min(firstRow + grid.groupRows, grid.rows)
  return { firstRow, endRow, y0: firstRow * grid.tile, y1: Math.min(endRow * grid.tile, grid.height) }
}

/** The rows of a group and its context that are in memory. */
export interface Band {
  /** LR rows of the picture, [top, bottom). */
  top: number
  bottom: number
  /** (bottom - top) x picture width, 0 where a pixel is missing; absent: none is missing. */
  mask?: Uint8Array
}

/** LR rows a group's band should hold: the group and `margin` context rows above and below, inside the picture. */
export function bandSpan(grid: Grid, group: number, margin: number): { top: number; bottom: number } {
  const { y0, y1 } = groupSpan(grid, group)
  return { top: Math.max(0, y0 - margin), bottom: Math.min(grid.height, y1 + margin) }
}

/**
 * As bandSpan for devices that are faster with few shapes: all bands have the same height, also at the picture's
 * borders.
 */
export function evenBandSpan(grid: Grid, group: number, margin: number): { top: number; bottom: number } {
  const rows = Math.min(grid.height, grid.groupRows * grid.tile + 2 * margin)
  const top = Math.max(0, Math.min(groupSpan(grid, group).y0 - margin, grid.height - rows))
  return { top, bottom: top + rows }
}

/** All tiles of tile rows [firstRow, endRow), row by row, as x, y, width, height with y counted from `originY`. */
export function tileRects(grid: Grid, firstRow: number, endRow: number, originY: number): Int32Array {
  const rects = new Int32Array((endRow - firstRow) * grid.columns * 4)
  let at = 0
  for (let row = firstRow; row < endRow; row++) {
    for (let column = 0; column < grid.columns; column++) {
      const { x, y, width, height } = tileArea(grid, column, row)
      rects.set([x, y - originY, width, height], at)
      at += 4
    }
  }
  return rects
}
