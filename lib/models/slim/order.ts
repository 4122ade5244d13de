// In which order the channels of a network are kept when it becomes narrower: the most important ones of every group first
// (docs/models.md).
import { WbsrError } from '../../errors.js'
import type { NativeNode, NativeParameter } from '../../native.js'
import type { Network } from '../../networks/network.js'
import { type GraphNode, graphNodes } from '../../networks/nodes.js'
import { channelsOf, countOfChannels } from '../graphs/subnet-slices.js'
import { type Atom, type Group, type Ties, tiesOf } from './ties.js'

type Convolution = Extract<GraphNode, { op: 'conv' | 'convTranspose' }>

const isConvolution = (node: GraphNode): node is Convolution => node.op === 'conv' || node.op === 'convTranspose'

/** Mean-normalised sums of |weight| over each filter, and over each input channel, of a convolution. */
interface Norms {
  filters: Float64Array
  inputs: Float64Array
}

function normalised(sums: Float64Array): Float64Array {
  const mean = sums.reduce((a, b) => a + b, 0) / sums.length
  return mean > 0 ? sums.map((sum) => sum / mean) : sums
}

function normsOf(node: Convolution, shape: readonly number[], values: Float32Array): Norms {
  const [rows, columns] = [shape[0]!, shape[1]!]
  const area = values.length / (rows * columns)
  const [byRow, byColumn] = [new Float64Array(rows), new Float64Array(columns)]
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      let sum = 0
      for (let i = 0; i < area; i++) sum += Math.abs(values[(r * columns + c) * area + i]!)
      byRow[r]! += sum
      byColumn[c]! += sum
    }
  const [first, second] = [normalised(byRow), normalised(byColumn)]
  return node.op === 'conv' ? { filters: first, inputs: second } : { filters: second, inputs: first }
}

/**
 * Importance of every atom: what its filters weigh, times what the convolutions that read it give it. Weights count relative
 * to the mean of their layer, so that layers count alike.
 */
export function importances(
  network: Network,
  groups: readonly Group[],
  parameters: readonly NativeParameter[],
  weights: Float32Array,
): Map<Atom, number> {
  const nodes = graphNodes(network.graph)
  const norms = new Map<number, Norms>()
  const readers = new Map<number, number[]>()
  nodes.forEach((node, i) => {
    if (!isConvolution(node)) return
    const parameter = parameters.find(({ name }) => name === `${node.name}.weight`)!
    const { shape, offset, count } = parameter
    norms.set(i, normsOf(node, shape, weights.subarray(offset, offset + count)))
    if (node.op === 'conv' && (node.depthwise || (node.groups ?? 1) > 1)) return
    readers.set(node.inputs[0], [...(readers.get(node.inputs[0]) ?? []), i])
  })
  const result = new Map<Atom, number>()
  for (const { atoms } of groups)
    for (const atom of atoms) {
      let made = 0
      let read = 0
      for (const [node, channels] of atom.places) {
        for (const c of channels) {
          made += norms.get(node)?.filters[c] ?? 0
          for (const reader of readers.get(node) ?? []) read += norms.get(reader)!.inputs[c]!
        }
      }
      result.set(atom, made * read)
    }
  return result
}

/** How a value is called in messages: by the convolution, or the operator, that makes it. */
const titleOf = (node: GraphNode): string => ('name' in node ? node.name : node.op)

function cannotBe(width: number, why: string): WbsrError {
  return new WbsrError('WBSR_INVALID_OPTION', `Expected widths to which the network can be cut, but at ${width} ${why}`)
}

/**
 * How many atoms of every group are kept at a width, from what the rules of the network leave of each value.
 *
 * @throws WbsrError WBSR_INVALID_OPTION naming the layer in which the channels do not come out even
 */
function keptAt(network: Network, { full, groups }: Ties, width: number): number[] {
  const nodes = graphNodes(network.graph)
  const counts = channelsOf(network, width).map(countOfChannels)
  const kept = groups.map(({ atoms }) => {
    const places = [...atoms[0]!.places].map(([node, { length }]) => ({ node, length }))
    // A value of this group alone says it; else each group keeps its share.
    const alone = places.find(({ node, length }) => length * atoms.length === full[node])
    const { node, length } = alone ?? places[0]!
    const count = alone ? counts[node]! / length : (counts[node]! * atoms.length) / full[node]!
    if (count < 1) throw cannotBe(width, `nothing is left of ${titleOf(nodes[node]!)}`)
    if (!Number.isInteger(count))
      throw cannotBe(
        width,
        `${titleOf(nodes[node]!)} has ${counts[node]} channels, of which ${atoms.length} of ${full[node]} belong together`,
      )
    return count
  })
  const sums = new Float64Array(full.length)
  const follows = new Float64Array(full.length)
  groups.forEach(({ atoms }, g) => {
    for (const [node, { length }] of atoms[0]!.places) {
      sums[node]! += kept[g]! * length
      follows[node]! += atoms.length * length
    }
  })
  counts.forEach((count, node) => {
    // The rest stays as it is.
    const expected = sums[node]! + (full[node]! - follows[node]!)
    if (expected !== count)
      throw cannotBe(
        width,
        `${titleOf(nodes[node]!)} has ${count} channels where ${expected} of its ${full[node]} belong together`,
      )
  })
  return kept
}

/**
 * The network with an order for the channels of every convolution that follows the width: a subnet keeps the channels that
 * are most important in each group, in the order in which they are; the largest subnet is what it was.
 *
 * @throws WbsrError WBSR_INVALID_OPTION where a width cannot be cut out
 */
export function inOrderOfImportance(
  network: Network,
  parameters: readonly NativeParameter[],
  weights: Float32Array,
): Network {
  // Its rules, without an order that it may have.
  const nodes = network.graph.nodes.map(({ order: _, ...node }) => node as NativeNode)
  const plain: Network = { ...network, graph: { ...network.graph, nodes } }
  const narrower = network.widths.slice(0, -1)
  if (narrower.length === 0) return plain
  const ties = tiesOf(plain)
  const importance = importances(plain, ties.groups, parameters, weights)
  for (const group of ties.groups) group.atoms.sort((a, b) => importance.get(b)! - importance.get(a)!)
  const kept = narrower.map((width) => keptAt(plain, ties, width))
  graphNodes(plain.graph).forEach((node, i) => {
    if (!isConvolution(node) || (node.op === 'conv' && node.depthwise) || 'fixed' in node.channels) return
    // The first width, of the ascending ones, at which a channel is kept.
    const first = new Array<number>(ties.full[i]!).fill(narrower.length)
    ties.groups.forEach(({ atoms }, g) =>
      atoms.forEach((atom, rank) => {
        const width = kept.findIndex((counts) => rank < counts[g]!)
        if (width >= 0) for (const channel of atom.places.get(i) ?? []) first[channel] = width
      }),
    )
    const order = first.map((_, channel) => channel).sort((a, b) => first[a]! - first[b]! || a - b)
    if (order.some((channel, at) => channel !== at)) nodes[i] = { ...nodes[i]!, order }
  })
  return plain
}
