// Models that people already have: weights of PyTorch, safetensors, ncnn and ONNX.

import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { isFloat32Array } from 'node:util/types'
import { checkDeviceOptions, createEngine, DEVICE_KEYS, type DeviceOptions } from '../devices.js'
import { invalidOption, WbsrError, wrapError } from '../errors.js'
import { damaged, ReadBudget } from '../files/read-budget.js'
import { readSafetensors, type Tensor } from '../files/safetensors.js'
import type { StoredTensor } from '../files/tensor.js'
import type { SourceDescription } from '../model-state.js'
import type { NativeParameter } from '../native.js'
import type { Hints } from '../networks/architecture.js'
import { checkNetwork } from '../networks/check.js'
import type { ImageConvention } from '../networks/image.js'
import type { Network } from '../networks/network.js'
import { checkChoice, checkInteger, checkNumber, checkObject, checkString } from '../options.js'
import { isRangeError } from '../realms.js'
import { checkQueueOptions, QUEUE_KEYS, type QueueOptions } from './call-queue.js'
import { SUBNET_KEY } from './export.js'
import type { ImportedGraph } from './graphs/import-graph.js'
import { isNcnnParam } from './graphs/ncnn-files.js'
import { openModelFile, SupernetModel, shareModel, UNTRAINED } from './model.js'
import { describeContents } from './model-file.js'
import { recognise, weightsArena } from './recognise.js'
import { modelFile } from './shipped.js'

export interface LoadModelOptions extends DeviceOptions, QueueOptions {
  /** Values that the network was trained on: 255 for 0..255, 1 for 0..1. By default what its architecture has. */
  range?: number
  /** Subtracted from R, G and B in 0..1 before; [0, 0, 0]: nothing. By default what its architecture has. */
  mean?: readonly number[]
  /** Of networks with one channel: luma in 0..1 ('full'), or in 16/255..235/255 ('video'). Default: the architecture's. */
  luma?: 'full' | 'video'
  /** For files that do not contain the scale or have several (CARN for several scales, RRDBNet at x3). */
  scale?: number
}

/** Node's limit for one read. */
const MAX_FILE = 2 ** 31 - 1

interface Found {
  format: SourceDescription['format']
  title: string
  network: Network
  features: number
  blocks: number
  convention: ImageConvention
  arena(parameters: readonly NativeParameter[]): Float32Array
}

async function bytesOf(file: string): Promise<Buffer> {
  try {
    const { size } = await stat(file)
    if (size > MAX_FILE) throw damaged(file, `has ${size} bytes, expected at most ${MAX_FILE}`)
    return await readFile(file)
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === 'ENOENT')
      throw new WbsrError('WBSR_NOT_FOUND', `${file} does not exist, expected a file of weights`, { cause: error })
    if (code === 'EISDIR') throw damaged(file, 'is a folder, expected a file of weights', error)
    throw wrapError(error, 'WBSR_IO', `Cannot read ${file}`)
  }
}

/** What pictures begin with: none of them can be a model. */
const PICTURES: readonly (readonly [kind: string, start: RegExp])[] = [
  ['PNG', /^\x89PNG/],
  ['JPEG', /^\xff\xd8\xff/],
  ['WebP', /^RIFF....WEBP/s],
  ['TIFF', /^(II[*+]\0|MM\0[*+])/],
  ['GIF', /^GIF8/],
  ['AVIF or HEIF', /^....ftyp(avi|hei|mif)/s],
]

function pictureKind(bytes: Buffer): string | undefined {
  const start = bytes.toString('latin1', 0, 16)
  return PICTURES.find(([, pattern]) => pattern.test(start))?.[0]
}

/** A safetensors file begins with the length of its header, which is JSON. */
const isSafetensors = (bytes: Buffer) =>
  bytes.length > 9 && bytes[8] === 0x7b && bytes.readBigUInt64LE(0) < BigInt(bytes.length)

/** A tensor of a safetensors file, whatever its type, as float32. */
function stored({ shape, dtype, data }: Tensor): StoredTensor {
  return {
    shape,
    type: dtype,
    read: () => (isFloat32Array(data) ? data : Float32Array.from(data as ArrayLike<number | bigint>, Number)),
  }
}

function ofTensors(file: string, format: 'pth' | 'safetensors', contents: unknown, hints: Hints): Found {
  const recognised = recognise(file, contents, hints)
  const { network, features, blocks, convention, architecture } = recognised
  return {
    format,
    title: architecture.title,
    network,
    features,
    blocks,
    convention,
    arena: (parameters) => weightsArena(file, recognised, parameters),
  }
}

/** What exportSafetensors() wrote: the file says itself which network it holds. */
function ofExport(file: string, text: string, tensors: Map<string, Tensor>): Found {
  let network: Network
  let about: Record<string, unknown>
  try {
    about = JSON.parse(text) as Record<string, unknown>
    network = checkNetwork(about['network'], 'network')
    if (network.widths.length * network.depths.length !== 1) throw new Error('it has several subnets')
  } catch (error) {
    throw damaged(file, `metadata ${SUBNET_KEY} is not the network of one subnet: ${(error as Error).message}`, error)
  }
  const { title, range, mean, channels } = about
  const three = Array.isArray(mean) && mean.length === 3 && mean.every((v) => typeof v === 'number')
  if (typeof title !== 'string' || typeof range !== 'number' || !three || (channels !== 1 && channels !== 3))
    throw damaged(file, `metadata ${SUBNET_KEY} is not { network, title, range, mean, channels }`)
  return {
    format: 'safetensors',
    title,
    network,
    features: network.widths[0]!,
    blocks: network.depths[0]!,
    convention: { range, mean: mean as number[], channels, luma: 'full' },
    arena: (parameters) => {
      const known = new Set(parameters.map(({ name }) => name))
      const unknown = [...tensors.keys()].filter((name) => !known.has(name))
      if (unknown.length > 0) throw damaged(file, `has a tensor ${unknown[0]} that its network does not have`)
      const arena = new Float32Array(parameters.reduce((end, p) => Math.max(end, p.offset + p.count), 0))
      for (const { name, shape, offset } of parameters) {
        const tensor = tensors.get(name)
        if (!tensor || JSON.stringify(tensor.shape) !== JSON.stringify(shape))
          throw damaged(file, `has no tensor ${name} of ${shape.join('x')}, which its network needs`)
        arena.set(stored(tensor).read(), offset)
      }
      return arena
    },
  }
}

function ofGraph(file: string, format: 'ncnn' | 'onnx', imported: ImportedGraph): Found {
  const { network, tensors, features, blocks, convention } = imported
  return {
    format,
    title: `${format === 'onnx' ? 'ONNX' : 'ncnn'} graph`,
    network,
    features,
    blocks,
    convention,
    arena: (parameters) => {
      const arena = new Float32Array(parameters.reduce((end, p) => Math.max(end, p.offset + p.count), 0))
      for (const { name, offset, count } of parameters) {
        const values = tensors.get(name)?.read()
        if (values?.length !== count) throw damaged(file, `has ${values?.length} numbers in ${name}, expected ${count}`)
        arena.set(values, offset)
      }
      return arena
    },
  }
}

/** The other half of a model of ncnn. */
function ncnnPair(file: string): { param: string; bin: string } {
  const base = file.replace(/\.(param|bin)$/, '')
  const pair = { param: `${base}.param`, bin: `${base}.bin` }
  for (const part of [pair.param, pair.bin])
    if (!existsSync(part))
      throw new WbsrError('WBSR_NOT_FOUND', `${part} does not exist; a model of ncnn is a .param file and a .bin file`)
  return pair
}

async function ofNcnn(file: string, convention: Partial<ImageConvention>): Promise<Found> {
  const { param, bin } = ncnnPair(file)
  const { readNcnn } = await import('./graphs/ncnn.js')
  const [paramBytes, binBytes] = [await bytesOf(param), await bytesOf(bin)]
  const budget = new ReadBudget(bin, binBytes.length)
  return ofGraph(
    param,
    'ncnn',
    readNcnn({ file: param, bytes: paramBytes }, { file: bin, bytes: binBytes }, budget, convention),
  )
}

function checkHints(options: LoadModelOptions): Hints {
  const { range, mean, luma, scale } = options
  if (mean !== undefined && (!Array.isArray(mean) || mean.length !== 3))
    throw invalidOption('mean', 'three numbers', mean)
  mean?.forEach((value, c) => checkNumber(value, `mean[${c}]`, -1, 1))
  return {
    convention: {
      ...(range !== undefined && { range: checkNumber(range, 'range', 1e-3, 65535) }),
      ...(mean !== undefined && { mean: [...(mean as readonly number[])] }),
      ...(luma !== undefined && { luma: checkChoice(luma, 'luma', ['full', 'video'] as const) }),
    },
    ...(scale !== undefined && { scale: checkInteger(scale, 'scale', 1, 8) }),
  }
}

/**
 * Loads a model of another tool: .pth and .pt of PyTorch, .safetensors, .param with .bin of ncnn, .onnx. What is inside is
 * recognised by its contents, not by its name. Models that wbsr wrote and those of the package load too, as loadSupernet does
 * it. Nothing in a file is executed.
 *
 * @returns a model of one subnet, which upscales, streams and saves as any other; `model.architecture` says what it is
 * @throws WbsrError WBSR_NOT_FOUND; WBSR_INVALID_FILE naming what is wrong, or which architectures are known and the nearest;
 *   WBSR_NO_DEVICE, WBSR_INVALID_OPTION, WBSR_IO
 */
export async function loadModel(name: string, options: LoadModelOptions = {}): Promise<SupernetModel> {
  const file = modelFile(checkString(name, 'file'))
  checkObject(options, 'options', [...DEVICE_KEYS, ...QUEUE_KEYS, 'range', 'mean', 'luma', 'scale'])
  const device = checkDeviceOptions(options)
  const queue = checkQueueOptions(options)
  const hints = checkHints(options)
  let found: Found
  try {
    const bytes = await bytesOf(file)
    const budget = new ReadBudget(file, bytes.length)
    // Loaded here, since zip archives and protocol buffers would add half to the time that importing wbsr takes.
    const pth = await import('./formats/pth.js')
    // A header of safetensors may have a length that looks like the first bytes of a pickle.
    if (isSafetensors(bytes)) {
      const contents = await readSafetensors(file)
      if (contents.metadata['wbsr.format'] !== undefined)
        return shareModel(openModelFile(file, describeContents(file, contents), null, device), queue)
      const exported = contents.metadata[SUBNET_KEY]
      found =
        exported !== undefined
          ? ofExport(file, exported, contents.tensors)
          : ofTensors(
              file,
              'safetensors',
              new Map([...contents.tensors].map(([key, tensor]) => [key, stored(tensor)])),
              hints,
            )
    } else if (pth.isPth(bytes)) found = ofTensors(file, 'pth', await pth.readPth(file, bytes, budget), hints)
    else if (isNcnnParam(bytes) || /\.bin$/.test(file)) found = await ofNcnn(file, hints.convention)
    else {
      const picture = pictureKind(bytes)
      if (picture) throw damaged(file, `is a picture (${picture}), expected a model`)
      const { readOnnx } = await import('./graphs/onnx-import.js')
      found = ofGraph(file, 'onnx', readOnnx(file, bytes, budget, hints.convention))
    }
  } catch (error) {
    if (isRangeError(error))
      throw new WbsrError('WBSR_OUT_OF_MEMORY', `Not enough memory to read ${file}`, { cause: error })
    throw error
  }
  return shareModel(makeModel(file, found, hints, device), queue)
}

function makeModel(
  file: string,
  found: Found,
  hints: Hints,
  device: ReturnType<typeof checkDeviceOptions>,
): SupernetModel {
  const { network, convention, format, title, features, blocks } = found
  if (hints.scale !== undefined && hints.scale !== network.scale)
    throw damaged(file, `looks like ${title} of scale ${network.scale}, not ${hints.scale}`)
  let created: ReturnType<typeof createEngine>
  try {
    created = createEngine(network, device)
  } catch (error) {
    if (!(error instanceof WbsrError) || error.code !== 'WBSR_INVALID_OPTION') throw error
    throw damaged(file, `looks like ${title} but its network cannot be built: ${error.message}`, error)
  }
  const { engine, fallbackReason } = created
  try {
    engine.setArena('weights', found.arena(engine.parameters))
  } catch (error) {
    engine.dispose()
    throw wrapError(error)
  }
  const { range, mean, channels } = convention
  const source: SourceDescription = { format, title, features, blocks, range, mean: [...mean], channels }
  return new SupernetModel({ ...UNTRAINED, source, engine, network, fallbackReason, disposed: false })
}
