// RRDBNet (ESRGAN, Wang et al., ECCVW 2018; Real-ESRGAN): residual-in-residual dense blocks. More than half of all
// published models are of this kind.

import { checkBoolean, checkChoice, checkInteger, checkObject } from '../options.js'
import type { Architecture, Source } from './architecture.js'
import { renamedSources } from './fold.js'
import { fromNetwork, type ImageConvention, PLAIN, toNetwork } from './image.js'
import { type Channels, GraphBuilder, type Network, type Value } from './network.js'
import type { Weights } from './weights.js'

/** Sizes of the RRDBNet family, see {@link rrdb}. */
export interface RrdbOptions {
  /** 1, 2, 3, 4 or 8. */
  scale: number
  /** Features; default 32/64, the larger as published. */
  widths?: readonly number[]
  /** Residual-in-residual blocks; default 6/23, as published for anime and for photographs. */
  depths?: readonly number[]
  /** Channels that each dense convolution adds at the largest width; default half of the features, 32 as published. */
  growth?: number
  /**
   * Factor of a pixel unshuffle of the picture, 1, 2 or 4; the network then enlarges by scale * unshuffle. Default as
   * in Real-ESRGAN: 4 at scale 1, 2 at scale 2, else 1.
   */
  unshuffle?: 1 | 2 | 4
  /** 1x1 convolutions beside the dense ones (ESRGAN+); default false. */
  plus?: boolean
  /** Input range, mean and channels; default RGB in 0..1. */
  convention?: Partial<ImageConvention>
}

// The dense blocks' initialisation is a tenth of Kaiming's, as published.
const INIT = { initGain: 0.1 }

/**
 * The RRDBNet family. Parameter names as in BasicSR: conv_first, body.{n}.rdb{m}.conv{k}, conv_body, conv_up{i}, conv_hr,
 * conv_last. Sides of the picture must be multiples of `unshuffle`; upscale() pads it.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function rrdb(options: RrdbOptions): Network {
  checkObject(options, 'rrdb options', ['scale', 'widths', 'depths', 'growth', 'unshuffle', 'plus', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 1, 8)
  const plus = checkBoolean(options.plus ?? false, 'plus')
  const unshuffle = Number(
    checkChoice(String(options.unshuffle ?? (scale === 1 ? 4 : scale === 2 ? 2 : 1)), 'unshuffle', ['1', '2', '4']),
  )
  const g = new GraphBuilder({ scale, widths: options.widths ?? [32, 64], depths: options.depths ?? [6, 23] })
  const largest = Math.max(...g.widths)
  const growth: Channels = {
    of: checkInteger(options.growth ?? Math.max(1, Math.floor(largest / 2)), 'growth', 1, 1024),
    per: largest,
  }
  const convention = { ...PLAIN, ...options.convention }
  const act = (x: Value) => g.leakyRelu(x, 0.2)

  const dense = (name: string, x: Value): Value => {
    const parts = [x]
    for (let k = 1; k <= 4; k++) {
      const input = parts.length === 1 ? x : g.concat(parts)
      let y = act(g.conv(`${name}.conv${k}`, input, growth, INIT))
      if (plus && k === 2) y = g.add(y, g.conv(`${name}.conv1x1`, x, growth, { ...INIT, kernel: 1, bias: false }))
      if (plus && k === 4) y = g.add(y, parts[2]!)
      parts.push(y)
    }
    return g.add(g.multiplyConstant(g.conv(`${name}.conv5`, g.concat(parts), 'width', INIT), 0.2), x)
  }
  const image = g.input()
  let x = toNetwork(g, image, convention)
  if (unshuffle > 1) x = g.pixelUnshuffle(x, unshuffle)
  const head = g.conv('conv_first', x, 'width', INIT)
  const trunk = g.stack(head, (block, i) => {
    let y = block
    for (let m = 1; m <= 3; m++) y = dense(`body.${i}.rdb${m}`, y)
    return g.add(g.multiplyConstant(y, 0.2), block)
  })
  let y = g.add(g.conv('conv_body', trunk, 'width', INIT), head)
  upFactors(scale * unshuffle).forEach((factor, i) => {
    y = act(g.conv(`conv_up${i + 1}`, g.upsample(y, { factor, mode: 'nearest' }), 'width', INIT))
  })
  y = g.conv('conv_last', act(g.conv('conv_hr', y, 'width', INIT)), convention.channels, INIT)
  return g.build('rrdb', fromNetwork(g, y, image, convention, false))
}

/** Enlargement step by step, as published: twos, or one step of three. */
function upFactors(factor: number): number[] {
  if (factor === 3) return [3]
  return Array.from({ length: Math.round(Math.log2(factor)) }, () => 2)
}

/** The layer names of the three generations of files. */
interface Names {
  first: string
  block(n: number, m: number, layer: string): string
  body: string
  up: string[]
  hr: string
  last: string
}

function namesOf(weights: Weights): Names {
  if (weights.has('model.0.weight')) {
    const trunk = weights.count((n) => `model.1.sub.${n}.RDB1.conv1.0.weight`)
    const numbers = [...weights.keys]
      .map((key) => /^model\.(\d+)\.weight$/.exec(key)?.[1])
      .filter((n) => n !== undefined)
      .map(Number)
      .filter((n) => n > 1)
      .sort((a, b) => a - b)
    if (numbers.length < 2) weights.fail('lacks its last convolutions')
    const layers = numbers.map((n) => `model.${n}`)
    return {
      first: 'model.0',
      // Convolutions lie in a sequence with their activation; the 1x1 ones of ESRGAN+ have none.
      block: (n, m, layer) => `model.1.sub.${n}.RDB${m}.${layer}${layer === 'conv1x1' ? '' : '.0'}`,
      body: `model.1.sub.${trunk}`,
      up: layers.slice(0, -2),
      hr: layers.at(-2)!,
      last: layers.at(-1)!,
    }
  }
  const old = weights.has('RRDB_trunk.0.RDB1.conv1.weight')
  const up = old ? 'upconv' : 'conv_up'
  return {
    first: 'conv_first',
    block: (n, m, layer) => (old ? `RRDB_trunk.${n}.RDB${m}.${layer}` : `body.${n}.rdb${m}.${layer}`),
    body: old ? 'trunk_conv' : 'conv_body',
    up: Array.from({ length: weights.count((i) => `${up}${i}.weight`, 1) }, (_, i) => `${up}${i + 1}`),
    hr: old ? 'HRconv' : 'conv_hr',
    last: 'conv_last',
  }
}

export const rrdbArchitecture: Architecture = {
  name: 'rrdb',
  title: 'RRDBNet (ESRGAN)',
  family: rrdb,
  keys: [
    [
      'conv_first.weight',
      'body.0.rdb1.conv1.weight',
      'body.0.rdb3.conv5.weight',
      'conv_body.weight',
      'conv_hr.weight',
      'conv_last.weight',
    ],
    [
      'conv_first.weight',
      'RRDB_trunk.0.RDB1.conv1.weight',
      'RRDB_trunk.0.RDB3.conv5.weight',
      'trunk_conv.weight',
      'HRconv.weight',
      'conv_last.weight',
    ],
    ['model.0.weight', 'model.1.sub.0.RDB1.conv1.0.weight', 'model.1.sub.0.RDB3.conv5.0.weight'],
  ],
  read(weights, hints) {
    const names = namesOf(weights)
    const { filters: features, inputs } = weights.conv(names.first)
    const outputs = weights.conv(names.last).filters
    const channels = weights.imageChannels(names.last, outputs)
    const blocks = weights.count((n) => `${names.block(n, 1, 'conv1')}.weight`)
    const unshuffle = Math.round(Math.sqrt(inputs / channels))
    if (unshuffle * unshuffle * channels !== inputs || ![1, 2, 4].includes(unshuffle))
      weights.fail(`takes ${inputs} channels in ${names.first}, expected ${channels} times 1, 4 or 16`)
    // One step without unshuffling may enlarge by two or by three. Files do not tell; nearly all enlarge by two.
    const factor = names.up.length === 1 && hints.scale === 3 ? 3 : 2 ** names.up.length
    const scale = factor / unshuffle
    if (!Number.isInteger(scale) || scale > 8) weights.fail(`enlarges by ${factor} after dividing by ${unshuffle}`)
    const convention = { ...PLAIN, channels, ...hints.convention }
    const network = rrdb({
      scale,
      widths: [features],
      depths: [blocks],
      growth: weights.conv(names.block(0, 1, 'conv1')).filters,
      unshuffle: unshuffle as 1 | 2 | 4,
      plus: weights.has(`${names.block(0, 1, 'conv1x1')}.weight`),
      convention,
    })
    const nameInFile = (layer: string): string => {
      const inBlock = /^body\.(\d+)\.rdb(\d)\.(\w+)$/.exec(layer)
      if (inBlock) return names.block(Number(inBlock[1]), Number(inBlock[2]), inBlock[3]!)
      const up = /^conv_up(\d)$/.exec(layer)
      if (up) return names.up[Number(up[1]) - 1]!
      return { conv_first: names.first, conv_body: names.body, conv_hr: names.hr, conv_last: names.last }[layer]!
    }
    const sources: ReadonlyMap<string, Source> = renamedSources(network, nameInFile)
    return { network, features, blocks, convention, sources }
  },
}
