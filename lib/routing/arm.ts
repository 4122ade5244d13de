// The router of ARM (Any-Time Super-Resolution Method, Chen et al., ECCV 2022): a lookup table from edge score to each subnet's
// PSNR, and the subnet of the best trade-off between PSNR and cost (method.md section 6).
import { bestAtPrice, bestWithinBudget } from './price.js'
import type { RouterKind } from './router.js'

/** Equal intervals of the edge score that the table has, as in the authors' code. */
export const ARM_CLASSES = 30

/** 'arm'. Its classes are intervals of the edge score. */
export const arm: RouterKind = {
  needsTable: true,
  measure: 'edge',
  goals: ['budget', 'alpha'],
  map: ({ table, costs, frequency, goal }) => {
    const psnr = table!.psnr!
    if ('alpha' in goal) return bestAtPrice(psnr, costs, goal.alpha)
    // At budget 1 rounding of the costs must not exclude the largest subnet.
    const budget = 'budget' in goal && goal.budget < 1 ? goal.budget : Infinity
    return bestWithinBudget(psnr, costs, frequency, budget)
  },
}
