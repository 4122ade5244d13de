// SPANF (NTIRE 2025, team XiaomiMM): SPAN whose first block takes the picture, beside a grouped convolution of the picture
// instead of nearest-neighbour interpolation.
import { invalidOption } from '../errors.js'
import { checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network } from './network.js'
import { branchShape, branchSources, spanBlock } from './span.js'

/** Sizes of the SPANF family, see {@link spanf}. */
export interface SpanfOptions {
  /** 1 .. 8. */
  scale: number
  /** Features; default 24/32, the larger as published. */
  widths?: readonly number[]
  /** Blocks, at least 1: every subnet has the first. Default 3/5, the larger as published. */
  depths?: readonly number[]
  /** Input range, mean and channels; default RGB in 0..1. */
  convention?: Partial<ImageConvention>
}

/**
 * The SPANF family in its folded form. Parameter names as published: conv_near, block_{n}.{c1_r,c2_r,c3_r}.eval_conv,
 * conv_cat, conv_2.eval_conv.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function spanf(options: SpanfOptions): Network {
  checkObject(options, 'spanf options', ['scale', 'widths', 'depths', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [24, 32], depths: options.depths ?? [3, 5] })
  if (g.widths.includes(3)) throw invalidOption('widths', 'widths other than 3', options.widths)
  const convention = { ...PLAIN, ...options.convention }
  const { channels } = convention
  const outputs = channels * scale * scale

  const image = g.input()
  const x = toNetwork(g, image, convention)
  const near = g.conv('conv_near', x, outputs, { ...TORCH_INIT, groups: channels, bias: false })
  const { output: first } = spanBlock(g, 'block_1', x, { gate: false })
  const trunk = g.stack(first, (y, i) => (i < 1 ? y : spanBlock(g, `block_${i + 1}`, y, { gate: true }).output))
  const fused = g.conv('conv_cat', g.concat([near, trunk, first]), 'width', { ...TORCH_INIT, kernel: 1 })
  const up = g.pixelShuffle(g.conv('conv_2.eval_conv', fused, outputs, TORCH_INIT), scale)
  return g.build('spanf', fromNetwork(g, up, image, convention, false))
}

export const spanfArchitecture: Architecture = {
  name: 'spanf',
  title: 'SPANF',
  family: spanf,
  keys: [
    [
      'conv_near.weight',
      'block_1.c1_r.eval_conv.weight',
      'block_2.c3_r.eval_conv.weight',
      'conv_cat.weight',
      'conv_2.eval_conv.weight',
    ],
    ['conv_near.weight', 'block_1.c1_r.sk.weight', 'block_2.c3_r.sk.weight', 'conv_cat.weight', 'conv_2.sk.weight'],
  ],
  read(weights, hints) {
    const { filters: features, inputs } = branchShape(weights, 'block_1.c1_r')
    const channels = weights.imageChannels('block_1.c1_r', inputs)
    const count = (part: string) => weights.count((i) => `block_${i}.c1_r.${part}.weight`, 1)
    const blocks = Math.max(count('sk'), count('eval_conv'))
    const convention = { ...PLAIN, channels, ...hints.convention }
    const scale = weights.shuffleFactor('conv_near', channels)
    const network = spanf({ scale, widths: [features], depths: [blocks], convention })
    const layers = Array.from({ length: blocks }, (_, i) => ['c1_r', 'c2_r', 'c3_r'].map((c) => `block_${i + 1}.${c}`))
    return { network, features, blocks, convention, sources: branchSources(weights, ['conv_2', ...layers.flat()]) }
  },
}
