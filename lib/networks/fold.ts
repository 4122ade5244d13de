// Folds training branches into one convolution (structural re-parameterisation). Sums are in double precision.
import { countOf, type StoredTensor, tensorOf } from '../files/tensor.js'
import type { Source } from './architecture.js'
import type { Network } from './network.js'
import { graphNodes } from './nodes.js'
import type { Weights } from './weights.js'

/** Weights (filters, inputs, kernel, kernel) and bias of a convolution, in double precision. */
export interface Filters {
  filters: number
  inputs: number
  kernel: number
  weight: Float64Array
  bias: Float64Array
}

/** The convolution `name` of a file; a bias that the file does not have is 0. */
export function filtersOf(weights: Weights, name: string): Filters {
  const { filters, inputs, kernel } = weights.conv(name)
  const bias = new Float64Array(filters)
  if (weights.has(`${name}.bias`)) {
    const values = weights.values(`${name}.bias`)
    if (values.length !== filters) weights.fail(`has ${values.length} values in ${name}.bias, expected ${filters}`)
    bias.set(values)
  }
  return { filters, inputs, kernel, weight: Float64Array.from(weights.values(`${name}.weight`)), bias }
}

/**
 * `second` after `first`, of which at most one is larger than 1x1. Outside the edge a 3x3 `second` must read the bias
 * of `first` (the picture is padded before `first`, or the padding is the bias).
 */
export function compose(weights: Weights, first: Filters, second: Filters): Filters {
  if (second.inputs !== first.filters || (first.kernel !== 1 && second.kernel !== 1))
    weights.fail('has training branches of another shape than expected')
  const kernel = Math.max(first.kernel, second.kernel)
  const area = kernel * kernel
  const { filters } = second
  const { inputs } = first
  const middle = first.filters
  const weight = new Float64Array(filters * inputs * area)
  const bias = Float64Array.from(second.bias)
  const inner = first.kernel * first.kernel
  const outer = second.kernel * second.kernel
  for (let o = 0; o < filters; o++) {
    for (let m = 0; m < middle; m++) {
      for (let b = 0; b < outer; b++) {
        const factor = second.weight[(o * middle + m) * outer + b]!
        bias[o]! += factor * first.bias[m]!
        for (let i = 0; i < inputs; i++)
          for (let a = 0; a < inner; a++)
            weight[(o * inputs + i) * area + (outer === 1 ? a : b)]! +=
              factor * first.weight[(m * inputs + i) * inner + a]!
      }
    }
  }
  return { filters, inputs, kernel, weight, bias }
}

/** `target` plus a 1x1 convolution or (without one) the identity, in place. */
export function addPointwise(weights: Weights, target: Filters, pointwise?: Filters): Filters {
  const { filters, inputs, kernel } = target
  if (pointwise ? pointwise.filters !== filters || pointwise.inputs !== inputs : filters !== inputs)
    weights.fail('has training branches of another shape than expected')
  const area = kernel * kernel
  const centre = (area - 1) / 2
  for (let o = 0; o < filters; o++) {
    if (pointwise) target.bias[o]! += pointwise.bias[o]!
    for (let i = 0; i < inputs; i++)
      target.weight[(o * inputs + i) * area + centre]! += pointwise
        ? pointwise.weight[o * inputs + i]!
        : o === i
          ? 1
          : 0
  }
  return target
}

/** Factors and offsets of a batch normalisation by its running statistics. */
export function batchNorm(weights: Weights, name: string): { scale: Float64Array; offset: Float64Array } {
  const mean = weights.values(`${name}.running_mean`)
  const variance = weights.values(`${name}.running_var`)
  const gamma = weights.values(`${name}.weight`)
  const beta = weights.values(`${name}.bias`)
  if (new Set([mean.length, variance.length, gamma.length, beta.length]).size !== 1)
    weights.fail(`has values of different number in ${name}`)
  const scale = Float64Array.from(gamma, (g, c) => g / Math.sqrt(variance[c]! + 1e-5))
  return { scale, offset: Float64Array.from(beta, (b, c) => b - mean[c]! * scale[c]!) }
}

/** `convolution` followed by a factor and an offset per filter. */
export function scaleFilters(
  weights: Weights,
  convolution: Filters,
  { scale, offset }: { scale: Float64Array; offset: Float64Array },
): Filters {
  const { filters } = convolution
  if (scale.length !== filters) weights.fail('has a normalisation of another size than its convolution')
  const each = convolution.weight.length / filters
  return {
    ...convolution,
    weight: convolution.weight.map((w, i) => w * scale[Math.floor(i / each)]!),
    bias: convolution.bias.map((b, o) => b * scale[o]! + offset[o]!),
  }
}

/** Sources of `layer`.weight and `layer`.bias, computed once from the given keys. */
export function foldedSources(layer: string, keys: readonly string[], make: () => Filters): [string, Source][] {
  let made: Filters | undefined
  const filters = () => (made ??= make())
  return [
    [
      `${layer}.weight`,
      {
        keys,
        tensor: (): StoredTensor => {
          const { filters: count, inputs, kernel, weight } = filters()
          return tensorOf([count, inputs, kernel, kernel], Float32Array.from(weight))
        },
      },
    ],
    [
      `${layer}.bias`,
      { keys, tensor: (): StoredTensor => tensorOf([filters().filters], Float32Array.from(filters().bias)) },
    ],
  ]
}

/** Sources for layers that have other names in the file. */
export function renamedSources(network: Network, nameInFile: (layer: string) => string): Map<string, Source> {
  const sources = new Map<string, Source>()
  for (const node of graphNodes(network.graph)) {
    if (!('name' in node)) continue
    for (const part of ['weight', 'bias']) sources.set(`${node.name}.${part}`, `${nameInFile(node.name)}.${part}`)
  }
  return sources
}

/** A tensor of given values instead of one of the file. */
export function constantSource(shape: readonly number[], values: readonly number[]): Source {
  if (countOf(shape) !== values.length) throw new RangeError('values do not fit the shape')
  return { keys: [], tensor: () => tensorOf(shape, Float32Array.from(values)) }
}
