// EDSR (Lim et al., CVPRW 2017): residual blocks without normalisation.
import { checkInteger, checkNumber, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { renamedSources } from './fold.js'
import { DIV2K_MEAN, fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network, type Value } from './network.js'

/** Sizes of the EDSR family, see {@link edsr}. */
export interface EdsrOptions {
  /** 1, 2, 3, 4 or 8. */
  scale: number
  /** Features; default 32/64, the larger as the published baseline (the full network has 256). */
  widths?: readonly number[]
  /** Residual blocks; default 8/16, the larger as the published baseline (the full network has 32). */
  depths?: readonly number[]
  /** Factor of the residual branches; default 1 (0.1 in the full network). */
  residualScale?: number
  /** Input range, mean and channels; undone at the end. Default { range: 255, mean: DIV2K's } as published. */
  convention?: Partial<ImageConvention>
}

const CONVENTION: ImageConvention = { ...PLAIN, range: 255, mean: DIV2K_MEAN }

/** Steps of enlargement: twos, or one step of three. */
const stepsOf = (scale: number) => (scale === 3 ? [3] : Array.from({ length: Math.round(Math.log2(scale)) }, () => 2))

/**
 * The EDSR family. Parameter names as in EDSR-PyTorch: head.0, body.{n}.body.{0,2}, body.{blocks}, tail.0.{0,2,4}, tail.1.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function edsr(options: EdsrOptions): Network {
  checkObject(options, 'edsr options', ['scale', 'widths', 'depths', 'residualScale', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const factor = checkNumber(options.residualScale ?? 1, 'residualScale', 0, 10)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [32, 64], depths: options.depths ?? [8, 16] })
  const blocks = Math.max(...g.depths)
  const convention = { ...CONVENTION, ...options.convention }

  const image = g.input()
  const head = g.conv('head.0', toNetwork(g, image, convention), 'width', TORCH_INIT)
  const trunk = g.stack(head, (x, i) => {
    const name = `body.${i}.body`
    const y = g.conv(`${name}.2`, g.relu(g.conv(`${name}.0`, x, 'width', TORCH_INIT)), 'width', TORCH_INIT)
    return g.add(factor === 1 ? y : g.multiplyConstant(y, factor), x)
  })
  let y: Value = g.add(g.conv(`body.${blocks}`, trunk, 'width', TORCH_INIT), head)
  stepsOf(scale).forEach((r, i) => {
    y = g.pixelShuffle(g.conv(`tail.0.${2 * i}`, y, { times: r * r }, TORCH_INIT), r)
  })
  const output = g.conv('tail.1', y, convention.channels, TORCH_INIT)
  return g.build('edsr', fromNetwork(g, output, image, convention, true))
}

export const edsrArchitecture: Architecture = {
  name: 'edsr',
  title: 'EDSR',
  family: edsr,
  keys: [
    ['head.0.weight', 'body.0.body.0.weight', 'body.0.body.2.weight', 'tail.0.0.weight', 'tail.1.weight'],
    [
      'conv_first.weight',
      'body.0.conv1.weight',
      'body.0.conv2.weight',
      'conv_after_body.weight',
      'upsample.0.weight',
      'conv_last.weight',
    ],
  ],
  unused: /^(sub|add)_mean\./,
  read(weights, hints) {
    const basic = weights.has('conv_after_body.weight')
    const first = basic ? 'conv_first' : 'head.0'
    const step = (i: number) => (basic ? `upsample.${2 * i}` : `tail.0.${2 * i}`)
    const { filters: features, inputs } = weights.conv(first)
    const channels = weights.imageChannels(first, inputs)
    const blocks = weights.count((i) => (basic ? `body.${i}.conv1.weight` : `body.${i}.body.0.weight`))
    const steps = weights.count((i) => `${step(i)}.weight`)
    const scale = Array.from({ length: steps }, (_, i) => weights.shuffleFactor(step(i), features)).reduce(
      (a, b) => a * b,
      1,
    )
    if (scale > 8 || stepsOf(scale).length !== steps) weights.fail(`enlarges in ${steps} steps by ${scale}`)
    // EDSR-PyTorch stores the mean, in 0..255, as a fixed convolution; files without it were made for 0..1.
    const published = basic || weights.has('sub_mean.bias')
    const mean = weights.has('sub_mean.bias') ? [...weights.values('sub_mean.bias')].map((b) => -b / 255) : DIV2K_MEAN
    const convention = { ...CONVENTION, range: published ? 255 : 1, mean, channels, ...hints.convention }
    // Not in the file. The full network has 256 features and cannot be trained without it.
    const residualScale = features >= 256 ? 0.1 : 1
    const network = edsr({ scale, widths: [features], depths: [blocks], residualScale, convention })
    if (!basic) return { network, features, blocks, convention }
    const sources = renamedSources(network, (layer) => {
      const inBlock = /^body\.(\d+)\.body\.([02])$/.exec(layer)
      if (inBlock) return `body.${inBlock[1]}.conv${inBlock[2] === '0' ? 1 : 2}`
      if (layer.startsWith('body.')) return 'conv_after_body'
      if (layer === 'head.0') return 'conv_first'
      return layer === 'tail.1' ? 'conv_last' : layer.replace(/^tail\.0/, 'upsample')
    })
    return { network, features, blocks, convention, sources }
  },
}
