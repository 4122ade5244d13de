// A router's budget, corrected until the real cost of its map fits.
import type { ClassMap } from './router.js'

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
