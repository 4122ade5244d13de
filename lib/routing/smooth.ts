// Gives tiles the subnet of a neighbour where the context between two subnets costs more than it brings (method.md section 6).
// Pure function of numbers.
import type { Grid } from '../tiling/grid.js'

/** What a choice of subnets costs, in one unit. */
export interface TileCosts {
  /** [tile][subnet]: time and error of the tile itself; Infinity: not allowed. */
  own: readonly (readonly number[])[]
  /** [subnet]: time of the context along one edge between two tiles, on the side of this subnet. */
  edge: readonly number[]
}

/** Passes over the picture at most; few tiles change after the second. */
const PASSES = 4

/**
 * Iterated conditional modes (Besag 1986): tile after tile takes the subnet, its own or a neighbour's, with the least cost given its
 * four neighbours, until no tile changes. The sum of all costs never rises.
 *
 * @param subnets of all tiles of the grid, row by row
 */
export function smoothed(
  subnets: ArrayLike<number>,
  { columns, rows }: Pick<Grid, 'columns' | 'rows'>,
  { own, edge }: TileCosts,
): Int32Array {
  const current = Int32Array.from(subnets)
  for (let pass = 0, changed = true; changed && pass < PASSES; pass++) {
    changed = false
    for (let i = 0; i < current.length; i++) {
      const column = i % columns
      const around: number[] = []
      if (column > 0) around.push(current[i - 1]!)
      if (column < columns - 1) around.push(current[i + 1]!)
      if (i >= columns) around.push(current[i - columns]!)
      if (i < columns * (rows - 1)) around.push(current[i + columns]!)
      const costOf = (m: number) =>
        around.reduce((sum, other) => sum + (other === m ? 0 : edge[m]! + edge[other]!), own[i]![m]!)
      let best = current[i]!
      let least = costOf(best)
      for (const m of around) {
        if (m === best) continue
        const cost = costOf(m)
        if (cost < least - 1e-15) [best, least] = [m, cost]
      }
      if (best !== current[i]) {
        current[i] = best
        changed = true
      }
    }
  }
  return current
}
