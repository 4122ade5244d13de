// RLFN (Kong et al., CVPRW 2022), winner of NTIRE 2022 on run time: plain residual blocks of three convolutions, each
// closed by a 1x1 convolution and spatial attention.
import { checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { spatialAttention } from './esa.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network } from './network.js'

/** Sizes of the RLFN family, see {@link rlfn}. */
export interface RlfnOptions {
  /** 1 .. 4. */
  scale: number
  /** Features; default 36/52, the larger as published. */
  widths?: readonly number[]
  /** Residual blocks; default 4/6, the larger as published. */
  depths?: readonly number[]
  /** Features inside a block at the largest width; by default as many as outside. */
  middle?: number
  /** Channels of the spatial attention at every width, default 16. */
  attention?: number
  /** Input range, mean and channels; default { range: 255 } as published. */
  convention?: Partial<ImageConvention>
}

const CONVENTION: ImageConvention = { ...PLAIN, range: 255 }

/**
 * The RLFN family. Parameter names as published: conv_1, block_{n}.{c1_r,c2_r,c3_r,c5}, block_{n}.esa.*, conv_2,
 * upsampler.0. Its spatial attention needs pictures of at least 15x15 pixels.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function rlfn(options: RlfnOptions): Network {
  checkObject(options, 'rlfn options', ['scale', 'widths', 'depths', 'middle', 'attention', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 4)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [36, 52], depths: options.depths ?? [4, 6] })
  const largest = Math.max(...g.widths)
  const middle = { of: checkInteger(options.middle ?? largest, 'middle', 1, 1024), per: largest }
  const attention = checkInteger(options.attention ?? 16, 'attention', 1, 1024)
  const convention = { ...CONVENTION, ...options.convention }

  const image = g.input()
  const head = g.conv('conv_1', toNetwork(g, image, convention), 'width', TORCH_INIT)
  const trunk = g.stack(head, (x, i) => {
    const name = `block_${i + 1}`
    let y = g.leakyRelu(g.conv(`${name}.c1_r`, x, middle, TORCH_INIT), 0.05)
    y = g.leakyRelu(g.conv(`${name}.c2_r`, y, middle, TORCH_INIT), 0.05)
    y = g.leakyRelu(g.conv(`${name}.c3_r`, y, 'width', TORCH_INIT), 0.05)
    y = g.conv(`${name}.c5`, g.add(y, x), 'width', { ...TORCH_INIT, kernel: 1 })
    return spatialAttention(g, `${name}.esa`, y, { features: 'width', channels: attention, middle: 'one' })
  })
  const body = g.add(g.conv('conv_2', trunk, 'width', TORCH_INIT), head)
  const { channels } = convention
  const up = g.pixelShuffle(g.conv('upsampler.0', body, channels * scale * scale, TORCH_INIT), scale)
  return g.build('rlfn', fromNetwork(g, up, image, convention, false))
}

export const rlfnArchitecture: Architecture = {
  name: 'rlfn',
  title: 'RLFN',
  family: rlfn,
  keys: [
    [
      'conv_1.weight',
      'block_1.c1_r.weight',
      'block_1.c3_r.weight',
      'block_1.c5.weight',
      'block_1.esa.conv4.weight',
      'conv_2.weight',
      'upsampler.0.weight',
    ],
  ],
  read(weights, hints) {
    const { filters: features, inputs } = weights.conv('conv_1')
    const channels = weights.imageChannels('conv_1', inputs)
    const blocks = weights.count((i) => `block_${i}.c1_r.weight`, 1)
    const convention = { ...CONVENTION, channels, ...hints.convention }
    const network = rlfn({
      scale: weights.shuffleFactor('upsampler.0', channels),
      widths: [features],
      depths: [blocks],
      middle: weights.conv('block_1.c1_r').filters,
      attention: weights.conv('block_1.esa.conv1').filters,
      convention,
    })
    return { network, features, blocks, convention }
  },
}
