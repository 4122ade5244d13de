// Options of upscale: their meaning, defaults and checks.
import { invalidOption } from '../errors.js'
import type { AlphaUse } from '../images/alpha.js'
import { checkReadOptions, READ_KEYS, type ReadOptions } from '../images/read-options.js'
import { checkWrap, type Wrap } from '../images/wrap.js'
import type { ModelState } from '../model-state.js'
import { checkChoice, checkFunction, checkInteger, checkObject } from '../options.js'
import { type CostTable, checkCostTable } from '../routing/cost-table.js'
import { checkRouting, ROUTING_KEYS, type RoutingOptions, type RoutingSettings } from '../routing/options.js'
import type { Router } from '../routing/routers.js'
import { isGlobal } from '../tiling/overlap.js'
import { checkMeasurable } from './measure-costs.js'

/** What `upscale` reports while it runs. */
export interface UpscaleProgress {
  /** Tiles finished. */
  done: number
  total: number
  /** Since the start. */
  seconds: number
}

/** How alpha is enlarged (see docs/pictures.md). */
export type AlphaChannel = 'auto' | AlphaUse

/** Subnets that the caller has chosen: an index for each tile, row by row (the tiles of `allocation.tiles`). */
export interface ChosenTiles {
  tiles: ArrayLike<number>
}

/** Options of `model.upscale`: routing, reading, tiles and memory. */
export interface UpscaleOptions extends Omit<RoutingOptions, 'router'>, ReadOptions {
  /**
   * Default: 'calibrated' where the model has a router table, else 'projection'. See {@link Router}; or { tiles }, a subnet for
   * every tile, for routers of one's own.
   */
  router?: Router | ChosenTiles
  /**
   * 'opacity': colour is premultiplied while it is enlarged, so that hidden colours do not show at edges. 'data': alpha
   * is a plane of its own and colours under it are kept. 'auto' (default): 'data' where the transparent pixels of the
   * picture hold colours that vary, else 'opacity'.
   */
  alphaChannel?: AlphaChannel
  /** The picture is a texture that repeats in x, y or both (true): the result repeats without a seam. Default false. */
  wrap?: Wrap
  /**
   * Edge of a tile in LR pixels, 16..4096, or 'image': the whole picture is one tile. Default 64; with models of other
   * tools whose attention sees the whole picture, 'image' up to 262144 LR pixels, else 256.
   */
  tile?: number | 'image'
  /**
   * - 'full' (default): every pixel, blended in float.
   * - 'paper': 32x32 tiles at step 28 on 8-bit grey or RGB, each rounded, overlaps averaged, the remainder at the right
   *   and bottom dropped, so the result is smaller than the picture; for comparing with published figures only.
   */
  protocol?: 'full' | 'paper'
  /**
   * The difficulties for which a budget is met. 'picture' (default): those of this picture, exactly. 'dataset': those
   * of the router table, with an estimated halo, as in a stream (the result then equals the stream's).
   */
  budgetScope?: 'picture' | 'dataset'
  /**
   * From `model.measureCosts()`: size of tiles and regions, and the subnet of each tile, are those with which this machine is
   * predicted to be fastest at the price of an error that `loss` sets. The same table gives the same pixels. For 'calibrated'
   * with `loss`; `tile` and `regionPixels` hold where they are given.
   */
  costs?: CostTable
  /** Awaited. If it throws or rejects, upscaling ends with that error. */
  onProgress?: (progress: UpscaleProgress) => unknown
}

/** Checked options with defaults. */
export interface UpscaleSettings extends RoutingSettings {
  /** null: the router chooses. */
  chosen: Int32Array | null
  read: ReadOptions
  alphaChannel: AlphaChannel
  wrap: { x: boolean; y: boolean }
  /** 'global': the largest that attention over the whole picture allows. */
  tile: number | 'image' | 'global'
  protocol: 'full' | 'paper'
  budgetScope: 'picture' | 'dataset'
  /** null: tiles and regions are as the options say. */
  costs: CostTable | null
  /** Whether tile and regionPixels were given. */
  given: { tile: boolean; regionPixels: boolean }
  onProgress: ((progress: UpscaleProgress) => unknown) | undefined
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkAlphaChannel(value: unknown, name: string): AlphaChannel {
  return value === undefined ? 'auto' : checkChoice(value, name, ['auto', 'opacity', 'data'])
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkUpscaleOptions(value: unknown, state: ModelState): UpscaleSettings {
  const options = checkObject(value, 'upscale options', [
    ...ROUTING_KEYS,
    ...READ_KEYS,
    'alphaChannel',
    'wrap',
    'tile',
    'protocol',
    'budgetScope',
    'costs',
    'onProgress',
  ])
  const { protocol = 'full', budgetScope = 'picture', onProgress } = options
  const tile = options.tile ?? (state.source && isGlobal(state.engine) ? 'global' : 64)
  const { sizeMultiple = 1 } = state.engine
  if (options.tile !== undefined && typeof tile !== 'number' && tile !== 'image')
    throw invalidOption('tile', "an integer between 16 and 4096 or 'image'", tile)
  if (protocol === 'paper') {
    for (const key of ['tile', 'halo', 'budgetScope', 'groupRows', 'regionPixels', 'wrap', 'alphaChannel', 'costs']) {
      if (options[key] !== undefined) throw invalidOption(key, "nothing with protocol 'paper'", options[key])
    }
  }
  const chosen = checkChosen(options, state)
  const routing = checkRouting(chosen ? { ...options, router: { subnet: 0 } } : options, state)
  return {
    ...routing,
    chosen,
    costs: options['costs'] === undefined ? null : checkCosts(options, routing, state),
    given: { tile: options['tile'] !== undefined, regionPixels: options['regionPixels'] !== undefined },
    read: checkReadOptions(options),
    alphaChannel: checkAlphaChannel(options['alphaChannel'], 'alphaChannel'),
    wrap: checkWrap(options['wrap'], 'wrap'),
    tile: typeof tile === 'number' ? checkTileEdge(tile, sizeMultiple) : (tile as 'image' | 'global'),
    protocol: checkChoice(protocol, 'protocol', ['full', 'paper']),
    budgetScope: checkChoice(budgetScope, 'budgetScope', ['picture', 'dataset']),
    onProgress: onProgress === undefined ? undefined : checkFunction(onProgress, 'onProgress'),
  }
}

function checkCosts(options: Record<string, unknown>, { router, goal }: RoutingSettings, state: ModelState): CostTable {
  if (!router.needsTable || !('loss' in goal))
    throw invalidOption('costs', "nothing unless the router is 'calibrated' and aims at `loss`", options['costs'])
  if (options['tile'] === 'image') throw invalidOption('tile', 'an edge, or nothing, with costs', 'image')
  checkMeasurable(state)
  return checkCostTable(options['costs'], state.engine)
}

function checkChosen(options: Record<string, unknown>, state: ModelState): Int32Array | null {
  const { router } = options
  if (typeof router !== 'object' || router === null || !('tiles' in router)) return null
  const { tiles } = checkObject(router, 'router', ['tiles'])
  for (const key of ['budget', 'alpha', 'budgetScope', 'wrap', 'costs'])
    if (options[key] !== undefined) throw invalidOption(key, 'nothing with router { tiles }', options[key])
  if (options['protocol'] === 'paper') throw invalidOption('protocol', "'full' with router { tiles }", 'paper')
  const last = state.engine.subnets.length - 1
  const list = Array.from(tiles as ArrayLike<unknown>)
  const wrong = list.findIndex((m) => !Number.isInteger(m) || (m as number) < 0 || (m as number) > last)
  if (list.length === 0 || wrong >= 0)
    throw invalidOption('router.tiles', `a subnet of 0 to ${last} for every tile`, list.length === 0 ? [] : list[wrong])
  return Int32Array.from(list as number[])
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkTileEdge(value: unknown, multiple: number): number {
  const tile = checkInteger(value, 'tile', 16, 4096)
  if (tile % multiple !== 0) throw invalidOption('tile', `a multiple of ${multiple}, which this network needs`, tile)
  return tile
}
