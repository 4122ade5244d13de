// SRResNet as the WBSR family uses it (MSRResNet: no batch norm), method.md section 1.
import { checkChoice, checkInteger, checkObject } from '../options.js'
import type { Architecture } from './architecture.js'
import { renamedSources } from './fold.js'
import { PLAIN } from './image.js'
import { GraphBuilder, type Network } from './network.js'

/** Width and depth lists by name: `paper` as published, `fast` in multiples of 16 for vector units. */
export const srresnetPresets = {
  paper: { widths: [36, 52, 64], depths: [4, 8, 16] },
  fast: { widths: [32, 48, 64], depths: [4, 8, 16] },
} as const

/** Sizes of the SRResNet family, see {@link srresnet}. */
export interface SrresnetOptions {
  /** 2, 3 or 4. */
  scale: 2 | 3 | 4
  /** `paper` 36/52/64 x 4/8/16, `fast` 32/48/64 x 4/8/16 (default). */
  preset?: keyof typeof srresnetPresets
  /** Any list of widths; overrides the preset's. */
  widths?: readonly number[]
  /** Any list of depths (residual blocks); overrides the preset's. */
  depths?: readonly number[]
}

/**
 * The SRResNet family: conv_first, residual blocks, PixelShuffle upsampling, HRconv, conv_last, plus the bilinear
 * upsample of the input. Parameter names as in the published MSRResNet files.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function srresnet(options: SrresnetOptions): Network {
  checkObject(options, 'srresnet options', ['scale', 'preset', 'widths', 'depths'])
  const scale = checkInteger(options.scale, 'scale', 2, 4)
  const preset = srresnetPresets[checkChoice(options.preset ?? 'fast', 'preset', ['paper', 'fast'])]
  const g = new GraphBuilder({
    scale,
    widths: options.widths ?? preset.widths,
    depths: options.depths ?? preset.depths,
  })
  const init = { initGain: 0.1 }

  const image = g.input()
  let x = g.leakyRelu(g.conv('conv_first', image, 'width', init), 0.1)
  x = g.stack(x, (block, i) => {
    const y = g.relu(g.conv(`recon_trunk.${i}.conv1`, block, 'width', init))
    return g.add(g.conv(`recon_trunk.${i}.conv2`, y, 'width', init), block)
  })
  const factors = g.scale === 4 ? [2, 2] : [g.scale]
  factors.forEach((r, i) => {
    x = g.leakyRelu(g.pixelShuffle(g.conv(`upconv${i + 1}`, x, { times: r * r }, init), r), 0.1)
  })
  x = g.leakyRelu(g.conv('HRconv', x, 'width', init), 0.1)
  return g.build('srresnet', g.add(g.conv('conv_last', x, 3, init), g.upsample(image)))
}

export const srresnetArchitecture: Architecture = {
  name: 'srresnet',
  title: 'MSRResNet (SRResNet without normalisation)',
  family: srresnet,
  keys: [
    [
      'conv_first.weight',
      'recon_trunk.0.conv1.weight',
      'recon_trunk.0.conv2.weight',
      'upconv1.weight',
      'HRconv.weight',
      'conv_last.weight',
    ],
    [
      'conv_first.weight',
      'body.0.conv1.weight',
      'body.0.conv2.weight',
      'upconv1.weight',
      'conv_hr.weight',
      'conv_last.weight',
    ],
  ],
  read(weights) {
    const basic = weights.has('conv_hr.weight')
    const { filters: features, inputs } = weights.conv('conv_first')
    if (inputs !== 3) weights.fail(`takes ${inputs} channels in conv_first, expected 3`)
    const blocks = weights.count((i) => `${basic ? 'body' : 'recon_trunk'}.${i}.conv1.weight`)
    const first = weights.shuffleFactor('upconv1', features)
    const scale = weights.has('upconv2.weight') ? first * weights.shuffleFactor('upconv2', features) : first
    if (scale < 2 || scale > 4) weights.fail(`enlarges by ${scale}`)
    const network = srresnet({ scale: scale as 2 | 3 | 4, widths: [features], depths: [blocks] })
    // BasicSR's names.
    const sources = basic
      ? renamedSources(network, (layer) => layer.replace(/^recon_trunk\./, 'body.').replace(/^HRconv$/, 'conv_hr'))
      : new Map()
    return { network, features, blocks, convention: PLAIN, sources }
  },
}
