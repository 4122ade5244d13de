// How much a channel matters: by the weights that make and read it, or by what the result loses without it.
import { decodeImage } from '../../images/images.js'
import { cutPixels } from '../../images/pixels.js'
import { type NativeEngine, type NativeParameter, native } from '../../native.js'
import type { Network } from '../../networks/network.js'
import { type GraphNode, graphNodes } from '../../networks/nodes.js'
import type { ImageInput } from '../../types.js'
import type { Atom, Group } from './ties.js'

export type Convolution = Extract<GraphNode, { op: 'conv' | 'convTranspose' }>

export const isConvolution = (node: GraphNode): node is Convolution => node.op === 'conv' || node.op === 'convTranspose'

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

/** The convolutions that read each node, but filters per channel and convolutions in groups. */
function readersOf(nodes: readonly GraphNode[]): Map<number, number[]> {
  const readers = new Map<number, number[]>()
  nodes.forEach((node, i) => {
    if (!isConvolution(node) || (node.op === 'conv' && (node.depthwise || (node.groups ?? 1) > 1))) return
    readers.set(node.inputs[0], [...(readers.get(node.inputs[0]) ?? []), i])
  })
  return readers
}

/**
 * Importance of every atom: what its filters weigh, times what the convolutions that read it give it. Weights count relative
 * to the mean of their layer, so that layers count alike.
 */
export function importanceByWeights(
  network: Network,
  groups: readonly Group[],
  parameters: readonly NativeParameter[],
  weights: Float32Array,
): Map<Atom, number> {
  const nodes = graphNodes(network.graph)
  const norms = new Map<number, Norms>()
  const readers = readersOf(nodes)
  nodes.forEach((node, i) => {
    if (!isConvolution(node)) return
    const parameter = parameters.find(({ name }) => name === `${node.name}.weight`)!
    const { shape, offset, count } = parameter
    norms.set(i, normsOf(node, shape, weights.subarray(offset, offset + count)))
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

/** Side of what is looked at of a picture, in LR pixels. */
const SIDE = 64

/** The middle of a picture as planes of RGB in [0, 1]. */
async function middleOf(picture: ImageInput, name: string, multiple: number) {
  const image = await decodeImage(picture, name)
  const side = (of: number) => Math.floor(Math.min(SIDE, of) / multiple) * multiple
  const [width, height] = [side(image.width), side(image.height)]
  const [left, top] = [(image.width - width) >> 1, (image.height - height) >> 1]
  const pixels = cutPixels(image.data, image.width, image.channels, left, top, width, height)
  const rgb = await native.toRgbFloat(pixels, width, height, image.channels)
  const planes = new Float32Array(rgb.length)
  const area = width * height
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) planes[c * area + i] = rgb[3 * i + c]!
  return { planes, width, height }
}

/**
 * Importance of every atom: mean squared difference of the largest subnet's result without it, on LR pictures.
 *
 * @param engine of the network, whose weights are left as they were
 * @throws WbsrError WBSR_INVALID_IMAGE, WBSR_NOT_FOUND; WBSR_INVALID_OPTION: a picture is too small for the network
 */
export async function importanceByPictures(
  network: Network,
  groups: readonly Group[],
  engine: NativeEngine,
  pictures: readonly ImageInput[],
): Promise<Map<Atom, number>> {
  const nodes = graphNodes(network.graph)
  const readers = readersOf(nodes)
  const weights = engine.getArena('weights')
  const largest = engine.subnets.length - 1
  const run = ({ planes, width, height }: Awaited<ReturnType<typeof middleOf>>) =>
    engine.forward(largest, planes, 1, height, width)
  const looked = await Promise.all(
    pictures.map((picture, i) => middleOf(picture, `pictures[${i}]`, engine.sizeMultiple ?? 1)),
  )
  const whole: Float32Array[] = []
  for (const picture of looked) whole.push(await run(picture))
  const result = new Map<Atom, number>()
  for (const atom of groups.flatMap(({ atoms }) => atoms)) {
    const without = weights.slice()
    for (const [node, channels] of atom.places)
      for (const reader of readers.get(node) ?? [])
        clearInputs(without, nodes[reader] as Convolution, engine.parameters, channels)
    engine.setArena('weights', without)
    let difference = 0
    for (const [i, picture] of looked.entries()) {
      const out = await run(picture)
      const wanted = whole[i]!
      let sum = 0
      for (let p = 0; p < out.length; p++) sum += (out[p]! - wanted[p]!) ** 2
      difference += sum / out.length
    }
    result.set(atom, difference)
  }
  engine.setArena('weights', weights)
  return result
}

/** Makes a convolution blind for some of its input channels. */
function clearInputs(
  weights: Float32Array,
  node: Convolution,
  parameters: readonly NativeParameter[],
  channels: readonly number[],
): void {
  const { shape, offset, count } = parameters.find(({ name }) => name === `${node.name}.weight`)!
  const [rows, columns] = [shape[0]!, shape[1]!]
  const area = count / (rows * columns)
  for (const channel of channels) {
    if (node.op === 'convTranspose') {
      weights.fill(0, offset + channel * columns * area, offset + (channel + 1) * columns * area)
      continue
    }
    for (let r = 0; r < rows; r++) {
      const from = offset + (r * columns + channel) * area
      weights.fill(0, from, from + area)
    }
  }
}
