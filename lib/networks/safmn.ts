// SAFMN (Sun et al., ICCV 2023): spatially adaptive feature modulation from four resolutions, and convolutional channel
// mixers, with layer normalisation.
import { invalidOption } from '../errors.js'
import { checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { type Channels, GraphBuilder, type Network, type Value } from './network.js'

/** Sizes of the SAFMN family, see {@link safmn}. */
export interface SafmnOptions {
  /** 1 .. 8. */
  scale: number
  /** Features, multiples of 4; default 24/36, the larger as published (128 in the large network). */
  widths?: readonly number[]
  /** Blocks; default 4/8, the larger as published (16 in the large network). */
  depths?: readonly number[]
  /** Channels inside the mixer at the largest width; by default twice as many as outside. */
  hidden?: number
  /** Input range, mean and channels; default RGB in 0..1. */
  convention?: Partial<ImageConvention>
}

const LEVELS = [0, 1, 2, 3]

/**
 * The SAFMN family. Parameter names as published: to_feat, feats.{n}.{norm1,norm2,safm.{mfr.{0..3},aggr},ccm.ccm.{0,2}},
 * to_img.0. Its pooled levels depend on the size of the input, so tiles give other values than the whole picture; sides
 * should have at least 8 pixels.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function safmn(options: SafmnOptions): Network {
  checkObject(options, 'safmn options', ['scale', 'widths', 'depths', 'hidden', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [24, 36], depths: options.depths ?? [4, 8] })
  if (g.widths.some((w) => w % 4 !== 0)) throw invalidOption('widths', 'multiples of 4', options.widths)
  const largest = Math.max(...g.widths)
  const hidden: Channels = { of: checkInteger(options.hidden ?? 2 * largest, 'hidden', 1, 4096), per: largest }
  const convention = { ...PLAIN, ...options.convention }

  const modulation = (name: string, x: Value): Value => {
    const levels = LEVELS.map((level) => {
      const part = g.slice(x, level === 0 ? 0 : { of: level, per: 4 }, { of: 1, per: 4 })
      const layer = `${name}.mfr.${level}`
      if (level === 0) return g.depthwiseConv(layer, part, TORCH_INIT)
      const pooled = g.adaptivePool(part, { kind: 'max', factor: 2 ** level })
      return g.resizeLike(g.depthwiseConv(layer, pooled, TORCH_INIT), part, 'nearest')
    })
    return g.multiply(g.gelu(g.conv(`${name}.aggr`, g.concat(levels), 'width', { ...TORCH_INIT, kernel: 1 })), x)
  }
  const image = g.input()
  const head = g.conv('to_feat', toNetwork(g, image, convention), 'width', TORCH_INIT)
  const trunk = g.stack(head, (x, i) => {
    const name = `feats.${i}`
    const y = g.add(modulation(`${name}.safm`, g.layerNorm(`${name}.norm1`, x)), x)
    const mixed = g.gelu(g.conv(`${name}.ccm.ccm.0`, g.layerNorm(`${name}.norm2`, y), hidden, TORCH_INIT))
    return g.add(g.conv(`${name}.ccm.ccm.2`, mixed, 'width', { ...TORCH_INIT, kernel: 1 }), y)
  })
  const { channels } = convention
  const body = g.conv('to_img.0', g.add(trunk, head), channels * scale * scale, TORCH_INIT)
  return g.build('safmn', fromNetwork(g, g.pixelShuffle(body, scale), image, convention, false))
}

export const safmnArchitecture: Architecture = {
  name: 'safmn',
  title: 'SAFMN',
  family: safmn,
  keys: [
    [
      'to_feat.weight',
      'feats.0.norm1.weight',
      'feats.0.safm.mfr.3.weight',
      'feats.0.safm.aggr.weight',
      'feats.0.ccm.ccm.2.weight',
      'to_img.0.weight',
    ],
  ],
  read(weights, hints) {
    const { filters: features, inputs } = weights.conv('to_feat')
    const channels = weights.imageChannels('to_feat', inputs)
    const blocks = weights.count((i) => `feats.${i}.norm1.weight`)
    if (features % 4 !== 0) weights.fail(`has ${features} features, expected a multiple of 4`)
    const convention = { ...PLAIN, channels, ...hints.convention }
    const network = safmn({
      scale: weights.shuffleFactor('to_img.0', channels),
      widths: [features],
      depths: [blocks],
      hidden: weights.conv('feats.0.ccm.ccm.0').filters,
      convention,
    })
    return { network, features, blocks, convention }
  },
}
