// In which order the channels of a network are kept when it becomes narrower: the most important ones of every group first
// (docs/models.md).
import { WbsrError } from '../../errors.js'
import type { NativeNode } from '../../native.js'
import type { Network } from '../../networks/network.js'
import { type GraphNode, graphNodes } from '../../networks/nodes.js'
import { channelsOf, countOfChannels } from '../graphs/subnet-slices.js'
import { isConvolution } from './importance.js'
import type { Atom, Ties } from './ties.js'

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

/** The network without the orders that it may have. */
export function withoutOrder(network: Network): Network {
  const nodes = network.graph.nodes.map(({ order: _, ...node }) => node as NativeNode)
  return { ...network, graph: { ...network.graph, nodes } }
}

/**
 * The network with an order for the channels of every convolution that follows the width: a subnet keeps the channels that
 * are most important in each group, in the order in which they are; the largest subnet is what it was.
 *
 * @param network without orders
 * @throws WbsrError WBSR_INVALID_OPTION where a width cannot be cut out
 */
export function inOrderOfImportance(network: Network, ties: Ties, importance: ReadonlyMap<Atom, number>): Network {
  const narrower = network.widths.slice(0, -1)
  const sorted = ties.groups.map(({ atoms }) => [...atoms].sort((a, b) => importance.get(b)! - importance.get(a)!))
  const kept = narrower.map((width) => keptAt(network, ties, width))
  const nodes = [...network.graph.nodes]
  graphNodes(network.graph).forEach((node, i) => {
    if (!isConvolution(node) || (node.op === 'conv' && node.depthwise) || 'fixed' in node.channels) return
    // The first width, of the ascending ones, at which a channel is kept.
    const first = new Array<number>(ties.full[i]!).fill(narrower.length)
    sorted.forEach((atoms, g) =>
      atoms.forEach((atom, rank) => {
        const width = kept.findIndex((counts) => rank < counts[g]!)
        if (width >= 0) for (const channel of atom.places.get(i) ?? []) first[channel] = width
      }),
    )
    const order = first.map((_, channel) => channel).sort((a, b) => first[a]! - first[b]! || a - b)
    if (order.some((channel, at) => channel !== at)) nodes[i] = { ...nodes[i]!, order }
  })
  return { ...network, graph: { ...network.graph, nodes } }
}
