// IMDN (Hui et al., ACM MM 2019): information multi-distillation blocks with contrast-aware channel attention.
import { invalidOption } from '../errors.js'
import { checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { type Channels, GraphBuilder, type Network, type Value } from './network.js'

/** Sizes of the IMDN family, see {@link imdn}. */
export interface ImdnOptions {
  /** 1 .. 8. */
  scale: number
  /** Features, multiples of 16; default 48/64, the larger as published. */
  widths?: readonly number[]
  /** Blocks, 1 .. 32; default 6 as published. All blocks' outputs are fused, so every subnet has all of them. */
  blocks?: number
  /** Input range, mean and channels; default RGB in 0..1. */
  convention?: Partial<ImageConvention>
}

/**
 * The IMDN family. Parameter names as published: fea_conv, IMDB{n}.{c1..c5,cca.conv_du.{0,2}}, c.0, LR_conv, upsampler.0.
 * Its attention uses statistics of the whole input, so tiles give other values than the whole picture.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function imdn(options: ImdnOptions): Network {
  checkObject(options, 'imdn options', ['scale', 'widths', 'blocks', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const blocks = checkInteger(options.blocks ?? 6, 'blocks', 1, 16)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [48, 64], depths: [blocks] })
  const largest = Math.max(...g.widths)
  const several = g.widths.length > 1
  if (several && g.widths.some((w) => w % 16 !== 0)) throw invalidOption('widths', 'multiples of 16', options.widths)
  if (largest < 16) throw invalidOption('widths', 'widths of at least 16', options.widths)
  const convention = { ...PLAIN, ...options.convention }

  // A quarter of the channels, rounded down, is distilled at each step.
  const quarter = Math.floor(largest / 4)
  const share = (channels: number): Channels => ({ of: channels, per: largest })
  const distilled: Channels = several ? { of: 1, per: 4 } : share(quarter)
  const remaining: Channels = several ? { of: 3, per: 4 } : share(largest - quarter)
  const squeezed: Channels = several ? { of: 1, per: 16 } : share(Math.floor(quarter / 4))

  const block = (name: string, x: Value): Value => {
    const parts: Value[] = []
    let y = x
    for (const layer of ['c1', 'c2', 'c3']) {
      const all = g.leakyRelu(g.conv(`${name}.${layer}`, y, 'width', TORCH_INIT), 0.05)
      parts.push(g.slice(all, 0, distilled))
      y = g.slice(all, distilled, remaining)
    }
    parts.push(g.conv(`${name}.c4`, y, distilled, TORCH_INIT))
    const joined = g.concat(parts)
    const statistics = g.add(g.globalPool(joined, 'std'), g.globalPool(joined))
    const hidden = g.relu(g.conv(`${name}.cca.conv_du.0`, statistics, squeezed, { ...TORCH_INIT, kernel: 1 }))
    const back = several ? ('width' as const) : share(4 * quarter)
    const factors = g.sigmoid(g.conv(`${name}.cca.conv_du.2`, hidden, back, { ...TORCH_INIT, kernel: 1 }))
    return g.add(g.conv(`${name}.c5`, g.scaleChannels(joined, factors), 'width', { ...TORCH_INIT, kernel: 1 }), x)
  }
  const image = g.input()
  const head = g.conv('fea_conv', toNetwork(g, image, convention), 'width', TORCH_INIT)
  const outputs: Value[] = []
  for (let i = 1; i <= blocks; i++) outputs.push(block(`IMDB${i}`, outputs.at(-1) ?? head))
  const joined = outputs.length === 1 ? outputs[0]! : g.concat(outputs)
  const fused = g.leakyRelu(g.conv('c.0', joined, 'width', { ...TORCH_INIT, kernel: 1 }), 0.05)
  const body = g.add(g.conv('LR_conv', fused, 'width', TORCH_INIT), head)
  const { channels } = convention
  const up = g.pixelShuffle(g.conv('upsampler.0', body, channels * scale * scale, TORCH_INIT), scale)
  return g.build('imdn', fromNetwork(g, up, image, convention, false))
}

export const imdnArchitecture: Architecture = {
  name: 'imdn',
  title: 'IMDN',
  family: imdn,
  keys: [
    [
      'fea_conv.weight',
      'IMDB1.c1.weight',
      'IMDB1.c5.weight',
      'IMDB1.cca.conv_du.2.weight',
      'c.0.weight',
      'LR_conv.weight',
      'upsampler.0.weight',
    ],
  ],
  read(weights, hints) {
    const { filters: features, inputs } = weights.conv('fea_conv')
    const channels = weights.imageChannels('fea_conv', inputs)
    const blocks = weights.count((i) => `IMDB${i}.c1.weight`, 1)
    const convention = { ...PLAIN, channels, ...hints.convention }
    if (features < 16) weights.fail(`has ${features} features, expected at least 16`)
    const network = imdn({
      scale: weights.shuffleFactor('upsampler.0', channels),
      widths: [features],
      blocks,
      convention,
    })
    return { network, features, blocks, convention }
  },
}
