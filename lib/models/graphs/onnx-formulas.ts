// Arithmetic of ONNX, and formulas that exporters write in several operators: GELU, SiLU, standard deviation, shuffles by
// transposition.
import type { Node } from './import-graph.js'
import { type Call, onlyNumber, type Reading } from './onnx-call.js'
import { reshapePicture, targetShape } from './onnx-channels.js'
import { convNode } from './onnx-layers.js'
import type { OnnxValue, Pending } from './onnx-values.js'

/** Transpositions between two reshapings that make a pixel shuffle or its inverse. */
const SHUFFLE = '0,1,4,2,5,3'
const UNSHUFFLE = '0,1,3,5,2,4'

/** Steps of longer formulas: contrast attention's deviation, GELU by erf, shuffles by transposition, padding. */
export function pendingNode(r: Reading, call: Call): OnnxValue | null {
  const first = call.inputs[0]
  const second = call.inputs[1]
  const { opType } = call.node
  const graph = r.graph
  const isPending = (value: OnnxValue | undefined): value is Pending =>
    value !== undefined && 'node' in value && value.kind !== 'picture'
  if (opType === 'Mul' || opType === 'Add') {
    const [pending, other] = isPending(first) ? [first, second] : [second, first]
    if (isPending(pending) && pending.kind.toLowerCase().includes('erf')) return geluPart(r, call, pending, other)
  }
  if (!isPending(first)) return null
  switch (`${first.kind} ${opType}`) {
    case 'padded Conv':
      return { kind: 'picture', node: convNode(r, call, first.node, first.amount!) }
    case 'folded Transpose': {
      const order = (call.numbers('perm') ?? []).join(',')
      const factor = first.shape![order === SHUFFLE ? 2 : 3]
      if (typeof factor !== 'number' || (order !== SHUFFLE && order !== UNSHUFFLE))
        return call.fail(`has the order ${order}`)
      const node = order === SHUFFLE ? graph.pixelShuffle(first.node, factor) : graph.pixelUnshuffle(first.node, factor)
      return { kind: 'reordered', node }
    }
    case 'reordered Reshape':
      // Some exporters go by five dimensions, and drop the first afterwards.
      return targetShape(call)?.length === 4 ? { kind: 'picture', node: first.node } : first
    case 'reordered Squeeze':
      return { kind: 'picture', node: first.node }
    case 'stretched Reshape':
      return reshapePicture(call, first.node, first.shape)
    case 'clipped Identity':
    case 'clipped Cast':
      return first
    case 'rowSum ReduceSum':
    case 'squaredRowSum ReduceSum': {
      const axes = new Set([first.amount, ...axesOf(call)])
      if (axes.size !== 2 || call.number('keepdims', 1) !== 1)
        return call.fail('sums over other axes than height and width')
      return { kind: first.kind === 'rowSum' ? 'sum' : 'squaredSum', node: first.node }
    }
    case 'sum Div':
    case 'squaredSum Div': {
      const area = second?.kind === 'sizes' ? second.entries[0] : undefined
      if (typeof area !== 'object' || area.axis !== 'area' || area.factor !== 1)
        return call.fail('divides by another number than height times width')
      return first.kind === 'sum'
        ? { kind: 'picture', node: meanOf(r, first.node) }
        : { kind: 'variance', node: first.node }
    }
    case 'centred Pow':
      return onlyNumber(call, 1) === 2
        ? { kind: 'squared', node: first.node }
        : call.fail('has another exponent than 2')
    case 'centred Mul':
      return second === first ? { kind: 'squared', node: first.node } : call.fail('multiplies a centred value')
    case 'squared ReduceSum': {
      const [axis, more] = axesOf(call)
      if (call.number('keepdims', 1) !== 1) return call.fail('drops dimensions')
      return more === undefined
        ? { kind: 'squaredRowSum', node: first.node, amount: axis! }
        : { kind: 'squaredSum', node: first.node }
    }
    case 'squared ReduceMean':
      if (axesOf(call).join() !== '2,3') return call.fail('averages over other axes than height and width')
      return { kind: 'variance', node: first.node }
    case 'variance Sqrt':
      return { kind: 'picture', node: graph.globalPool(first.node, 'std') }
    case 'variance Pow':
      if (onlyNumber(call, 1) !== 0.5) return call.fail('has another exponent than 0.5')
      return { kind: 'picture', node: graph.globalPool(first.node, 'std') }
    default:
      return call.fail(`takes what is ${first.kind} and no picture, which is not supported`)
  }
}

/** The mean over height and width, remembered so that a subtraction of it can be recognised. */
export function meanOf(r: Reading, node: Node): Node {
  const mean = r.graph.globalPool(node, 'mean')
  r.means.set(mean, node)
  return mean
}

export function geluPart(r: Reading, call: Call, pending: Pending, other: OnnxValue | undefined): OnnxValue {
  const { opType } = call.node
  const { node } = pending
  const number = other?.kind === 'constant' && other.data.length === 1 ? other.data[0] : undefined
  if (pending.kind === 'erf' && opType === 'Add' && number === 1) return { kind: 'erfPlusOne', node }
  if (pending.kind === 'timesErf' && opType === 'Mul' && number === 0.5)
    return { kind: 'picture', node: r.graph.activation(node, 'gelu') }
  if (pending.kind === 'erfPlusOne' && opType === 'Mul' && other?.kind === 'picture') {
    if (other.node === node) return { kind: 'timesErf', node }
    const scaled = r.scaledFrom.get(other.node)
    if (scaled?.node === node && scaled.scale === 0.5)
      return { kind: 'picture', node: r.graph.activation(node, 'gelu') }
  }
  return call.fail('is no part of GELU, which is not supported')
}

export function clipNode(r: Reading, call: Call): OnnxValue {
  const node = call.picture(0)
  const bound = (index: number, attribute: string, otherwise: number) =>
    onlyNumber(call, index) ?? call.number(attribute, otherwise)
  const low = bound(1, 'min', -Infinity)
  const high = bound(2, 'max', Infinity)
  if (low === 0 && high > 1e30) return { kind: 'picture', node: r.graph.activation(node, 'relu') }
  const { range } = r.graph.convention
  // Pixels are cut off at the end anyway.
  if (low <= 0 && high >= range) return { kind: 'clipped', node }
  return call.fail(`cuts values off at ${low} and ${high}, which is not supported`)
}

export function arithmetic(r: Reading, call: Call, operation: 'Add' | 'Sub' | 'Mul' | 'Div'): OnnxValue {
  const graph = r.graph
  const picture = (node: Node): OnnxValue => ({ kind: 'picture', node })
  if (call.isPicture(0) && call.isPicture(1)) {
    const [a, b] = [call.picture(0), call.picture(1)]
    if (operation === 'Mul') {
      if (r.sigmoidOf.get(b) === a || r.sigmoidOf.get(a) === b)
        return picture(graph.activation(r.sigmoidOf.get(b) === a ? a : b, 'silu'))
      return picture(graph.multiply(a, b))
    }
    if (operation === 'Add') return picture(graph.add(a, b))
    if (operation === 'Div') return picture(graph.multiply(a, graph.activation(b, 'reciprocal')))
    if (r.means.get(b) === a) return { kind: 'centred', node: a }
    return picture(graph.add(a, graph.affine(b, { scale: [-1] })))
  }
  const first = call.isPicture(0)
  const x = call.picture(first ? 0 : 1)
  const constants = call.perChannel(first ? 1 : 0, x.channels)
  if (operation === 'Add') return picture(graph.affine(x, { offset: constants }))
  if (operation === 'Sub')
    return picture(
      first
        ? graph.affine(x, { offset: constants.map((c) => -c) })
        : graph.affine(x, { scale: [-1], offset: constants }),
    )
  if (operation === 'Div' && !first)
    return picture(graph.affine(graph.activation(x, 'reciprocal'), { scale: constants }))
  const scale = operation === 'Mul' ? constants : constants.map((c) => 1 / c)
  const y = graph.affine(x, { scale })
  if (scale.length === 1) r.scaledFrom.set(y, { node: x, scale: scale[0]! })
  return picture(y)
}

export function axesOf(call: Call): number[] {
  const axes = call.list(1, 'axes') ?? []
  return axes.map((axis) => (axis < 0 ? axis + 4 : axis)).sort((a, b) => a - b)
}

export function reduceNode(r: Reading, call: Call): OnnxValue {
  const node = call.picture(0)
  const axes = axesOf(call).join()
  if (call.number('keepdims', 1) !== 1) call.fail('drops dimensions, which is not supported')
  if (call.node.opType === 'ReduceMean' && axes === '2,3') return { kind: 'picture', node: meanOf(r, node) }
  if (call.node.opType === 'ReduceSum' && axes === '2,3') return { kind: 'sum', node }
  if (call.node.opType === 'ReduceSum' && (axes === '2' || axes === '3'))
    return { kind: 'rowSum', node, amount: Number(axes) }
  return call.fail(`reduces the axes ${axes}, which is not supported`)
}
