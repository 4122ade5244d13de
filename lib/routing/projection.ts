// The paper's routers, which map classes to subnets by position, without and with a budget (method.md section 6).
import type { ClassMap, RouterKind } from './router.js'

/** Gradient projection, equation of the paper: m = ceil(k M / K). */
export function projectionMap(classes: number, subnets: number): ClassMap {
  return Array.from({ length: classes }, (_, i) => Math.ceil(((i + 1) * subnets) / classes) - 1)
}

/**
 * Gradient projection under a budget, equation of the paper: m = argmin_m |alpha k C_m / K - C_t|. Taken literally:
 * since k multiplies the cost, an easy class is given a larger subnet than a hard one. Equal distances: the cheaper one.
 *
 * @param costs cost of every subnet; any unit
 * @param target C_t in the same unit
 */
export function projectionBudgetMap(
  classes: number,
  costs: readonly number[],
  target: number,
  alpha: number,
): ClassMap {
  return Array.from({ length: classes }, (_, i) => {
    let best = 0
    let bestDistance = Infinity
    costs.forEach((cost, m) => {
      const distance = Math.abs((alpha * (i + 1) * cost) / classes - target)
      if (distance < bestDistance) {
        bestDistance = distance
        best = m
      }
    })
    return best
  })
}

/** 'projection'. */
export const projection: RouterKind = {
  needsTable: false,
  goals: [],
  map: ({ classes, costs }) => projectionMap(classes, costs.length),
}

/** 'projection-budget'. */
export const projectionBudget: RouterKind = {
  needsTable: false,
  goals: ['budget'],
  map: ({ classes, costs, goal, alpha }) =>
    projectionBudgetMap(classes, costs, 'budget' in goal ? goal.budget : 1, alpha),
}
