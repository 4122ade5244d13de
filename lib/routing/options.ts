// Options that upscale and the infer stream share: which subnet a tile gets, how much context, how regions are merged.
import { invalidOption } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { checkInteger, checkNumber, checkObject, checkSignal } from '../options.js'
import type { Goal, Guarantee } from './router.js'
import { checkRouter, type Router, type RouterKind, routersFor } from './routers.js'

/** How each tile's subnet is chosen. */
export interface RoutingOptions {
  /** Default: 'calibrated' where the model has a router table, else 'projection'. See {@link Router}. */
  router?: Router
  /**
   * Quality wanted: dB, 0 .. 100, that a picture's PSNR may lose against the largest subnet, in the mean over the pictures
   * that the router table was measured on. One price per dB holds for all pictures, so easy ones cost less than hard ones. For
   * 'calibrated', and its default: 0.02.
   */
  loss?: number
  /**
   * Cost wanted instead: mean cost as a share (0..1] of the largest subnet's on the whole picture; halo is included. 1 sets
   * no limit. When even the smallest subnet everywhere exceeds the budget, the smallest subnet runs. For 'calibrated', and
   * for 'projection-budget', whose default is 0.6; not used by 'projection' and { subnet }.
   */
  budget?: number
  /**
   * A bound for tiles instead: at least the share `confidence` (0.5 .. 0.9999) of tiles, of every class, loses at most `loss`
   * dB against the largest subnet, for pictures like those of the calibration (method.md section 6). Classes of which fewer
   * than 1 / (1 - confidence) - 1 tiles were measured get the largest subnet. For 'calibrated'.
   */
  guarantee?: Guarantee
  /**
   * Of 'projection-budget': the factor alpha, default 1. Of 'arm', in place of `budget`: the price, dB of PSNR that the cost of
   * the largest subnet must be worth.
   */
  alpha?: number
  /**
   * Subnets that the router may choose, ascending indices into model.subnets; not with { subnet }. Default: all. Costs are
   * shares of the largest of all; `loss` counts against the largest of these, and `guarantee` needs the largest of all.
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
  goal: Goal
  alpha: number
  /** null: all. */
  subnets: readonly number[] | null
  halo: 'auto' | number
  regionPixels: number
  groupRows: number | undefined
  signal: AbortSignal | undefined
}

/** Keys of {@link RoutingOptions}. */
export const ROUTING_KEYS = [
  'router',
  'loss',
  'budget',
  'guarantee',
  'alpha',
  'subnets',
  'halo',
  'regionPixels',
  'groupRows',
  'signal',
]

/** A GPU reaches its speed only with much work at once. */
export function defaultRegionPixels(state: ModelState): number {
  return state.engine.device.regular ? 1 << 18 : 1 << 15
}

/** dB, of 'calibrated'. */
export const DEFAULT_LOSS = 0.02
/** Of 'projection-budget'. */
export const DEFAULT_BUDGET = 0.6

function checkGuarantee(value: unknown, subnets: readonly number[] | null, state: ModelState): Guarantee {
  const { loss, confidence } = checkObject(value, 'guarantee', ['loss', 'confidence'])
  if (state.router && !state.router.tileLosses)
    throw invalidOption(
      'guarantee',
      'nothing with this model (its router table has no losses of tiles, since an older version measured it; calibrateRouter measures them)',
      value,
    )
  if (subnets && subnets.at(-1) !== state.engine.subnets.length - 1)
    throw invalidOption('guarantee', 'nothing with subnets that leave out the largest', value)
  if (typeof loss !== 'number' || !(loss > 0 && loss < Infinity))
    throw invalidOption('guarantee.loss', 'a number above 0 (dB)', loss)
  return { loss, confidence: checkNumber(confidence, 'guarantee.confidence', 0.5, 0.9999) }
}

/** A mean cost. @throws WbsrError WBSR_INVALID_OPTION */
export function checkBudget(value: unknown, name: string): number {
  if (typeof value !== 'number' || !(value > 0 && value <= 1))
    throw invalidOption(name, 'a number above 0 and at most 1', value)
  return value
}

/** `alpha` is a goal of some routers and a parameter of others. */
const GOALS = ['budget', 'loss', 'guarantee', 'alpha'] as const

/** What the map is chosen for. @throws WbsrError WBSR_INVALID_OPTION */
function checkGoal(
  options: Record<string, unknown>,
  router: RouterKind,
  subnets: readonly number[] | null,
  state: ModelState,
): Goal {
  const { budget, loss, guarantee, alpha } = options
  const given = GOALS.filter((name) => options[name] !== undefined && (name !== 'alpha' || router.goals.includes(name)))
  if (given.length > 1)
    throw invalidOption(
      given.join(' and '),
      'only one',
      given.map((name) => options[name]),
    )
  if (budget !== undefined) checkBudget(budget, 'budget')
  const [name] = given
  if (name !== undefined && name !== 'budget' && !router.goals.includes(name))
    throw invalidOption(
      name,
      `nothing with ${state.router ? 'this router' : 'a model that has no router table'} (it is for ${routersFor(name)})`,
      options[name],
    )
  if (name === 'alpha') return { alpha: alpha as number }
  if (guarantee !== undefined) return { guarantee: checkGuarantee(guarantee, subnets, state) }
  if (loss !== undefined) return { loss: checkNumber(loss, 'loss', 0, 100) }
  if (budget !== undefined) return { budget: budget as number }
  return router.goals[0] === 'loss' ? { loss: DEFAULT_LOSS } : { budget: DEFAULT_BUDGET }
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkRouting(options: Record<string, unknown>, state: ModelState): RoutingSettings {
  const { alpha = 1, halo = 'auto', regionPixels = defaultRegionPixels(state), groupRows, signal } = options
  if (typeof halo !== 'number' && halo !== 'auto')
    throw invalidOption('halo', "'auto' or an integer of at least 0", halo)
  if (typeof alpha !== 'number' || !(alpha > 0 && alpha < Infinity))
    throw invalidOption('alpha', 'a number above 0', alpha)
  const router = checkRouter(options.router, state)
  const subnets = checkSubnets(options.subnets, options.router, state.engine.subnets.length)
  return {
    router,
    goal: checkGoal(options, router, subnets, state),
    alpha,
    subnets,
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
