// ESPCN (Shi et al., CVPR 2016): two convolutions with tanh and a pixel shuffle, on luma. The first network of sub-pixel
// convolution.
import { checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network } from './network.js'

/** Sizes of the ESPCN family, see {@link espcn}. */
export interface EspcnOptions {
  /** 1 .. 8. */
  scale: number
  /** Features; default 32/64, the larger as published. */
  widths?: readonly number[]
  /** Channels of the second convolution, default 32. */
  second?: number
  /** Input range, mean and channels; default luma in 16/255..235/255 as published. */
  convention?: Partial<ImageConvention>
}

const CONVENTION: ImageConvention = { ...PLAIN, channels: 1, luma: 'video' }

/**
 * The ESPCN family. Parameter names: first_part.{0,2}, last_part.0.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function espcn(options: EspcnOptions): Network {
  checkObject(options, 'espcn options', ['scale', 'widths', 'second', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const second = checkInteger(options.second ?? 32, 'second', 1, 1024)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [32, 64], depths: [1] })
  const convention = { ...CONVENTION, ...options.convention }
  const { channels } = convention

  const image = g.input()
  const x = toNetwork(g, image, convention)
  let y = g.tanh(g.conv('first_part.0', x, 'width', { ...TORCH_INIT, kernel: 5 }))
  y = g.tanh(g.conv('first_part.2', y, second, TORCH_INIT))
  y = g.pixelShuffle(g.conv('last_part.0', y, channels * scale * scale, TORCH_INIT), scale)
  return g.build('espcn', fromNetwork(g, y, image, convention, false))
}

export const espcnArchitecture: Architecture = {
  name: 'espcn',
  title: 'ESPCN',
  family: espcn,
  keys: [['first_part.0.weight', 'first_part.2.weight', 'last_part.0.weight']],
  read(weights, hints) {
    const { filters: features, inputs } = weights.conv('first_part.0')
    const channels = weights.imageChannels('first_part.0', inputs)
    const convention = { ...CONVENTION, channels, ...hints.convention }
    const scale = weights.shuffleFactor('last_part.0', channels)
    const second = weights.conv('first_part.2').filters
    return { network: espcn({ scale, widths: [features], second, convention }), features, blocks: 1, convention }
  },
}
