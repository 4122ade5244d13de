// Networks from ONNX files, with the operators that networks of convolutions have and that ours can express.

import type { ReadBudget } from '../../files/read-budget.js'
import type { ImageConvention } from '../../networks/image.js'
import { GraphImport, type ImportedGraph, type Node } from './import-graph.js'
import { Call, onlyNumber, Reading } from './onnx-call.js'
import {
  depthToSpace,
  gatherChannels,
  reshapePicture,
  sliceChannels,
  spaceToDepth,
  splitChannels,
} from './onnx-channels.js'
import { constantNode, reshapedConstant, shapeOf } from './onnx-constants.js'
import { arithmetic, clipNode, pendingNode, reduceNode } from './onnx-formulas.js'
import { batchNormNode, convNode, convTransposeNode, padNode, poolNode, preluNode, resizeNode } from './onnx-layers.js'
import { decodeOnnx, type OnnxNode } from './onnx-model.js'
import { sizeOperator } from './onnx-sizes.js'
import { constantOf, type OnnxValue } from './onnx-values.js'

const MAX_NODES = 100_000

type Result = OnnxValue | OnnxValue[]

class Importer {
  readonly #reading: Reading
  readonly #values = new Map<string, OnnxValue>()

  constructor(reading: Reading) {
    this.#reading = reading
  }

  set(name: string, value: OnnxValue): void {
    if (this.#values.has(name)) this.#reading.graph.fail(`value ${name} is made twice`)
    this.#values.set(name, value)
  }

  get(name: string): OnnxValue | undefined {
    return this.#values.get(name)
  }

  run(node: OnnxNode): void {
    const inputs = node.input.map((name) => {
      if (name === '') return undefined
      return (
        this.#values.get(name) ??
        this.#reading.graph.fail(
          `node ${node.name || node.output[0]} (${node.opType}) takes ${name}, which no node before it makes`,
        )
      )
    })
    const call = new Call(this.#reading.graph, node, inputs)
    if (node.domain && node.domain !== 'ai.onnx') call.fail(`is of the domain ${node.domain}, which is not supported`)
    const result = this.#operator(call)
    const results = Array.isArray(result) ? result : [result]
    const names = node.output.filter((name) => name !== '')
    // Dropout's mask and the like.
    names.slice(0, results.length).forEach((name, i) => this.set(name, results[i]!))
  }

  #operator(call: Call): Result {
    const { inputs } = call
    const { opType } = call.node
    if (opType === 'Constant') return constantNode(this.#reading, call)
    if (opType === 'Shape') return shapeOf(call)
    const reshaped = reshapedConstant(call)
    if (reshaped) return reshaped
    if (inputs[0] && !call.isPicture(0)) {
      const sizes = sizeOperator(opType, inputs, (name, otherwise) => call.number(name, otherwise))
      if (sizes) return sizes
    }
    const pending = pendingNode(this.#reading, call)
    if (pending) return pending
    const picture = (node: Node): OnnxValue => ({ kind: 'picture', node })
    const graph = this.#reading.graph
    switch (opType) {
      case 'Identity':
      case 'Cast':
      case 'Dropout':
        return inputs[0] ?? call.fail('has no input')
      case 'Conv':
        return picture(convNode(this.#reading, call, call.picture(0), 0))
      case 'ConvTranspose':
        return picture(convTransposeNode(this.#reading, call))
      case 'BatchNormalization':
        return picture(batchNormNode(this.#reading, call))
      case 'Relu':
        return picture(graph.activation(call.picture(0), 'relu'))
      case 'LeakyRelu':
        return picture(graph.leakyRelu(call.picture(0), call.number('alpha', 0.01)))
      case 'PRelu':
        return picture(preluNode(this.#reading, call))
      case 'Sigmoid': {
        const x = call.picture(0)
        const y = graph.activation(x, 'sigmoid')
        this.#reading.sigmoidOf.set(y, x)
        return picture(y)
      }
      case 'Tanh':
        return picture(graph.activation(call.picture(0), 'tanh'))
      case 'Exp':
        return picture(graph.activation(call.picture(0), 'exp'))
      case 'Reciprocal':
        return picture(graph.activation(call.picture(0), 'reciprocal'))
      case 'Swish':
        return picture(graph.activation(call.picture(0), 'silu'))
      case 'Gelu':
        if (call.text('approximate', 'none') !== 'none') call.fail('is the approximate GELU, which is not supported')
        return picture(graph.activation(call.picture(0), 'gelu'))
      case 'Neg':
        return picture(graph.affine(call.picture(0), { scale: [-1] }))
      case 'Clip':
        return clipNode(this.#reading, call)
      case 'Add':
      case 'Sub':
      case 'Mul':
      case 'Div':
        return arithmetic(this.#reading, call, opType)
      case 'Pow':
        if (onlyNumber(call, 1) !== 2) call.fail('has another exponent than 2')
        return picture(graph.multiply(call.picture(0), call.picture(0)))
      case 'Concat':
        if (![1, -3].includes(call.number('axis', 1))) call.fail('joins along another axis than channels')
        return picture(graph.concat(inputs.map((_, i) => call.picture(i))))
      case 'Split':
        return splitChannels(this.#reading, call)
      case 'Slice':
        return picture(sliceChannels(this.#reading, call))
      case 'Gather':
        return picture(gatherChannels(this.#reading, call))
      case 'Unsqueeze':
        return { kind: 'stretched', node: call.picture(0) }
      case 'DepthToSpace':
        return picture(depthToSpace(this.#reading, call))
      case 'SpaceToDepth':
        return picture(spaceToDepth(this.#reading, call))
      case 'Reshape':
        return reshapePicture(call, call.picture(0))
      case 'Resize':
      case 'Upsample':
        return picture(resizeNode(this.#reading, call))
      case 'GlobalAveragePool':
        return picture(graph.globalPool(call.picture(0), 'mean'))
      case 'ReduceMean':
      case 'ReduceSum':
        return reduceNode(this.#reading, call)
      case 'MaxPool':
      case 'AveragePool':
        return picture(poolNode(this.#reading, call))
      case 'Pad':
        return padNode(call)
      case 'Erf': {
        const x = this.#reading.scaledFrom.get(call.picture(0))
        if (!x || Math.abs(x.scale - Math.SQRT1_2) > 1e-4) call.fail('is no part of GELU, which is not supported')
        return { kind: 'erf', node: x!.node }
      }
      default:
        return call.fail('is an operator that is not supported')
    }
  }
}

/**
 * A network of the graph in an ONNX file.
 *
 * @throws WbsrError WBSR_INVALID_FILE naming the node
 */
export function readOnnx(
  file: string,
  bytes: Buffer,
  budget: ReadBudget,
  convention: Partial<ImageConvention>,
): ImportedGraph {
  const { graph: description } = decodeOnnx(file, bytes)
  const initializers = new Set(description.initializer.map(({ name }) => name))
  const inputs = description.input.filter(({ name }) => !initializers.has(name))
  const dims = inputs[0]?.type?.tensorType?.shape?.dim?.map(({ dimValue }) => dimValue ?? 0) ?? []
  const graph = new GraphImport(file, dims[1] || 3, convention)
  if (inputs.length !== 1 || description.output.length !== 1)
    graph.fail(`has ${inputs.length} inputs and ${description.output.length} outputs, expected one picture each`)
  if (dims.length !== 0 && dims.length !== 4)
    graph.fail(`takes values of ${dims.length} dimensions, expected 4 (batch, channels, height, width)`)
  if (description.node.length > MAX_NODES)
    graph.fail(`has ${description.node.length} nodes, expected at most ${MAX_NODES}`)
  const reading = new Reading(graph, budget, dims.slice(2))
  const importer = new Importer(reading)
  importer.set(inputs[0]!.name, { kind: 'picture', node: reading.input })
  for (const tensor of description.initializer) importer.set(tensor.name ?? '', constantOf(file, tensor, budget))
  for (const node of description.node) importer.run(node)
  const name = description.output[0]!.name
  const result = importer.get(name)
  if (result?.kind !== 'picture' && result?.kind !== 'clipped')
    return graph.fail(`has no picture as its output ${name}`)
  return graph.finish('onnx', result.node)
}
