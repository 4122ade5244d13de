// Corrects a router's budget until the actual cost of its map fits.
import type { ClassMap } from './router.js'

/**
 * The map at the largest effective budget at which its actual cost (after merging, with halo) is within `budget`. Found by
 * bisection, since the actual cost of a map is known only after its tiles are merged.
 *
 * @param mapAt the router at an effective budget
 * @param shareOf actual cost of a map as a share of the largest subnet on the whole picture
 * @returns the map at budget 0 (cheapest subnet everywhere) when no map fits
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
