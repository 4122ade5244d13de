// Networks as plain data. A backbone is one file that builds a graph with GraphBuilder.
import { invalidOption } from '../errors.js'
import type { NativeChannels, NativeGraph, NativeNode } from '../native.js'
import { checkInteger } from '../options.js'

/** A network family with shared weights: every width with every depth is a subnet. Plain data, stored in model files. */
export interface Network {
  /** Name of the backbone, e.g. 'srresnet'. */
  name: string
  scale: number
  widths: number[]
  depths: number[]
  graph: NativeGraph
}

/** Handle of a value inside a GraphBuilder. */
export type Value = { readonly node: number }

/** A number is never sliced; 'width' follows the subnet's width; { times } is times * width, { of, per } floor(of * width / per). */
export type Channels = number | 'width' | { times: number } | { of: number; per: number }

/** A convolution of {@link GraphBuilder}. */
export interface ConvOptions {
  /** 1 to 15, default 3. */
  kernel?: number
  /** Default true. */
  bias?: boolean
  /** Multiplies the Kaiming normal initialisation. */
  initGain?: number
  /** 1 to 8, default 1. */
  stride?: number
  /** Zeros on every side, default kernel / 2 rounded down. */
  padding?: number
}

// Attributes with their default values are left out, so that the JSON of older networks does not change.
function changed(attributes: Record<string, number | undefined>, otherwise: number): Record<string, number> {
  const kept = Object.entries(attributes).filter(([, value]) => value !== undefined && value !== otherwise)
  return Object.fromEntries(kept) as Record<string, number>
}

function rule(channels: Channels): NativeChannels {
  if (typeof channels === 'number') return { fixed: channels }
  if (channels === 'width') return { num: 1, den: 1 }
  return 'times' in channels ? { num: channels.times, den: 1 } : { num: channels.of, den: channels.per }
}

/** Builds the node list of a network. By default convolutions are 3 x 3, stride 1, zero padded and have a bias. */
export class GraphBuilder {
  readonly nodes: NativeNode[] = []
  readonly scale: number
  readonly widths: number[]
  readonly depths: number[]

  constructor(family: { scale: number; widths: readonly number[]; depths: readonly number[] }) {
    this.scale = checkInteger(family.scale, 'scale', 1, 8)
    this.widths = checkLevels(family.widths, 'widths', 1024)
    this.depths = checkLevels(family.depths, 'depths', 256)
  }

  #push(node: NativeNode): Value {
    this.nodes.push(node)
    return { node: this.nodes.length - 1 }
  }

  /** The LR image: RGB in [0, 1]. */
  input(): Value {
    return this.#push({ op: 'input', inputs: [], channels: { fixed: 3 } })
  }

  /**
   * A convolution with that many filters. `order`: all of its channels, those first that narrow subnets keep; by default
   * they keep the first ones.
   */
  conv(
    name: string,
    input: Value,
    channels: Channels,
    options: ConvOptions & { groups?: number; order?: readonly number[] } = {},
  ): Value {
    return this.#push({
      op: 'conv',
      name,
      inputs: [input.node],
      channels: rule(channels),
      kernel: options.kernel ?? 3,
      bias: options.bias ?? true,
      initGain: options.initGain ?? 1,
      ...changed({ stride: options.stride, groups: options.groups }, 1),
      ...changed({ padding: options.padding }, Math.floor((options.kernel ?? 3) / 2)),
      ...(options.order && { order: [...options.order] }),
    })
  }

  /** A filter per channel: weight (C, 1, k, k). */
  depthwiseConv(name: string, input: Value, options: ConvOptions = {}): Value {
    return this.#push({
      op: 'conv',
      name,
      inputs: [input.node],
      kernel: options.kernel ?? 3,
      bias: options.bias ?? true,
      initGain: options.initGain ?? 1,
      depthwise: true,
      ...changed({ stride: options.stride }, 1),
      ...changed({ padding: options.padding }, Math.floor((options.kernel ?? 3) / 2)),
    })
  }

  /** max(x, 0) */
  relu(input: Value): Value {
    return this.#push({ op: 'activation', inputs: [input.node], activation: 'relu', slope: 0 })
  }

  /** x, or slope * x where x is negative; slope: at least 0 */
  leakyRelu(input: Value, slope: number): Value {
    return this.#push({ op: 'activation', inputs: [input.node], activation: 'leakyRelu', slope })
  }

  /** 1 / (1 + exp(-x)) */
  sigmoid(input: Value): Value {
    return this.#push({ op: 'activation', inputs: [input.node], activation: 'sigmoid', slope: 0 })
  }

  /** x * sigmoid(x) */
  silu(input: Value): Value {
    return this.#push({ op: 'activation', inputs: [input.node], activation: 'silu', slope: 0 })
  }

  /** The exact one: x times the standard normal distribution function. */
  gelu(input: Value): Value {
    return this.#push({ op: 'activation', inputs: [input.node], activation: 'gelu', slope: 0 })
  }

  /** Hyperbolic tangent. */
  tanh(input: Value): Value {
    return this.#push({ op: 'activation', inputs: [input.node], activation: 'tanh', slope: 0 })
  }

  /** e to the power of x */
  exp(input: Value): Value {
    return this.#push({ op: 'activation', inputs: [input.node], activation: 'exp', slope: 0 })
  }

  /** 1 / x */
  reciprocal(input: Value): Value {
    return this.#push({ op: 'activation', inputs: [input.node], activation: 'reciprocal', slope: 0 })
  }

  /** Elementwise sum of two values of one size. */
  add(a: Value, b: Value): Value {
    return this.#push({ op: 'add', inputs: [a.node, b.node] })
  }

  /** (C r^2, H, W) -> (C, H r, W r), channel c r^2 + i r + j goes to row offset i and column offset j. */
  pixelShuffle(input: Value, factor: number): Value {
    return this.#push({ op: 'pixelShuffle', inputs: [input.node], factor })
  }

  /**
   * Resizes by factor / divisor, by default by the network's scale; half-pixel centres, edges clamped, no antialiasing.
   * `a` of the cubic kernel: default -0.5, PyTorch uses -0.75. cubic: true is mode 'bicubic'.
   */
  upsample(
    input: Value,
    options: {
      factor?: number
      divisor?: number
      mode?: 'nearest' | 'bilinear' | 'bicubic'
      a?: number
      cubic?: boolean
    } = {},
  ): Value {
    const node: NativeNode = {
      op: 'upsample',
      inputs: [input.node],
      factor: options.factor ?? this.scale,
      cubic: options.mode === undefined ? (options.cubic ?? false) : options.mode === 'bicubic',
      ...changed({ divisor: options.divisor }, 1),
      ...changed({ a: options.a }, -0.5),
    }
    if (options.mode === 'nearest') node['mode'] = 'nearest'
    return this.#push(node)
  }

  /** Mean or population standard deviation over height and width: (C, H, W) -> (C, 1, 1). */
  globalPool(input: Value, kind: 'mean' | 'std' = 'mean'): Value {
    return this.#push({ op: 'globalPool', inputs: [input.node], ...(kind === 'std' && { kind }) })
  }

  /** input (C, H, W) times factors (C, 1, 1). */
  scaleChannels(input: Value, factors: Value): Value {
    return this.#push({ op: 'scaleChannels', inputs: [input.node, factors.node] })
  }

  /** A learned slope per channel for negative values: parameter `<name>.weight` (C). */
  prelu(name: string, input: Value): Value {
    return this.#push({ op: 'prelu', name, inputs: [input.node] })
  }

  /** Elementwise product; b may have one channel, which multiplies all channels of a. */
  multiply(a: Value, b: Value): Value {
    return this.#push({ op: 'multiply', inputs: [a.node, b.node] })
  }

  /** input * scale + offset: a number for all channels, or one for each of a fixed number of channels. */
  affine(input: Value, options: { scale?: number | readonly number[]; offset?: number | readonly number[] }): Value {
    const node: NativeNode = { op: 'affine', inputs: [input.node] }
    if (options.scale !== undefined) node['scale'] = [options.scale].flat()
    if (options.offset !== undefined) node['offset'] = [options.offset].flat()
    return this.#push(node)
  }

  /** input + constant: a number for all channels, or one for each of a fixed number of channels. */
  addConstant(input: Value, constant: number | number[]): Value {
    return this.affine(input, { offset: constant })
  }

  /** input * constant: a number for all channels, or one for each of a fixed number of channels. */
  multiplyConstant(input: Value, constant: number | number[]): Value {
    return this.affine(input, { scale: constant })
  }

  /** Elementwise difference a - b. */
  subtract(a: Value, b: Value): Value {
    return this.add(a, this.multiplyConstant(b, -1))
  }

  /** Channels [from, from + channels). */
  slice(input: Value, from: Channels, channels: Channels): Value {
    return this.#push({ op: 'slice', inputs: [input.node], from: rule(from), channels: rule(channels) })
  }

  /** The channels of 2 to 16 values of one size, one after the other. */
  concat(inputs: Value[]): Value {
    return this.#push({ op: 'concat', inputs: inputs.map((v) => v.node) })
  }

  /** Resizes to the height and width of `like`; half-pixel centres (align_corners false). */
  resizeLike(input: Value, like: Value, mode: 'bilinear' | 'nearest' = 'bilinear'): Value {
    return this.#push({ op: 'resizeLike', inputs: [input.node, like.node], mode })
  }

  /** Pooling over windows; an average counts the padding, as PyTorch does by default. stride: default the kernel. */
  pool(input: Value, options: { kind: 'max' | 'average'; kernel: number; stride?: number; padding?: number }): Value {
    const { kind, kernel } = options
    const more = { ...changed({ stride: options.stride }, kernel), ...changed({ padding: options.padding }, 0) }
    return this.#push({ op: 'pool', inputs: [input.node], kind, kernel, ...more })
  }

  /** Pooling to max(1, floor(n / factor)) pixels per side, with PyTorch's adaptive windows. */
  adaptivePool(input: Value, options: { kind: 'max' | 'average'; factor: number }): Value {
    const { kind, factor } = options
    return this.#push({ op: 'pool', inputs: [input.node], kind, adaptive: true, factor })
  }

  /** (C, H r, W r) -> (C r^2, H, W), the inverse of pixelShuffle. */
  pixelUnshuffle(input: Value, factor: number): Value {
    return this.#push({ op: 'pixelUnshuffle', inputs: [input.node], factor })
  }

  /** Transposed convolution to `stride` times the size: kernel - 2 padding + outputPadding is the stride. Weight (I, O, k, k). */
  convTranspose(
    name: string,
    input: Value,
    channels: Channels,
    options: {
      kernel: number
      stride: number
      padding: number
      outputPadding?: number
      bias?: boolean
      initGain?: number
    },
  ): Value {
    const { kernel, stride, padding } = options
    return this.#push({
      op: 'convTranspose',
      name,
      inputs: [input.node],
      channels: rule(channels),
      kernel,
      stride,
      padding,
      bias: options.bias ?? true,
      initGain: options.initGain ?? 1,
      ...changed({ outputPadding: options.outputPadding }, 0),
    })
  }

  /** Normalisation over the channels of each pixel: parameters `<name>.weight` and `<name>.bias` (C). */
  layerNorm(name: string, input: Value, epsilon = 1e-6): Value {
    return this.#push({ op: 'layerNorm', name, inputs: [input.node], epsilon })
  }

  /** A stack of the largest depth; a subnet of depth d uses the output of its d-th block. */
  stack(input: Value, block: (x: Value, index: number) => Value): Value {
    const outputs = [input]
    for (let i = 0; i < Math.max(...this.depths); i++) outputs.push(block(outputs[i]!, i))
    return this.#push({ op: 'stack', inputs: outputs.map((v) => v.node) })
  }

  /** The network whose result is `output`; `name` is kept in model files. */
  build(name: string, output: Value): Network {
    const { scale, widths, depths, nodes } = this
    return { name, scale, widths, depths, graph: { scale, widths, depths, nodes, output: output.node } }
  }
}

function checkLevels(value: readonly number[], name: string, max: number): number[] {
  if (!Array.isArray(value) || value.length === 0) throw invalidOption(name, 'a non-empty array of integers', value)
  value.forEach((v, i) => checkInteger(v, `${name}[${i}]`, 1, max))
  const sorted = [...value].sort((a, b) => a - b)
  if (new Set(sorted).size !== sorted.length) throw invalidOption(name, 'distinct values', value)
  return sorted
}
