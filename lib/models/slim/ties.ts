// Which channels of a network belong together: those that a sum, a product, a concatenation, a slice, a shuffle or a filter
// per channel ties to one another are kept or left out together. Derived from the graph alone.
import type { Network } from '../../networks/network.js'
import { graphNodes } from '../../networks/nodes.js'
import { channelsAt, channelsOf } from '../graphs/subnet-slices.js'

/** Channels of several values that are one: all are kept at a width, or none. */
export interface Atom {
  /** Node, then its channels at the largest width, ascending. */
  places: Map<number, number[]>
}

/** Atoms that take part in the same values: any of them may stand for any other. */
export interface Group {
  atoms: Atom[]
}

export interface Ties {
  /** Channels of every node at the largest width. */
  full: number[]
  /** Of the channels that follow the width. */
  groups: Group[]
}

/** A forest of sets (union by the smaller root). */
class Sets {
  readonly #parent: Int32Array
  constructor(size: number) {
    this.#parent = Int32Array.from({ length: size }, (_, i) => i)
  }
  find(at: number): number {
    const parent = this.#parent
    let i = at
    while (parent[i] !== i) {
      parent[i] = parent[parent[i]!]!
      i = parent[i]!
    }
    return i
  }
  join(a: number, b: number): void {
    const [first, second] = [this.find(a), this.find(b)]
    this.#parent[Math.max(first, second)] = Math.min(first, second)
  }
}

/**
 * The ties of a network, at the depths that it has: what only other depths would read ties nothing.
 */
export function tiesOf(network: Network): Ties {
  const nodes = graphNodes(network.graph)
  const largest = Math.max(...network.widths)
  const full = channelsOf(network, largest).map((channels) => channels.full)
  const start: number[] = []
  let slots = 0
  for (const count of full) {
    start.push(slots)
    slots += count
  }
  const sets = new Sets(slots)
  /** Channels that stay where they are: those of the picture, and all that a fixed number of filters makes. */
  const fixed = new Set<number>()
  nodes.forEach((node, i) => {
    const slot = (of: number, channel: number) => start[of]! + channel
    const each = (count: number, work: (channel: number) => void) => {
      for (let c = 0; c < count; c++) work(c)
    }
    const tie = (input: number, from = 0) => each(full[i]!, (c) => sets.join(slot(i, c), slot(input, from + c)))
    const fix = () => each(full[i]!, (c) => fixed.add(slot(i, c)))
    switch (node.op) {
      case 'input':
        fix()
        break
      case 'conv':
        if (node.depthwise) tie(node.inputs[0])
        else if ('fixed' in node.channels || (node.groups ?? 1) > 1) fix()
        // Filters in groups read the channels where they are.
        if ((node.groups ?? 1) > 1) each(full[node.inputs[0]]!, (c) => fixed.add(slot(node.inputs[0], c)))
        break
      case 'convTranspose':
        if ('fixed' in node.channels) fix()
        break
      case 'add':
      case 'scaleChannels':
        for (const input of node.inputs) tie(input)
        break
      case 'multiply':
        tie(node.inputs[0])
        if (full[node.inputs[1]] === full[i]) tie(node.inputs[1])
        break
      case 'concat': {
        let from = 0
        for (const input of node.inputs) {
          const offset = from
          each(full[input]!, (c) => sets.join(slot(i, offset + c), slot(input, c)))
          from += full[input]!
        }
        break
      }
      case 'slice':
        tie(node.inputs[0], channelsAt(node.from, largest))
        break
      case 'pixelShuffle':
        each(full[node.inputs[0]]!, (c) =>
          sets.join(slot(i, Math.floor(c / node.factor ** 2)), slot(node.inputs[0], c)),
        )
        break
      case 'pixelUnshuffle':
        each(full[i]!, (c) => sets.join(slot(i, c), slot(node.inputs[0], Math.floor(c / node.factor ** 2))))
        break
      case 'stack':
        for (const depth of network.depths) tie(node.inputs[depth]!)
        break
      case 'affine':
        tie(node.inputs[0])
        if ((node.scale?.length ?? 1) > 1 || (node.offset?.length ?? 1) > 1) fix()
        break
      default:
        tie(node.inputs[0])
    }
  })
  const fixedSets = new Set([...fixed].map((slot) => sets.find(slot)))
  const atoms = new Map<number, Atom>()
  full.forEach((count, node) => {
    for (let c = 0; c < count; c++) {
      const set = sets.find(start[node]! + c)
      if (fixedSets.has(set)) continue
      let atom = atoms.get(set)
      if (!atom) {
        atom = { places: new Map() }
        atoms.set(set, atom)
      }
      const places = atom.places.get(node)
      if (places) places.push(c)
      else atom.places.set(node, [c])
    }
  })
  const groups = new Map<string, Group>()
  for (const atom of atoms.values()) {
    const key = [...atom.places].map(([node, { length }]) => `${node}x${length}`).join()
    const group = groups.get(key)
    if (group) group.atoms.push(atom)
    else groups.set(key, { atoms: [atom] })
  }
  return { full, groups: [...groups.values()] }
}
