// One subnet as a network of its own: what a file of its weights needs to be read again.
import type { NativeNode } from '../../native.js'
import type { Network } from '../../networks/network.js'
import { nodesOf } from './subnet-slices.js'

/** The nodes that a subnet uses, as a network of one width and one depth whose parameters are those of subnetTensors(). */
export function subnetNetwork(network: Network, { width, depth }: { width: number; depth: number }): Network {
  const { of, used } = nodesOf(network, depth)
  const index = new Map<number, number>()
  const nodes: NativeNode[] = []
  network.graph.nodes.forEach((node, i) => {
    if (!used[i]) return
    index.set(i, nodes.length)
    // Channels by importance: their weights lie one after the other here.
    const { order: _, ...plain } = node as NativeNode & { order?: unknown }
    nodes.push({ ...plain, inputs: node.inputs.map((input) => index.get(of[input]!)!) })
  })
  const output = index.get(of[network.graph.output]!)!
  const graph = { ...network.graph, widths: [width], depths: [depth], nodes, output }
  return { ...network, widths: [width], depths: [depth], graph }
}
