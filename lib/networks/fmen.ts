// FMEN (Du et al., CVPRW 2022): residual blocks that fold into single convolutions, and attention from high frequencies.

import { invalidOption } from '../errors.js'
import { checkInteger, checkObject } from '../options.js'
import type { Architecture, Source } from './architecture.js'
import { addPointwise, batchNorm, compose, type Filters, filtersOf, foldedSources, scaleFilters } from './fold.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network, type Value } from './network.js'
import { graphNodes } from './nodes.js'
import type { Weights } from './weights.js'

/** Sizes of the FMEN family, see {@link fmen}. */
export interface FmenOptions {
  /** 1 .. 8. */
  scale: number
  /** Features; default 36/50, the larger as published. */
  widths?: readonly number[]
  /** Pairs of residual and attention block; default 2/4, the larger as published. */
  depths?: readonly number[]
  /** Channels inside the attention of the first block and of the pairs, at every width; default [12, 16]. */
  middle?: readonly number[]
  /** Residual blocks inside each attention, the first block's first; default [2, 1, 1, ...]. */
  inner?: readonly number[]
  /** Input range, mean and channels; default { range: 255 } as published. */
  convention?: Partial<ImageConvention>
}

const CONVENTION: ImageConvention = { ...PLAIN, range: 255 }

/**
 * The FMEN family in its folded form. Parameter names as published: head, warmup.0, warmup.1.*, ERBs.{n}.{conv1,conv2}.
 * rep_conv, HFABs.{n}.{squeeze,convs.{m}.{conv1,conv2}.rep_conv,excitate}, lr_conv, tail.0.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function fmen(options: FmenOptions): Network {
  checkObject(options, 'fmen options', ['scale', 'widths', 'depths', 'middle', 'inner', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [36, 50], depths: options.depths ?? [2, 4] })
  const pairs = Math.max(...g.depths)
  const [first, others] = options.middle ?? [12, 16]
  checkInteger(first, 'middle[0]', 1, 1024)
  checkInteger(others, 'middle[1]', 1, 1024)
  const inner = options.inner ?? [2, ...Array<number>(pairs).fill(1)]
  if (inner.length !== pairs + 1) throw invalidOption('inner', `${pairs + 1} numbers`, inner)
  inner.forEach((n, i) => checkInteger(n, `inner[${i}]`, 1, 64))
  const convention = { ...CONVENTION, ...options.convention }
  const act = (x: Value) => g.leakyRelu(x, 0.1)

  const residual = (name: string, x: Value, channels: number | 'width'): Value =>
    g.conv(
      `${name}.conv2.rep_conv`,
      act(g.conv(`${name}.conv1.rep_conv`, x, channels, TORCH_INIT)),
      channels,
      TORCH_INIT,
    )
  const attention = (name: string, x: Value, middle: number, blocks: number): Value => {
    let y = act(g.conv(`${name}.squeeze`, x, middle, TORCH_INIT))
    for (let i = 0; i < blocks; i++) y = residual(`${name}.convs.${i}`, y, middle)
    return g.multiply(x, g.sigmoid(g.conv(`${name}.excitate`, act(y), 'width', TORCH_INIT)))
  }
  const image = g.input()
  const head = g.conv('head', toNetwork(g, image, convention), 'width', TORCH_INIT)
  const warm = attention('warmup.1', g.conv('warmup.0', head, 'width', TORCH_INIT), first!, inner[0]!)
  const trunk = g.stack(warm, (x, i) =>
    attention(`HFABs.${i}`, residual(`ERBs.${i}`, x, 'width'), others!, inner[i + 1]!),
  )
  const body = g.add(g.conv('lr_conv', trunk, 'width', TORCH_INIT), head)
  const { channels } = convention
  const up = g.pixelShuffle(g.conv('tail.0', body, channels * scale * scale, TORCH_INIT), scale)
  return g.build('fmen', fromNetwork(g, up, image, convention, false))
}

/** A 1x1, a 3x3 with the identity beside it and a 1x1, with the identity beside all. */
function foldResidual(weights: Weights, name: string): Filters {
  const [expand, features, reduce] = ['expand_conv', 'fea_conv', 'reduce_conv'].map((part) =>
    filtersOf(weights, `${name}.${part}`),
  )
  const middle = addPointwise(weights, features!)
  return addPointwise(weights, compose(weights, compose(weights, expand!, middle), reduce!))
}

const keysOf = (name: string, parts: readonly string[]) => parts.map((part) => `${name}.${part}`)
const NORM = ['weight', 'bias', 'running_mean', 'running_var']
const CONV = ['weight', 'bias']

/** Folds `norm` into the convolution after it; the padding is the normalised value of 0. */
function normFirst(weights: Weights, convolution: Filters, norm: string): Filters {
  const { scale, offset } = batchNorm(weights, norm)
  const { inputs } = convolution
  const weight = new Float64Array(inputs * inputs)
  for (let c = 0; c < inputs; c++) weight[c * inputs + c] = scale[c]!
  return compose(weights, { filters: inputs, inputs, kernel: 1, weight, bias: offset }, convolution)
}

/** Sources for an unfolded file, as training writes it. */
function trainingSources(weights: Weights, network: Network): Map<string, Source> {
  const sources = new Map<string, Source>()
  for (const node of graphNodes(network.graph)) {
    if (!('name' in node)) continue
    const { name } = node
    let folded: [string, Source][] = []
    if (name.endsWith('.rep_conv')) {
      const block = name.slice(0, -'.rep_conv'.length)
      const keys = ['expand_conv', 'fea_conv', 'reduce_conv'].flatMap((part) => keysOf(`${block}.${part}`, CONV))
      folded = foldedSources(name, keys, () => foldResidual(weights, block))
    } else if (name.endsWith('.squeeze')) {
      const bn1 = name.replace(/squeeze$/, 'bn1')
      folded = foldedSources(name, [...keysOf(name, CONV), ...keysOf(bn1, NORM)], () =>
        normFirst(weights, filtersOf(weights, name), bn1),
      )
    } else if (name.endsWith('.excitate')) {
      const bn2 = name.replace(/excitate$/, 'bn2')
      const bn3 = name.replace(/excitate$/, 'bn3')
      folded = foldedSources(name, [...keysOf(name, CONV), ...keysOf(bn2, NORM), ...keysOf(bn3, NORM)], () =>
        scaleFilters(weights, normFirst(weights, filtersOf(weights, name), bn2), batchNorm(weights, bn3)),
      )
    }
    for (const [parameter, source] of folded) sources.set(parameter, source)
  }
  return sources
}

export const fmenArchitecture: Architecture = {
  name: 'fmen',
  title: 'FMEN',
  family: fmen,
  keys: [
    [
      'head.weight',
      'warmup.0.weight',
      'warmup.1.squeeze.weight',
      'warmup.1.excitate.weight',
      'lr_conv.weight',
      'tail.0.weight',
    ],
  ],
  unused: /\.num_batches_tracked$/,
  read(weights, hints) {
    const { filters: features, inputs } = weights.conv('head')
    const channels = weights.imageChannels('head', inputs)
    const training = weights.has('warmup.1.bn1.weight')
    const part = training ? 'expand_conv' : 'rep_conv'
    const blocks = weights.count((i) => `HFABs.${i}.squeeze.weight`)
    if (blocks === 0) weights.fail('lacks HFABs.0.squeeze.weight')
    const innerOf = (name: string) => weights.count((i) => `${name}.convs.${i}.conv1.${part}.weight`)
    const convention = { ...CONVENTION, channels, ...hints.convention }
    const network = fmen({
      scale: weights.shuffleFactor('tail.0', channels),
      widths: [features],
      depths: [blocks],
      middle: [weights.conv('warmup.1.squeeze').filters, weights.conv('HFABs.0.squeeze').filters],
      inner: [innerOf('warmup.1'), ...Array.from({ length: blocks }, (_, i) => innerOf(`HFABs.${i}`))],
      convention,
    })
    return { network, features, blocks, convention, sources: training ? trainingSources(weights, network) : new Map() }
  },
}
