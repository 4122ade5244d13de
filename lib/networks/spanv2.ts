// SPANV2 (NTIRE 2026): SPAN's blocks with ReLU, without biases, gated by a 1x1 convolution, and a depthwise separable tail
// over the features and a grouped convolution of the picture.
import { invalidOption } from '../errors.js'
import { checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network, type Value } from './network.js'

/** Sizes of the SPANV2 family, see {@link spanv2}. */
export interface Spanv2Options {
  /** 1 .. 8. */
  scale: number
  /** Features; default 24/32, the larger as published. */
  widths?: readonly number[]
  /** Blocks, at least 1: every subnet has the first. Default 3/5, the larger as published. */
  depths?: readonly number[]
  /** Whether the convolutions have biases. Default false as published. The 1x1 convolutions of the gates always do. */
  bias?: boolean
  /** Input range, mean and channels; default RGB in 0..1. */
  convention?: Partial<ImageConvention>
}

/**
 * The SPANV2 family. Parameter names as published: conv_near, block_{n}.{c1,c2,c3}.conv, block_{n}.guidance_map_conv
 * (from the second block on), depthwise_conv, pointwise_conv.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function spanv2(options: Spanv2Options): Network {
  checkObject(options, 'spanv2 options', ['scale', 'widths', 'depths', 'bias', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [24, 32], depths: options.depths ?? [3, 5] })
  if (g.widths.includes(3)) throw invalidOption('widths', 'widths other than 3', options.widths)
  const convention = { ...PLAIN, ...options.convention }
  const { channels } = convention
  const outputs = channels * scale * scale
  const init = { ...TORCH_INIT, bias: options.bias ?? false }

  const block = (x: Value, i: number): Value => {
    const name = `block_${i + 1}`
    let y = g.relu(g.conv(`${name}.c1.conv`, x, 'width', init))
    y = g.relu(g.conv(`${name}.c2.conv`, y, 'width', init))
    y = g.conv(`${name}.c3.conv`, y, 'width', init)
    if (i === 0) return g.relu(y)
    const guide = g.conv(`${name}.guidance_map_conv`, y, 'width', { ...TORCH_INIT, kernel: 1 })
    return g.multiply(g.add(x, y), guide)
  }
  const image = g.input()
  const x = toNetwork(g, image, convention)
  const near = g.conv('conv_near', x, outputs, { ...TORCH_INIT, groups: channels, bias: false })
  const trunk = g.stack(block(x, 0), (y, i) => (i < 1 ? y : block(y, i)))
  const tail = g.depthwiseConv('depthwise_conv', g.concat([near, trunk]), init)
  const up = g.pixelShuffle(g.conv('pointwise_conv', tail, outputs, { ...init, kernel: 1 }), scale)
  return g.build('spanv2', fromNetwork(g, up, image, convention, false))
}

export const spanv2Architecture: Architecture = {
  name: 'spanv2',
  title: 'SPANV2',
  family: spanv2,
  keys: [
    [
      'conv_near.weight',
      'block_1.c1.conv.weight',
      'block_2.guidance_map_conv.weight',
      'depthwise_conv.weight',
      'pointwise_conv.weight',
    ],
  ],
  read(weights, hints) {
    const { filters: features, inputs } = weights.conv('block_1.c1.conv')
    const channels = weights.imageChannels('block_1.c1.conv', inputs)
    const blocks = weights.count((i) => `block_${i}.c1.conv.weight`, 1)
    const convention = { ...PLAIN, channels, ...hints.convention }
    const network = spanv2({
      scale: weights.shuffleFactor('conv_near', channels),
      widths: [features],
      depths: [blocks],
      bias: weights.has('block_1.c1.conv.bias'),
      convention,
    })
    return { network, features, blocks, convention }
  },
}
