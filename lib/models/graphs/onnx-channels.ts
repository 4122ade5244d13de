// Operators of ONNX that cut, join and move channels and pixels.
import type { Node } from './import-graph.js'
import type { Call, Reading } from './onnx-call.js'
import type { OnnxValue, Size } from './onnx-values.js'

export function splitChannels(r: Reading, call: Call): OnnxValue[] {
  const x = call.picture(0)
  if (![1, -3].includes(call.number('axis', 0))) call.fail('cuts along another axis than channels')
  const count = call.node.output.length
  const sizes =
    call.list(1, 'split') ??
    Array.from({ length: count }, (_, i) =>
      Math.min(Math.ceil(x.channels / count), x.channels - i * Math.ceil(x.channels / count)),
    )
  if (sizes.length !== count || sizes.reduce((a, b) => a + b, 0) !== x.channels)
    call.fail(`cuts ${x.channels} channels into [${sizes.join(', ')}]`)
  let from = 0
  return sizes.map((size) => {
    const node = r.graph.slice(x, from, size)
    from += size
    return { kind: 'picture', node }
  })
}

export function sliceChannels(r: Reading, call: Call): Node {
  const x = call.picture(0)
  const starts = call.list(1, 'starts') ?? []
  const ends = call.list(2, 'ends') ?? []
  const axes = call.list(3, 'axes') ?? starts.map((_, i) => i)
  const steps = call.list(4, 'steps') ?? starts.map(() => 1)
  if (axes.length !== 1 || ![1, -3].includes(axes[0]!) || steps[0] !== 1) call.fail('cuts other axes than channels')
  const at = (value: number) => Math.max(0, Math.min(x.channels, value < 0 ? value + x.channels : value))
  const from = at(starts[0] ?? 0)
  return r.graph.slice(x, from, at(ends[0] ?? x.channels) - from)
}

/** Weights that reorder channels: output c is input order[c]. */
export function reorderChannels(r: Reading, x: Node, order: readonly number[]): Node {
  const { channels } = x
  const weight = new Float32Array(channels * channels)
  order.forEach((from, to) => {
    weight[to * channels + from] = 1
  })
  const name = `order${++r.layers}`
  return r.graph.conv(x, {
    name,
    weight,
    filters: channels,
    kernel: 1,
    bias: null,
    stride: 1,
    padding: 0,
    groups: 1,
  })
}

/** Channels in another order. */
export function gatherChannels(r: Reading, call: Call): Node {
  const x = call.picture(0)
  const order = [...call.constant(1).data].slice(0, 4097)
  const known = order.every((c) => Number.isInteger(c) && c >= 0 && c < x.channels)
  if (![1, -3].includes(call.number('axis', 0)) || order.length !== x.channels || !known)
    call.fail('takes other than all channels in another order, which is not supported')
  return reorderChannels(r, x, order)
}

export function depthToSpace(r: Reading, call: Call): Node {
  const x = call.picture(0)
  const factor = call.number('blocksize', 0)
  if (call.text('mode', 'DCR') === 'CRD') return r.graph.pixelShuffle(x, factor)
  const outputs = x.channels / factor ** 2
  if (!Number.isInteger(outputs) || x.channels > 4096) call.fail(`shuffles ${x.channels} channels by ${factor}`)
  // Channel (i, j, c) goes where PyTorch has (c, i, j).
  const order = Array.from({ length: x.channels }, (_, k) => (k % factor ** 2) * outputs + Math.floor(k / factor ** 2))
  return r.graph.pixelShuffle(reorderChannels(r, x, order), factor)
}

export function spaceToDepth(r: Reading, call: Call): Node {
  const x = call.picture(0)
  const factor = call.number('blocksize', 0)
  const y = r.graph.pixelUnshuffle(x, factor)
  if (y.channels > 4096) call.fail(`makes ${y.channels} channels`)
  const order = Array.from(
    { length: y.channels },
    (_, k) => (k % x.channels) * factor ** 2 + Math.floor(k / x.channels),
  )
  return reorderChannels(r, y, order)
}

/** The shape that Reshape is to make. */
export function targetShape(call: Call): (number | Size)[] | undefined {
  const target = call.inputs[1]
  if (target?.kind === 'sizes') return target.entries
  return target?.kind === 'constant' ? [...target.data].slice(0, 16) : call.numbers('shape')
}

/** @param before the shape that it had, for zeros that stand for it */
export function reshapePicture(call: Call, node: Node, before: readonly (number | Size)[] = []): OnnxValue {
  const shape = targetShape(call)?.map((n, i) => (n === 0 ? (before[i] ?? 0) : n))
  if (shape?.length === 6) return { kind: 'folded', node, shape }
  if (shape?.length === 5) return { kind: 'stretched', node, shape }
  return call.fail('changes the shape of a picture otherwise than by a pixel shuffle, which is not supported')
}
