// The calibrated router: chooses the subnet of each class by the model's router table (method.md section 6).

import type { RouterTable } from '../model-state.js'
import { leastWithin, multiplierWithin } from './lagrange.js'
import type { ClassMap, Guarantee, RouterKind } from './router.js'
import { addedErrors, lostTiles } from './tile-loss.js'

/**
 * The map with the least expected squared error whose expected cost is within the budget.
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
  return leastWithin({ value: squaredError, weight: squaredError.map(() => costs), frequency }, budget)
}

/**
 * The cheapest map with which pictures like those of the calibration lose at most so much PSNR in the mean. What is limited
 * is the mean of their added errors x; since 10 log10(1 + x) is concave, the mean loss is at most that of the mean x.
 *
 * @param added [class - 1][subnet], see addedErrors()
 * @param loss wanted mean, dB
 */
export function lossMap(
  added: readonly (readonly number[])[],
  costs: readonly number[],
  frequency: readonly number[],
  loss: number,
): ClassMap {
  return leastWithin({ value: added.map(() => costs), weight: added, frequency }, addedBy(loss))
}

/** The added error, as a share, that loses so many dB. */
const addedBy = (loss: number): number => 10 ** (loss / 10) - 1

/** What the last added error of lossMap() is worth, in the unit of `costs`. */
export function priceOfError(
  added: readonly (readonly number[])[],
  costs: readonly number[],
  frequency: readonly number[],
  loss: number,
): number {
  return multiplierWithin({ value: added.map(() => costs), weight: added, frequency }, addedBy(loss))
}

/**
 * For every class the cheapest subnet with which, of tiles like those of the calibration, at least the share `confidence`
 * loses at most `loss` dB (conformal risk control); the largest one where none does or too few tiles were measured.
 */
export function guaranteedMap(
  table: Required<Pick<RouterTable, 'tileLosses'>>,
  subnets: number,
  { loss, confidence }: Guarantee,
): ClassMap {
  const { tileLosses } = table
  return tileLosses.tiles.map((tiles, k) => {
    const most = (1 - confidence) * (tiles + 1) * (1 + 1e-12)
    for (let m = 0; m < subnets - 1; m++) if (lostTiles(tileLosses, k, m, loss) + 1 <= most) return m
    return subnets - 1
  })
}

/** 'calibrated'. */
export const calibrated: RouterKind = {
  needsTable: true,
  goals: ['loss', 'budget', 'guarantee'],
  map: ({ table, costs, frequency, goal }) => {
    if ('loss' in goal) return lossMap(addedErrors(table!), costs, frequency, goal.loss)
    if ('guarantee' in goal) return guaranteedMap({ tileLosses: table!.tileLosses! }, costs.length, goal.guarantee)
    // At budget 1 rounding of the costs must not exclude the largest subnet.
    const budget = 'budget' in goal && goal.budget < 1 ? goal.budget : Infinity
    return calibratedMap(table!.squaredError, costs, frequency, budget)
  },
}
