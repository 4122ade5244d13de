// A subnet as an ONNX graph (opset 17): batch, height and width are free. What ONNX has no operator for is written in
// several: SiLU, GELU, affine, standard deviation, layer normalisation, pixel unshuffle.
import type { Network } from '../../networks/network.js'
import { type GraphNode, graphNodes } from '../../networks/nodes.js'
import { encodeOnnx, type OnnxAttribute, type OnnxNode, type OnnxTensor } from './onnx-model.js'
import { channelsAt, channelsOf, countOfChannels, nodesOf, type SubnetTensor } from './subnet-slices.js'

const OPSET = 17
/** Of the file format that goes with it. */
const IR_VERSION = 8
const FLOAT = 1
const INT64 = 7

class Writer {
  readonly nodes: OnnxNode[] = []
  readonly constants: OnnxTensor[] = []
  #names = 0

  floats(shape: number[], data: Float32Array, name = `c${this.#names++}`): string {
    const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    this.constants.push({ name, dims: shape, dataType: FLOAT, rawData })
    return name
  }

  integers(values: number[]): string {
    const name = `c${this.#names++}`
    const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer)
    this.constants.push({ name, dims: [values.length], dataType: INT64, rawData })
    return name
  }

  scalar(value: number): string {
    return this.floats([], Float32Array.of(value))
  }

  /** Adds a node; attributes are numbers (integers unless named in FLOATS), text or lists of integers. */
  node(
    opType: string,
    input: string[],
    attributes: Record<string, number | string | number[]> = {},
    output?: string,
  ): string {
    const name = output ?? `v${this.#names++}`
    const attribute = Object.entries(attributes).map(([key, value]): OnnxAttribute => {
      if (typeof value === 'string') return { name: key, s: Buffer.from(value), type: 3 }
      if (typeof value !== 'number') return { name: key, ints: value, type: 7 }
      return FLOATS.has(key) ? { name: key, f: value, type: 1 } : { name: key, i: value, type: 2 }
    })
    this.nodes.push({ opType, input, output: [name], name, attribute })
    return name
  }
}

const FLOATS = new Set(['alpha', 'cubic_coeff_a'])
const MODES = { nearest: 'nearest', bilinear: 'linear', bicubic: 'cubic' } as const

/** Attributes of Resize, with the positions of pixels that the engine has. */
function resizeAttributes(mode: keyof typeof MODES, a: number): Record<string, number | string> {
  if (mode === 'nearest')
    return { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' }
  const linear = { mode: MODES[mode], coordinate_transformation_mode: 'half_pixel' }
  return mode === 'bicubic' ? { ...linear, cubic_coeff_a: a } : linear
}

/**
 * The bytes of an ONNX file: input `input` (batch, 3, height, width) of RGB in [0, 1], output `output` (batch, 3, height *
 * scale, width * scale), not clamped.
 *
 * @param tensors of the subnet, by name
 */
export function onnxOf(
  network: Network,
  subnet: { width: number; depth: number },
  tensors: ReadonlyMap<string, SubnetTensor>,
): Uint8Array {
  const w = new Writer()
  const { of, used } = nodesOf(network, subnet.depth)
  const channels = channelsOf(network, subnet.width)
  const names: string[] = []
  const nameOf = (index: number) => names[of[index]!]!
  const parameter = (name: string, shape?: (shape: number[]) => number[]) => {
    const tensor = tensors.get(name)!
    return w.floats(shape ? shape(tensor.shape) : tensor.shape, tensor.data, name)
  }
  graphNodes(network.graph).forEach((node, i) => {
    names.push('')
    if (!used[i]) return
    names[i] = writeNode(w, node, node.inputs.map(nameOf), {
      parameter,
      width: subnet.width,
      inputChannels: node.inputs.length > 0 ? countOfChannels(channels[of[node.inputs[0]!]!]!) : 0,
    })
  })
  w.node('Identity', [nameOf(network.graph.output)], {}, 'output')
  const value = (name: string, height: string, width: string) => ({
    name,
    type: {
      tensorType: {
        elemType: FLOAT,
        shape: { dim: [{ dimParam: 'batch' }, { dimValue: 3 }, { dimParam: height }, { dimParam: width }] },
      },
    },
  })
  return encodeOnnx({
    irVersion: IR_VERSION,
    producerName: 'wbsr',
    opsetImport: [{ domain: '', version: OPSET }],
    graph: {
      name: network.name,
      node: w.nodes,
      initializer: w.constants,
      input: [value('input', 'height', 'width')],
      output: [value('output', 'outputHeight', 'outputWidth')],
    },
  })
}

interface Surroundings {
  /** Writes a parameter and returns its name. */
  parameter(name: string, shape?: (shape: number[]) => number[]): string
  /** Of the subnet. */
  width: number
  /** Channels of the node's first input. */
  inputChannels: number
}

function writeNode(
  w: Writer,
  node: GraphNode,
  inputs: string[],
  { parameter, width, inputChannels }: Surroundings,
): string {
  const [x = '', y = ''] = inputs
  switch (node.op) {
    case 'input':
      return 'input'
    case 'conv': {
      const { kernel } = node
      const padding = node.padding ?? Math.floor(kernel / 2)
      const stride = node.stride ?? 1
      return w.node(
        'Conv',
        [x, parameter(`${node.name}.weight`), ...(node.bias ? [parameter(`${node.name}.bias`)] : [])],
        {
          kernel_shape: [kernel, kernel],
          strides: [stride, stride],
          pads: [padding, padding, padding, padding],
          group: node.depthwise ? inputChannels : (node.groups ?? 1),
        },
      )
    }
    case 'convTranspose': {
      const { kernel, stride, padding, outputPadding = 0 } = node
      return w.node(
        'ConvTranspose',
        [x, parameter(`${node.name}.weight`), ...(node.bias ? [parameter(`${node.name}.bias`)] : [])],
        {
          kernel_shape: [kernel, kernel],
          strides: [stride, stride],
          pads: [padding, padding, padding, padding],
          output_padding: [outputPadding, outputPadding],
          group: node.groups ?? 1,
        },
      )
    }
    case 'activation':
      return writeActivation(w, node, x)
    case 'prelu':
      return w.node('PRelu', [x, parameter(`${node.name}.weight`, ([count = 0]) => [count, 1, 1])])
    case 'add':
      return w.node('Add', [x, y])
    case 'multiply':
    case 'scaleChannels':
      return w.node('Mul', [x, y])
    case 'affine': {
      const constants = (values: number[]) => w.floats([1, values.length, 1, 1], Float32Array.from(values))
      const scaled = node.scale ? w.node('Mul', [x, constants(node.scale)]) : x
      return node.offset ? w.node('Add', [scaled, constants(node.offset)]) : scaled
    }
    case 'concat':
      return w.node('Concat', inputs, { axis: 1 })
    case 'slice': {
      const from = channelsAt(node.from, width)
      const to = from + channelsAt(node.channels, width)
      return w.node('Slice', [x, w.integers([from]), w.integers([to]), w.integers([1])])
    }
    case 'pixelShuffle':
      return w.node('DepthToSpace', [x], { blocksize: node.factor, mode: 'CRD' })
    case 'pixelUnshuffle': {
      // SpaceToDepth has the position before the channel.
      const area = node.factor ** 2
      const order = Array.from(
        { length: inputChannels * area },
        (_, k) => (k % area) * inputChannels + Math.floor(k / area),
      )
      return w.node('Gather', [w.node('SpaceToDepth', [x], { blocksize: node.factor }), w.integers(order)], { axis: 1 })
    }
    case 'upsample': {
      const scale = node.factor / (node.divisor ?? 1)
      const mode = node.mode ?? (node.cubic ? 'bicubic' : 'bilinear')
      const scales = w.floats([4], Float32Array.of(1, 1, scale, scale))
      return w.node('Resize', [x, '', scales], resizeAttributes(mode, node.a ?? -0.5))
    }
    case 'resizeLike': {
      const shape = (value: string, from: number, to: number) =>
        w.node('Slice', [w.node('Shape', [value]), w.integers([from]), w.integers([to])])
      const sizes = w.node('Concat', [shape(x, 0, 2), shape(y, 2, 4)], { axis: 0 })
      return w.node('Resize', [x, '', '', sizes], resizeAttributes(node.mode ?? 'bilinear', 0))
    }
    case 'pool': {
      // ONNX has no pooling to a size; windows of the factor are the same where sides are multiples of it.
      const kernel = node.adaptive ? node.factor! : node.kernel!
      const stride = node.adaptive ? node.factor! : (node.stride ?? kernel)
      const padding = node.padding ?? 0
      return w.node(node.kind === 'max' ? 'MaxPool' : 'AveragePool', [x], {
        kernel_shape: [kernel, kernel],
        strides: [stride, stride],
        pads: [padding, padding, padding, padding],
        ...(node.kind === 'average' && { count_include_pad: 1 }),
      })
    }
    case 'globalPool': {
      const mean = w.node('ReduceMean', [x], { axes: [2, 3] })
      if (node.kind !== 'std') return mean
      const centred = w.node('Sub', [x, mean])
      return w.node('Sqrt', [w.node('ReduceMean', [w.node('Mul', [centred, centred])], { axes: [2, 3] })])
    }
    case 'layerNorm': {
      const centred = w.node('Sub', [x, w.node('ReduceMean', [x], { axes: [1] })])
      const variance = w.node('ReduceMean', [w.node('Mul', [centred, centred])], { axes: [1] })
      const deviation = w.node('Sqrt', [w.node('Add', [variance, w.scalar(node.epsilon ?? 1e-6)])])
      const perChannel = (part: string) => parameter(`${node.name}.${part}`, ([count = 0]) => [1, count, 1, 1])
      const scaled = w.node('Mul', [w.node('Div', [centred, deviation]), perChannel('weight')])
      return w.node('Add', [scaled, perChannel('bias')])
    }
    case 'stack':
      throw new Error('stacks are resolved before')
  }
}

function writeActivation(w: Writer, node: GraphNode & { op: 'activation' }, x: string): string {
  switch (node.activation) {
    case 'relu':
      return w.node('Relu', [x])
    case 'leakyRelu':
      return w.node('LeakyRelu', [x], { alpha: node.slope })
    case 'sigmoid':
      return w.node('Sigmoid', [x])
    case 'silu':
      return w.node('Mul', [x, w.node('Sigmoid', [x])])
    case 'tanh':
      return w.node('Tanh', [x])
    case 'exp':
      return w.node('Exp', [x])
    case 'reciprocal':
      return w.node('Reciprocal', [x])
    case 'gelu': {
      const erf = w.node('Erf', [w.node('Mul', [x, w.scalar(Math.SQRT1_2)])])
      return w.node('Mul', [w.node('Mul', [x, w.node('Add', [erf, w.scalar(1)])]), w.scalar(0.5)])
    }
  }
}
