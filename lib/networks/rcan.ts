// RCAN (Zhang et al., ECCV 2018) as the WBSR family uses it, method.md section 1: ten residual groups whose blocks carry
// channel attention. Depth is the number of blocks per group.
import { invalidOption } from '../errors.js'
import { checkInteger, checkObject } from '../options.js'
import { GraphBuilder, type Network, type Value } from './network.js'

export interface RcanOptions {
  /** 2, 3 or 4. */
  scale: 2 | 3 | 4
  /** Widths, at least 16; default 36/52/64 as published. The attention bottleneck has floor(width / 16) channels. */
  widths?: readonly number[]
  /** Blocks per group; default 5/10/20 as published. */
  depths?: readonly number[]
  /** Residual groups, default 10. */
  groups?: number
}

/**
 * The RCAN family. The mean shifts are 1x1 convolutions that belong to the weights (in published files they were
 * trained). The network's own range is RGB in [0, 1] here, as everywhere in wbsr; published weights expect 0..255.
 * Parameter names: head.0, body.{g}.body.{b}.body.0/.2/.3.conv_du.0/.2, body.{g}.body.{blocks}, body.{groups},
 * tail.0.0 (.2), tail.1, sub_mean, add_mean.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function rcan(options: RcanOptions): Network {
  checkObject(options, 'rcan options', ['scale', 'widths', 'depths', 'groups'])
  const scale = checkInteger(options.scale, 'scale', 2, 4)
  const groups = checkInteger(options.groups ?? 10, 'groups', 1, 64)
  const g = new GraphBuilder({ scale, widths: options.widths ?? [36, 52, 64], depths: options.depths ?? [5, 10, 20] })
  if (Math.min(...g.widths) < 16)
    throw invalidOption('widths', 'widths of at least 16 (channel attention has a sixteenth of them)', options.widths)
  const blocks = Math.max(...g.depths)

  const attention = (name: string, x: Value): Value => {
    const squeezed = g.relu(g.conv(`${name}.conv_du.0`, g.globalPool(x), { of: 1, per: 16 }, { kernel: 1 }))
    return g.scaleChannels(x, g.sigmoid(g.conv(`${name}.conv_du.2`, squeezed, 'width', { kernel: 1 })))
  }
  const image = g.input()
  const head = g.conv('head.0', g.conv('sub_mean', image, 3, { kernel: 1 }), 'width')
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
  return g.build('rcan', g.conv('add_mean', g.conv('tail.1', x, 3), 3, { kernel: 1 }))
}
