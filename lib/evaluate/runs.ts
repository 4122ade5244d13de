// Which settings evaluate() compares by default and in a sweep, and what they are called.
import { invalidOption } from '../errors.js'
import type { UpscaleOptions } from '../infer/options.js'
import type { ModelState } from '../model-state.js'
import { checkInteger, checkObject } from '../options.js'
import { DEFAULT_BUDGET, DEFAULT_LOSS } from '../routing/options.js'
import type { Router } from '../routing/routers.js'

/** One way to choose subnets, of those that are compared. */
export interface EvaluationRun
  extends Pick<
    UpscaleOptions,
    'loss' | 'budget' | 'guarantee' | 'alpha' | 'subnets' | 'halo' | 'tile' | 'budgetScope'
  > {
  /**
   * A router of upscale; or what routers are measured against: 'random', any subnet whatever the tile shows, at the mean cost
   * `budget` (default: all as likely); 'oracle', which knows the error of every tile with every subnet and takes the
   * cheapest ones that lose `loss` dB of this picture's PSNR, or the best ones within `budget`; 'classsr', ClassSR's classifier
   * (with `budget`: its outputs minus a price for cost); 'predictor', the least predicted loss in dB plus `alpha` times cost, or
   * within `budget` (0.6). The last two need calibrateRouter.
   */
  router?: Router | RivalName
  /** Of 'random', default 1. */
  seed?: number
  /** Default: made of the settings, e.g. 'calibrated 0.6'. */
  name?: string
  /** K other than the model's: thresholds and router table are measured anew on `calibration`. */
  classes?: number
}

/** Not routers that a user could have. */
export type RivalName = 'random' | 'oracle' | 'classsr' | 'predictor'

/** Runs that differ in one number, all with the same router and budget. */
export interface Sweep {
  /** Numbers of difficulty classes, K. They need `calibration`. */
  classes?: readonly number[]
  /** How many subnets the router may choose, M: spread evenly over the subnets by cost, smallest and largest among them. */
  subnets?: readonly number[]
  /** Default: 'calibrated' where the model has a router table, else 'projection'. */
  router?: Exclude<Router, { subnet: number }>
  /** Default 0.6. */
  budget?: number
}

export function defaultRuns({ engine, router }: ModelState): EvaluationRun[] {
  const last = engine.subnets.length - 1
  const largest: EvaluationRun = { name: 'largest', router: { subnet: last } }
  if (last === 0) return [largest]
  const routed: EvaluationRun[] = router
    ? [
        { router: 'calibrated', loss: DEFAULT_LOSS },
        ...[0.4, 0.6, 0.8].map((budget) => ({ router: 'calibrated' as const, budget })),
      ]
    : [{ router: 'projection' }]
  return [{ name: 'smallest', router: { subnet: 0 } }, ...routed, largest]
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function sweepRuns(value: unknown, state: ModelState): EvaluationRun[] {
  const { classes, subnets, router, budget } = checkObject(value, 'sweep', [
    'classes',
    'subnets',
    'router',
    'budget',
  ]) as Sweep
  const base: EvaluationRun = {
    ...(router !== undefined && { router }),
    budget: budget ?? DEFAULT_BUDGET,
  }
  const numbers = (list: unknown, name: string, least: number, most: number): number[] => {
    if (list === undefined) return []
    if (!Array.isArray(list)) throw invalidOption(name, 'a list of numbers', list)
    return list.map((n, i) => checkInteger(n, `${name}[${i}]`, least, most))
  }
  const all = state.engine.subnets.length
  return [
    ...numbers(classes, 'sweep.classes', 2, 1000).map((k): EvaluationRun => ({ ...base, classes: k })),
    ...numbers(subnets, 'sweep.subnets', 1, all).map((m): EvaluationRun => ({ ...base, subnets: spread(m, all) })),
  ]
}

/** `count` of 0 .. all - 1, evenly; one alone is the largest. */
export function spread(count: number, all: number): number[] {
  if (count === 1) return [all - 1]
  return Array.from({ length: count }, (_, i) => Math.round((i * (all - 1)) / (count - 1)))
}

function goalOf(run: EvaluationRun, router: string): unknown[] {
  const { loss, budget, guarantee } = run
  if (router === 'projection') return []
  if (router === 'random' || router === 'classsr') return budget === undefined ? [] : [budget]
  if (guarantee) return [`${100 * guarantee.confidence} % within ${guarantee.loss} dB`]
  if ((router === 'arm' || router === 'predictor') && run.alpha !== undefined) return []
  if (budget === undefined && (router === 'calibrated' || router === 'oracle')) return [`loss ${loss ?? DEFAULT_LOSS}`]
  return [budget ?? DEFAULT_BUDGET]
}

/** What a run is called that has no name. */
export function nameOf(run: EvaluationRun, state: ModelState): string {
  const { router = state.router ? 'calibrated' : 'projection', alpha, subnets, halo, tile } = run
  const parts: unknown[] = []
  if (typeof router === 'object') parts.push('subnet', router.subnet)
  else parts.push(router, ...goalOf(run, router))
  if (alpha !== undefined) parts.push('alpha', alpha)
  if (run.seed !== undefined) parts.push('seed', run.seed)
  if (run.classes !== undefined) parts.push(`K=${run.classes}`)
  if (subnets !== undefined) {
    const even = spread(subnets.length, state.engine.subnets.length)
    parts.push(subnets.join() === even.join() ? `M=${subnets.length}` : `subnets ${subnets.join(',')}`)
  }
  if (halo !== undefined) parts.push('halo', halo)
  if (tile !== undefined) parts.push('tile', tile)
  if (run.budgetScope !== undefined) parts.push(run.budgetScope)
  return parts.join(' ')
}
