// Losses of PSNR against the largest subnet: of classes from the router table, of single tiles as calibration stores them
// for the option `guarantee` (method.md section 6).
import { MOST_QUANTILES, type RouterTable, type TileLosses } from '../model-state.js'

/** Mean squared error of rounding to 8 bits: differences far below it are no loss that a picture could show. */
const ROUNDING = 1 / (12 * 255 * 255)

/** What a mean squared error loses against that of the largest subnet, in dB; negative: it is better. */
export function lossOf(squaredError: number, ofLargest: number): number {
  return 10 * Math.log10((squaredError + ROUNDING) / (ofLargest + ROUNDING))
}

/** [class - 1][subnet]: dB that a class loses, at least 0, against a subnet, by default the largest. */
export function classLosses({ squaredError }: Pick<RouterTable, 'squaredError'>, against = -1): number[][] {
  return squaredError.map((errors) => errors.map((error) => Math.max(0, lossOf(error, errors.at(against)!))))
}

/**
 * Losses of the tiles of one class as they are stored: for every subnet the largest loss of a tile with it or with any that
 * costs more, so that a tile that is lost with a subnet is lost with every cheaper one too. Ascending; of many tiles the
 * values at evenly spaced ranks, the last included.
 *
 * @param losses of every tile: dB by subnet, cheapest first
 */
export function quantilesOf(losses: readonly (readonly number[])[], subnets: number): number[][] {
  const count = losses.length
  const ranks = ranksOf(count)
  return Array.from({ length: subnets }, (_, m) => {
    const worst = losses.map((tile) => Math.max(...tile.slice(m))).sort((a, b) => a - b)
    // Rounded up: a stored value is never better than the tile was.
    return ranks.map((rank) => Math.ceil(worst[rank - 1]! * 1e4) / 1e4)
  })
}

/** The ranks, from 1, whose values are stored of `count` tiles. */
export function ranksOf(count: number): number[] {
  const stored = Math.min(count, MOST_QUANTILES)
  return Array.from({ length: stored }, (_, i) => Math.ceil(((i + 1) * count) / stored))
}

/** Tiles of a class that may have lost more than `most` dB with a subnet; those between two stored ranks count as lost. */
export function lostTiles({ tiles, quantiles }: TileLosses, k: number, subnet: number, most: number): number {
  const values = quantiles[k]![subnet]!
  let kept = 0
  while (kept < values.length && values[kept]! <= most) kept++
  return tiles[k]! - (kept === 0 ? 0 : ranksOf(tiles[k]!)[kept - 1]!)
}
