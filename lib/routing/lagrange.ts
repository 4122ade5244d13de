// A subnet for every class so that one quantity is least while the mean of another keeps within a limit: the common part of
// the maps that spend a budget and of those that keep a loss (method.md section 6).
import type { ClassMap } from './router.js'

/** What choosing a subnet means for a class: both as means over the class. */
export interface Choices {
  /** [class - 1][subnet]: what is to be least. */
  value: readonly (readonly number[])[]
  /** [class - 1][subnet]: what is limited; at least 0. */
  weight: readonly (readonly number[])[]
  /** [class - 1]: sums to 1. */
  frequency: readonly number[]
}

interface Step {
  class: number
  to: number
  /** Value saved per weight: the Lagrange multiplier below which this step lowers the objective. */
  slope: number
}

/** The lower convex hull of (weight, value) of one class, as steps from each of its points to the next. */
function hullSteps(
  values: readonly number[],
  weights: readonly number[],
  classIndex: number,
): { start: number; steps: Step[] } {
  const order = weights.map((_, m) => m).sort((a, b) => weights[a]! - weights[b]! || values[a]! - values[b]! || a - b)
  const slope = (a: number, b: number) => (values[a]! - values[b]!) / (weights[b]! - weights[a]!)
  const hull = [order[0]!]
  for (const m of order.slice(1)) {
    if (weights[m] === weights[hull.at(-1)!] || values[m]! >= values[hull.at(-1)!]!) continue
    while (hull.length > 1 && slope(hull.at(-2)!, hull.at(-1)!) <= slope(hull.at(-1)!, m)) hull.pop()
    hull.push(m)
  }
  return {
    start: hull[0]!,
    steps: hull.slice(1).map((to, i) => ({ class: classIndex, to, slope: slope(hull[i]!, to) })),
  }
}

/**
 * The map with the least mean value whose mean weight is within the limit.
 *
 * For a multiplier lambda the best map takes argmin_m value + lambda weight in each class. As lambda decreases, this map
 * moves along the classes' convex hulls, steepest step first; the sweep takes these steps until one exceeds the limit.
 * What is left of it is spent by single changes and (up to some hundred classes) by exchanges between two classes, best
 * first. At a point of the hulls the result is optimal; between points it is within one step of the optimum.
 *
 * @returns the subnet of least weight for every class when even that exceeds the limit
 */
export function leastWithin(choices: Choices, limit: number): ClassMap {
  const most = limit * (1 + 1e-12)
  const { map, within } = sweep(choices, most)
  return within ? spendRest(map, choices, most) : map
}

/**
 * The multiplier at which the sweep of {@link leastWithin} stops: what a unit of weight is worth, in units of value. 0 where the
 * limit binds nothing.
 */
export function multiplierWithin(choices: Choices, limit: number): number {
  return sweep(choices, limit * (1 + 1e-12)).multiplier
}

/** Takes steps along the hulls, steepest first, until one exceeds `most`. within: whether the start did not exceed it. */
function sweep(
  { value, weight, frequency }: Choices,
  most: number,
): { map: ClassMap; within: boolean; multiplier: number } {
  const hulls = value.map((values, k) => hullSteps(values, weight[k]!, k))
  const map = hulls.map((hull) => hull.start)
  let spent = map.reduce((sum, m, k) => sum + frequency[k]! * weight[k]![m]!, 0)
  const within = spent <= most
  // The sort is stable: steps of one class with equal slopes keep their order.
  for (const step of hulls.flatMap((hull) => hull.steps).sort((a, b) => b.slope - a.slope)) {
    const weights = weight[step.class]!
    const extra = frequency[step.class]! * (weights[step.to]! - weights[map[step.class]!]!)
    if (spent + extra > most) return { map, within, multiplier: step.slope }
    map[step.class] = step.to
    spent += extra
  }
  return { map, within, multiplier: 0 }
}

/** Above this many entries (classes x subnets) exchanges take seconds, and the points of the hulls are dense anyway. */
const EXCHANGE_ENTRIES = 500

/** Local search: changes one class, or one class up and another down, while that lowers the value within the limit. */
function spendRest(map: ClassMap, { value, weight, frequency }: Choices, limit: number): ClassMap {
  const subnets = value[0]!.length
  const gain = (k: number, m: number) => frequency[k]! * (value[k]![map[k]!]! - value[k]![m]!)
  const extra = (k: number, m: number) => frequency[k]! * (weight[k]![m]! - weight[k]![map[k]!]!)
  for (;;) {
    const spent = map.reduce((sum, m, k) => sum + frequency[k]! * weight[k]![m]!, 0)
    const left = limit - spent
    let best: { changes: [number, number][]; gain: number } | null = null
    const offer = (changes: [number, number][], total: number) => {
      if (total > 1e-15 && (best === null || total > best.gain)) best = { changes, gain: total }
    }
    for (let k = 0; k < map.length; k++) {
      for (let m = 0; m < subnets; m++) {
        const up = gain(k, m)
        if (up <= 0) continue
        const need = extra(k, m) - left
        if (need <= 0) {
          offer([[k, m]], up)
          continue
        }
        if (map.length * subnets > EXCHANGE_ENTRIES) continue
        for (let other = 0; other < map.length; other++) {
          if (other === k || frequency[other] === 0) continue
          for (let down = 0; down < subnets; down++) {
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
