// Operators of ONNX with weights or windows: convolutions, normalisation, PReLU, resizing, pooling, padding.
import type { Node } from './import-graph.js'
import { type Call, onlyNumber, type Reading } from './onnx-call.js'
import type { OnnxValue } from './onnx-values.js'

export function layerName(r: Reading, call: Call): string {
  r.layers++
  const weights = call.node.input[1] ?? ''
  // Initializers are called after the layers that they came from.
  const name = /^([\w.-]+)\.weight$/.exec(weights)?.[1] ?? `layer${r.layers}`
  if (r.names.has(name)) return `${name}.${r.layers}`
  r.names.add(name)
  return name
}

export function convolutionOf(r: Reading, call: Call, extra: number) {
  const { shape, data } = call.constant(1)
  const [, , kernel = 0, across] = shape
  if (shape.length !== 4 || kernel !== across)
    call.fail(`has weights of shape [${shape.join(', ')}], expected square filters`)
  if (call.square('dilations', 1) !== 1) call.fail('is dilated, which is not supported')
  const auto = call.text('auto_pad', 'NOTSET')
  const stride = call.square('strides', 1)
  const same = auto === 'SAME_UPPER' || auto === 'SAME_LOWER'
  if (same && (kernel % 2 === 0 || stride !== 1)) call.fail('is padded to one side')
  const padding = extra + (same ? (kernel - 1) / 2 : call.square('pads', 0))
  const bias = call.inputs[2] === undefined ? null : Float32Array.from(call.constant(2).data)
  return {
    name: layerName(r, call),
    weight: Float32Array.from(data),
    shape,
    kernel,
    stride,
    padding,
    bias,
    groups: call.number('group', 1),
  }
}

export function convNode(r: Reading, call: Call, x: Node, extra: number): Node {
  const { shape, ...conv } = convolutionOf(r, call, extra)
  return r.graph.conv(x, { ...conv, filters: shape[0]! })
}

export function convTransposeNode(r: Reading, call: Call): Node {
  const { shape, ...conv } = convolutionOf(r, call, 0)
  const outputPadding = call.square('output_padding', 0)
  return r.graph.convTranspose(call.picture(0), { ...conv, filters: shape[1]! * conv.groups, outputPadding })
}

export function batchNormNode(r: Reading, call: Call): Node {
  const [gamma, beta, mean, variance] = [1, 2, 3, 4].map((i) => call.constant(i).data)
  const epsilon = call.number('epsilon', 1e-5)
  const scale = Array.from(gamma!, (g, c) => g / Math.sqrt(variance![c]! + epsilon))
  const offset = Array.from(beta!, (b, c) => b - mean![c]! * scale[c]!)
  return r.graph.affine(call.picture(0), { scale, offset })
}

export function preluNode(r: Reading, call: Call): Node {
  const x = call.picture(0)
  const slopes = call.perChannel(1, x.channels)
  return r.graph.prelu(layerName(r, call), x, Float32Array.from(slopes))
}

export function resizeNode(r: Reading, call: Call): Node {
  const x = call.picture(0)
  const upsample = call.node.opType === 'Upsample'
  const modes: Record<string, 'nearest' | 'bilinear' | 'bicubic'> = {
    nearest: 'nearest',
    linear: 'bilinear',
    cubic: 'bicubic',
  }
  const mode = modes[call.text('mode', 'nearest')] ?? call.fail('has an unknown mode')
  const coordinates = call.text('coordinate_transformation_mode', upsample ? 'asymmetric' : 'half_pixel')
  const rounding = call.text('nearest_mode', upsample ? 'floor' : 'round_prefer_floor')
  const exact = mode === 'nearest' ? `${coordinates} ${rounding}` : coordinates
  const whole = (scale: number) => Number.isInteger(scale)
  const scales = upsample ? call.list(1, 'scales') : call.list(2, 'scales')
  const target = call.inputs[3]
  const supported =
    mode === 'nearest'
      ? [
          'asymmetric floor',
          'half_pixel round_prefer_floor',
          'half_pixel round_prefer_ceil',
          'asymmetric round_prefer_floor',
          'pytorch_half_pixel round_prefer_floor',
        ]
      : ['half_pixel', 'pytorch_half_pixel']
  if (!supported.includes(exact) || call.number('antialias', 0) !== 0 || call.number('exclude_outside', 0) !== 0)
    call.fail(`has coordinates ${exact}, which are not supported`)
  const a = call.number('cubic_coeff_a', -0.75)
  const byFactor = (scale: number): Node => {
    if (mode === 'nearest' && exact !== 'asymmetric floor' && !whole(scale))
      call.fail(`resizes by ${scale} with coordinates ${exact}`)
    // Rounding to the nearest differs from rounding down here.
    if (exact === 'asymmetric round_prefer_floor' && scale > 2)
      call.fail(`resizes by ${scale} with coordinates ${exact}`)
    return r.graph.resize(x, scale, mode, a)
  }
  if (scales && scales.length > 0) {
    const [n = 0, c = 0, h = 0, w = -1] = scales
    if (scales.length !== 4 || n !== 1 || c !== 1 || h !== w) return call.fail(`resizes by [${scales.join(', ')}]`)
    return byFactor(h)
  }
  const sizes = target?.kind === 'sizes' ? target.entries : target?.kind === 'constant' ? [...target.data] : []
  const [height, width] = sizes.slice(-2)
  if (
    typeof height === 'object' &&
    typeof width === 'object' &&
    height.of === width.of &&
    height.factor === width.factor
  ) {
    if (height.of === x) return byFactor(height.factor)
    if (height.factor === 1 && mode !== 'bicubic') return r.graph.resizeLike(x, height.of, mode)
  }
  // A graph for pictures of one size: what is as large as the picture follows it.
  const [fixedHeight, fixedWidth] = r.fixed
  if (typeof height === 'number' && typeof width === 'number' && fixedHeight && fixedWidth) {
    const factor = height / fixedHeight
    if (factor === width / fixedWidth) {
      if (factor === 1 && mode !== 'bicubic') return r.graph.resizeLike(x, r.input!, mode)
      if (whole((factor * x.down) / x.up)) return byFactor((factor * x.down) / x.up)
    }
  }
  return call.fail('resizes to a size that does not follow from the picture')
}

export function poolNode(r: Reading, call: Call): Node {
  const kind = call.node.opType === 'MaxPool' ? 'max' : 'average'
  const padding = call.square('pads', 0)
  if (
    call.number('ceil_mode', 0) !== 0 ||
    call.text('auto_pad', 'NOTSET') !== 'NOTSET' ||
    call.square('dilations', 1) !== 1
  )
    call.fail('pads or dilates its windows, which is not supported')
  if (kind === 'average' && padding > 0 && call.number('count_include_pad', 0) !== 1)
    call.fail('leaves padding out of averages, which is not supported')
  return r.graph.pool(call.picture(0), {
    kind,
    kernel: call.square('kernel_shape', 1),
    stride: call.square('strides', 1),
    padding,
  })
}

export function padNode(call: Call): OnnxValue {
  const pads = call.list(1, 'pads') ?? []
  const amount = pads[2] ?? -1
  const around =
    pads.length === 8 && [2, 3, 6, 7].every((i) => pads[i] === amount) && [0, 1, 4, 5].every((i) => pads[i] === 0)
  const value = onlyNumber(call, 2) ?? call.number('value', 0)
  if (call.text('mode', 'constant') !== 'constant' || value !== 0 || !around || amount < 0)
    call.fail('pads otherwise than by zeros all around, which is not supported')
  const node = call.picture(0)
  return amount === 0 ? { kind: 'picture', node } : { kind: 'padded', node, amount }
}
