// Writes models for other tools.

import { wrapError } from '../errors.js'
import { writeFileAtomic } from '../files/atomic.js'
import { writeSafetensors } from '../files/safetensors.js'
import type { ModelState } from '../model-state.js'
import { checkInteger, checkObject, checkString } from '../options.js'
import { subnetNetwork } from './graphs/subnet-network.js'
import { type SubnetTensor, subnetTensors } from './graphs/subnet-slices.js'

/** Metadata of an exported safetensors file: its network, by which loadModel reads it again. */
export const SUBNET_KEY = 'wbsr.subnet'

/** What `exportOnnx` and `exportSafetensors` write. */
export interface ExportOptions {
  /** Index into model.subnets; default: the largest. */
  subnet?: number
}

async function tensorsOf(
  state: ModelState,
  file: string,
  options: ExportOptions,
): Promise<{ subnet: { width: number; depth: number }; tensors: Map<string, SubnetTensor> }> {
  checkString(file, 'file')
  const { subnet = state.engine.subnets.length - 1 } = checkObject(options, 'export options', ['subnet'])
  const { network, engine } = state
  const { width, depth } = engine.subnets[checkInteger(subnet, 'subnet', 0, engine.subnets.length - 1)]!
  const { parameters } = engine
  let weights: Float32Array
  try {
    weights = await engine.readWeights()
  } catch (error) {
    throw wrapError(error)
  }
  return { subnet: { width, depth }, tensors: subnetTensors(network, { width, depth }, parameters, weights) }
}

/** @throws WbsrError WBSR_IO, WBSR_DISPOSED, WBSR_INVALID_OPTION */
export async function exportOnnx(state: ModelState, file: string, options: ExportOptions): Promise<void> {
  const { subnet, tensors } = await tensorsOf(state, file, options)
  // Loaded here, since protocol buffers would add a third to the time that importing wbsr takes.
  const { onnxOf } = await import('./graphs/onnx-export.js')
  await writeFileAtomic(file, onnxOf(state.network, subnet, tensors))
}

/** @throws WbsrError WBSR_IO, WBSR_DISPOSED, WBSR_INVALID_OPTION */
export async function exportSafetensors(state: ModelState, file: string, options: ExportOptions): Promise<void> {
  const { subnet, tensors } = await tensorsOf(state, file, options)
  const { title = state.network.name, range = 1, mean = [0, 0, 0], channels = 3 } = state.source ?? {}
  const list = [...tensors.values()].map(({ name, shape, data }) => ({ name, dtype: 'F32' as const, shape, data }))
  await writeSafetensors(file, list, {
    format: 'pt',
    architecture: state.network.name,
    scale: String(state.network.scale),
    // Names and shapes of tensors do not tell all: not a skip of the image, not a scale of the residuals.
    [SUBNET_KEY]: JSON.stringify({ network: subnetNetwork(state.network, subnet), title, range, mean, channels }),
  })
}
