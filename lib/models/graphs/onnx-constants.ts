// Operators of ONNX that make or reshape constants, and sizes of pictures.
import type { Call, Reading } from './onnx-call.js'
import { constantOf, type OnnxValue, type Size } from './onnx-values.js'

export function constantNode(r: Reading, call: Call): OnnxValue {
  const tensor = call.tensor('value')
  if (tensor) return constantOf(r.graph.file, tensor, r.budget)
  const values = call.numbers('value_ints') ?? call.numbers('value_floats')
  if (values) return { kind: 'constant', shape: [values.length], data: Float64Array.from(values) }
  const single = call.node.attribute.find((a) => a.name === 'value_int' || a.name === 'value_float')
  if (!single) call.fail('has no value')
  return { kind: 'constant', shape: [], data: Float64Array.from([single!.i ?? single!.f ?? 0]) }
}

/** A constant in another shape. */
export function reshapedConstant(call: Call): OnnxValue | null {
  const [value] = call.inputs
  if (value?.kind !== 'constant' || call.inputs[1]?.kind === 'sizes') return null
  const { data, shape } = value
  const list = call.list(1, 'axes') ?? []
  switch (call.node.opType) {
    case 'Identity':
    case 'Cast':
      return value
    case 'Unsqueeze': {
      const rank = shape.length + list.length
      const axes = new Set(list.map((axis) => (axis < 0 ? axis + rank : axis)))
      const rest = [...shape]
      if (rank > 8 || axes.size !== list.length) return call.fail(`adds the axes [${list.join(', ')}]`)
      return {
        kind: 'constant',
        data,
        shape: Array.from({ length: rank }, (_, i) => (axes.has(i) ? 1 : rest.shift()!)),
      }
    }
    case 'Reshape': {
      const target = (call.list(1, 'shape') ?? []).map((n, i) => (n === 0 ? (shape[i] ?? 0) : n))
      const known = target.reduce((a, b) => (b === -1 ? a : a * b), 1)
      const sizes = target.map((n) => (n === -1 ? data.length / known : n))
      if (sizes.length > 8 || sizes.reduce((a, b) => a * b, 1) !== data.length)
        return call.fail(`has the shape [${target.join(', ')}]`)
      return { kind: 'constant', data, shape: sizes }
    }
    default:
      return null
  }
}

export function shapeOf(call: Call): OnnxValue {
  const [value] = call.inputs
  if (value?.kind === 'constant')
    return { kind: 'constant', shape: [value.shape.length], data: Float64Array.from(value.shape) }
  const node = call.picture(0)
  const entries: (number | Size)[] = [
    { of: node, axis: 0, factor: 1 },
    node.channels,
    { of: node, axis: 2, factor: 1 },
    { of: node, axis: 3, factor: 1 },
  ]
  const end = call.number('end', 4)
  return { kind: 'sizes', entries: entries.slice(call.number('start', 0), end), scalar: false }
}
