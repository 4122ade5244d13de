// The model object that users hold, and loading it from a file.
import type { Transform } from 'node:stream'
import {
  checkDeviceOptions,
  createEngine,
  DEVICE_KEYS,
  type DeviceChoice,
  type DeviceOptions,
  type ModelDevice,
} from '../devices.js'
import { WbsrError, wrapError } from '../errors.js'
import { type CostTable, type MeasureCostsOptions, measureCosts } from '../infer/measure-costs.js'
import { checkUpscaleOptions, type UpscaleOptions } from '../infer/options.js'
import type { UpscaleResult } from '../infer/result.js'
import { upscale } from '../infer/upscale.js'
import type { ClassTable, ModelState, RouterTable } from '../model-state.js'
import { checkNetwork, networkDifference } from '../networks/check.js'
import type { Network } from '../networks/network.js'
import { checkChoice, checkObject, checkString } from '../options.js'
import { checkFileOptions, type UpscaleFileOptions } from '../stream/file-options.js'
import { createInferStream } from '../stream/infer-stream.js'
import type { StreamOptions } from '../stream/options.js'
import { RowStream, type RowStreamOptions } from '../stream/row-stream.js'
import { type UpscaleFileResult, upscaleFile } from '../stream/upscale-file.js'
import { isGlobal } from '../tiling/overlap.js'
import type { ImageInput } from '../types.js'
import { CallQueue, checkQueueOptions, QUEUE_KEYS, type QueueOptions } from './call-queue.js'
import { type ExportOptions, exportOnnx, exportSafetensors } from './export.js'
import {
  invalidFile,
  type ModelFile,
  modelWeights,
  readModelFile,
  type WeightPrecision,
  writeModelFile,
} from './model-file.js'
import { modelFile } from './shipped.js'

/** One member of the family, all of which share the model's weights. */
export interface Subnet {
  /** Position in `model.subnets`, which are sorted by cost. */
  index: number
  width: number
  depth: number
  /** 2 x multiply-adds of the convolution weights on one 32x32 LR patch. */
  flops: number
  parameters: number
}

/** What kind of network a model is, from its file. */
export interface ModelArchitecture {
  /** Of the backbone, e.g. 'span'; 'onnx' and 'ncnn' where the file describes its own graph. */
  name: string
  /** For people, e.g. 'RRDBNet (ESRGAN)'. */
  title: string
  /** What the weights were read from; 'wbsr': made or trained here. */
  format: 'wbsr' | 'pth' | 'safetensors' | 'ncnn' | 'onnx'
  /** SR size over LR size. */
  scale: number
  /** Channels of the largest subnet. */
  features: number
  /** Blocks of the largest subnet, as its backbone counts them. */
  blocks: number
  /** Of the largest subnet. */
  parameters: number
  /** 255: the network's values are in 0..255, 1: in 0..1. Pictures keep their own range in any case. */
  range: number
  /** Subtracted from R, G and B in 0..1 before they enter the network. */
  mean: readonly number[]
  /** 3: RGB. 1: the network enlarges luma, and differences of colour are interpolated. */
  channels: number
  /** Every output pixel depends on the whole picture (attention over all pixels): tiles give another result than the whole. */
  global: boolean
}

export interface LoadOptions extends DeviceOptions, QueueOptions {
  /** Needed for a weights file that wbsr did not write, e.g. srresnet({ scale: 4, widths: [64], depths: [16] }). */
  network?: Network
}

/** How `save` writes the weights. */
export interface SaveOptions {
  /** Of the weights in the file: 'f32' (default), or 'f16': half the size, each weight rounded to 11 bits. */
  precision?: WeightPrecision
}

/** The state behind a model, for lib/train. @throws WbsrError WBSR_DISPOSED */
export let stateOf: (model: SupernetModel) => ModelState

/** @internal Sets how calls share a model, before its first one. */
export let shareModel: (model: SupernetModel, options: Required<QueueOptions>) => SupernetModel

/** A trained supernet on a device. Made by {@link trainSupernet} and {@link loadSupernet}. */
export class SupernetModel {
  readonly #state: ModelState
  #queue = new CallQueue(checkQueueOptions({}))
  /** Sorted by cost, cheapest first. */
  readonly subnets: readonly Subnet[]
  /** SR size over LR size. */
  readonly scale: number
  readonly network: Network

  static {
    stateOf = (model) => model.#alive()
    shareModel = (model, options) => {
      model.#queue = new CallQueue(options)
      return model
    }
  }

  /** @internal */
  constructor(state: ModelState) {
    this.#state = state
    this.network = state.network
    this.scale = state.network.scale
    this.subnets = state.engine.subnets.map(({ index, width, depth, flops, parameters }) => ({
      index,
      width,
      depth,
      flops,
      parameters,
    }))
  }

  #alive(): ModelState {
    if (this.#state.disposed) throw new WbsrError('WBSR_DISPOSED', 'This model was disposed')
    return this.#state
  }

  /** What the model runs on. @throws WbsrError WBSR_DISPOSED */
  device(): ModelDevice {
    const { engine, fallbackReason } = this.#alive()
    const { kind, name, threads, precision } = engine.device
    return { kind, name, threads, precision, fallbackReason }
  }

  /** What kind of network this is and what it expects. */
  get architecture(): ModelArchitecture {
    const { network, source, engine } = this.#state
    const { parameters } = this.subnets.at(-1)!
    return {
      name: network.name,
      title: source?.title ?? network.name,
      format: source?.format ?? 'wbsr',
      scale: network.scale,
      features: source?.features ?? Math.max(...network.widths),
      blocks: source?.blocks ?? Math.max(...network.depths),
      parameters,
      range: source?.range ?? 1,
      mean: source?.mean ?? [0, 0, 0],
      channels: source?.channels ?? 3,
      global: isGlobal(engine),
    }
  }

  /** The difficulty classes by which tiles are routed. */
  get classes(): Readonly<ClassTable> {
    return this.#state.classes
  }

  /** What calibration measured; null: router 'calibrated' is not available. */
  get router(): Readonly<RouterTable> | null {
    return this.#state.router
  }

  /** How the model was trained, as stored in its file; null for weights of other tools. */
  get training(): Readonly<Record<string, unknown>> | null {
    return this.#state.training
  }

  /**
   * Writes the model as one safetensors file. The file appears whole or not at all; an older one of that name survives a
   * failure.
   *
   * @throws WbsrError WBSR_IO, WBSR_DISPOSED, WBSR_INVALID_OPTION (also for weights beyond 65504 with 'f16')
   */
  async save(file: string, options: SaveOptions = {}): Promise<void> {
    checkString(file, 'file')
    checkObject(options, 'options', ['precision'])
    const precision = checkChoice(options.precision ?? 'f32', 'precision', ['f32', 'f16'] as const)
    await writeModelFile(file, this.#alive(), precision)
  }

  /**
   * Writes one subnet as an ONNX file (opset 17): input `input` (batch, 3, height, width) of RGB in [0, 1], output `output`
   * not clamped; batch, height and width are free. Adaptive pooling (SAFMN) is exact for sides that are multiples of 8.
   *
   * @throws WbsrError WBSR_IO, WBSR_DISPOSED, WBSR_INVALID_OPTION
   */
  async exportOnnx(file: string, options: ExportOptions = {}): Promise<void> {
    await exportOnnx(this.#alive(), file, options)
  }

  /**
   * Writes the weights of one subnet as a safetensors file with the names that are published for its backbone, training
   * branches and normalisation folded. {@link save} is for reading them here again.
   *
   * @throws WbsrError WBSR_IO, WBSR_DISPOSED, WBSR_INVALID_OPTION
   */
  async exportSafetensors(file: string, options: ExportOptions = {}): Promise<void> {
    await exportSafetensors(this.#alive(), file, options)
  }

  /**
   * Enlarges one picture, every tile with the subnet that the router chooses for it. Of calls that are made at once some
   * (`concurrency`) run and the others wait, first come, first served, without their pictures being read.
   *
   * @throws WbsrError WBSR_INVALID_OPTION, WBSR_INVALID_IMAGE, WBSR_NOT_FOUND, WBSR_ABORTED, WBSR_BUSY, WBSR_DISPOSED
   */
  async upscale(input: ImageInput, options?: UpscaleOptions): Promise<UpscaleResult> {
    checkUpscaleOptions(options ?? {}, this.#alive())
    return this.#queue.run('upscale', options?.signal, () => upscale(this.#alive(), input, options))
  }

  /**
   * How fast this machine runs every subnet on regions of several sizes: for the option `costs` of {@link upscale}. Measure while
   * nothing else runs; the table is plain JSON and may be kept for later runs on a like machine. Takes some seconds.
   *
   * @throws WbsrError WBSR_INVALID_OPTION, also on CUDA and where the network sets the shape of regions; WBSR_ABORTED, WBSR_BUSY,
   *   WBSR_DISPOSED
   */
  async measureCosts(options?: MeasureCostsOptions): Promise<CostTable> {
    this.#alive()
    return this.#queue.run('measureCosts', options?.signal, () => measureCosts(this.#alive(), options))
  }

  /**
   * A Transform of tiles (see {@link Tile}) into upscaled tiles, in the order they came.
   *
   * @throws WbsrError WBSR_INVALID_OPTION, WBSR_DISPOSED
   */
  inferStream(options?: StreamOptions): Transform {
    return createInferStream(this.#alive(), options)
  }

  /**
   * A Transform of the bytes of a picture's rows, top to bottom in pieces of any size, into those of the enlarged picture. Memory
   * grows with the width, not with the height. The budget is met for the difficulties that the router table was measured on.
   * `width` and `height` of the stream are those of the result. It ends with WBSR_INVALID_IMAGE where fewer or more rows come.
   *
   * @throws WbsrError WBSR_INVALID_OPTION, WBSR_DISPOSED
   */
  upscaleStream(options: RowStreamOptions): RowStream {
    return new RowStream(this.#alive(), options)
  }

  /**
   * Enlarges a picture into a file of any size (.png, .jpg, .jpeg, .webp, .tif, .tiff, .avif) by bands of rows: by the network as
   * often as the size needs it, then by the exact antialiased bicubic resize. Memory grows with the width, not with the height
   * (but encoders of WebP and AVIF, and decoders of progressive JPEG, interlaced PNG and WebP, hold the whole picture). The
   * budget is met for the difficulties that the router table was measured on. The file appears whole or not at all.
   *
   * @throws WbsrError WBSR_INVALID_OPTION, WBSR_INVALID_IMAGE, WBSR_NOT_FOUND, WBSR_IO, WBSR_ABORTED, WBSR_BUSY, WBSR_DISPOSED
   */
  async upscaleFile(input: ImageInput, file: string, options?: UpscaleFileOptions): Promise<UpscaleFileResult> {
    checkFileOptions(options ?? {}, file, this.#alive())
    return this.#queue.run('upscaleFile', options?.signal, () => upscaleFile(this.#alive(), input, file, options))
  }

  /** Frees native memory at once, a GPU's beside the event loop. Everything but dispose then ends with WBSR_DISPOSED. */
  dispose(): void {
    if (this.#state.disposed) return
    this.#state.disposed = true
    this.#state.engine.dispose()
  }

  /** The same as {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** The same as {@link dispose}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose()
  }
}

/** Without thresholds everything is of one class, which every router gives to the largest subnet. */
export const UNTRAINED = {
  classes: { count: 1, thresholds: [] as number[], kind: 'interval' as const },
  router: null,
  mixture: null,
  training: null,
}

/**
 * Reads a model that `model.save` wrote, the weights inside a training checkpoint, or (with `network`) a safetensors file of
 * another tool; or a model of the package: 'wbsr:x2' (see shippedModels).
 *
 * @throws WbsrError WBSR_NOT_FOUND, WBSR_INVALID_FILE naming what is wrong, WBSR_NO_DEVICE, WBSR_INVALID_OPTION, WBSR_IO
 */
export async function loadSupernet(file: string, options: LoadOptions = {}): Promise<SupernetModel> {
  checkString(file, 'file')
  checkObject(options, 'options', [...DEVICE_KEYS, ...QUEUE_KEYS, 'network'])
  const device = checkDeviceOptions(options)
  const queue = checkQueueOptions(options)
  const wanted = options.network === undefined ? null : checkNetwork(options.network, 'network')

  const shipped = modelFile(file)
  return shareModel(openModelFile(shipped, await readModelFile(shipped), wanted, device), queue)
}

/** @internal A model of the contents of a safetensors file. */
export function openModelFile(
  file: string,
  contents: ModelFile,
  wanted: Network | null,
  device: DeviceChoice,
): SupernetModel {
  const stored = contents.description?.network
  const difference = stored && wanted && networkDifference(stored, wanted)
  if (difference) throw invalidFile(file, `holds another network than the option network: ${difference}`)
  const network = stored ?? wanted
  if (!network)
    throw invalidFile(
      file,
      'was not written by wbsr; say which network its weights belong to with the option network, or use loadModel',
    )
  let created: ReturnType<typeof createEngine>
  try {
    created = createEngine(network, device)
  } catch (error) {
    // A network that came with the file is the file's fault.
    const { code, message } = wrapError(error)
    if (!stored || (code !== 'WBSR_INVALID_OPTION' && code !== 'WBSR_INTERNAL')) throw error
    throw new WbsrError('WBSR_INVALID_FILE', `${file}: holds a network that cannot be built: ${message}`, {
      cause: error,
    })
  }
  const { engine, fallbackReason } = created
  try {
    engine.setArena('weights', modelWeights(file, contents, network, engine.parameters))
  } catch (error) {
    engine.dispose()
    throw wrapError(error)
  }
  return new SupernetModel({ ...(contents.description ?? UNTRAINED), engine, network, fallbackReason, disposed: false })
}
