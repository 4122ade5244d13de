// The table of routers: which subnet a gradient class gets (method.md section 6). A new router is a file with its
// RouterKind and a row here.
import { invalidOption } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { checkInteger, checkObject } from '../options.js'
import { arm } from './arm.js'
import { calibrated } from './calibrated.js'
import { projection, projectionBudget } from './projection.js'
import type { GoalName, RouterKind } from './router.js'

export type { ClassMap, RouterKind } from './router.js'

const ROUTERS = {
  /** m = ceil(k M / K), the paper's map from class to subnet; has no budget. */
  projection,
  /** m = argmin |alpha k C_m / K - C_t|, the paper's formula under a budget. */
  'projection-budget': projectionBudget,
  /** The cheapest map of an expected loss, or the best one under a mean cost, from the model's router table. */
  calibrated,
  /** ARM: the best trade-off between PSNR, by the model's lookup table from edge score, and cost. */
  arm,
} satisfies Record<string, RouterKind>

/**
 * - 'projection': m = ceil(k M / K), the paper's map from class to subnet; has no budget.
 * - 'projection-budget': m = argmin |alpha k C_m / K - C_t|, the paper's formula under a budget.
 * - 'calibrated': from the model's router table, the cheapest map whose expected loss against the largest subnet is `loss`;
 *   or the map with the least expected squared error under the mean cost `budget`; or what `guarantee` asks for.
 * - 'arm': the router of ARM, a rival: the subnet of the largest PSNR - alpha cost, PSNR by a lookup table from the edge score
 *   of the tile; `alpha` is the price in dB of the largest subnet's cost, or follows from `budget`. Needs calibrateRouter.
 * - { subnet }: always the same subnet (an index into model.subnets); has no budget.
 */
export type Router = keyof typeof ROUTERS | { subnet: number }

/** Names of all routers. */
export const routerNames = Object.keys(ROUTERS) as (keyof typeof ROUTERS)[]

/** The routers whose map can be chosen for `goal`, as an error message lists them. */
export function routersFor(goal: GoalName): string {
  const names = routerNames.filter((name) => (ROUTERS[name] as RouterKind).goals.includes(goal))
  return names.map((name) => `'${name}'`).join(', ')
}

function fixed(subnet: number): RouterKind {
  return { needsTable: false, goals: [], map: ({ classes }) => Array<number>(classes).fill(subnet) }
}

/** Whether a model has what a router needs. */
function isReady({ needsTable, measure }: RouterKind, { router, arm: lookup }: ModelState): boolean {
  return measure === 'edge' ? lookup !== undefined : router !== null || !needsTable
}

/** Names of the routers that a model can use, as an error message lists them. */
function namesFor(state: ModelState): string {
  const rows = Object.entries<RouterKind>(ROUTERS).filter(([, kind]) => isReady(kind, state))
  return `${rows.map(([name]) => `'${name}'`).join(', ')} or { subnet }`
}

/** The option `router`. @throws WbsrError WBSR_INVALID_OPTION */
export function checkRouter(value: unknown, state: ModelState): RouterKind {
  if (value === undefined) return state.router ? calibrated : projection
  if (typeof value === 'object' && value !== null) {
    const { subnet } = checkObject(value, 'router', ['subnet'])
    return fixed(checkInteger(subnet, 'router.subnet', 0, state.engine.subnets.length - 1))
  }
  if (typeof value !== 'string' || !Object.hasOwn(ROUTERS, value)) throw invalidOption('router', namesFor(state), value)
  const kind: RouterKind = ROUTERS[value as keyof typeof ROUTERS]
  if (isReady(kind, state)) return kind
  const why =
    kind.measure === 'edge'
      ? "this model has no table of ARM: calibrateRouter(model, { router: 'arm', hr }) measures it"
      : 'this model has no router table: checkpoints and weights of other tools have none'
  throw invalidOption('router', `${namesFor(state)} (${why})`, value)
}
