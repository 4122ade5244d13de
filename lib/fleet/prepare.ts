// What a picture costs and how it is cut, known before anything is enlarged: all tiles are routed, which needs their gradients
// only.
import { WbsrError } from '../errors.js'
import { type AlphaUse, hasAlpha, splitColours } from '../images/alpha.js'
import { tileEdge } from '../infer/plan.js'
import type { ModelState } from '../model-state.js'
import { MERGED_TILES, mapForDataset, mapForPicture } from '../routing/class-map.js'
import { routedState } from '../routing/measure.js'
import { routeGroup } from '../routing/route-group.js'
import { type Grid, groupSpan, makeGrid } from '../tiling/grid.js'
import { isGlobal, type Overlap, overlapOf } from '../tiling/overlap.js'
import { type Band, cutBands, groupCosts } from './bands.js'
import type { PictureSettings } from './options.js'
import { alphaOf, type RowShape, type Rows } from './rows.js'

/** LR pixels of tile rows that are in memory together, as in `wbsr upscale`: wide pictures have fewer rows at a time. */
const GROUP_PIXELS = 1.3e6

/** A picture, routed and cut. */
export interface Cut {
  grid: Grid
  overlap: Overlap
  alpha: AlphaUse | undefined
  /** Of the tiles, row by row. */
  subnets: Uint8Array
  bands: Band[]
  /** 2 x MAC of all bands, and of the picture without seams. */
  flops: number
  whole: number
}

/** Why a picture cannot be made in bands; null: it can. */
export function whyWhole(state: ModelState, { width, height }: RowShape): string | null {
  const { minimumSize = 1, sizeMultiple = 1 } = state.engine
  if (isGlobal(state.engine)) return 'every pixel of this network depends on the whole picture'
  if (sizeMultiple > 1) return `this network needs sides that are multiples of ${sizeMultiple}`
  if (Math.min(width, height) < minimumSize) return `this network needs sides of at least ${minimumSize} pixels`
  return null
}

export function gridOf({ upscale }: PictureSettings, { width, height }: RowShape): Grid {
  const tile = tileEdge(upscale.tile, width, height)
  const usual = makeGrid(width, height, tile, upscale.groupRows)
  if (upscale.groupRows !== undefined) return usual
  const rows = Math.max(1, Math.min(usual.groupRows, Math.floor(GROUP_PIXELS / (width * tile))))
  return makeGrid(width, height, tile, rows)
}

/** Whether tiles get the same subnet whatever they show, so that their pixels need not be read. */
function isConstant(state: ModelState, map: ArrayLike<number>): boolean {
  return Array.prototype.every.call(map, (subnet) => subnet === map[0]) || state.engine.subnets.length === 1
}

/**
 * Routes and cuts a picture.
 *
 * @param rows read only where the routing or the meaning of alpha depends on pixels
 * @param rate 2 x MAC that one worker does in a second
 */
export async function cutPicture(state: ModelState, rows: Rows, settings: PictureSettings, rate: number): Promise<Cut> {
  const { shape } = rows
  const { upscale, signal, cut } = settings
  if (state.engine.subnets.length > 256) throw new WbsrError('WBSR_INTERNAL', 'A fleet stores subnets as bytes')
  const grid = gridOf(settings, shape)
  const overlap = overlapOf(upscale.halo, state.engine, state.source !== undefined)
  const alpha = await alphaOf(rows, upscale.alphaChannel, signal)
  const subnets = await routeTiles(state, rows, settings, grid, overlap, alpha)
  const costs = groupCosts(state, grid, subnets, overlap, upscale.regionPixels)
  const whole = costs.reduce((sum, { flops }) => sum + flops, 0)
  const bands = cutBands(costs, cut.bands ?? Math.max(1, Math.round(whole / rate / cut.bandSeconds)))
  return { grid, overlap, alpha, subnets, bands, flops: bands.reduce((sum, { flops }) => sum + flops, 0), whole }
}

async function routeTiles(
  state: ModelState,
  rows: Rows,
  settings: PictureSettings,
  grid: Grid,
  overlap: Overlap,
  alpha: AlphaUse | undefined,
): Promise<Uint8Array> {
  const { upscale, signal } = settings
  const { channels } = rows.shape
  const byDataset = mapForDataset(state, upscale, MERGED_TILES * grid.tile, overlap)
  const tiles = grid.columns * grid.rows
  // A map for quality or of one subnet is the same for every picture.
  const fixed = 'budget' in upscale.goal && upscale.budgetScope === 'picture' ? null : byDataset
  if (fixed && isConstant(state, fixed)) return new Uint8Array(tiles).fill(fixed[0]!)
  const classes = new Int32Array(tiles)
  for (let group = 0; group < grid.groups; group++) {
    signal?.throwIfAborted()
    const { firstRow, y0, y1 } = groupSpan(grid, group)
    const data = await rows.read(y0, y1 - y0)
    const colours = alpha === 'data' && hasAlpha(channels) ? splitColours(data, channels) : undefined
    const routed = await routeGroup(
      routedState(state, upscale),
      { data, top: y0, ...(colours && { colours }) },
      channels,
      grid,
      group,
    )
    classes.set(routed.classes, firstRow * grid.columns)
  }
  const map = fixed ?? mapForPicture(state, upscale, grid, classes, overlap)
  return Uint8Array.from(classes, (k) => map[k - 1]!)
}
