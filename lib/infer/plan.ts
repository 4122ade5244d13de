// How one picture is divided into tiles, and which subnet each of them gets, as the options say.
import { invalidOption } from '../errors.js'
import type { ModelState } from '../model-state.js'
import type { RouteResult } from '../native.js'
import {
  type Expectation,
  expectationOf,
  frequencyIn,
  MERGED_TILES,
  mapForDataset,
  mapForPicture,
} from '../routing/class-map.js'
import { type Grid, makeGrid } from '../tiling/grid.js'
import type { Overlap } from '../tiling/overlap.js'
import type { UpscaleSettings } from './options.js'

/** How one picture is divided. */
export interface Plan extends RouteResult {
  grid: Grid
  /** Of all tiles, row by row. */
  subnets: Int32Array
  /** Bound of the LR pixels that same-subnet tiles are merged to. */
  regionPixels: number
  /** Allocation.expected and expectedOverall. */
  expected: Expectation | null
  expectedOverall: Expectation | null
  /** Predicted seconds of the whole upscale, without decoding; null: not predicted. */
  seconds: number | null
}

/** With attention over the whole picture: pictures up to this many LR pixels are one tile; the tile of larger ones. */
const GLOBAL_PIXELS = 1 << 18
const GLOBAL_TILE = 256

export function tileEdge(tile: UpscaleSettings['tile'], width: number, height: number): number {
  if (typeof tile === 'number') return tile
  return tile === 'image' || width * height <= GLOBAL_PIXELS ? Math.max(width, height) : GLOBAL_TILE
}

/**
 * The plan that follows from the options alone, the same on every machine.
 *
 * @param route difficulties and classes of a grid's tiles
 */
export async function planOf(
  state: ModelState,
  settings: UpscaleSettings,
  { width, height }: { width: number; height: number },
  overlap: Overlap,
  route: (grid: Grid) => Promise<RouteResult>,
): Promise<Plan> {
  const { chosen, regionPixels, budgetScope } = settings
  const grid = makeGrid(width, height, tileEdge(settings.tile, width, height), settings.groupRows)
  const routed = await route(grid)
  const { classes } = routed
  if (chosen) {
    if (chosen.length !== classes.length)
      throw invalidOption(
        'router.tiles',
        `${grid.columns} x ${grid.rows} subnets, as many as the picture has tiles of ${grid.tile} LR pixels`,
        `${chosen.length}`,
      )
    return { grid, ...routed, subnets: chosen, regionPixels, expected: null, expectedOverall: null, seconds: null }
  }
  const map =
    budgetScope === 'picture'
      ? mapForPicture(state, settings, grid, classes, overlap)
      : mapForDataset(state, settings, MERGED_TILES * grid.tile, overlap)
  return {
    grid,
    ...routed,
    subnets: classes.map((k) => map[k - 1]!),
    regionPixels,
    expected: expectationOf(state, settings, map, frequencyIn(state, settings, grid, classes)),
    expectedOverall: expectationOf(state, settings, map),
    seconds: null,
  }
}
