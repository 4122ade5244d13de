// One subnet's part of the weights, as the native side slices them (docs: method, weight sharing): which channels every
// value has at a width, and which of a parameter's numbers belong to them.
import type { NativeChannels, NativeParameter } from '../../native.js'
import type { Network } from '../../networks/network.js'
import { graphNodes } from '../../networks/nodes.js'

/** Channels of a value at a width: rows [from, from + count) of its channels at the largest width. */
export interface Channels {
  full: number
  ranges: readonly { from: number; count: number }[]
}

export const countOfChannels = ({ ranges }: Channels): number => ranges.reduce((sum, { count }) => sum + count, 0)

const prefix = (full: number, count: number): Channels => ({ full, ranges: [{ from: 0, count }] })

/** Each of the channels, ascending. */
export const indicesOfChannels = ({ ranges }: Channels): number[] =>
  ranges.flatMap(({ from, count }) => Array.from({ length: count }, (_, i) => from + i))

/** Of ascending indices. */
function ofIndices(full: number, indices: readonly number[]): Channels {
  const ranges: { from: number; count: number }[] = []
  for (const index of indices) {
    const last = ranges.at(-1)
    if (last && last.from + last.count === index) last.count++
    else ranges.push({ from: index, count: 1 })
  }
  return { full, ranges }
}

/** Channels by a rule at a width. */
export function channelsAt(rule: NativeChannels, width: number): number {
  return 'fixed' in rule ? rule.fixed : Math.floor((rule.num * width) / rule.den)
}

/** Channels of every node at a width; nodes of stacks are those of the given depth. */
export function channelsOf(network: Network, width: number): Channels[] {
  const largest = Math.max(...network.widths)
  const all: Channels[] = []
  for (const node of graphNodes(network.graph)) {
    const inputs = node.inputs.map((i) => all[i]!)
    const by = (rule: NativeChannels) => prefix(channelsAt(rule, largest), channelsAt(rule, width))
    const divided = ({ full, ranges }: Channels, by: number): Channels => ({
      full: full / by,
      ranges: ranges.map(({ from, count }) => ({ from: from / by, count: count / by })),
    })
    switch (node.op) {
      case 'input':
        all.push(prefix(node.channels.fixed, node.channels.fixed))
        break
      case 'conv':
        all.push(node.depthwise ? inputs[0]! : grouped(inOrder(by(node.channels), node.order), node.groups ?? 1))
        break
      case 'convTranspose':
        all.push(inOrder(by(node.channels), node.order))
        break
      case 'slice':
        all.push(sliced(inputs[0]!, by(node.channels), channelsAt(node.from, width), channelsAt(node.from, largest)))
        break
      case 'pixelShuffle':
        all.push(divided(inputs[0]!, node.factor ** 2))
        break
      case 'pixelUnshuffle':
        all.push(divided(inputs[0]!, 1 / node.factor ** 2))
        break
      case 'concat': {
        let offset = 0
        const ranges = inputs.flatMap(({ full, ranges: own }) => {
          const start = offset
          offset += full
          return own.map(({ from, count }) => ({ from: from + start, count }))
        })
        all.push({ full: offset, ranges })
        break
      }
      default:
        all.push(inputs[0]!)
    }
  }
  return all
}

/** The first channels of an order, where there is one. */
function inOrder(channels: Channels, order: readonly number[] | undefined): Channels {
  if (!order) return channels
  const kept = order.slice(0, countOfChannels(channels)).sort((a, b) => a - b)
  return ofIndices(channels.full, kept)
}

/** Each group keeps its own first channels. */
function grouped(channels: Channels, groups: number): Channels {
  if (groups === 1) return channels
  const count = countOfChannels(channels) / groups
  const all = Array.from({ length: groups * count }, (_, i) => {
    const group = Math.floor(i / count)
    return group * (channels.full / groups) + (i % count)
  })
  return ofIndices(channels.full, all)
}

/** Those of a slice at the largest width, where all that is kept is among them; else the first ones. */
function sliced(input: Channels, first: Channels, from: number, fromFull: number): Channels {
  const held = indicesOfChannels(input)
    .slice(from, from + countOfChannels(first))
    .map((channel) => channel - fromFull)
  return held.some((c) => c < 0 || c >= first.full) ? first : ofIndices(first.full, held)
}

/** The rows of `data` (shape) that `ranges` takes of each of the leading dimensions. */
export function sliceTensor(data: Float32Array, shape: readonly number[], taken: readonly (Channels | null)[]) {
  const picked = shape.map((size, d) => {
    const channels = taken[d]
    if (!channels) return Array.from({ length: size }, (_, i) => i)
    return channels.ranges.flatMap(({ from, count }) => Array.from({ length: count }, (_, i) => from + i))
  })
  const out = new Float32Array(picked.reduce((n, { length }) => n * length, 1))
  let at = 0
  const copy = (dimension: number, offset: number): void => {
    if (dimension === shape.length) {
      out[at++] = data[offset]!
      return
    }
    for (const index of picked[dimension]!) copy(dimension + 1, offset * shape[dimension]! + index)
  }
  copy(0, 0)
  return { shape: picked.map(({ length }) => length), data: out }
}

export interface SubnetTensor {
  name: string
  shape: number[]
  data: Float32Array
}

/** Nodes that the subnet of a depth uses, in order, with stacks resolved: `of[i]` is the node that node i stands for. */
export function nodesOf(network: Network, depth: number): { of: number[]; used: boolean[] } {
  const nodes = graphNodes(network.graph)
  const of = nodes.map((_, i) => i)
  nodes.forEach((node, i) => {
    if (node.op === 'stack') of[i] = of[node.inputs[depth]!]!
  })
  const used = nodes.map(() => false)
  used[of[network.graph.output]!] = true
  for (let i = nodes.length - 1; i >= 0; i--) if (used[i]) for (const input of nodes[i]!.inputs) used[of[input]!] = true
  return { of, used }
}

/** The parameters of one subnet, sliced. */
export function subnetTensors(
  network: Network,
  subnet: { width: number; depth: number },
  parameters: readonly NativeParameter[],
  weights: Float32Array,
): Map<string, SubnetTensor> {
  const channels = channelsOf(network, subnet.width)
  const { used } = nodesOf(network, subnet.depth)
  const byName = new Map(parameters.map((p) => [p.name, p]))
  const tensors = new Map<string, SubnetTensor>()
  const add = (name: string, taken: (Channels | null)[]) => {
    const p = byName.get(name)
    if (!p) return
    tensors.set(name, { name, ...sliceTensor(weights.subarray(p.offset, p.offset + p.count), p.shape, taken) })
  }
  graphNodes(network.graph).forEach((node, i) => {
    if (!used[i] || !('name' in node)) return
    const out = channels[i]!
    const input = channels[node.inputs[0]!]!
    const groups = node.op === 'conv' || node.op === 'convTranspose' ? (node.groups ?? 1) : 1
    // Every group reads its own first channels.
    const columns = (of: Channels) => (groups === 1 ? of : prefix(of.full / groups, countOfChannels(of) / groups))
    if (node.op === 'conv') add(`${node.name}.weight`, [out, node.depthwise ? null : columns(input), null, null])
    else if (node.op === 'convTranspose') add(`${node.name}.weight`, [input, columns(out), null, null])
    else add(`${node.name}.weight`, [out])
    add(`${node.name}.bias`, [out])
  })
  return tensors
}
