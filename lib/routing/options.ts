// Options that upscale and the infer stream share: which subnet a tile gets, how much context, how regions are merged.
import { invalidOption } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { checkInteger, checkNumber, checkSignal } from '../options.js'
import { checkRouter, type Router, type RouterKind } from './routers.js'

/** How each tile's subnet is chosen. */
export interface RoutingOptions {
  /** Default: 'calibrated' where the model has a router table, else 'projection'. See {@link Router}. */
  router?: Router
  /**
   * Mean cost wanted, as a share (0..1] of the largest subnet's cost on the whole picture; halo is included. 1 sets no
   * limit. When even the smallest subnet everywhere exceeds the budget, the smallest subnet runs. Not used by 'projection'
   * and { subnet }. Default 0.6.
   */
  budget?: number
  /** alpha of 'projection-budget'. Default 1. */
  alpha?: number
  /**
   * Subnets that the router may choose, ascending indices into model.subnets; not with { subnet }. Default: all. Costs are
   * shares of the largest of all.
   */
  subnets?: readonly number[]
  /**
   * LR pixels of context around the kept part of a tile (at most the receptive field is used). With at least the
   * receptive field, and one subnet everywhere, the result equals that of the whole picture. Default 'auto': 4.
   */
  halo?: 'auto' | number
  /** Upper bound of LR pixels that same-subnet tiles are merged to; memory follows it. Default 32768, on CUDA 262144. */
  regionPixels?: number
  /** Tile rows in memory together; by default about 256 LR pixels of them. */
  groupRows?: number
  signal?: AbortSignal
}

/** Checked options with defaults. */
export interface RoutingSettings {
  router: RouterKind
  budget: number
  alpha: number
  /** null: all. */
  subnets: readonly number[] | null
  halo: 'auto' | number
  regionPixels: number
  groupRows: number | undefined
  signal: AbortSignal | undefined
}

/** Keys of {@link RoutingOptions}. */
export const ROUTING_KEYS = ['router', 'budget', 'alpha', 'subnets', 'halo', 'regionPixels', 'groupRows', 'signal']

/** A GPU reaches its speed only with much work at once. */
export function defaultRegionPixels(state: ModelState): number {
  return state.engine.device.regular ? 1 << 18 : 1 << 15
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkRouting(options: Record<string, unknown>, state: ModelState): RoutingSettings {
  const {
    budget = 0.6,
    alpha = 1,
    halo = 'auto',
    regionPixels = defaultRegionPixels(state),
    groupRows,
    signal,
  } = options
  if (typeof halo !== 'number' && halo !== 'auto')
    throw invalidOption('halo', "'auto' or an integer of at least 0", halo)
  if (typeof budget !== 'number' || !(budget > 0 && budget <= 1))
    throw invalidOption('budget', 'a number above 0 and at most 1', budget)
  if (typeof alpha !== 'number' || !(alpha > 0 && alpha < Infinity))
    throw invalidOption('alpha', 'a number above 0', alpha)
  return {
    router: checkRouter(options.router, state),
    budget: checkNumber(budget, 'budget', 0, 1),
    alpha,
    subnets: checkSubnets(options.subnets, options.router, state.engine.subnets.length),
    halo: halo === 'auto' ? halo : checkInteger(halo, 'halo', 0, 4096),
    regionPixels: checkInteger(regionPixels, 'regionPixels', 256, 1 << 26),
    groupRows: groupRows === undefined ? undefined : checkInteger(groupRows, 'groupRows', 1, 4096),
    signal: signal === undefined ? undefined : checkSignal(signal, 'signal'),
  }
}

function checkSubnets(value: unknown, router: unknown, count: number): readonly number[] | null {
  if (value === undefined) return null
  if (typeof router === 'object') throw invalidOption('subnets', 'nothing with router { subnet }', value)
  const list: unknown[] = Array.isArray(value) ? value : []
  const ascending = list.every(
    (m, i) => Number.isInteger(m) && (m as number) > (i === 0 ? -1 : (list[i - 1] as number)),
  )
  if (list.length === 0 || !ascending || (list.at(-1) as number) >= count)
    throw invalidOption('subnets', `ascending indices of subnets, 0 to ${count - 1}`, value)
  return list as number[]
}
