// One operator of an ONNX graph while it is read: its inputs and attributes, with errors that name it.
import type { ReadBudget } from '../../files/read-budget.js'
import type { GraphImport, Node } from './import-graph.js'
import type { OnnxAttribute, OnnxNode } from './onnx-model.js'
import type { Constant, OnnxValue } from './onnx-values.js'

/** What is known while a graph is read. */
export class Reading {
  readonly graph: GraphImport
  readonly budget: ReadBudget
  /** Height and width in the file, where they are fixed. */
  readonly fixed: readonly number[]
  /** The picture as the graph takes it. */
  readonly input: Node
  /** What a picture was before a sigmoid, before it was multiplied by a constant, or before its mean was taken. */
  readonly sigmoidOf = new Map<Node, Node>()
  readonly scaledFrom = new Map<Node, { node: Node; scale: number }>()
  readonly means = new Map<Node, Node>()
  /** Names of layers so far. */
  readonly names = new Set<string>()
  layers = 0

  constructor(graph: GraphImport, budget: ReadBudget, fixed: readonly number[]) {
    this.graph = graph
    this.budget = budget
    this.fixed = fixed
    this.input = graph.input()
  }
}

/** One operator while it is read: its inputs and attributes, with errors that name it. */
export class Call {
  readonly node: OnnxNode
  readonly inputs: readonly (OnnxValue | undefined)[]
  readonly #graph: GraphImport

  constructor(graph: GraphImport, node: OnnxNode, inputs: readonly (OnnxValue | undefined)[]) {
    this.#graph = graph
    this.node = node
    this.inputs = inputs
  }

  fail(what: string): never {
    return this.#graph.fail(`node ${this.node.name || this.node.output[0]} (${this.node.opType}) ${what}`)
  }

  #attribute(name: string): OnnxAttribute | undefined {
    return this.node.attribute.find((a) => a.name === name)
  }

  number(name: string, otherwise: number): number {
    const found = this.#attribute(name)
    return found?.i ?? found?.f ?? otherwise
  }

  text(name: string, otherwise: string): string {
    const bytes = this.#attribute(name)?.s
    return bytes ? Buffer.from(bytes).toString('latin1') : otherwise
  }

  numbers(name: string): number[] | undefined {
    const found = this.#attribute(name)
    if (!found) return undefined
    return found.ints?.length ? found.ints : (found.floats ?? [])
  }

  tensor(name: string) {
    return this.#attribute(name)?.t
  }

  /** One number for both directions. */
  square(name: string, otherwise: number): number {
    const values = this.numbers(name) ?? [otherwise]
    if (values.length === 0 || values.some((v) => v !== values[0]))
      this.fail(`has different ${name} [${values.join(', ')}] in different directions`)
    return values[0]!
  }

  picture(index: number): Node {
    const value = this.inputs[index]
    if (value?.kind === 'picture') return value.node
    return this.fail(
      value === undefined
        ? `has no input ${index}`
        : `takes as input ${index} what is ${value.kind} and no picture, which is not supported`,
    )
  }

  isPicture(index: number): boolean {
    return this.inputs[index]?.kind === 'picture'
  }

  constant(index: number): Constant {
    const value = this.inputs[index]
    return value?.kind === 'constant' ? value : this.fail(`needs constants as input ${index}`)
  }

  /** Numbers of a constant or of an attribute of older versions. */
  list(index: number, attribute: string): number[] | undefined {
    const value = this.inputs[index]
    return value?.kind === 'constant' ? [...value.data].slice(0, 64) : this.numbers(attribute)
  }

  /** Constants that meet `channels` channels: one number, or one per channel. */
  perChannel(index: number, channels: number): number[] {
    const { shape, data } = this.constant(index)
    if (data.length === 1) return [data[0]!]
    // (C), (C, 1, 1) or (1, C, 1, 1); a trailing dimension of channels alone would be along the width.
    const axes = shape.length >= 3 ? shape.slice(-3) : []
    if (axes.length !== 3 || axes[1] !== 1 || axes[2] !== 1 || data.length !== channels)
      this.fail(`has constants of shape [${shape.join(', ')}] for ${channels} channels`)
    return [...data]
  }
}

export function onlyNumber(call: Call, index: number): number | null {
  const value = call.inputs[index]
  return value?.kind === 'constant' && value.data.length === 1 ? value.data[0]! : null
}
