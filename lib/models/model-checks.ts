// What the JSON in a model file must be. Nothing in a file is believed: whatever is missing or of another shape is named in a
// WBSR_INVALID_FILE.
import { WbsrError } from '../errors.js'
import {
  type ArmTable,
  type ClassTable,
  type Mixture,
  MOST_QUANTILES,
  type RouterTable,
  type SourceDescription,
  type TileNetwork,
  type TileRouters,
  tileWeights,
} from '../model-state.js'
import type { Network } from '../networks/network.js'

export function invalidFile(file: string, what: string, cause?: unknown): WbsrError {
  return new WbsrError('WBSR_INVALID_FILE', `${file}: ${what}`, { cause })
}

export function object(file: string, key: string, value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidFile(file, `metadata ${key} is not an object`)
  return value as Record<string, unknown>
}

export function checkSource(file: string, value: unknown): SourceDescription {
  const source = object(file, 'wbsr.source', value)
  const { format, title, features, blocks, range, mean, channels } = source
  const valid =
    ['pth', 'safetensors', 'ncnn', 'onnx'].includes(format as string) &&
    typeof title === 'string' &&
    [features, blocks, range, channels].every(Number.isFinite) &&
    isTable(mean, [3])
  if (!valid)
    throw invalidFile(file, 'metadata wbsr.source is not { format, title, features, blocks, range, mean, channels }')
  return source as unknown as SourceDescription
}

/** Is `value` nested arrays of finite numbers of this shape? */
function isTable(value: unknown, [length, ...inner]: number[]): boolean {
  if (length === undefined) return Number.isFinite(value)
  return Array.isArray(value) && value.length === length && value.every((v) => isTable(v, inner))
}

export function checkClasses(file: string, value: unknown, key = 'wbsr.classes'): ClassTable {
  const { count, thresholds, kind } = object(file, key, value)
  const ascending = Array.isArray(thresholds) && thresholds.every((t: number, i) => i === 0 || t >= thresholds[i - 1])
  if (
    !Number.isInteger(count) ||
    (count as number) < 1 ||
    !isTable(thresholds, [(count as number) - 1]) ||
    !ascending ||
    (kind !== 'interval' && kind !== 'quantile')
  ) {
    throw invalidFile(file, `metadata ${key} is not { count, thresholds: count - 1 ascending numbers, kind }`)
  }
  return { count: count as number, thresholds: thresholds as number[], kind }
}

export function checkRouter(
  file: string,
  value: unknown,
  classes: ClassTable,
  network: Network,
  key = 'wbsr.router',
): RouterTable {
  const router = object(file, key, value)
  const subnets = network.widths.length * network.depths.length
  const valid =
    isTable(router['squaredError'], [classes.count, subnets]) &&
    isTable(router['bicubicSquaredError'], [classes.count]) &&
    isTable(router['frequency'], [classes.count]) &&
    isTable(router['tiles'], []) &&
    isTable(router['tileSize'], [])
  if (!valid)
    throw invalidFile(file, `metadata ${key} is not a table of ${classes.count} classes by ${subnets} subnets`)
  const { pictures } = router
  if (pictures !== undefined && !(Array.isArray(pictures) && isTable(pictures, [pictures.length, classes.count])))
    throw invalidFile(file, `metadata ${key} has pictures that are not shares of ${classes.count} classes each`)
  if (router['tileLosses'] !== undefined && !areTileLosses(router['tileLosses'], classes.count, subnets))
    throw invalidFile(
      file,
      `metadata ${key} has tileLosses that are not { tiles, quantiles } of ${classes.count} classes by ${subnets} subnets`,
    )
  return router as unknown as RouterTable
}

export function checkArm(file: string, value: unknown, network: Network): ArmTable {
  const { classes: given, table: values } = object(file, 'wbsr.arm', value)
  const classes: ClassTable = { ...checkClasses(file, given, 'wbsr.arm'), measure: 'edge' }
  const table = checkRouter(file, values, classes, network, 'wbsr.arm')
  const subnets = network.widths.length * network.depths.length
  if (!isTable(table.psnr, [classes.count, subnets]))
    throw invalidFile(file, `metadata wbsr.arm has no PSNR of ${classes.count} classes by ${subnets} subnets`)
  return { classes, table }
}

/** Counts of tiles, and for each class and subnet as many ascending values as are stored of so many tiles. */
function areTileLosses(value: unknown, classes: number, subnets: number): boolean {
  const { tiles, quantiles } = (value ?? {}) as Record<string, unknown>
  if (!isTable(tiles, [classes]) || !Array.isArray(quantiles) || quantiles.length !== classes) return false
  return (tiles as number[]).every((count, k) => {
    if (!Number.isInteger(count) || count < 0 || count > 2 ** 31) return false
    const stored = Math.min(count, MOST_QUANTILES)
    const rows = quantiles[k] as number[][]
    return isTable(rows, [subnets, stored]) && rows.every((row) => row.every((v, i) => i === 0 || v >= row[i - 1]!))
  })
}

export function checkMixture(file: string, value: unknown): Mixture {
  const { dimension, weights, means, covariances } = object(file, 'wbsr.mixture', value)
  const d = dimension as number
  const k = Array.isArray(weights) ? weights.length : 0
  if (
    (d !== 1 && d !== 3) ||
    k === 0 ||
    !isTable(weights, [k]) ||
    !isTable(means, [k, d]) ||
    !isTable(covariances, [k, d, d])
  ) {
    throw invalidFile(file, 'metadata wbsr.mixture is not { dimension, weights, means, covariances } of one size')
  }
  return {
    dimension: d,
    weights: weights as number[],
    means: means as number[][],
    covariances: covariances as number[][][],
  }
}

export function checkTileRouters(file: string, value: unknown, network: Network): TileRouters {
  const { classsr, predictor } = object(file, 'wbsr.tileRouters', value)
  const subnets = network.widths.length * network.depths.length
  const found: TileRouters = {}
  if (classsr !== undefined) {
    const { network: weights, subnets: chosen } = object(file, 'wbsr.tileRouters', classsr)
    const list = (Array.isArray(chosen) ? chosen : []) as number[]
    const valid = list.every((m, i) => Number.isInteger(m) && m >= 0 && m < subnets && (i === 0 || m > list[i - 1]!))
    if (!valid || list.length === 0)
      throw invalidFile(file, `metadata wbsr.tileRouters has no ascending subnets of ClassSR below ${subnets}`)
    found.classsr = { network: checkTileNetwork(file, weights, list.length), subnets: list }
  }
  if (predictor !== undefined) {
    const { network: weights } = object(file, 'wbsr.tileRouters', predictor)
    found.predictor = { network: checkTileNetwork(file, weights, subnets - 1) }
  }
  return found
}

function checkTileNetwork(file: string, value: unknown, outputs: number): TileNetwork {
  const network = object(file, 'wbsr.tileRouters', value)
  const { features, weights } = network
  const sized =
    Number.isInteger(features) &&
    (features as number) > 0 &&
    (features as number) <= 1024 &&
    (features as number) % 4 === 0
  if (!sized || network['outputs'] !== outputs || !isTable(weights, [tileWeights(features as number, outputs)]))
    throw invalidFile(file, `metadata wbsr.tileRouters has no network of ${outputs} outputs with all its weights`)
  return network as unknown as TileNetwork
}
