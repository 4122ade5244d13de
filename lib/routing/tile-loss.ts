// Losses of PSNR against the largest subnet: of classes from the router table, of single tiles as calibration stores them
// for the option `guarantee` (method.md section 6).
import { MOST_QUANTILES, type RouterTable, type TileLosses } from '../model-state.js'

/** Mean squared error of rounding to 8 bits: differences far below it are no loss that a picture could show. */
const ROUNDING = 1 / (12 * 255 * 255)

/** What a mean squared error loses against that of the largest subnet, in dB; negative: it is better. */
export function lossOf(squaredError: number, ofLargest: number): number {
  return 10 * Math.log10((squaredError + ROUNDING) / (ofLargest + ROUNDING))
}

/** PSNR in dB of a mean squared error in [0, 1], after rounding to 8 bits. */
export function psnrOf(squaredError: number): number {
  return -10 * Math.log10(squaredError + ROUNDING)
}

type Errors = Pick<RouterTable, 'squaredError' | 'frequency' | 'pictures'>

/** [class - 1][subnet]: squared error, rounding included, and never below that with the subnet it is compared with. */
function errorsAgainst({ squaredError }: Pick<Errors, 'squaredError'>, against: number): number[][] {
  return squaredError.map((row) => row.map((error) => Math.max(error, row.at(against)!) + ROUNDING))
}

/** Class shares of the pictures that the table was measured on; older versions stored those of all together only. */
function picturesOf({ pictures, frequency }: Errors): readonly (readonly number[])[] {
  return pictures?.length ? pictures : [frequency]
}

/** Mean of [class - 1] values over tiles of these shares. */
function mean(shares: readonly number[], values: readonly number[]): number {
  return shares.reduce((sum, share, k) => sum + share * values[k]!, 0)
}

/**
 * [class - 1][subnet]: what the tiles of a class add to the squared error of a picture, as a share of its error with the
 * subnet `against` (default: the largest), so that its mean over classes is the mean over the pictures of the calibration.
 * Tiles count by their error, as in a picture's PSNR: relative to the picture, not to the tile.
 */
export function addedErrors(table: Errors, against = -1): number[][] {
  const { frequency } = table
  const pictures = picturesOf(table)
  const errors = errorsAgainst(table, against)
  const least = errors.map((row) => row.at(against)!)
  const ofPictures = pictures.map((shares) => mean(shares, least))
  const average = (of: (shares: readonly number[]) => number) =>
    pictures.reduce((sum, shares, p) => sum + of(shares) / ofPictures[p]!, 0) / pictures.length
  return errors.map((row, k) => {
    const share = average((shares) => shares[k]!)
    // A class that no picture has costs what it would in an average one.
    const perError = share > 0 && frequency[k]! > 0 ? share / frequency[k]! : average(() => 1)
    return row.map((error) => perError * (error - least[k]!))
  })
}

/** What pictures of some class shares are expected to lose in PSNR with a map against the subnet `against`, mean, dB. */
function meanLoss(
  table: Errors,
  pictures: readonly (readonly number[])[],
  map: readonly number[],
  against: number,
): number {
  const errors = errorsAgainst(table, against)
  const own = errors.map((row, k) => row[map[k]!]!)
  const least = errors.map((row) => row.at(against)!)
  const losses = pictures.map((shares) => 10 * Math.log10(mean(shares, own) / mean(shares, least)))
  return losses.reduce((sum, loss) => sum + loss, 0) / pictures.length
}

/** What a picture of these class shares is expected to lose in PSNR with a map against the subnet `against`, in dB. */
export function expectedLoss(table: Errors, shares: readonly number[], map: readonly number[], against = -1): number {
  return meanLoss(table, [shares], map, against)
}

/**
 * What a picture is expected to lose whose tiles' subnets do not follow from their classes alone, in dB.
 *
 * @param tiles class (1 .. K), subnet and share of the picture's area of every tile
 */
export function expectedLossOfTiles(
  table: Errors,
  tiles: Iterable<{ class: number; subnet: number; share: number }>,
  against = -1,
): number {
  const errors = errorsAgainst(table, against)
  let own = 0
  let least = 0
  for (const { class: k, subnet, share } of tiles) {
    own += share * errors[k - 1]![subnet]!
    least += share * errors[k - 1]!.at(against)!
  }
  return 10 * Math.log10(own / least)
}

/** What the pictures of the calibration are expected to lose with a map against the subnet `against`, mean, dB. */
export function expectedLossOverall(table: Errors, map: readonly number[], against = -1): number {
  return meanLoss(table, picturesOf(table), map, against)
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
