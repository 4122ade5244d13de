// DISP (NTIRE 2026, team 18): residual blocks of four convolutions whose training branches are folded.
import { checkBoolean, checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network, type Value } from './network.js'
import { branchShape, branchSources } from './span.js'

/** Sizes of the DISP family, see {@link disp}. */
export interface DispOptions {
  /** 1 .. 8. */
  scale: number
  /** Features; default 24/32, the larger as published. */
  widths?: readonly number[]
  /** Blocks; default 2/4, the larger as published. */
  depths?: readonly number[]
  /** Input range, mean and channels; default RGB in 0..1. */
  convention?: Partial<ImageConvention>
  /**
   * Adds the bilinearly enlarged image to the output, and begins training with blocks that change little. The published network
   * has no such skip: its training branches do that work. Without them 400 steps with the skip reach the loss of 3600 without.
   * Default false.
   */
  skip?: boolean
}

// In the order of use, which differs from that of the keys.
const LAYERS = ['c1_r', 'c2_r', '_extern_conv_block.0', 'c3_r']

/**
 * The DISP family in its folded form. Parameter names as published: conv_1, blocks.{n}.{_extern_conv_block.0,c1_r,c2_r,
 * c3_r} (each .eval_conv), conv_2, upsampler.0.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function disp(options: DispOptions): Network {
  checkObject(options, 'disp options', ['scale', 'widths', 'depths', 'convention', 'skip'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [24, 32], depths: options.depths ?? [2, 4] })
  const convention = { ...PLAIN, ...options.convention }
  const skip = options.skip === undefined ? false : checkBoolean(options.skip, 'skip')
  const inner = skip ? { initGain: 1 } : TORCH_INIT
  const last = skip ? { initGain: 0.1 } : TORCH_INIT

  const image = g.input()
  const head = g.conv('conv_1.eval_conv', toNetwork(g, image, convention), 'width', inner)
  const trunk = g.stack(head, (x, i) => {
    let y: Value = x
    for (const layer of LAYERS) {
      const init = layer === LAYERS.at(-1) ? last : inner
      y = g.silu(g.conv(`blocks.${i}.${layer}.eval_conv`, y, 'width', init))
    }
    return g.add(y, x)
  })
  const body = g.add(g.conv('conv_2', trunk, 'width', { ...last, kernel: 1 }), head)
  const { channels } = convention
  const up = g.pixelShuffle(g.conv('upsampler.0', body, channels * scale * scale, last), scale)
  const output = fromNetwork(g, up, image, convention, false)
  return g.build('disp', skip ? g.add(output, g.upsample(image)) : output)
}

export const dispArchitecture: Architecture = {
  name: 'disp',
  title: 'DISP',
  family: disp,
  keys: [
    [
      'conv_1.eval_conv.weight',
      'blocks.0.c1_r.eval_conv.weight',
      'blocks.0._extern_conv_block.0.eval_conv.weight',
      'conv_2.weight',
      'upsampler.0.weight',
    ],
    [
      'conv_1.sk.weight',
      'blocks.0.c1_r.sk.weight',
      'blocks.0._extern_conv_block.0.sk.weight',
      'conv_2.weight',
      'upsampler.0.weight',
    ],
  ],
  read(weights, hints) {
    const { filters: features, inputs } = branchShape(weights, 'conv_1')
    const channels = weights.imageChannels('conv_1', inputs)
    const count = (part: string) => weights.count((i) => `blocks.${i}.c1_r.${part}.weight`)
    const blocks = Math.max(count('sk'), count('eval_conv'))
    const convention = { ...PLAIN, channels, ...hints.convention }
    const scale = weights.shuffleFactor('upsampler.0', channels)
    const network = disp({ scale, widths: [features], depths: [blocks], convention })
    const layers = Array.from({ length: blocks }, (_, i) => LAYERS.map((c) => `blocks.${i}.${c}`))
    return { network, features, blocks, convention, sources: branchSources(weights, ['conv_1', ...layers.flat()]) }
  },
}
