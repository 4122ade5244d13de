// A supernet made of a trained network: subnets of its most important channels and its first blocks.
import { checkDeviceOptions, createEngine, DEVICE_KEYS, type DeviceChoice, type DeviceOptions } from '../../devices.js'
import { invalidOption, WbsrError, wrapError } from '../../errors.js'
import type { NativeEngine, NativeParameter } from '../../native.js'
import { checkLevels } from '../../networks/check.js'
import type { Network } from '../../networks/network.js'
import { graphNodes } from '../../networks/nodes.js'
import { checkObject } from '../../options.js'
import type { ImageInput } from '../../types.js'
import { SupernetModel, stateOf, UNTRAINED } from '../model.js'
import { importanceByPictures, importanceByWeights } from './importance.js'
import { inOrderOfImportance, withoutOrder } from './order.js'
import { tiesOf } from './ties.js'

export interface SlimOptions extends DeviceOptions {
  /** Ascending or not; the largest is the model's own width (`model.architecture.features`). Default: that width alone. */
  widths?: readonly number[]
  /** The largest is the model's own depth (`model.architecture.blocks`). Default: that depth alone. */
  depths?: readonly number[]
  /**
   * 1 to 16 LR pictures on which it is measured how much every channel matters: the middle 64x64 pixels run once without
   * each. Takes as many passes as the network has channels, so for small networks. Default: judged by the weights.
   */
  pictures?: readonly ImageInput[]
}

/** The levels of an option, ascending, which end in the network's own. `why` there is only that one; null: there may be more. */
function levelsOf(
  value: unknown,
  name: 'widths' | 'depths',
  own: readonly number[],
  why: string | null,
): readonly number[] {
  const largest = Math.max(...own)
  if (value === undefined) return [largest]
  const levels = Array.isArray(value) ? [...value].sort((a, b) => a - b) : value
  checkLevels(levels, name, 1024)
  if (why !== null && (levels.length > 1 || levels[0] !== largest))
    throw invalidOption(name, `[${largest}] or nothing (${why})`, value)
  if (levels.at(-1) !== largest)
    throw invalidOption(name, `${name} of which the largest is the model's own, ${largest},`, value)
  return levels
}

function checkWidths(network: Network, value: unknown): readonly number[] {
  const { name, widths, graph } = network
  const follows = graph.nodes.some(({ channels }) => typeof channels === 'object' && 'num' in channels)
  return levelsOf(value, 'widths', widths, follows ? null : `the layers of ${name} have fixed channels`)
}

function checkDepths(network: Network, value: unknown): readonly number[] {
  const stacks = graphNodes(network.graph).filter(({ op }) => op === 'stack')
  const why = stacks.length > 0 ? null : `${network.name} has no blocks that can be left out`
  const depths = levelsOf(value, 'depths', network.depths, why)
  depths.slice(1).forEach((depth, i) => {
    const less = depths[i]!
    if (stacks.every(({ inputs }) => inputs[depth] === inputs[less]))
      throw invalidOption('depths', `depths that differ (${less} and ${depth} are the same blocks)`, value)
  })
  return depths
}

/**
 * Makes a supernet of a model, e.g. one that loadModel read: its largest subnet is the model, with the same weights and, to
 * the bit, the same results; narrower subnets have the channels that are most important in each group of channels that
 * belong together (by the weights that make and that read them, or on `pictures`), shallower ones the first blocks. Their results are poor
 * until they are trained: `trainSupernet({ from: slim, ... })`.
 *
 * @returns another model, on the device of `model` unless the options say otherwise; `model` stays as it is
 * @throws WbsrError WBSR_INVALID_OPTION: a width or depth that the network cannot be cut to, one that is larger than the
 *   model, widths of a network that has none (ONNX and ncnn graphs, PlainUSR); WBSR_DISPOSED, WBSR_NO_DEVICE
 */
export async function slimFrom(model: SupernetModel, options: SlimOptions): Promise<SupernetModel> {
  if (!(model instanceof SupernetModel)) throw invalidOption('model', 'a model of loadModel or loadSupernet', model)
  checkObject(options, 'slimFrom options', ['widths', 'depths', 'pictures', ...DEVICE_KEYS])
  const state = stateOf(model)
  const { network: whole, engine } = state
  const device = checkDeviceOptions(options.device === undefined ? { ...ownDevice(engine), ...options } : options)
  const { pictures } = options
  if (pictures !== undefined && (!Array.isArray(pictures) || pictures.length < 1 || pictures.length > 16))
    throw invalidOption('pictures', 'an array of 1 to 16 pictures', pictures)
  const widths = [...checkWidths(whole, options.widths)]
  const depths = [...checkDepths(whole, options.depths)]
  const parameters = engine.parameters
  let weights: Float32Array
  try {
    weights = await engine.readWeights()
  } catch (error) {
    throw wrapError(error)
  }
  const cut = withoutOrder({ ...whole, widths, depths, graph: { ...whole.graph, widths, depths } })
  const network = widths.length > 1 ? await ordered(cut, parameters, weights, pictures, device) : cut
  const { engine: slim, fallbackReason } = engineWith(network, parameters, weights, device)
  const { source } = state
  return new SupernetModel({ ...UNTRAINED, source, engine: slim, network, fallbackReason, disposed: false })
}

/** Options for another engine on the same device. */
export function ownDevice({ device }: NativeEngine): DeviceOptions {
  const { kind, threads, precision } = device
  return { device: kind, precision, ...(threads > 0 && { threads }) }
}

/** An engine with these weights. */
export function engineWith(
  network: Network,
  parameters: readonly NativeParameter[],
  weights: Float32Array,
  device: DeviceChoice,
): ReturnType<typeof createEngine> {
  const created = createEngine(network, device)
  const { engine } = created
  try {
    const same = ({ name, offset, count }: NativeParameter, i: number) =>
      name === parameters[i]?.name && offset === parameters[i]?.offset && count === parameters[i]?.count
    if (!engine.parameters.every(same)) throw new WbsrError('WBSR_INTERNAL', 'A cut network has other parameters')
    engine.setArena('weights', weights)
  } catch (error) {
    engine.dispose()
    throw wrapError(error)
  }
  return created
}

async function ordered(
  network: Network,
  parameters: readonly NativeParameter[],
  weights: Float32Array,
  pictures: readonly ImageInput[] | undefined,
  device: DeviceChoice,
): Promise<Network> {
  const ties = tiesOf(network)
  if (!pictures)
    return inOrderOfImportance(network, ties, importanceByWeights(network, ties.groups, parameters, weights))
  // The largest subnet alone: its widths need not be such that the network can be cut to.
  const widths = network.widths.slice(-1)
  const whole = { ...network, widths, graph: { ...network.graph, widths } }
  const { engine } = engineWith(whole, parameters, weights, device)
  try {
    return inOrderOfImportance(network, ties, await importanceByPictures(whole, ties.groups, engine, pictures))
  } catch (error) {
    throw wrapError(error)
  } finally {
    engine.dispose()
  }
}
