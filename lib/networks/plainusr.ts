// PlainUSR (Wang et al., ACCV 2024): plain convolutions on a part of the channels, with local attention from soft pooling.

import { invalidOption } from '../errors.js'
import { checkInteger, checkObject } from '../options.js'
import type { Architecture, Source } from './architecture.js'
import { addPointwise, compose, type Filters, filtersOf, foldedSources, scaleFilters } from './fold.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network, type Value } from './network.js'
import type { Weights } from './weights.js'

/** One block: the number of channels it processes, its number of convolutions, and its kind of attention. */
export interface PlainusrBlock {
  name: string
  channels: number
  convolutions: number
  /** 'pooled' (the paper's), 'local' (one convolution), 'none'. */
  attention: 'pooled' | 'local' | 'none'
}

/** Sizes of the PlainUSR family, see {@link plainusr}. */
export interface PlainusrOptions {
  /** 1 .. 8. */
  scale: number
  /** Features; default 64 as published. Three more channels hold the picture. */
  features?: number
  /** Channels inside the attention, default 16. */
  attention?: number
  /** Default: five blocks on 64, 48, 32, 48 and 64 channels, two convolutions each, as the published middle size. */
  blocks?: readonly PlainusrBlock[]
  /** Input range, mean and channels; default RGB in 0..1. */
  convention?: Partial<ImageConvention>
}

const defaultBlocks = (features: number): PlainusrBlock[] =>
  [0, 16, 32, 16, 0].map((less, i) => ({
    name: ['block1', 'block2', 'blockm', 'block3', 'block4'][i]!,
    channels: Math.max(1, features - less),
    convolutions: 2,
    attention: 'pooled' as const,
  }))

/**
 * PlainUSR in its folded form, one width: its head outputs the features and then the picture, so that the last channels
 * cannot be left out. Parameter names as published: head, block*.body.{0,2(,4)}, block*.body.{3|5}.body.{0,2,3},
 * tail.0. The attention's pooling depends on the size of the input, so tiles give other values than the whole picture.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function plainusr(options: PlainusrOptions): Network {
  checkObject(options, 'plainusr options', ['scale', 'features', 'attention', 'blocks', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const features = checkInteger(options.features ?? 64, 'features', 1, 1024)
  const attention = checkInteger(options.attention ?? 16, 'attention', 1, 1024)
  const blocks = options.blocks ?? defaultBlocks(features)
  const g = new GraphBuilder({ scale, widths: [features], depths: [blocks.length] })
  const convention = { ...PLAIN, ...options.convention }
  const { channels } = convention
  const all = features + channels

  const pooledAttention = (name: string, x: Value, count: number): Value => {
    const reduced = g.conv(`${name}.body.0`, x, attention, { ...TORCH_INIT, kernel: 1 })
    // Averages weighted by e^x.
    const weight = g.exp(reduced)
    const pool = (value: Value) => g.pool(value, { kind: 'average', kernel: 7, stride: 3 })
    const soft = g.multiply(pool(g.multiply(weight, reduced)), g.reciprocal(pool(weight)))
    const small = g.conv(`${name}.body.2`, soft, attention, { ...TORCH_INIT, stride: 2, padding: 1 })
    return g.resizeLike(g.sigmoid(g.conv(`${name}.body.3`, small, count, TORCH_INIT)), x)
  }
  const block = ({ name, channels: count, convolutions, attention: kind }: PlainusrBlock, x: Value): Value => {
    let y = x
    for (let i = 0; i < convolutions; i++) {
      if (i > 0) y = g.leakyRelu(y, 0.05)
      y = g.conv(`${name}.body.${2 * i}`, y, count, TORCH_INIT)
    }
    if (kind === 'none') return y
    const layer = `${name}.body.${2 * convolutions - 1}`
    const mask =
      kind === 'pooled' ? pooledAttention(layer, y, count) : g.sigmoid(g.conv(`${layer}.body.0`, y, count, TORCH_INIT))
    return g.multiply(g.multiply(y, mask), g.sigmoid(g.slice(y, 0, 1)))
  }
  const image = g.input()
  let x = g.conv('head', toNetwork(g, image, convention), all, TORCH_INIT)
  for (const one of blocks) {
    const { channels: count } = one
    if (!(count <= all)) throw invalidOption('blocks', `blocks of at most ${all} channels`, count)
    const part = block(one, count === all ? x : g.slice(x, 0, count))
    x = count === all ? part : g.concat([part, g.slice(x, count, all - count)])
  }
  const up = g.pixelShuffle(g.conv('tail.0', x, channels * scale * scale, TORCH_INIT), scale)
  return g.build('plainusr', fromNetwork(g, up, image, convention, false))
}

const ORDERS = [
  ['block1', 'block2', 'blockm', 'block3', 'block4'],
  ['block1', 'blockm', 'block2'],
]

/** The block of a file, in its trained form (folded or not). */
function blockOf(weights: Weights, name: string): PlainusrBlock {
  const folded = weights.has(`${name}.body.0.weight`)
  const first = `${name}.body.0${folded ? '' : '.expand_conv'}`
  const { filters, inputs } = weights.conv(first)
  const convolutions = folded
    ? weights.count((i) => `${name}.body.${2 * i}.weight`)
    : weights.count((i) => `${name}.body.${2 * i}.expand_conv.weight`)
  const after = 2 * convolutions - 1 + (folded ? 0 : 1)
  const attention = weights.has(`${name}.body.${after}.body.2.weight`)
    ? 'pooled'
    : weights.has(`${name}.body.${after}.body.0.weight`)
      ? 'local'
      : 'none'
  return { name, channels: folded ? filters : inputs, convolutions, attention }
}

/** A block's MBConv: 1x1, 3x3 with a learned factor per channel and the identity beside it, 1x1, and the identity beside all. */
function foldBlock(weights: Weights, name: string): Filters {
  const [expand, features, reduce] = ['expand_conv', 'fea_conv', 'reduce_conv'].map((part) =>
    filtersOf(weights, `${name}.${part}`),
  )
  const count = features!.filters
  const squeeze = weights.values(`${name}.se.se.1.weight`)
  const excite = weights.values(`${name}.se.se.3.weight`)
  const state = weights.values(`${name}.se.tensor`)
  const hidden = squeeze.length / count
  if (state.length !== count || !Number.isInteger(hidden) || excite.length !== squeeze.length)
    weights.fail(`has training branches of another shape than expected in ${name}`)
  const inner = Float64Array.from({ length: hidden }, (_, h) => {
    let sum = 0
    for (let c = 0; c < count; c++) sum += squeeze[h * count + c]! * state[c]!
    return sum / (1 + Math.exp(-sum))
  })
  const scale = Float64Array.from({ length: count }, (_, c) => {
    let sum = 0
    for (let h = 0; h < hidden; h++) sum += excite[c * hidden + h]! * inner[h]!
    return 1 / (1 + Math.exp(-sum))
  })
  const scaled = scaleFilters(weights, features!, { scale, offset: new Float64Array(count) })
  return addPointwise(weights, compose(weights, compose(weights, expand!, addPointwise(weights, scaled)), reduce!))
}

/** Folds the 1x1 convolution that replaces the first channel of a block's last convolution. */
function foldFirstChannel(weights: Weights, last: Filters, name: string): Filters {
  const first = compose(weights, last, filtersOf(weights, name))
  last.weight.set(first.weight.subarray(0, last.inputs * last.kernel * last.kernel))
  last.bias[0] = first.bias[0]!
  return last
}

function trainingSources(weights: Weights, blocks: readonly PlainusrBlock[]): Map<string, Source> {
  const sources = new Map<string, Source>()
  for (const { name, convolutions, attention } of blocks) {
    const chain = `${name}.body.${2 * convolutions - 1}.conv`
    for (let i = 0; i < convolutions; i++) {
      const layer = `${name}.body.${2 * i}`
      const last = i === convolutions - 1 && weights.has(`${chain}.weight`)
      const parts = ['expand_conv', 'fea_conv', 'reduce_conv'].map((part) => `${layer}.${part}`)
      const keys = [
        ...[...parts, ...(last ? [chain] : [])].flatMap((part) => [`${part}.weight`, `${part}.bias`]),
        ...['tensor', 'se.1.weight', 'se.3.weight'].map((part) => `${layer}.se.${part}`),
      ]
      const make = () => {
        const filters = foldBlock(weights, layer)
        return last ? foldFirstChannel(weights, filters, chain) : filters
      }
      for (const [parameter, source] of foldedSources(layer, keys, make)) sources.set(parameter, source)
    }
    if (attention === 'none') continue
    for (const part of attention === 'pooled' ? [0, 2, 3] : [0]) {
      const [here, there] = [2 * convolutions - 1, 2 * convolutions].map((n) => `${name}.body.${n}.body.${part}`)
      for (const kind of ['weight', 'bias']) sources.set(`${here}.${kind}`, `${there}.${kind}`)
    }
  }
  return sources
}

export const plainusrArchitecture: Architecture = {
  name: 'plainusr',
  title: 'PlainUSR',
  family: plainusr,
  keys: [
    [
      'head.weight',
      'block1.body.0.weight',
      'block1.body.2.weight',
      'blockm.body.0.weight',
      'block2.body.0.weight',
      'tail.0.weight',
    ],
    [
      'head.weight',
      'block1.body.0.expand_conv.weight',
      'blockm.body.0.expand_conv.weight',
      'block2.body.0.expand_conv.weight',
      'tail.0.weight',
    ],
  ],
  read(weights, hints) {
    const { filters, inputs } = weights.conv('head')
    const channels = weights.imageChannels('head', inputs)
    const training = weights.has('block1.body.0.expand_conv.weight')
    const order = weights.has(`block4.body.0${training ? '.expand_conv' : ''}.weight`) ? ORDERS[0]! : ORDERS[1]!
    const blocks = order.map((name) => blockOf(weights, name))
    const features = filters - channels
    const pooled = blocks.find((b) => b.attention === 'pooled')
    const at = (b: PlainusrBlock) => `${b.name}.body.${2 * b.convolutions - (training ? 0 : 1)}.body.0`
    const convention = { ...PLAIN, channels, ...hints.convention }
    if (features < 1) weights.fail(`has ${filters} filters in head`)
    const network = plainusr({
      scale: weights.shuffleFactor('tail.0', channels),
      features,
      blocks,
      convention,
      ...(pooled && { attention: weights.conv(at(pooled)).filters }),
    })
    const sources = training ? trainingSources(weights, blocks) : new Map<string, Source>()
    return { network, features, blocks: blocks.length, convention, sources }
  },
}
