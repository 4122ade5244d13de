// The interface of routers: pure functions of numbers (no pixels, no model), so that each can be tested by hand.
import type { RouterTable } from '../model-state.js'

/** By class - 1: index into the subnets sorted by cost. */
export type ClassMap = number[]

/** At least the share `confidence` of tiles loses at most `loss` dB of PSNR against the largest subnet. */
export interface Guarantee {
  /** dB, above 0. */
  loss: number
  /** 0.5 .. 0.9999. */
  confidence: number
}

/**
 * What a map is chosen for: a mean cost, an expected loss of PSNR in dB, a loss that few tiles exceed, or a price: the dB that
 * the whole cost of the largest subnet must be worth.
 */
export type Goal = { budget: number } | { loss: number } | { guarantee: Guarantee } | { alpha: number }
export type GoalName = 'budget' | 'loss' | 'guarantee' | 'alpha'

/** Input of a router, which gives every class a subnet. */
export interface RouterInput {
  /** K. */
  classes: number
  /** Cost of every subnet, as a share of the largest subnet's; ascending. */
  costs: readonly number[]
  /** By class - 1: share of the area, sums to 1. */
  frequency: readonly number[]
  /** A budget is a mean cost, 0..1, in the unit of `costs`; 1 sets no limit. */
  goal: Goal
  /** Option `alpha`. */
  alpha: number
  /** Not null where the router needs it. */
  table: RouterTable | null
}

/** One kind of router. The table of all kinds is in routers.ts. */
export interface RouterKind {
  /** Only models with a router table can use it. */
  needsTable: boolean
  /** Absent: its classes are the model's, by the gradient vector. 'edge': those of the model's ARM table. */
  measure?: 'edge'
  /**
   * What its map can be chosen for, the default first; empty: it has no choice. A budget is corrected for halo and merging
   * (see fit-budget.ts).
   */
  goals: readonly GoalName[]
  map(input: RouterInput): ClassMap
}
