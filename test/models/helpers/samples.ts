// Small models of each format, made here: a SRVGGNetCompact of 4 features and 1 inner convolution at x2.

import { onnxOf } from '../../../lib/models/graphs/onnx-export.js'
import { srvgg } from '../../../lib/networks/srvgg.js'
import type { TorchTensor, TorchValue } from './pickle.js'

export const network = srvgg({ scale: 2, widths: [4], depths: [1] })

const SHAPES: Record<string, number[]> = {
  'body.0.weight': [4, 3, 3, 3],
  'body.0.bias': [4],
  'body.1.weight': [4],
  'body.2.weight': [4, 4, 3, 3],
  'body.2.bias': [4],
  'body.3.weight': [4],
  'body.4.weight': [12, 4, 3, 3],
  'body.4.bias': [12],
}

export const tensors: Record<string, TorchTensor> = Object.fromEntries(
  Object.entries(SHAPES).map(([name, shape], n) => [
    name,
    { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i + n) / 4) },
  ]),
)

export const stateDict: Map<string, TorchValue> = new Map(Object.entries(tensors))

const valuesOf = (name: string) => tensors[name]!.data as Float32Array

export function onnxFile(): Buffer {
  const named = new Map(Object.entries(SHAPES).map(([name, shape]) => [name, { name, shape, data: valuesOf(name) }]))
  return Buffer.from(onnxOf(network, { width: 4, depth: 1 }, named))
}

export const ncnnParam = `7767517
9 10
Input        in     0 1 data
Split        split  1 2 data data0 data1
Convolution  body.0 1 1 data0 a 0=4 1=3 4=1 5=1 6=108
PReLU        body.1 1 1 a b 0=4
Convolution  body.2 1 1 b c 0=4 1=3 4=1 5=1 6=144
PReLU        body.3 1 1 c d 0=4
Convolution  body.4 1 1 d e 0=12 1=3 4=1 5=1 6=432
PixelShuffle up     1 1 e f 0=2
Interp       base   1 1 data1 g 0=1 1=2.0 2=2.0
BinaryOp     add    2 1 f g output
`.replace('9 10', '10 11')

/** Weights in float32, tagged 0. */
export function ncnnBin(): Buffer {
  const tag = Buffer.alloc(4)
  return Buffer.concat(
    Object.keys(SHAPES).flatMap((name) => {
      const data = valuesOf(name)
      const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
      return SHAPES[name]!.length === 4 ? [tag, bytes] : [bytes]
    }),
  )
}
