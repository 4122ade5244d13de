// SRResNet of the SRGAN paper (Ledig et al., CVPR 2017): 9x9 convolutions at both ends and PReLU. Batch
// normalisation is folded into the convolutions. (srresnet.ts is the variant without normalisation, MSRResNet.)

import { checkBoolean, checkInteger, checkObject } from '../options.js'
import type { Architecture, Source } from './architecture.js'
import { batchNorm, filtersOf, foldedSources, scaleFilters } from './fold.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network, type Value } from './network.js'
import type { Weights } from './weights.js'

/** Sizes of the SRResNet with PReLU family, see {@link srresnetPrelu}. */
export interface SrresnetPreluOptions {
  /** 1, 2, 3, 4 or 8. */
  scale: number
  /** Features; default 48/64, the larger as published. */
  widths?: readonly number[]
  /** Residual blocks; default 8/16, the larger as published. */
  depths?: readonly number[]
  /** Side of the first and the last convolution, default 9. */
  kernel?: number
  /** Whether the network ends in (tanh(x) + 1) / 2. Default false. */
  tanh?: boolean
  /** Input range, mean and channels; default RGB in 0..1. */
  convention?: Partial<ImageConvention>
}

const stepsOf = (scale: number) => (scale === 3 ? [3] : Array.from({ length: Math.round(Math.log2(scale)) }, () => 2))

/**
 * The SRResNet family of the SRGAN paper, normalisation folded. Parameter names: conv_first, act_first,
 * body.{n}.{conv1,act,conv2}, conv_body, upconv{i}, act_up{i}, conv_last.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function srresnetPrelu(options: SrresnetPreluOptions): Network {
  checkObject(options, 'srresnetPrelu options', ['scale', 'widths', 'depths', 'kernel', 'tanh', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const kernel = checkInteger(options.kernel ?? 9, 'kernel', 1, 15)
  const tanh = checkBoolean(options.tanh ?? false, 'tanh')
  const g = new GraphBuilder({ scale, widths: options.widths ?? [48, 64], depths: options.depths ?? [8, 16] })
  const convention = { ...PLAIN, ...options.convention }

  const image = g.input()
  const first = g.conv('conv_first', toNetwork(g, image, convention), 'width', { ...TORCH_INIT, kernel })
  const head = g.prelu('act_first', first)
  const trunk = g.stack(head, (x, i) => {
    const y = g.prelu(`body.${i}.act`, g.conv(`body.${i}.conv1`, x, 'width', TORCH_INIT))
    return g.add(g.conv(`body.${i}.conv2`, y, 'width', TORCH_INIT), x)
  })
  let y: Value = g.add(g.conv('conv_body', trunk, 'width', TORCH_INIT), head)
  stepsOf(scale).forEach((r, i) => {
    const wide = g.conv(`upconv${i + 1}`, y, { times: r * r }, TORCH_INIT)
    y = g.prelu(`act_up${i + 1}`, g.pixelShuffle(wide, r))
  })
  y = g.conv('conv_last', y, convention.channels, { ...TORCH_INIT, kernel })
  if (tanh) y = g.affine(g.tanh(y), { scale: [0.5], offset: [0.5] })
  return g.build('srresnet-prelu', fromNetwork(g, y, image, convention, false))
}

/** The layer names of published files; `norm` of a convolution if there is one. */
interface Names {
  first: string
  firstAct: string
  block(n: number): { conv1: string; norm1?: string; act: string; conv2: string; norm2?: string }
  body: { conv: string; norm?: string }
  up(i: number): { conv: string; act: string }
  last: string
  tanh: boolean
}

function plainNames(): Names {
  return {
    first: 'conv_first',
    firstAct: 'act_first',
    block: (n) => ({ conv1: `body.${n}.conv1`, act: `body.${n}.act`, conv2: `body.${n}.conv2` }),
    body: { conv: 'conv_body' },
    up: (i) => ({ conv: `upconv${i + 1}`, act: `act_up${i + 1}` }),
    last: 'conv_last',
    tanh: false,
  }
}

/** leftthomas/SRGAN: block1 .. blockN, of which the last ones are the body's convolution and the enlargement. */
function numberedNames(weights: Weights): Names {
  const blocks = weights.count((n) => `block${n}.conv1.weight`, 2)
  const body = `block${blocks + 2}`
  const tail = `block${blocks + 3}`
  const steps = weights.count((i) => `${tail}.${i}.conv.weight`)
  return {
    first: 'block1.0',
    firstAct: 'block1.1',
    block: (n) => {
      const name = `block${n + 2}`
      return {
        conv1: `${name}.conv1`,
        norm1: `${name}.bn1`,
        act: `${name}.prelu`,
        conv2: `${name}.conv2`,
        norm2: `${name}.bn2`,
      }
    },
    body: weights.has(`${body}.0.weight`) ? { conv: `${body}.0`, norm: `${body}.1` } : { conv: `${body}.conv` },
    up: (i) => ({ conv: `${tail}.${i}.conv`, act: `${tail}.${i}.prelu` }),
    last: `${tail}.${steps}`,
    tanh: true,
  }
}

/** Lornatang/SRGAN-PyTorch. */
function trunkNames(weights: Weights): Names {
  return {
    first: 'conv_block1.0',
    firstAct: 'conv_block1.1',
    block: (n) => {
      const name = `trunk.${n}.rcb`
      return { conv1: `${name}.0`, norm1: `${name}.1`, act: `${name}.2`, conv2: `${name}.3`, norm2: `${name}.4` }
    },
    body: { conv: 'conv_block2.0', norm: 'conv_block2.1' },
    up: (i) => ({ conv: `upsampling.${i}.upsample_block.0`, act: `upsampling.${i}.upsample_block.2` }),
    last: weights.has('conv_block3.weight') ? 'conv_block3' : 'conv_block3.0',
    tanh: false,
  }
}

const NORM = ['weight', 'bias', 'running_mean', 'running_var']

/** Sources of a convolution, with the normalisation after it folded if the file has one. */
function convSources(weights: Weights, layer: string, conv: string, norm?: string): [string, Source][] {
  if (norm === undefined || !weights.has(`${norm}.running_mean`)) {
    const { filters } = weights.conv(conv)
    if (weights.has(`${conv}.bias`)) return ['weight', 'bias'].map((part) => [`${layer}.${part}`, `${conv}.${part}`])
    return foldedSources(layer, [`${conv}.weight`], () => ({
      ...filtersOf(weights, conv),
      bias: new Float64Array(filters),
    }))
  }
  const keys = [`${conv}.weight`, `${conv}.bias`, ...NORM.map((part) => `${norm}.${part}`)]
  return foldedSources(layer, keys, () => scaleFilters(weights, filtersOf(weights, conv), batchNorm(weights, norm)))
}

export const srresnetPreluArchitecture: Architecture = {
  name: 'srresnet-prelu',
  title: 'SRResNet (SRGAN)',
  family: srresnetPrelu,
  keys: [
    [
      'conv_first.weight',
      'act_first.weight',
      'body.0.conv1.weight',
      'body.0.act.weight',
      'conv_body.weight',
      'conv_last.weight',
    ],
    ['block1.0.weight', 'block1.1.weight', 'block2.conv1.weight', 'block2.prelu.weight', 'block2.bn2.running_mean'],
    [
      'conv_block1.0.weight',
      'conv_block1.1.weight',
      'trunk.0.rcb.0.weight',
      'trunk.0.rcb.2.weight',
      'conv_block2.0.weight',
    ],
  ],
  unused: /\.num_batches_tracked$/,
  read(weights, hints) {
    const names = weights.has('conv_first.weight')
      ? plainNames()
      : weights.has('block1.0.weight')
        ? numberedNames(weights)
        : trunkNames(weights)
    const { filters: features, inputs, kernel } = weights.conv(names.first)
    const channels = weights.imageChannels(names.first, inputs)
    const blocks = weights.count((n) => `${names.block(n).conv1}.weight`)
    const steps = weights.count((i) => `${names.up(i).conv}.weight`)
    const factors = Array.from({ length: steps }, (_, i) => weights.shuffleFactor(names.up(i).conv, features))
    const scale = factors.reduce((a, b) => a * b, 1)
    if (scale > 8 || stepsOf(scale).length !== steps) weights.fail(`enlarges in ${steps} steps by ${scale}`)
    const convention = { ...PLAIN, channels, ...hints.convention }
    const network = srresnetPrelu({ scale, widths: [features], depths: [blocks], kernel, tanh: names.tanh, convention })
    const sources = new Map<string, Source>([
      ...convSources(weights, 'conv_first', names.first),
      ['act_first.weight', `${names.firstAct}.weight`],
      ...convSources(weights, 'conv_body', names.body.conv, names.body.norm),
      ...convSources(weights, 'conv_last', names.last),
    ])
    const add = (entries: [string, Source][]) => {
      for (const [parameter, source] of entries) sources.set(parameter, source)
    }
    for (let n = 0; n < blocks; n++) {
      const { conv1, norm1, act, conv2, norm2 } = names.block(n)
      add(convSources(weights, `body.${n}.conv1`, conv1, norm1))
      add([[`body.${n}.act.weight`, `${act}.weight`]])
      add(convSources(weights, `body.${n}.conv2`, conv2, norm2))
    }
    for (let i = 0; i < steps; i++) {
      const { conv, act } = names.up(i)
      add(convSources(weights, `upconv${i + 1}`, conv))
      add([[`act_up${i + 1}.weight`, `${act}.weight`]])
    }
    return { network, features, blocks, convention, sources }
  },
}
