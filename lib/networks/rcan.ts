// RCAN (Zhang et al., ECCV 2018) as the WBSR family uses it, method.md section 1: ten residual groups whose blocks have
// channel attention. Depth is the number of blocks per group.
import { invalidOption } from '../errors.js'
import { checkInteger, checkObject } from '../options.js'
import type { Architecture, Source } from './architecture.js'
import { constantSource, renamedSources } from './fold.js'
import { DIV2K_MEAN, fromNetwork, type ImageConvention, PLAIN, toNetwork } from './image.js'
import { GraphBuilder, type Network, type Value } from './network.js'

/** Sizes of the RCAN family, see {@link rcan}. */
export interface RcanOptions {
  /** 2, 3 or 4. */
  scale: 2 | 3 | 4
  /** Widths, at least 16; default 36/52/64 as published. The attention bottleneck has floor(width / 16) channels. */
  widths?: readonly number[]
  /** Blocks per group; default 5/10/20 as published. */
  depths?: readonly number[]
  /** Residual groups, default 10. */
  groups?: number
  /** Width over channels of the attention's bottleneck, default 16. */
  reduction?: number
  /** Input range, mean and channels; default RGB in 0..1. */
  convention?: Partial<ImageConvention>
}

/**
 * The RCAN family. The mean shifts are 1x1 convolutions that belong to the weights (in published files they were
 * trained). The default range is [0, 1]; published weights expect { range: 255 } as `convention`, which loadModel sets.
 * Parameter names: head.0, body.{g}.body.{b}.body.0/.2/.3.conv_du.0/.2, body.{g}.body.{blocks}, body.{groups},
 * tail.0.0 (.2), tail.1, sub_mean, add_mean.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function rcan(options: RcanOptions): Network {
  checkObject(options, 'rcan options', ['scale', 'widths', 'depths', 'groups', 'reduction', 'convention'])
  const scale = checkInteger(options.scale, 'scale', 2, 4)
  const groups = checkInteger(options.groups ?? 10, 'groups', 1, 64)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [36, 52, 64], depths: options.depths ?? [5, 10, 20] })
  const reduction = checkInteger(options.reduction ?? 16, 'reduction', 1, 1024)
  if (Math.min(...g.widths) < reduction)
    throw invalidOption(
      'widths',
      `widths of at least ${reduction} (channel attention has 1/${reduction} of them)`,
      options.widths,
    )
  const convention = { ...PLAIN, ...options.convention }
  const blocks = Math.max(...g.depths)

  const attention = (name: string, x: Value): Value => {
    const squeezed = g.relu(g.conv(`${name}.conv_du.0`, g.globalPool(x), { of: 1, per: reduction }, { kernel: 1 }))
    return g.scaleChannels(x, g.sigmoid(g.conv(`${name}.conv_du.2`, squeezed, 'width', { kernel: 1 })))
  }
  const image = g.input()
  const head = g.conv('head.0', g.conv('sub_mean', toNetwork(g, image, convention), 3, { kernel: 1 }), 'width')
  let x = head
  for (let i = 0; i < groups; i++) {
    const group = g.stack(x, (block, b) => {
      const name = `body.${i}.body.${b}.body`
      const y = g.conv(`${name}.2`, g.relu(g.conv(`${name}.0`, block, 'width')), 'width')
      return g.add(attention(`${name}.3`, y), block)
    })
    x = g.add(g.conv(`body.${i}.body.${blocks}`, group, 'width'), x)
  }
  x = g.add(g.conv(`body.${groups}`, x, 'width'), head)
  const factors = scale === 4 ? [2, 2] : [scale]
  factors.forEach((r, i) => {
    x = g.pixelShuffle(g.conv(`tail.0.${2 * i}`, x, { times: r * r }), r)
  })
  const output = g.conv('add_mean', g.conv('tail.1', x, 3), 3, { kernel: 1 })
  return g.build('rcan', fromNetwork(g, output, image, convention, false))
}

const IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0, 1]

export const rcanArchitecture: Architecture = {
  name: 'rcan',
  title: 'RCAN',
  family: rcan,
  keys: [
    [
      'head.0.weight',
      'body.0.body.0.body.0.weight',
      'body.0.body.0.body.3.conv_du.0.weight',
      'tail.0.0.weight',
      'tail.1.weight',
    ],
    [
      'conv_first.weight',
      'body.0.residual_group.0.rcab.0.weight',
      'body.0.residual_group.0.rcab.3.attention.1.weight',
      'conv_after_body.weight',
      'upsample.0.weight',
      'conv_last.weight',
    ],
  ],
  read(weights, hints) {
    const basic = weights.has('conv_after_body.weight')
    const { filters: features, inputs } = weights.conv(basic ? 'conv_first' : 'head.0')
    if (inputs !== 3) weights.fail(`takes ${inputs} channels, expected 3`)
    const inGroup = (g: number, b: number) =>
      basic ? `body.${g}.residual_group.${b}.rcab` : `body.${g}.body.${b}.body`
    const groups = weights.count((g) => `${inGroup(g, 0)}.0.weight`)
    const blocks = weights.count((b) => `${inGroup(0, b)}.0.weight`)
    const squeeze = weights.conv(`${inGroup(0, 0)}.3.${basic ? 'attention.1' : 'conv_du.0'}`).filters
    const step = (i: number) => (basic ? `upsample.${2 * i}` : `tail.0.${2 * i}`)
    const first = weights.shuffleFactor(step(0), features)
    const scale = weights.has(`${step(1)}.weight`) ? first * weights.shuffleFactor(step(1), features) : first
    if (scale < 2 || scale > 4) weights.fail(`enlarges by ${scale}`)
    const convention = { ...PLAIN, range: 255, ...hints.convention }
    const network = rcan({
      scale: scale as 2 | 3 | 4,
      widths: [features],
      depths: [blocks],
      groups,
      reduction: Math.floor(features / squeeze),
      convention,
    })
    const sources: Map<string, Source> = basic
      ? renamedSources(network, (layer) => {
          const inBlock = /^body\.(\d+)\.body\.(\d+)\.body\.(.*)$/.exec(layer)
          if (inBlock) {
            const part = inBlock[3]!.replace('conv_du.0', 'attention.1').replace('conv_du.2', 'attention.3')
            return `${inGroup(Number(inBlock[1]), Number(inBlock[2]))}.${part}`
          }
          const group = /^body\.(\d+)\.body\.\d+$/.exec(layer)
          if (group) return `body.${group[1]}.conv`
          if (layer.startsWith('body.')) return 'conv_after_body'
          return { 'head.0': 'conv_first', 'tail.1': 'conv_last' }[layer] ?? layer.replace(/^tail\.0/, 'upsample')
        })
      : new Map()
    // Files without the fixed convolutions subtract the mean in code (BasicSR), or do not (RCAN without normalisation).
    if (!weights.has('sub_mean.weight')) {
      const mean = basic ? DIV2K_MEAN.map((m) => m * 255) : [0, 0, 0]
      for (const [layer, sign] of [
        ['sub_mean', -1],
        ['add_mean', 1],
      ] as const) {
        sources.set(`${layer}.weight`, constantSource([3, 3, 1, 1], IDENTITY))
        sources.set(
          `${layer}.bias`,
          constantSource(
            [3],
            mean.map((m) => sign * m),
          ),
        )
      }
    }
    return { network, features, blocks, convention, sources }
  },
}
