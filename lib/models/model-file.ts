// Model files: one safetensors file, tensors under their parameter names, everything else as JSON strings in its metadata.
// Nothing in a file is believed: whatever is missing, unknown or of another shape is named in a WBSR_INVALID_FILE.
import { WbsrError, wrapError } from '../errors.js'
import { readSafetensors, type Safetensors, type Tensor, writeSafetensors } from '../files/safetensors.js'
import {
  type ArmTable,
  type ClassTable,
  type Mixture,
  MOST_QUANTILES,
  type ModelState,
  type RouterTable,
  type SourceDescription,
} from '../model-state.js'
import type { NativeParameter } from '../native.js'
import { checkNetwork } from '../networks/check.js'
import type { Network } from '../networks/network.js'

/** Goes up when an older wbsr could not read a newer file. */
const FORMAT = 1
/** The definition of difficulty that thresholds and router table were made with (method.md section 2). */
const DIFFICULTY = 'l2(mean|Gx|,std|Gx|,mean|Gy|,std|Gy|) of luma601, sobel/8, replicated edges'
/** Tensors of a training checkpoint that are not the model's own start with this. */
export const TRAINING_PREFIX = 'wbsr/'
/** The moving average of the weights in a training checkpoint, when there is one. */
export const EMA_PREFIX = `${TRAINING_PREFIX}ema/`

export interface ModelFile {
  /** null: a plain weights file of another tool. */
  description: ModelDescription | null
  tensors: Map<string, Tensor>
  metadata: Record<string, string>
}

export type ModelDescription = Pick<
  ModelState,
  'network' | 'classes' | 'router' | 'arm' | 'mixture' | 'training' | 'source'
>

export function invalidFile(file: string, what: string, cause?: unknown): WbsrError {
  return new WbsrError('WBSR_INVALID_FILE', `${file}: ${what}`, { cause })
}

/** The description of the model in a model file, as safetensors metadata. */
export function describeModel(model: ModelDescription): Record<string, string> {
  const metadata: Record<string, string> = {
    'wbsr.format': String(FORMAT),
    'wbsr.difficulty': DIFFICULTY,
    'wbsr.network': JSON.stringify(model.network),
    'wbsr.classes': JSON.stringify(model.classes),
  }
  if (model.router) metadata['wbsr.router'] = JSON.stringify(model.router)
  if (model.arm) metadata['wbsr.arm'] = JSON.stringify(model.arm)
  if (model.mixture) metadata['wbsr.mixture'] = JSON.stringify(model.mixture)
  if (model.training) metadata['wbsr.training'] = JSON.stringify(model.training)
  if (model.source) metadata['wbsr.source'] = JSON.stringify(model.source)
  return metadata
}

/** Of the weights in a file: float32, or half precision, rounded to 11 bits. */
export type WeightPrecision = 'f32' | 'f16'

/** An arena as tensors named prefix + parameter name (views, no copies). */
export function arenaTensors(
  parameters: NativeParameter[],
  values: Float32Array,
  prefix = '',
  precision: WeightPrecision = 'f32',
): Tensor[] {
  return parameters.map((p) => ({
    name: prefix + p.name,
    dtype: precision === 'f16' ? 'F16' : 'F32',
    shape: p.shape,
    data: values.subarray(p.offset, p.offset + p.count),
  }))
}

/** Tensors named prefix + parameter name as one arena. @throws WbsrError WBSR_INVALID_FILE */
export function tensorsArena(
  file: string,
  parameters: NativeParameter[],
  tensors: Map<string, Tensor>,
  prefix = '',
): Float32Array {
  const arena = new Float32Array(parameters.reduce((end, p) => Math.max(end, p.offset + p.count), 0))
  for (const p of parameters) {
    const tensor = tensors.get(prefix + p.name)
    if (!tensor) throw invalidFile(file, `tensor ${prefix + p.name} of shape [${p.shape.join(', ')}] is missing`)
    if (JSON.stringify(tensor.shape) !== JSON.stringify(p.shape)) {
      throw invalidFile(
        file,
        `tensor ${prefix + p.name} has shape [${tensor.shape.join(', ')}] where [${p.shape.join(', ')}] is expected`,
      )
    }
    if (!(tensor.data instanceof Float32Array))
      throw invalidFile(file, `tensor ${prefix + p.name} has type ${tensor.dtype} where F32 is expected`)
    const wrong = tensor.data.findIndex((value) => !Number.isFinite(value))
    if (wrong >= 0)
      throw invalidFile(
        file,
        `tensor ${prefix + p.name} holds ${tensor.data[wrong]} at position ${wrong}, expected finite numbers`,
      )
    arena.set(tensor.data, p.offset)
  }
  return arena
}

/**
 * The weights that a model made from this file works with: the moving average where a checkpoint holds one.
 *
 * @throws WbsrError WBSR_INVALID_FILE naming the tensor that is missing, unknown or of another shape
 */
export function modelWeights(
  file: string,
  contents: ModelFile,
  network: Network,
  parameters: NativeParameter[],
): Float32Array {
  const tensors = contents.description ? contents.tensors : renameForeign(contents.tensors, network)
  const names = new Set(parameters.map((p) => p.name))
  for (const name of tensors.keys()) {
    if (!names.has(name) && !name.startsWith(TRAINING_PREFIX))
      throw invalidFile(file, `tensor ${name} is not part of ${title(network)}`)
  }
  const averaged = [...tensors.keys()].some((name) => name.startsWith(EMA_PREFIX))
  return tensorsArena(file, parameters, tensors, averaged ? EMA_PREFIX : '')
}

/** A file's tensors by the names that the network's parameters have: of a checkpoint with a moving average, that one. */
export function modelTensors(contents: ModelFile, network: Network): Map<string, Tensor> {
  if (!contents.description) return renameForeign(contents.tensors, network)
  const average = [...contents.tensors].filter(([name]) => name.startsWith(EMA_PREFIX))
  if (average.length > 0) return new Map(average.map(([name, tensor]) => [name.slice(EMA_PREFIX.length), tensor]))
  return new Map([...contents.tensors].filter(([name]) => !name.startsWith(TRAINING_PREFIX)))
}

function title({ name, scale, widths, depths }: Network): string {
  return `the network ${name} (scale ${scale}, widths ${widths.join('/')}, depths ${depths.join('/')})`
}

/** BasicSR's names for the layers of SRResNet are taken as well. */
function renameForeign(tensors: Map<string, Tensor>, network: Network): Map<string, Tensor> {
  if (network.name !== 'srresnet') return tensors
  const rename = (name: string) =>
    name.replace(/^body\.(\d+)\.conv([12])\./, 'recon_trunk.$1.conv$2.').replace(/^conv_hr\./, 'HRconv.')
  return new Map([...tensors].map(([name, tensor]) => [rename(name), tensor]))
}

/** Writes a whole model atomically: a failure leaves what was there. @throws WbsrError WBSR_IO */
export async function writeModelFile(file: string, model: ModelState, precision?: WeightPrecision): Promise<void> {
  let weights: Float32Array
  // As it is now: the model may be disposed of meanwhile.
  const { parameters } = model.engine
  const description = describeModel(model)
  try {
    weights = await model.engine.readWeights()
  } catch (error) {
    throw wrapError(error)
  }
  await writeSafetensors(file, arenaTensors(parameters, weights, '', precision), description)
}

/** @throws WbsrError WBSR_NOT_FOUND, WBSR_INVALID_FILE, WBSR_IO */
export async function readModelFile(file: string): Promise<ModelFile> {
  return describeContents(file, await readSafetensors(file))
}

/** @throws WbsrError WBSR_INVALID_FILE */
export function describeContents(file: string, { tensors, metadata }: Safetensors): ModelFile {
  return {
    tensors,
    metadata,
    description: metadata['wbsr.format'] === undefined ? null : readDescription(file, metadata),
  }
}

function readDescription(file: string, metadata: Record<string, string>): ModelDescription {
  const format = metadata['wbsr.format']
  if (format !== String(FORMAT)) throw invalidFile(file, `has format ${format}, this wbsr reads format ${FORMAT}`)
  if (metadata['wbsr.difficulty'] !== DIFFICULTY)
    throw invalidFile(file, `defines difficulty as ${metadata['wbsr.difficulty']} where ${DIFFICULTY} is expected`)
  let network: Network
  try {
    network = checkNetwork(readJson(file, metadata, 'wbsr.network'), 'network')
  } catch (error) {
    throw error instanceof WbsrError && error.code === 'WBSR_INVALID_FILE'
      ? error
      : invalidFile(file, `metadata wbsr.network: ${(error as Error).message}`, error)
  }
  const classes = checkClasses(file, readJson(file, metadata, 'wbsr.classes'))
  return {
    network,
    classes,
    router:
      metadata['wbsr.router'] === undefined
        ? null
        : checkRouter(file, readJson(file, metadata, 'wbsr.router'), classes, network),
    ...(metadata['wbsr.arm'] !== undefined && {
      arm: checkArm(file, readJson(file, metadata, 'wbsr.arm'), network),
    }),
    mixture:
      metadata['wbsr.mixture'] === undefined ? null : checkMixture(file, readJson(file, metadata, 'wbsr.mixture')),
    training:
      metadata['wbsr.training'] === undefined
        ? null
        : (object(file, 'wbsr.training', readJson(file, metadata, 'wbsr.training')) as Record<string, unknown>),
    ...(metadata['wbsr.source'] !== undefined && {
      source: checkSource(file, readJson(file, metadata, 'wbsr.source')),
    }),
  }
}

/** @throws WbsrError WBSR_INVALID_FILE */
export function readJson(file: string, metadata: Record<string, string>, key: string): unknown {
  const text = metadata[key]
  if (text === undefined) throw invalidFile(file, `metadata ${key} is missing`)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw invalidFile(file, `metadata ${key} is not JSON`, error)
  }
}

function object(file: string, key: string, value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidFile(file, `metadata ${key} is not an object`)
  return value as Record<string, unknown>
}

function checkSource(file: string, value: unknown): SourceDescription {
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

function checkClasses(file: string, value: unknown, key = 'wbsr.classes'): ClassTable {
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

function checkRouter(
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

function checkArm(file: string, value: unknown, network: Network): ArmTable {
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

function checkMixture(file: string, value: unknown): Mixture {
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
