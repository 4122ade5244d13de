// The calibrated router: the least expected squared error under a mean cost (method.md section 6).
import type { ClassMap, RouterKind } from './router.js'

interface Step {
  class: number
  to: number
  /** Error reduction per cost: the Lagrange multiplier below which this step lowers the objective. */
  slope: number
}

/** The lower convex hull of (cost, error) of one class, as steps from each of its points to the next. */
function hullSteps(
  errors: readonly number[],
  costs: readonly number[],
  classIndex: number,
): { start: number; steps: Step[] } {
  const order = costs.map((_, m) => m).sort((a, b) => costs[a]! - costs[b]! || errors[a]! - errors[b]! || a - b)
  const slope = (a: number, b: number) => (errors[a]! - errors[b]!) / (costs[b]! - costs[a]!)
  const hull = [order[0]!]
  for (const m of order.slice(1)) {
    if (costs[m] === costs[hull.at(-1)!] || errors[m]! >= errors[hull.at(-1)!]!) continue
    while (hull.length > 1 && slope(hull.at(-2)!, hull.at(-1)!) <= slope(hull.at(-1)!, m)) hull.pop()
    hull.push(m)
  }
  return {
    start: hull[0]!,
    steps: hull.slice(1).map((to, i) => ({ class: classIndex, to, slope: slope(hull[i]!, to) })),
  }
}

/**
 * The map with the least expected squared error whose expected cost is within the budget.
 *
 * For a multiplier lambda the best map takes argmin_m error + lambda cost in each class. As lambda decreases, this map
 * moves along the classes' convex hulls, steepest step first; the sweep takes these steps until one exceeds the budget.
 * The rest of the budget is spent by single changes and (up to some hundred classes) by exchanges between two classes,
 * best first. At a point of the hulls the result is optimal; between points it is within one step of the optimum.
 *
 * @param squaredError [class - 1][subnet]
 * @param costs of every subnet, in the unit of `budget`
 * @param frequency [class - 1], sums to 1
 * @returns the cheapest subnet for every class when even that exceeds the budget
 */
export function calibratedMap(
  squaredError: readonly (readonly number[])[],
  costs: readonly number[],
  frequency: readonly number[],
  budget: number,
): ClassMap {
  const hulls = squaredError.map((errors, k) => hullSteps(errors, costs, k))
  const map = hulls.map((hull) => hull.start)
  const limit = budget * (1 + 1e-12)
  let spent = map.reduce((sum, m, k) => sum + frequency[k]! * costs[m]!, 0)
  if (spent > limit) return map
  // The sort is stable: steps of one class with equal slopes keep their order.
  for (const step of hulls.flatMap((hull) => hull.steps).sort((a, b) => b.slope - a.slope)) {
    const extra = frequency[step.class]! * (costs[step.to]! - costs[map[step.class]!]!)
    if (spent + extra > limit) break
    map[step.class] = step.to
    spent += extra
  }
  return spendRest(map, squaredError, costs, frequency, limit)
}

/** Above this many entries (classes x subnets) exchanges take seconds, and the points of the hulls are dense anyway. */
const EXCHANGE_ENTRIES = 500

/** Local search: changes one class, or one class up and another down, while that lowers the error within the limit. */
function spendRest(
  map: ClassMap,
  squaredError: readonly (readonly number[])[],
  costs: readonly number[],
  frequency: readonly number[],
  limit: number,
): ClassMap {
  const gain = (k: number, m: number) => frequency[k]! * (squaredError[k]![map[k]!]! - squaredError[k]![m]!)
  const extra = (k: number, m: number) => frequency[k]! * (costs[m]! - costs[map[k]!]!)
  for (;;) {
    const spent = map.reduce((sum, m, k) => sum + frequency[k]! * costs[m]!, 0)
    const left = limit - spent
    let best: { changes: [number, number][]; gain: number } | null = null
    const offer = (changes: [number, number][], total: number) => {
      if (total > 1e-15 && (best === null || total > best.gain)) best = { changes, gain: total }
    }
    for (let k = 0; k < map.length; k++) {
      for (let m = 0; m < costs.length; m++) {
        const up = gain(k, m)
        if (up <= 0) continue
        const need = extra(k, m) - left
        if (need <= 0) {
          offer([[k, m]], up)
          continue
        }
        if (map.length * costs.length > EXCHANGE_ENTRIES) continue
        for (let other = 0; other < map.length; other++) {
          if (other === k || frequency[other] === 0) continue
          for (let down = 0; down < costs.length; down++) {
            if (extra(other, down) + need <= 0)
              offer(
                [
                  [k, m],
                  [other, down],
                ],
                up + gain(other, down),
              )
          }
        }
      }
    }
    if (best === null) return map
    for (const [k, m] of (best as { changes: [number, number][] }).changes) map[k] = m
  }
}

/** 'calibrated'. */
export const calibrated: RouterKind = {
  needsTable: true,
  hasBudget: true,
  // At budget 1 rounding of the costs must not exclude the largest subnet.
  map: ({ table, costs, frequency, budget }) =>
    calibratedMap(table!.squaredError, costs, frequency, budget < 1 ? budget : Infinity),
}
