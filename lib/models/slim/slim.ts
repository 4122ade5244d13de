// A supernet made of a trained network: subnets of its most important channels and its first blocks.
import { checkDeviceOptions, createEngine, DEVICE_KEYS, type DeviceOptions } from '../../devices.js'
import { invalidOption, WbsrError, wrapError } from '../../errors.js'
import { checkLevels } from '../../networks/check.js'
import type { Network } from '../../networks/network.js'
import { graphNodes } from '../../networks/nodes.js'
import { checkObject } from '../../options.js'
import { SupernetModel, stateOf, UNTRAINED } from '../model.js'
import { inOrderOfImportance } from './order.js'

export interface SlimOptions extends DeviceOptions {
  /** Ascending or not; the largest is the model's own width (`model.architecture.features`). Default: that width alone. */
  widths?: readonly number[]
  /** The largest is the model's own depth (`model.architecture.blocks`). Default: that depth alone. */
  depths?: readonly number[]
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
 * belong together (by the weights that make and that read them), shallower ones the first blocks. Their results are poor
 * until they are trained: `trainSupernet({ from: slim, ... })`.
 *
 * @returns another model, on the device of `model` unless the options say otherwise; `model` stays as it is
 * @throws WbsrError WBSR_INVALID_OPTION: a width or depth that the network cannot be cut to, one that is larger than the
 *   model, widths of a network that has none (ONNX and ncnn graphs, PlainUSR); WBSR_DISPOSED, WBSR_NO_DEVICE
 */
export async function slimFrom(model: SupernetModel, options: SlimOptions): Promise<SupernetModel> {
  if (!(model instanceof SupernetModel)) throw invalidOption('model', 'a model of loadModel or loadSupernet', model)
  checkObject(options, 'slimFrom options', ['widths', 'depths', ...DEVICE_KEYS])
  const state = stateOf(model)
  const { network: whole, engine } = state
  const { kind, threads, precision } = engine.device
  const own = { device: kind, precision, ...(threads > 0 && { threads }) }
  const device = checkDeviceOptions(options.device === undefined ? { ...own, ...options } : options)
  const widths = [...checkWidths(whole, options.widths)]
  const depths = [...checkDepths(whole, options.depths)]
  const parameters = engine.parameters
  let weights: Float32Array
  try {
    weights = await engine.readWeights()
  } catch (error) {
    throw wrapError(error)
  }
  const cut: Network = { ...whole, widths, depths, graph: { ...whole.graph, widths, depths } }
  const network = inOrderOfImportance(cut, parameters, weights)
  const { engine: slim, fallbackReason } = createEngine(network, device)
  try {
    const same = (p: (typeof parameters)[number], i: number) =>
      p.name === parameters[i]?.name && p.offset === parameters[i]?.offset && p.count === parameters[i]?.count
    if (!slim.parameters.every(same)) throw new WbsrError('WBSR_INTERNAL', 'A cut network has other parameters')
    slim.setArena('weights', weights)
  } catch (error) {
    slim.dispose()
    throw wrapError(error)
  }
  const { source } = state
  return new SupernetModel({ ...UNTRAINED, source, engine: slim, network, fallbackReason, disposed: false })
}
