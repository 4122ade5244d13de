// The interface of routers: pure functions of numbers (no pixels, no model), so that each can be tested by hand.
import type { RouterTable } from '../model-state.js'

/** [class - 1]: index into the subnets sorted by cost. */
export type ClassMap = number[]

/** Input of a router, which gives every class a subnet. */
export interface RouterInput {
  /** K. */
  classes: number
  /** Cost of every subnet, as a share of the largest subnet's; ascending. */
  costs: readonly number[]
  /** [class - 1]: share of the area, sums to 1. */
  frequency: readonly number[]
  /** Mean cost wanted, 0..1, in the unit of `costs`; 1 sets no limit. */
  budget: number
  /** Option `alpha`. */
  alpha: number
  /** Not null where the router needs it. */
  table: RouterTable | null
}

/** One kind of router. The table of all kinds is in routers.ts. */
export interface RouterKind {
  /** Only models with a router table can use it. */
  needsTable: boolean
  /** Its map depends on the budget; the budget is then corrected for halo and merging (see fit-budget.ts). */
  hasBudget: boolean
  map(input: RouterInput): ClassMap
}
