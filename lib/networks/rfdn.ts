// RFDN (Liu et al., ECCVW 2020), winner of AIM 2020: distillation by 1x1 convolutions beside residual 3x3 convolutions.
import { invalidOption } from '../errors.js'
import { checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { spatialAttention } from './esa.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { type Channels, GraphBuilder, type Network, type Value } from './network.js'

/** Sizes of the RFDN family, see {@link rfdn}. */
export interface RfdnOptions {
  /** 1 .. 8. */
  scale: number
  /** Features, at least 4; default 40/52. Published are 50 (AIM 2020) and 48. */
  widths?: readonly number[]
  /** Blocks, 1 .. 16; default 4 as published. All blocks' outputs are fused, so every subnet has all of them. */
  blocks?: number
  /** Input range, mean and channels; default { range: 255 } as published. */
  convention?: Partial<ImageConvention>
}

const CONVENTION: ImageConvention = { ...PLAIN, range: 255 }

/**
 * The RFDN family. Parameter names as published: fea_conv, B{n}.{c1_d,c1_r,..,c4,c5,esa.*}, c.0, LR_conv, upsampler.0.
 * Its spatial attention needs pictures of at least 15x15 pixels.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function rfdn(options: RfdnOptions): Network {
  checkObject(options, 'rfdn options', ['scale', 'widths', 'blocks', 'convention'])
  return family({ ...options, distilled: { of: 1, per: 2 }, attention: { of: 1, per: 4 } })
}

function family(options: RfdnOptions & { distilled: Channels; attention: Channels }): Network {
  const { distilled, attention } = options
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const blocks = checkInteger(options.blocks ?? 4, 'blocks', 1, 16)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [40, 52], depths: [blocks] })
  if (Math.min(...g.widths) < 4) throw invalidOption('widths', 'widths of at least 4', options.widths)
  const convention = { ...CONVENTION, ...options.convention }
  const conv = (name: string, x: Value, channels: Channels, kernel = 3) =>
    g.conv(name, x, channels, { ...TORCH_INIT, kernel })
  const act = (x: Value) => g.leakyRelu(x, 0.05)

  const block = (name: string, x: Value): Value => {
    const parts: Value[] = []
    let y = x
    for (const layer of ['c1', 'c2', 'c3']) {
      parts.push(act(conv(`${name}.${layer}_d`, y, distilled, 1)))
      y = act(g.add(conv(`${name}.${layer}_r`, y, 'width'), y))
    }
    parts.push(act(conv(`${name}.c4`, y, distilled)))
    const fused = conv(`${name}.c5`, g.concat(parts), 'width', 1)
    return spatialAttention(g, `${name}.esa`, fused, { features: 'width', channels: attention, middle: 'three' })
  }
  const image = g.input()
  const head = conv('fea_conv', toNetwork(g, image, convention), 'width')
  const outputs: Value[] = []
  for (let i = 1; i <= blocks; i++) outputs.push(block(`B${i}`, outputs.at(-1) ?? head))
  const joined = outputs.length === 1 ? outputs[0]! : g.concat(outputs)
  const body = g.add(conv('LR_conv', act(conv('c.0', joined, 'width', 1)), 'width'), head)
  const { channels } = convention
  const up = g.pixelShuffle(conv('upsampler.0', body, channels * scale * scale), scale)
  return g.build('rfdn', fromNetwork(g, up, image, convention, false))
}

export const rfdnArchitecture: Architecture = {
  name: 'rfdn',
  title: 'RFDN',
  family: rfdn,
  keys: [
    [
      'fea_conv.weight',
      'B1.c1_d.weight',
      'B1.c1_r.weight',
      'B1.c5.weight',
      'B1.esa.conv_max.weight',
      'c.0.weight',
      'LR_conv.weight',
      'upsampler.0.weight',
    ],
  ],
  read(weights, hints) {
    const { filters: features, inputs } = weights.conv('fea_conv')
    const channels = weights.imageChannels('fea_conv', inputs)
    const blocks = weights.count((i) => `B${i}.c1_d.weight`, 1)
    const convention = { ...CONVENTION, channels, ...hints.convention }
    const network = family({
      scale: weights.shuffleFactor('upsampler.0', channels),
      widths: [features],
      blocks,
      convention,
      distilled: { of: weights.conv('B1.c1_d').filters, per: features },
      attention: { of: weights.conv('B1.esa.conv1').filters, per: features },
    })
    return { network, features, blocks, convention }
  },
}
