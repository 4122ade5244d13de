// Networks from the graphs of ncnn.

import type { ReadBudget } from '../../files/read-budget.js'
import type { ImageConvention } from '../../networks/image.js'
import { GraphImport, type ImportedGraph, type Node } from './import-graph.js'
import { type Layer, readParam, Weights } from './ncnn-files.js'

const MODES = { 1: 'nearest', 2: 'bilinear', 3: 'bicubic' } as const
/** As PyTorch has it. */
const CUBIC_A = -0.75

class Importer {
  readonly #graph: GraphImport
  readonly #weights: Weights
  readonly #blobs = new Map<string, Node>()

  constructor(graph: GraphImport, weights: Weights) {
    this.#graph = graph
    this.#weights = weights
  }

  get blobs(): ReadonlyMap<string, Node> {
    return this.#blobs
  }

  set(blob: string, node: Node): void {
    if (this.#blobs.has(blob)) this.#graph.fail(`blob ${blob} is made twice`)
    this.#blobs.set(blob, node)
  }

  #fail(layer: Layer, what: string): never {
    return this.#graph.fail(`layer ${layer.name} (${layer.type}) ${what}`)
  }

  #number(layer: Layer, id: number, otherwise: number): number {
    const value = layer.parameters.get(id) ?? otherwise
    return typeof value === 'number' ? value : this.#fail(layer, `has a row as parameter ${id}`)
  }

  /** A number that is the same for both directions; the second id is of the vertical one. */
  #square(layer: Layer, across: number, down: number, otherwise: number): number {
    const value = this.#number(layer, across, otherwise)
    if (this.#number(layer, down, value) !== value) this.#fail(layer, 'differs between rows and columns')
    return value
  }

  run(layer: Layer): void {
    const inputs = layer.inputs.map(
      (blob) => this.#blobs.get(blob) ?? this.#fail(layer, `takes ${blob}, which no layer before it makes`),
    )
    const [x] = inputs
    if (!x) this.#fail(layer, 'has no input')
    if (layer.type === 'Slice') {
      this.#slice(layer, x)
      return
    }
    const node = this.#node(layer, x, inputs)
    // A splitter has several outputs of one value.
    if (layer.type !== 'Split' && layer.outputs.length !== 1) this.#fail(layer, `has ${layer.outputs.length} outputs`)
    for (const blob of layer.outputs) this.set(blob, node)
  }

  #node(layer: Layer, x: Node, inputs: Node[]): Node {
    const graph = this.#graph
    const number = (id: number, otherwise: number) => this.#number(layer, id, otherwise)
    switch (layer.type) {
      case 'Split':
      case 'Noop':
      case 'Dropout':
        return x
      case 'Convolution':
      case 'ConvolutionDepthWise':
        return this.#conv(layer, x, layer.type === 'Convolution' ? 1 : number(7, 1))
      case 'Deconvolution':
        return this.#deconvolution(layer, x)
      case 'PReLU':
        return graph.prelu(layer.name, x, this.#weights.plain(number(0, 0), `layer ${layer.name}`))
      case 'ReLU':
        return number(0, 0) === 0 ? graph.activation(x, 'relu') : graph.leakyRelu(x, number(0, 0))
      case 'Sigmoid':
        return graph.activation(x, 'sigmoid')
      case 'Swish':
        return graph.activation(x, 'silu')
      case 'TanH':
        return graph.activation(x, 'tanh')
      case 'GELU':
        return number(0, 0) === 0 ? graph.activation(x, 'gelu') : this.#fail(layer, 'is the approximate GELU')
      case 'PixelShuffle':
        return number(1, 0) === 0
          ? graph.pixelShuffle(x, number(0, 1))
          : this.#fail(layer, 'has another order of channels')
      case 'Reorg':
        return number(1, 0) === 0
          ? graph.pixelUnshuffle(x, number(0, 1))
          : this.#fail(layer, 'has another order of channels')
      case 'Interp':
        return this.#resize(layer, x, inputs)
      case 'Pooling':
        return this.#pool(layer, x)
      case 'Concat':
        return number(0, 0) === 0 ? graph.concat(inputs) : this.#fail(layer, 'joins along another axis than channels')
      case 'BinaryOp':
        return this.#binary(layer, x, inputs[1])
      case 'Eltwise':
        return this.#elementwise(layer, inputs)
      default:
        return this.#fail(layer, 'is a kind of layer that is not supported')
    }
  }

  #activated(layer: Layer, x: Node): Node {
    const kind = this.#number(layer, 9, 0)
    const row = layer.parameters.get(10)
    const [slope = 0] = Array.isArray(row) ? row : []
    switch (kind) {
      case 0:
        return x
      case 1:
        return this.#graph.activation(x, 'relu')
      case 2:
        return this.#graph.leakyRelu(x, slope)
      case 4:
        return this.#graph.activation(x, 'sigmoid')
      default:
        return this.#fail(layer, `has activation ${kind}, which is not supported`)
    }
  }

  #conv(layer: Layer, x: Node, groups: number): Node {
    const filters = this.#number(layer, 0, 0)
    const kernel = this.#square(layer, 1, 11, 0)
    const stride = this.#square(layer, 3, 13, 1)
    const padding = this.#square(layer, 4, 14, 0)
    for (const id of [15, 16])
      if (this.#number(layer, id, padding) !== padding)
        this.#fail(layer, 'is padded more at one side than at the other')
    if (this.#square(layer, 2, 12, 1) !== 1) this.#fail(layer, 'is dilated')
    const count = this.#number(layer, 6, 0)
    if (count !== (filters * x.channels * kernel * kernel) / groups)
      this.#fail(
        layer,
        `has ${count} weights where ${filters} filters of ${kernel}x${kernel} for ${x.channels} channels are expected`,
      )
    const weight = this.#weights.tagged(count, `layer ${layer.name}`)
    const bias = this.#number(layer, 5, 0) ? this.#weights.plain(filters, `the bias of layer ${layer.name}`) : null
    const conv = { name: layer.name, weight, filters, kernel, bias, stride, padding, groups }
    return this.#activated(layer, this.#graph.conv(x, conv))
  }

  #deconvolution(layer: Layer, x: Node): Node {
    const filters = this.#number(layer, 0, 0)
    const kernel = this.#square(layer, 1, 11, 0)
    const stride = this.#square(layer, 3, 13, 1)
    const padding = this.#square(layer, 4, 14, 0)
    const outputPadding = this.#square(layer, 18, 19, 0)
    if (this.#square(layer, 2, 12, 1) !== 1) this.#fail(layer, 'is dilated')
    const count = this.#number(layer, 6, 0)
    const area = kernel * kernel
    if (count !== filters * x.channels * area) this.#fail(layer, `has ${count} weights`)
    const stored = this.#weights.tagged(count, `layer ${layer.name}`)
    // ncnn has filters first, transposed convolutions here have input channels first.
    const weight = new Float32Array(count)
    for (let o = 0; o < filters; o++)
      for (let i = 0; i < x.channels; i++)
        weight.set(
          stored.subarray((o * x.channels + i) * area, (o * x.channels + i + 1) * area),
          (i * filters + o) * area,
        )
    const bias = this.#number(layer, 5, 0) ? this.#weights.plain(filters, `the bias of layer ${layer.name}`) : null
    const conv = { name: layer.name, weight, filters, kernel, bias, stride, padding, groups: 1, outputPadding }
    return this.#activated(layer, this.#graph.convTranspose(x, conv))
  }

  #resize(layer: Layer, x: Node, inputs: Node[]): Node {
    const mode = MODES[this.#number(layer, 0, 0) as keyof typeof MODES]
    if (!mode) return this.#fail(layer, 'has an unknown kind of interpolation')
    if (this.#number(layer, 6, 0) !== 0) this.#fail(layer, 'aligns corners')
    const like = inputs[1]
    if (like)
      return mode === 'bicubic'
        ? this.#fail(layer, 'resizes bicubically to another value')
        : this.#graph.resizeLike(x, like, mode)
    const scale = this.#square(layer, 2, 1, 1)
    if (this.#number(layer, 3, 0) !== 0 || this.#number(layer, 4, 0) !== 0) this.#fail(layer, 'resizes to a fixed size')
    return this.#graph.resize(x, scale, mode, CUBIC_A)
  }

  #pool(layer: Layer, x: Node): Node {
    const kind = this.#number(layer, 0, 0) === 0 ? 'max' : 'average'
    if (this.#number(layer, 4, 0) !== 0)
      return kind === 'average' ? this.#graph.globalPool(x, 'mean') : this.#fail(layer, 'takes the global maximum')
    // ncnn's full padding (mode 0) adds rows where windows do not fit; valid padding is what PyTorch has.
    if (this.#number(layer, 5, 0) !== 1) this.#fail(layer, 'pads as Caffe does')
    const padding = this.#square(layer, 3, 13, 0)
    if (kind === 'average' && padding > 0 && this.#number(layer, 6, 0) !== 1)
      this.#fail(layer, 'leaves padding out of averages')
    return this.#graph.pool(x, {
      kind,
      kernel: this.#square(layer, 1, 11, 0),
      stride: this.#square(layer, 2, 12, 1),
      padding,
    })
  }

  #binary(layer: Layer, a: Node, b: Node | undefined): Node {
    const graph = this.#graph
    const operation = this.#number(layer, 0, 0)
    if (this.#number(layer, 1, 0) !== 0) {
      const c = this.#number(layer, 2, 0)
      if (operation === 0) return graph.affine(a, { offset: [c] })
      if (operation === 1) return graph.affine(a, { offset: [-c] })
      if (operation === 2) return graph.affine(a, { scale: [c] })
      if (operation === 3) return graph.affine(a, { scale: [1 / c] })
      if (operation === 7) return graph.affine(a, { scale: [-1], offset: [c] })
    } else if (b) {
      if (operation === 0) return graph.add(a, b)
      if (operation === 1) return graph.add(a, graph.affine(b, { scale: [-1] }))
      if (operation === 2) return graph.multiply(a, b)
      if (operation === 3) return graph.multiply(a, graph.activation(b, 'reciprocal'))
    }
    return this.#fail(layer, `has operation ${operation}, which is not supported`)
  }

  #elementwise(layer: Layer, inputs: Node[]): Node {
    const operation = this.#number(layer, 0, 0)
    const row = layer.parameters.get(1)
    const factors = Array.isArray(row) ? row : []
    if (operation > 1 || inputs.length < 2)
      return this.#fail(layer, `has operation ${operation}, which is not supported`)
    if (operation === 0) return inputs.reduce((a, b) => this.#graph.multiply(a, b))
    if (factors.length > 0 && factors.length !== inputs.length)
      this.#fail(layer, 'has another number of factors than inputs')
    const scaled = inputs.map((x, i) => {
      const factor = factors[i] ?? 1
      return factor === 1 ? x : this.#graph.affine(x, { scale: [factor] })
    })
    return scaled.reduce((a, b) => this.#graph.add(a, b))
  }

  #slice(layer: Layer, x: Node): void {
    const row = layer.parameters.get(0)
    if (!Array.isArray(row) || row.length !== layer.outputs.length || this.#number(layer, 1, 0) !== 0)
      this.#fail(layer, 'does not cut channels into as many parts as it has outputs')
    let from = 0
    ;(row as number[]).forEach((size, i) => {
      const rest = layer.outputs.length - i
      // -233: an equal share of what is left.
      const channels = size === -233 ? Math.floor((x.channels - from) / rest) : size
      this.set(layer.outputs[i]!, this.#graph.slice(x, from, channels))
      from += channels
    })
    if (from !== x.channels) this.#fail(layer, 'does not use all channels')
  }
}

/** Luma networks begin with a convolution of one channel; the input layer does not declare its channels. */
function inputChannels(layers: readonly Layer[]): number {
  const blobs = new Set<string>()
  for (const { type, inputs, outputs, parameters } of layers) {
    const [filters, kernel, weights] = [0, 1, 6].map((id) => Number(parameters.get(id)))
    if (type === 'Input' || (type === 'Split' && blobs.has(inputs[0]!))) for (const blob of outputs) blobs.add(blob)
    else if (type === 'Convolution' && blobs.has(inputs[0]!))
      return weights! / (filters! * kernel! * kernel!) === 1 ? 1 : 3
  }
  return 3
}

/**
 * A network of the graph in a .param file with the weights of its .bin file.
 *
 * @throws WbsrError WBSR_INVALID_FILE naming the file and the layer
 */
export function readNcnn(
  param: { file: string; bytes: Buffer },
  bin: { file: string; bytes: Buffer },
  budget: ReadBudget,
  convention: Partial<ImageConvention>,
): ImportedGraph {
  const layers = readParam(param.file, param.bytes.toString('utf8'))
  const graph = new GraphImport(param.file, inputChannels(layers), convention)
  const weights = new Weights(bin.file, bin.bytes, budget)
  const importer = new Importer(graph, weights)
  const used = new Set(layers.flatMap((layer) => layer.inputs))
  let inputs = 0
  for (const layer of layers) {
    if (layer.type === 'Input') {
      if (++inputs > 1 || layer.outputs.length !== 1) graph.fail('has more than one input')
      importer.set(layer.outputs[0]!, graph.input())
    } else importer.run(layer)
  }
  weights.end()
  const results = [...importer.blobs].filter(([blob]) => !used.has(blob))
  if (results.length !== 1) graph.fail(`has ${results.length} results, expected one`)
  return graph.finish('ncnn', results[0]![1])
}
