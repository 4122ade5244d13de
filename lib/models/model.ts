// The model object that users hold, and loading it from a file.
import type { Transform } from 'node:stream'
import { checkDeviceOptions, createEngine, DEVICE_KEYS, type DeviceOptions, type ModelDevice } from '../devices.js'
import { WbsrError, wrapError } from '../errors.js'
import type { UpscaleOptions } from '../infer/options.js'
import type { UpscaleResult } from '../infer/result.js'
import { upscale } from '../infer/upscale.js'
import type { ClassTable, ModelState, RouterTable } from '../model-state.js'
import { checkNetwork, networkDifference } from '../networks/check.js'
import type { Network } from '../networks/network.js'
import { checkObject, checkString } from '../options.js'
import { createInferStream } from '../stream/infer-stream.js'
import type { StreamOptions } from '../stream/options.js'
import type { ImageInput } from '../types.js'
import { invalidFile, modelWeights, readModelFile, writeModelFile } from './model-file.js'

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

export interface LoadOptions extends DeviceOptions {
  /** Needed for a weights file that wbsr did not write, e.g. srresnet({ scale: 4, widths: [64], depths: [16] }). */
  network?: Network
}

/** The state behind a model, for lib/train. @throws WbsrError WBSR_DISPOSED */
export let stateOf: (model: SupernetModel) => ModelState

/** A trained supernet on a device. Made by {@link trainSupernet} and {@link loadSupernet}. */
export class SupernetModel {
  readonly #state: ModelState
  /** Sorted by cost, cheapest first. */
  readonly subnets: readonly Subnet[]
  /** SR size over LR size. */
  readonly scale: number
  readonly network: Network

  static {
    stateOf = (model) => model.#alive()
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
   * @throws WbsrError WBSR_IO, WBSR_DISPOSED, WBSR_INVALID_OPTION
   */
  async save(file: string): Promise<void> {
    await writeModelFile(checkString(file, 'file'), this.#alive())
  }

  /**
   * Enlarges one picture, every tile with the subnet that the router chooses for it.
   *
   * @throws WbsrError WBSR_INVALID_OPTION, WBSR_INVALID_IMAGE, WBSR_NOT_FOUND, WBSR_ABORTED, WBSR_DISPOSED
   */
  async upscale(input: ImageInput, options?: UpscaleOptions): Promise<UpscaleResult> {
    return upscale(this.#alive(), input, options)
  }

  /**
   * A Transform of tiles (see {@link Tile}) into upscaled tiles, in the order they came.
   *
   * @throws WbsrError WBSR_INVALID_OPTION, WBSR_DISPOSED
   */
  inferStream(options?: StreamOptions): Transform {
    return createInferStream(this.#alive(), options)
  }

  /** Frees native memory at once. Everything but dispose then ends with WBSR_DISPOSED. */
  dispose(): void {
    if (this.#state.disposed) return
    this.#state.disposed = true
    this.#state.engine.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose()
  }
}

/**
 * Reads a model that `model.save` wrote, the weights inside a training checkpoint, or (with `network`) a safetensors file of
 * another tool.
 *
 * @throws WbsrError WBSR_NOT_FOUND, WBSR_INVALID_FILE naming what is wrong, WBSR_NO_DEVICE, WBSR_INVALID_OPTION, WBSR_IO
 */
export async function loadSupernet(file: string, options: LoadOptions = {}): Promise<SupernetModel> {
  checkString(file, 'file')
  checkObject(options, 'options', [...DEVICE_KEYS, 'network'])
  const device = checkDeviceOptions(options)
  const wanted = options.network === undefined ? null : checkNetwork(options.network, 'network')

  const contents = await readModelFile(file)
  const stored = contents.description?.network
  const difference = stored && wanted && networkDifference(stored, wanted)
  if (difference) throw invalidFile(file, `holds another network than the option network: ${difference}`)
  const network = stored ?? wanted
  if (!network)
    throw invalidFile(file, 'was not written by wbsr; say which network its weights belong to with the option network')
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
  // Without thresholds everything is of one class, which every router gives to the largest subnet.
  const plain = {
    classes: { count: 1, thresholds: [], kind: 'interval' as const },
    router: null,
    mixture: null,
    training: null,
  }
  return new SupernetModel({ ...(contents.description ?? plain), engine, network, fallbackReason, disposed: false })
}
