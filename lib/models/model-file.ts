// Model files: one safetensors file, tensors under their parameter names, everything else as JSON strings in its metadata.
// Nothing in a file is believed: whatever is missing, unknown or of another shape is named in a WBSR_INVALID_FILE.
import { isFloat32Array } from 'node:util/types'
import { WbsrError, wrapError } from '../errors.js'
import { readSafetensors, type Safetensors, type Tensor, writeSafetensors } from '../files/safetensors.js'
import type { ModelState } from '../model-state.js'
import type { NativeParameter } from '../native.js'
import { checkNetwork } from '../networks/check.js'
import type { Network } from '../networks/network.js'
import {
  checkArm,
  checkClasses,
  checkMixture,
  checkRouter,
  checkSource,
  checkTileRouters,
  invalidFile,
  object,
} from './model-checks.js'

export { invalidFile } from './model-checks.js'

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
  'network' | 'classes' | 'router' | 'arm' | 'tileRouters' | 'mixture' | 'training' | 'source'
>

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
  if (model.tileRouters) metadata['wbsr.tileRouters'] = JSON.stringify(model.tileRouters)
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
    if (!isFloat32Array(tensor.data))
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
    ...(metadata['wbsr.tileRouters'] !== undefined && {
      tileRouters: checkTileRouters(file, readJson(file, metadata, 'wbsr.tileRouters'), network),
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
