// Which subnet a gradient class gets (method.md section 6). Everything here is a pure function of numbers: no pixels,
// no model, so that every router can be tested by hand.

/**
 * - 'projection': m = ceil(k M / K), the paper's map from class to subnet; has no budget.
 * - 'projection-budget': m = argmin |alpha k C_m / K - C_t|, the paper's formula under a budget.
 * - 'calibrated': the map with the least expected squared error under a mean cost, from the model's router table.
 * - { subnet }: always the same subnet (an index into model.subnets); has no budget.
 */
export type Router = 'projection' | 'projection-budget' | 'calibrated' | { subnet: number }

/** [class - 1]: index into the subnets sorted by cost. */
export type ClassMap = number[]

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

interface Step {
  class: number
  to: number
  /** Error saved per cost: the Lagrange multiplier at which this step starts to pay. */
  slope: number
}

/** The lower convex hull of (cost, error) of one class, as the steps from each of its points to the next. */
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
 * For every multiplier lambda the best map takes argmin_m error + lambda cost in each class. Falling lambda passes
 * through exactly the steps of the classes' convex hulls, steepest first; the sweep takes them until one does not fit.
 * What is left of the budget is then spent by single changes and (but for hundreds of classes) by exchanges between two
 * classes, best first. At the
 * hull's own points the result is the optimum; between them it is within one step of it.
 *
 * @param squaredError [class - 1][subnet]
 * @param costs of every subnet, in the unit of `budget`
 * @param frequency [class - 1], sums to 1
 * @returns all cheapest when even that exceeds the budget
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
  // A stable sort keeps a class's own steps in order where slopes are equal.
  for (const step of hulls.flatMap((hull) => hull.steps).sort((a, b) => b.slope - a.slope)) {
    const extra = frequency[step.class]! * (costs[step.to]! - costs[map[step.class]!]!)
    if (spent + extra > limit) break
    map[step.class] = step.to
    spent += extra
  }
  return spendRest(map, squaredError, costs, frequency, limit)
}

/** Above this many entries (classes x subnets) exchanges cost seconds, and the hull's own points lie close together. */
const EXCHANGE_ENTRIES = 500

/** Local search: as long as changing one class, or one class up and another down, lowers the error within the limit. */
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

/**
 * The map for the largest effective budget whose real cost (halo included, after merging) is within `budget`: by
 * bisection, since the real cost of a map is known only once its tiles are merged.
 *
 * @param mapAt the router at an effective budget
 * @param shareOf real cost of a map as a share of the largest subnet on the whole picture
 * @returns the map at budget 0 (all cheapest) when nothing fits
 */
export function fitBudget(
  budget: number,
  mapAt: (budget: number) => ClassMap,
  shareOf: (map: ClassMap) => number,
): ClassMap {
  const known = new Map<string, boolean>()
  const fits = (map: ClassMap): boolean => {
    const key = map.join()
    if (!known.has(key)) known.set(key, shareOf(map) <= budget)
    return known.get(key)!
  }
  let best = mapAt(budget)
  if (fits(best)) return best
  best = mapAt(0)
  for (let low = 0, high = budget, i = 0; i < 14; i++) {
    const middle = (low + high) / 2
    const map = mapAt(middle)
    if (fits(map)) {
      best = map
      low = middle
    } else {
      high = middle
    }
  }
  return best
}
