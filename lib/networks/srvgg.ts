// SRVGGNetCompact (Real-ESRGAN, 2022; "Compact" in OpenModelDB): a plain chain of 3x3 convolutions with PReLU, beside
// nearest-neighbour interpolation of the picture.
import { checkChoice, checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network, type Value } from './network.js'

const ACTIVATIONS = ['prelu', 'relu', 'leakyRelu'] as const

/** Sizes of the SRVGGNetCompact family, see {@link srvgg}. */
export interface SrvggOptions {
  /** 1 .. 8. */
  scale: number
  /** Features; default 48/64, the larger as published. */
  widths?: readonly number[]
  /** Convolutions between the first and the last; default 8/16, the larger as published ('general' models have 32). */
  depths?: readonly number[]
  /** Default 'prelu', with one slope per channel. */
  activation?: (typeof ACTIVATIONS)[number]
  /** Input range, mean and channels; default RGB in 0..1. */
  convention?: Partial<ImageConvention>
}

/**
 * The SRVGGNetCompact family. Parameter names as published: body.{2i} are convolutions, body.{2i + 1} PReLUs.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function srvgg(options: SrvggOptions): Network {
  checkObject(options, 'srvgg options', ['scale', 'widths', 'depths', 'activation', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const activation = checkChoice(options.activation ?? 'prelu', 'activation', ACTIVATIONS)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [48, 64], depths: options.depths ?? [8, 16] })
  const last = 2 * Math.max(...g.depths) + 2
  const convention = { ...PLAIN, ...options.convention }
  const { channels } = convention

  const layer = (x: Value, index: number): Value => {
    // With Kaiming's gain the signal keeps its size through a chain without residual connections.
    const y = g.conv(`body.${index}`, x, 'width')
    if (activation === 'relu') return g.relu(y)
    return activation === 'prelu' ? g.prelu(`body.${index + 1}`, y) : g.leakyRelu(y, 0.1)
  }
  const image = g.input()
  const x = toNetwork(g, image, convention)
  const trunk = g.stack(layer(x, 0), (y, i) => layer(y, 2 * i + 2))
  const up = g.pixelShuffle(g.conv(`body.${last}`, trunk, channels * scale * scale, TORCH_INIT), scale)
  const base = scale === 1 ? x : g.upsample(x, { mode: 'nearest' })
  return g.build('srvgg', fromNetwork(g, g.add(up, base), image, convention, false))
}

export const srvggArchitecture: Architecture = {
  name: 'srvgg',
  title: 'SRVGGNetCompact',
  family: srvgg,
  keys: [
    ['body.0.weight', 'body.0.bias', 'body.1.weight', 'body.2.weight', 'body.2.bias'],
    ['body.0.weight', 'body.0.bias', 'body.2.weight', 'body.2.bias', 'body.4.weight', 'body.4.bias'],
  ],
  read(weights, hints) {
    const { filters: features, inputs } = weights.conv('body.0')
    const channels = weights.imageChannels('body.0', inputs)
    const layers = weights.count((i) => `body.${2 * i}.weight`)
    const depth = layers - 2
    if (depth < 1) weights.fail('has fewer than three convolutions')
    // Activations other than PReLU have no keys; published files without keys use ReLU.
    const activation = weights.has('body.1.weight') ? 'prelu' : 'relu'
    const convention = { ...PLAIN, channels, ...hints.convention }
    const scale = weights.shuffleFactor(`body.${2 * layers - 2}`, channels)
    const network = srvgg({ scale, widths: [features], depths: [depth], activation, convention })
    return { network, features, blocks: depth, convention }
  },
}
