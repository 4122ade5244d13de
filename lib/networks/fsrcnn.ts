// FSRCNN (Dong et al., ECCV 2016): shrinking, mapping and expanding on luma, enlarged by a transposed convolution.
import { checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network } from './network.js'

/** Sizes of the FSRCNN family, see {@link fsrcnn}. */
export interface FsrcnnOptions {
  /** 1 .. 8. */
  scale: number
  /** Features; default 32/56, the larger as published. */
  widths?: readonly number[]
  /** Mapping convolutions; default 2/4, the larger as published. */
  depths?: readonly number[]
  /** Channels of the mapping convolutions, default 12. */
  shrunk?: number
  /** Input range, mean and channels; default luma in 16/255..235/255 as published. */
  convention?: Partial<ImageConvention>
}

const CONVENTION: ImageConvention = { ...PLAIN, channels: 1, luma: 'video' }

/**
 * The FSRCNN family. Parameter names: first_part.{0,1}, mid_part.{n}, last_part.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function fsrcnn(options: FsrcnnOptions): Network {
  checkObject(options, 'fsrcnn options', ['scale', 'widths', 'depths', 'shrunk', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const shrunk = checkInteger(options.shrunk ?? 12, 'shrunk', 1, 1024)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [32, 56], depths: options.depths ?? [2, 4] })
  const convention = { ...CONVENTION, ...options.convention }

  const image = g.input()
  const x = toNetwork(g, image, convention)
  let y = g.prelu('first_part.1', g.conv('first_part.0', x, 'width', { ...TORCH_INIT, kernel: 5 }))
  y = g.prelu('mid_part.1', g.conv('mid_part.0', y, shrunk, { ...TORCH_INIT, kernel: 1 }))
  y = g.stack(y, (block, i) =>
    g.prelu(`mid_part.${2 * i + 3}`, g.conv(`mid_part.${2 * i + 2}`, block, shrunk, TORCH_INIT)),
  )
  const last = 2 * Math.max(...g.depths) + 2
  y = g.prelu(`mid_part.${last + 1}`, g.conv(`mid_part.${last}`, y, 'width', { ...TORCH_INIT, kernel: 1 }))
  const up = { ...TORCH_INIT, kernel: 9, stride: scale, padding: 4, outputPadding: scale - 1 }
  return g.build(
    'fsrcnn',
    fromNetwork(g, g.convTranspose('last_part', y, convention.channels, up), image, convention, false),
  )
}

export const fsrcnnArchitecture: Architecture = {
  name: 'fsrcnn',
  title: 'FSRCNN',
  family: fsrcnn,
  keys: [['first_part.0.weight', 'first_part.1.weight', 'mid_part.0.weight', 'mid_part.1.weight', 'last_part.weight']],
  read(weights, hints) {
    const { filters: features, inputs } = weights.conv('first_part.0')
    const channels = weights.imageChannels('first_part.0', inputs)
    const blocks = weights.count((i) => `mid_part.${2 * i}.weight`) - 2
    const { scale } = hints
    if (scale === undefined) return weights.fail('its file does not say by how much it enlarges; set the option scale')
    if (blocks < 1) weights.fail('has no mapping convolutions')
    const convention = { ...CONVENTION, channels, ...hints.convention }
    const shrunk = weights.conv('mid_part.0').filters
    const network = fsrcnn({ scale, widths: [features], depths: [blocks], shrunk, convention })
    return { network, features, blocks, convention }
  },
}
