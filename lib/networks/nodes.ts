// The types of a network's nodes; native/core/operators defines their meaning.
import type { NativeChannels, NativeGraph } from '../native.js'

export type GraphActivation = 'relu' | 'leakyRelu' | 'sigmoid' | 'silu' | 'gelu' | 'tanh' | 'exp' | 'reciprocal'

/** One node of a network. Attributes that are left out have the default documented in GraphBuilder. */
export type GraphNode =
  | { op: 'input'; inputs: []; channels: { fixed: number } }
  | {
      op: 'conv'
      name: string
      inputs: [number]
      /** Absent in depthwise ones, which have the channels of their input. */
      channels: NativeChannels
      kernel: number
      bias: boolean
      initGain: number
      stride?: number
      padding?: number
      groups?: number
      depthwise?: boolean
      order?: number[]
    }
  | {
      op: 'convTranspose'
      name: string
      inputs: [number]
      channels: NativeChannels
      kernel: number
      stride: number
      padding: number
      outputPadding?: number
      bias: boolean
      initGain: number
      order?: number[]
      groups?: number
    }
  | { op: 'activation'; inputs: [number]; activation: GraphActivation; slope: number }
  | { op: 'prelu'; name: string; inputs: [number] }
  | { op: 'add'; inputs: [number, number] }
  | { op: 'multiply'; inputs: [number, number] }
  | { op: 'affine'; inputs: [number]; scale?: number[]; offset?: number[] }
  | { op: 'concat'; inputs: number[] }
  | { op: 'slice'; inputs: [number]; from: NativeChannels; channels: NativeChannels }
  | { op: 'pixelShuffle'; inputs: [number]; factor: number }
  | { op: 'pixelUnshuffle'; inputs: [number]; factor: number }
  | {
      op: 'upsample'
      inputs: [number]
      factor: number
      cubic?: boolean
      mode?: 'nearest' | 'bilinear' | 'bicubic'
      a?: number
      divisor?: number
    }
  | { op: 'resizeLike'; inputs: [number, number]; mode?: 'bilinear' | 'nearest' }
  | {
      op: 'pool'
      inputs: [number]
      kind: 'max' | 'average'
      kernel?: number
      stride?: number
      padding?: number
      adaptive?: boolean
      factor?: number
    }
  | { op: 'stack'; inputs: number[] }
  | { op: 'globalPool'; inputs: [number]; kind?: 'mean' | 'std' }
  | { op: 'scaleChannels'; inputs: [number, number] }
  | { op: 'layerNorm'; name: string; inputs: [number]; epsilon?: number }

/** The nodes of a graph that GraphBuilder made. */
export const graphNodes = (graph: NativeGraph): GraphNode[] => graph.nodes as unknown as GraphNode[]
