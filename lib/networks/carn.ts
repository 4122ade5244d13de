// CARN and CARN-M (Ahn et al., ECCV 2018): residual blocks in two levels of cascades, every output fused with all before it.
import { invalidOption } from '../errors.js'
import { checkBoolean, checkInteger, checkObject } from '../options.js'
import type { Architecture, Source } from './architecture.js'
import { renamedSources } from './fold.js'
import { DIV2K_MEAN, fromNetwork, type ImageConvention, PLAIN, TORCH_INIT, toNetwork } from './image.js'
import { GraphBuilder, type Network, type Value } from './network.js'
import type { Weights } from './weights.js'

/** Sizes of the CARN family, see {@link carn}. */
export interface CarnOptions {
  /** 2, 3 or 4. */
  scale: 2 | 3 | 4
  /** Features; default 48/64, the larger as published. Multiples of `groups`. */
  widths?: readonly number[]
  /** Groups of the 3x3 convolutions; default 1, 4 in CARN-M. */
  groups?: number
  /** CARN-M: residual blocks end in a 1x1 convolution. Default false. */
  mobile?: boolean
  /** Input range, mean and channels; undone at the end. Default { mean: DIV2K's } as published. */
  convention?: Partial<ImageConvention>
}

const CONVENTION: ImageConvention = { ...PLAIN, mean: DIV2K_MEAN }

/**
 * The CARN family. Parameter names as published: entry, b{n}.b{m}.body.{0,2(,4)}, b{n}.c{m}.body.0, c{n}.body.0,
 * upsample.up.body.{1,4}, exit. In CARN-M, whose three blocks of a cascade share their weights, each has its own here.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function carn(options: CarnOptions): Network {
  checkObject(options, 'carn options', ['scale', 'widths', 'groups', 'mobile', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 2, 4)
  const mobile = checkBoolean(options.mobile ?? false, 'mobile')
  const groups = checkInteger(options.groups ?? 1, 'groups', 1, 64)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [48, 64], depths: [3] })
  if (groups > 1 && g.widths.length > 1) throw invalidOption('widths', 'one width with groups', options.widths)
  if (g.widths.some((w) => w % groups !== 0)) throw invalidOption('widths', `multiples of ${groups}`, options.widths)
  const convention = { ...CONVENTION, ...options.convention }
  const conv = (name: string, x: Value, kernel = 3) =>
    g.conv(name, x, 'width', { ...TORCH_INIT, kernel, ...(kernel === 3 && { groups }) })

  const residual = (name: string, x: Value): Value => {
    let y = conv(`${name}.body.2`, g.relu(conv(`${name}.body.0`, x)))
    if (mobile) y = conv(`${name}.body.4`, g.relu(y), 1)
    return g.relu(g.add(y, x))
  }
  const cascade = (prefix: string, x: Value, block: (name: string, y: Value) => Value): Value => {
    const parts = [x]
    let y = x
    for (let i = 1; i <= 3; i++) {
      parts.push(block(`${prefix}b${i}`, y))
      y = g.relu(conv(`${prefix}c${i}.body.0`, g.concat(parts), 1))
    }
    return y
  }
  const image = g.input()
  const head = g.conv('entry', toNetwork(g, image, convention), 'width', TORCH_INIT)
  let y = cascade('', head, (name, x) => cascade(`${name}.`, x, residual))
  const steps = scale === 4 ? [2, 2] : [scale]
  steps.forEach((factor, i) => {
    y = g.relu(conv(`upsample.up.body.${3 * i + 1}`, g.upsample(y, { factor, mode: 'nearest' })))
  })
  const output = g.conv('exit', y, convention.channels, TORCH_INIT)
  return g.build('carn', fromNetwork(g, output, image, convention, true))
}

/** The upsampling branch of a file: its own, or one of three in files for several scales. */
function upsamplingOf(weights: Weights, scale: number | undefined): { name: string; scale: number } {
  const stepsOf = (name: string) => weights.count((i) => `upsample.${name}.body.${3 * i + 1}.weight`)
  const several = [2, 3, 4].filter((s) => weights.has(`upsample.up${s}.body.1.weight`))
  if (several.length > 0) {
    const chosen = scale ?? Math.max(...several)
    if (!several.includes(chosen)) weights.fail(`enlarges by ${several.join(', ')}, not by ${chosen}`)
    return { name: `up${chosen}`, scale: chosen }
  }
  const steps = stepsOf('up')
  if (steps === 0) weights.fail('lacks upsample.up.body.1.weight')
  // One step enlarges by two or by three; the file does not contain which.
  return { name: 'up', scale: steps === 2 ? 4 : scale === 3 ? 3 : 2 }
}

export const carnArchitecture: Architecture = {
  name: 'carn',
  title: 'CARN',
  family: carn,
  keys: [['entry.weight', 'b1.b1.body.0.weight', 'b1.c3.body.0.weight', 'c3.body.0.weight', 'exit.weight']],
  unused: /^((sub|add)_mean\.|upsample\.up[234]\.)/,
  read(weights, hints) {
    const { filters: features, inputs } = weights.conv('entry')
    const channels = weights.imageChannels('entry', inputs)
    const { name, scale } = upsamplingOf(weights, hints.scale)
    const mobile = weights.has('b1.b1.body.4.weight')
    const groups = features / weights.conv('b1.b1.body.0').inputs
    if (!Number.isInteger(groups)) weights.fail('has groups that do not divide its features')
    const mean = weights.has('sub_mean.shifter.bias')
      ? [...weights.values('sub_mean.shifter.bias')].map((b) => -b)
      : DIV2K_MEAN
    const convention = { ...CONVENTION, mean, channels, ...hints.convention }
    const network = carn({ scale: scale as 2 | 3 | 4, widths: [features], groups, mobile, convention })
    const shared = !weights.has('b1.b2.body.0.weight')
    const sources: Map<string, Source> = renamedSources(network, (layer) => {
      const inFile = layer.replace('upsample.up.', `upsample.${name}.`)
      return shared ? inFile.replace(/^(b\d)\.b[23]\./, '$1.b1.') : inFile
    })
    return { network, features, blocks: 3, convention, sources }
  },
}
