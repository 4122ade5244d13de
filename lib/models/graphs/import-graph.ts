// Makes a network of a graph that a file describes (ncnn, ONNX). Keeps, for each value, how many channels it has and how
// large it is relative to the picture, so that every node can be checked while it is added.

import { damaged } from '../../files/read-budget.js'
import { countOf, type StoredTensor, tensorOf } from '../../files/tensor.js'
import { fromNetwork, type ImageConvention, PLAIN, toNetwork } from '../../networks/image.js'
import { GraphBuilder, type Network, type Value } from '../../networks/network.js'

/** A value of the graph. */
export interface Node {
  readonly value: Value
  readonly channels: number
  /** Height and width are those of the picture times up / down, or 1 x 1 after global pooling. */
  readonly up: number
  readonly down: number
  readonly pooled: boolean
}

export interface ImportedGraph {
  network: Network
  tensors: Map<string, StoredTensor>
  features: number
  /** Convolutions. */
  blocks: number
  convention: ImageConvention
}

export interface ConvDescription {
  name: string
  weight: Float32Array
  filters: number
  kernel: number
  bias: Float32Array | null
  stride: number
  padding: number
  groups: number
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))

export class GraphImport {
  readonly file: string
  readonly convention: ImageConvention
  readonly #given: Partial<ImageConvention>
  readonly #tensors = new Map<string, StoredTensor>()
  readonly #g = new GraphBuilder({ scale: 1, widths: [1], depths: [1] })
  readonly #image: Value
  #features = 0
  #convolutions = 0

  /** @param channels of the graph's input: 3 (RGB) or 1 (luma) */
  constructor(file: string, channels: number, convention: Partial<ImageConvention>) {
    this.file = file
    if (channels !== 1 && channels !== 3)
      throw damaged(file, `its graph takes ${channels} channels, expected 3 (RGB) or 1 (luma)`)
    this.#given = convention
    this.convention = { ...PLAIN, channels, ...convention }
    this.#image = this.#g.input()
  }

  /** @throws WbsrError WBSR_INVALID_FILE */
  fail(what: string): never {
    throw damaged(this.file, what)
  }

  input(): Node {
    const value = toNetwork(this.#g, this.#image, this.convention)
    return { value, channels: this.convention.channels, up: 1, down: 1, pooled: false }
  }

  #parameter(name: string, shape: number[], data: Float32Array): void {
    if (countOf(shape) !== data.length)
      this.fail(`layer ${name} has ${data.length} weights where [${shape.join(', ')}] are expected`)
    if (this.#tensors.has(name)) this.fail(`two layers are called ${name}`)
    this.#tensors.set(name, tensorOf(shape, data))
  }

  #like(node: Node, value: Value, change: Partial<Node> = {}): Node {
    return { ...node, ...change, value }
  }

  #resized(node: Node, value: Value, up: number, down: number, change: Partial<Node> = {}): Node {
    const [a, b] = [node.up * up, node.down * down]
    const common = gcd(a, b)
    if (a / common > 64 || b / common > 1024) this.fail('its graph enlarges or shrinks by too much')
    return { ...node, ...change, value, up: a / common, down: b / common }
  }

  conv(x: Node, { name, weight, filters, kernel, bias, stride, padding, groups }: ConvDescription): Node {
    if (!(filters >= 1 && filters <= 65536 && groups >= 1 && x.channels % groups === 0 && filters % groups === 0))
      this.fail(`layer ${name} has ${filters} filters in ${groups} groups for ${x.channels} channels`)
    if (!(kernel >= 1 && kernel <= 15)) this.fail(`layer ${name} has filters of ${kernel}x${kernel}, expected 1 to 15`)
    if (!(stride >= 1 && stride <= 8 && padding >= 0 && padding <= kernel))
      this.fail(`layer ${name} has stride ${stride} and padding ${padding}`)
    this.#parameter(`${name}.weight`, [filters, x.channels / groups, kernel, kernel], weight)
    if (bias) this.#parameter(`${name}.bias`, [filters], bias)
    this.#convolutions++
    if (this.#features === 0) this.#features = filters
    const options = { kernel, bias: bias !== null, stride, padding }
    const value =
      groups > 1 && groups === x.channels && filters === groups
        ? this.#g.depthwiseConv(name, x.value, options)
        : this.#g.conv(name, x.value, filters, { ...options, groups })
    return this.#resized(x, value, 1, stride, { channels: filters })
  }

  /** weight (input channels, filters / groups, kernel, kernel). */
  convTranspose(x: Node, conv: ConvDescription & { outputPadding: number }): Node {
    const { name, weight, filters, kernel, bias, stride, padding, groups, outputPadding } = conv
    if (kernel < 1 || kernel > 15 || kernel - 2 * padding + outputPadding !== stride || groups !== 1)
      this.fail(`layer ${name} has groups or does not enlarge by exactly its stride ${stride}`)
    this.#parameter(`${name}.weight`, [x.channels, filters, kernel, kernel], weight)
    if (bias) this.#parameter(`${name}.bias`, [filters], bias)
    this.#convolutions++
    const value = this.#g.convTranspose(name, x.value, filters, {
      kernel,
      stride,
      padding,
      outputPadding,
      bias: bias !== null,
    })
    return this.#resized(x, value, stride, 1, { channels: filters })
  }

  prelu(name: string, x: Node, slopes: Float32Array): Node {
    const all = slopes.length === 1 ? new Float32Array(x.channels).fill(slopes[0]!) : slopes
    this.#parameter(`${name}.weight`, [x.channels], all)
    return this.#like(x, this.#g.prelu(name, x.value))
  }

  activation(x: Node, kind: 'relu' | 'sigmoid' | 'silu' | 'gelu' | 'tanh' | 'exp' | 'reciprocal'): Node {
    return this.#like(x, this.#g[kind](x.value))
  }

  leakyRelu(x: Node, slope: number): Node {
    if (!(slope >= 0 && slope < Infinity)) this.fail(`a leaky ReLU has the slope ${slope}`)
    return this.#like(x, this.#g.leakyRelu(x.value, slope))
  }

  /** x * scale + offset, each one number or one per channel. */
  affine(x: Node, options: { scale?: readonly number[]; offset?: readonly number[] }): Node {
    for (const constants of [options.scale, options.offset]) {
      if (constants && constants.length !== 1 && constants.length !== x.channels)
        this.fail(`${constants.length} constants meet ${x.channels} channels`)
      if (constants?.some((c) => !Number.isFinite(c))) this.fail('a constant is not a finite number')
    }
    return this.#like(x, this.#g.affine(x.value, options))
  }

  #sameSize(a: Node, b: Node): void {
    if (a.up * b.down !== b.up * a.down || a.pooled !== b.pooled)
      this.fail(`values of ${a.up}/${a.down} and ${b.up}/${b.down} of the picture's size meet`)
  }

  add(a: Node, b: Node): Node {
    this.#sameSize(a, b)
    if (a.channels !== b.channels) this.fail(`${a.channels} and ${b.channels} channels are added`)
    return this.#like(a, this.#g.add(a.value, b.value))
  }

  multiply(a: Node, b: Node): Node {
    if (a.pooled && !b.pooled) return this.multiply(b, a)
    if (b.pooled && !a.pooled) {
      if (a.channels !== b.channels) this.fail(`${a.channels} and ${b.channels} channels are multiplied`)
      return this.#like(a, this.#g.scaleChannels(a.value, b.value))
    }
    this.#sameSize(a, b)
    if (a.channels === 1 && b.channels !== 1) return this.multiply(b, a)
    if (b.channels !== 1 && a.channels !== b.channels)
      this.fail(`${a.channels} and ${b.channels} channels are multiplied`)
    return this.#like(a, this.#g.multiply(a.value, b.value))
  }

  concat(parts: readonly Node[]): Node {
    const [first] = parts
    if (!first || parts.length > 1024) return this.fail(`${parts.length} values are joined`)
    for (const part of parts) this.#sameSize(first, part)
    if (parts.length === 1) return first
    if (parts.length > 16) return this.concat([this.concat(parts.slice(0, 16)), ...parts.slice(16)])
    const channels = parts.reduce((sum, part) => sum + part.channels, 0)
    return this.#like(first, this.#g.concat(parts.map((part) => part.value)), { channels })
  }

  slice(x: Node, from: number, channels: number): Node {
    if (!(from >= 0 && channels >= 1 && from + channels <= x.channels))
      this.fail(`channels ${from} to ${from + channels} are taken of ${x.channels}`)
    if (from === 0 && channels === x.channels) return x
    return this.#like(x, this.#g.slice(x.value, from, channels), { channels })
  }

  pixelShuffle(x: Node, factor: number): Node {
    const channels = x.channels / factor ** 2
    if (!Number.isInteger(factor) || factor < 1 || !Number.isInteger(channels))
      this.fail(`${x.channels} channels are shuffled by ${factor}`)
    if (factor === 1) return x
    return this.#resized(x, this.#g.pixelShuffle(x.value, factor), factor, 1, { channels })
  }

  pixelUnshuffle(x: Node, factor: number): Node {
    if (!Number.isInteger(factor) || factor < 1 || factor > 8) this.fail(`pixels are folded by ${factor}`)
    if (factor === 1) return x
    const value = this.#g.pixelUnshuffle(x.value, factor)
    return this.#resized(x, value, 1, factor, { channels: x.channels * factor ** 2 })
  }

  resize(x: Node, scale: number, mode: 'nearest' | 'bilinear' | 'bicubic', a: number): Node {
    const divisor = [1, 2, 3, 4, 5, 6, 7, 8].find((d) => Math.abs(scale * d - Math.round(scale * d)) < 1e-4)
    const factor = Math.round(scale * (divisor ?? 1))
    if (divisor === undefined || factor < 1 || factor > 8) return this.fail(`a value is resized by ${scale}`)
    if (factor === divisor) return x
    return this.#resized(x, this.#g.upsample(x.value, { factor, divisor, mode, a }), factor, divisor)
  }

  resizeLike(x: Node, like: Node, mode: 'nearest' | 'bilinear'): Node {
    if (x.pooled || like.pooled) this.fail('a pooled value is resized')
    return { ...x, value: this.#g.resizeLike(x.value, like.value, mode), up: like.up, down: like.down }
  }

  pool(x: Node, options: { kind: 'max' | 'average'; kernel: number; stride: number; padding: number }): Node {
    const { kernel, stride, padding } = options
    if (!(kernel >= 1 && kernel <= 64 && stride >= 1 && stride <= 64 && padding >= 0 && 2 * padding <= kernel))
      this.fail(`a value is pooled by windows of ${kernel} at steps of ${stride}, padded by ${padding}`)
    return this.#resized(x, this.#g.pool(x.value, options), 1, stride)
  }

  globalPool(x: Node, kind: 'mean' | 'std'): Node {
    return { ...x, value: this.#g.globalPool(x.value, kind), up: 1, down: 1, pooled: true }
  }

  /** The network whose output is `output`. */
  finish(name: string, output: Node): ImportedGraph {
    const scale = output.up / output.down
    if (output.pooled || !Number.isInteger(scale) || scale > 8)
      this.fail(
        `its result is ${output.up}/${output.down} times as large as the picture, expected a whole number up to 8`,
      )
    const { channels } = this.convention
    if (output.channels !== channels) this.fail(`its result has ${output.channels} channels, expected ${channels}`)
    const g = this.#g
    const scaled = Object.assign(new GraphBuilder({ scale, widths: [1], depths: [1] }), { nodes: g.nodes })
    const convention = { ...this.convention, ...this.#given }
    const value = fromNetwork(scaled, output.value, this.#image, convention, false)
    return {
      network: scaled.build(name, value),
      tensors: this.#tensors,
      features: this.#features,
      blocks: this.#convolutions,
      convention,
    }
  }
}
