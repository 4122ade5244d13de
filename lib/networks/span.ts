// SPAN (Wan et al., CVPRW 2024), winner of NTIRE 2024: six blocks of three convolutions with a gate from their output.
import { invalidOption } from '../errors.js'
import { checkInteger, checkObject } from '../options.js'
import type { Architecture, Source } from './architecture.js'
import { addPointwise, compose, filtersOf, foldedSources } from './fold.js'
import { DIV2K_MEAN, fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network, type Value } from './network.js'
import type { Weights } from './weights.js'

/** Sizes of the SPAN family, see {@link span}. */
export interface SpanOptions {
  /** 1 .. 8. */
  scale: number
  /** Features; default 28/48, as published in NTIRE 2024 and in the paper. */
  widths?: readonly number[]
  /** Blocks, at least 2: every subnet has the first and the last. Default 4/6, the larger as published. */
  depths?: readonly number[]
  /** Input range, mean and channels; default { range: 255, mean: DIV2K's } as published. */
  convention?: Partial<ImageConvention>
}

const CONVENTION: ImageConvention = { ...PLAIN, range: 255, mean: DIV2K_MEAN }

/**
 * Kaiming's: folded convolutions train faster from it than from PyTorch's, and than the branches do (train/branches.mjs;
 * figures in docs/models.md).
 */
const FOLDED_INIT = { initGain: 1 }

/** Names of the convolutions whose training branches are folded. */
const folded = (name: string) => `${name}.eval_conv`

/** (c3 + x) * (sigmoid(c3) - 1/2), and the activated output of the block's first convolution. */
export function spanBlock(
  g: GraphBuilder,
  name: string,
  x: Value,
  options: { gate: boolean },
): { output: Value; first: Value } {
  const conv = (layer: string, input: Value) => g.conv(folded(`${name}.${layer}`), input, 'width', FOLDED_INIT)
  // The published code applies SiLU in place, so all users of the first convolution's output get it activated.
  const first = g.silu(conv('c1_r', x))
  const third = conv('c3_r', g.silu(conv('c2_r', first)))
  if (!options.gate) return { output: third, first }
  return { output: g.multiply(g.add(third, x), g.addConstant(g.sigmoid(third), -0.5)), first }
}

/**
 * The SPAN family in its folded form. Parameter names as published: conv_1, block_{n}.{c1_r,c2_r,c3_r}, conv_2 (each
 * .eval_conv), conv_cat, upsampler.0.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function span(options: SpanOptions): Network {
  checkObject(options, 'span options', ['scale', 'widths', 'depths', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [28, 48], depths: options.depths ?? [4, 6] })
  if (Math.min(...g.depths) < 2) throw invalidOption('depths', 'depths of at least 2', options.depths)
  const blocks = Math.max(...g.depths)
  const convention = { ...CONVENTION, ...options.convention }

  const image = g.input()
  const head = g.conv(folded('conv_1'), toNetwork(g, image, convention), 'width', {
    initGain: FOLDED_INIT.initGain / convention.range,
  })
  const { output: second } = spanBlock(g, 'block_1', head, { gate: true })
  // The first two of a depth's blocks are the network's first and last; the stack holds those between them.
  const between = g.stack(second, (x, i) => (i < 2 ? x : spanBlock(g, `block_${i}`, x, { gate: true }).output))
  const last = spanBlock(g, `block_${blocks}`, between, { gate: true })
  const body = g.conv(folded('conv_2'), last.output, 'width', FOLDED_INIT)
  const all = g.concat([head, body, second, last.first])
  const fused = g.conv('conv_cat', all, 'width', { ...TORCH_INIT, kernel: 1 })
  const { channels } = convention
  const up = g.pixelShuffle(g.conv('upsampler.0', fused, channels * scale * scale, TORCH_INIT), scale)
  // Only the input is in 0..255.
  return g.build('span', fromNetwork(g, up, image, { ...convention, range: 1 }, false))
}

/**
 * Sources of the Conv3XC layers: 1x1, 3x3, 1x1 and a parallel 1x1 fold into one 3x3 convolution. Files from training
 * contain the branches and an eval_conv that may be older; then the branches are used.
 */
export function branchSources(weights: Weights, layers: readonly string[]): Map<string, Source> {
  const sources = new Map<string, Source>()
  for (const layer of layers) {
    if (!weights.has(`${layer}.sk.weight`)) continue
    const parts = ['sk', 'conv.0', 'conv.1', 'conv.2'].map((part) => `${layer}.${part}`)
    const keys = [...parts, folded(layer)].flatMap((part) => [`${part}.weight`, `${part}.bias`])
    const make = () => {
      const [skip, ...chain] = parts.map((part) => filtersOf(weights, part))
      const [first, second, third] = chain
      return addPointwise(weights, compose(weights, compose(weights, first!, second!), third!), skip)
    }
    for (const [name, source] of foldedSources(folded(layer), keys, make)) sources.set(name, source)
  }
  return sources
}

/** Filters and input channels of a Conv3XC layer, folded or not. */
export function branchShape(weights: Weights, layer: string): { filters: number; inputs: number } {
  return weights.conv(weights.has(`${layer}.sk.weight`) ? `${layer}.sk` : folded(layer))
}

export const spanArchitecture: Architecture = {
  name: 'span',
  title: 'SPAN',
  family: span,
  keys: [
    [
      'conv_1.eval_conv.weight',
      'block_1.c1_r.eval_conv.weight',
      'block_1.c3_r.eval_conv.weight',
      'conv_cat.weight',
      'conv_2.eval_conv.weight',
      'upsampler.0.weight',
    ],
    [
      'conv_1.sk.weight',
      'block_1.c1_r.sk.weight',
      'block_1.c3_r.sk.weight',
      'conv_cat.weight',
      'conv_2.sk.weight',
      'upsampler.0.weight',
    ],
  ],
  // A marker of neosr and spandrel: the network was trained without mean and factor.
  unused: /^no_norm$/,
  read(weights, hints) {
    const { filters: features, inputs } = branchShape(weights, 'conv_1')
    const channels = weights.imageChannels('conv_1', inputs)
    const count = (part: string) => weights.count((i) => `block_${i}.c1_r.${part}.weight`, 1)
    const blocks = Math.max(count('sk'), count('eval_conv'))
    if (blocks < 2) weights.fail('has fewer than two blocks')
    const convention = { ...(weights.has('no_norm') ? PLAIN : CONVENTION), channels, ...hints.convention }
    const network = span({
      scale: weights.shuffleFactor('upsampler.0', channels),
      widths: [features],
      depths: [blocks],
      convention,
    })
    const layers = Array.from({ length: blocks }, (_, i) => ['c1_r', 'c2_r', 'c3_r'].map((c) => `block_${i + 1}.${c}`))
    return {
      network,
      features,
      blocks,
      convention,
      sources: branchSources(weights, ['conv_1', 'conv_2', ...layers.flat()]),
    }
  },
}
