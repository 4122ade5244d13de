// ONNX files: protocol buffers (by protobufjs) and the messages of onnx.proto that a network of convolutions needs. Fields
// that are left out of the description are skipped when a file is read.
import protobuf from 'protobufjs/light.js'
import { damaged } from '../../files/read-budget.js'

const field = (id: number, type: string, rule?: 'repeated') => ({ id, type, ...(rule && { rule }) })
// onnx.proto has proto2 syntax, in which numbers are not packed unless declared.
const unpacked = (id: number, type: string) => ({ id, type, rule: 'repeated', options: { packed: false } })

const root = protobuf.Root.fromJSON({
  nested: {
    Model: {
      fields: {
        irVersion: field(1, 'int64'),
        producerName: field(2, 'string'),
        graph: field(7, 'Graph'),
        opsetImport: field(8, 'Opset', 'repeated'),
      },
    },
    Opset: { fields: { domain: field(1, 'string'), version: field(2, 'int64') } },
    Graph: {
      fields: {
        node: field(1, 'Node', 'repeated'),
        name: field(2, 'string'),
        initializer: field(5, 'Tensor', 'repeated'),
        input: field(11, 'ValueInfo', 'repeated'),
        output: field(12, 'ValueInfo', 'repeated'),
      },
    },
    Node: {
      fields: {
        input: field(1, 'string', 'repeated'),
        output: field(2, 'string', 'repeated'),
        name: field(3, 'string'),
        opType: field(4, 'string'),
        attribute: field(5, 'Attribute', 'repeated'),
        domain: field(7, 'string'),
      },
    },
    Attribute: {
      fields: {
        name: field(1, 'string'),
        f: field(2, 'float'),
        i: field(3, 'int64'),
        s: field(4, 'bytes'),
        t: field(5, 'Tensor'),
        floats: unpacked(7, 'float'),
        ints: unpacked(8, 'int64'),
        type: field(20, 'int32'),
      },
    },
    // Numbers of a tensor lie packed, so that they can be taken as bytes.
    Tensor: {
      fields: {
        dims: unpacked(1, 'int64'),
        dataType: field(2, 'int32'),
        floatData: field(4, 'bytes'),
        int32Data: field(5, 'bytes'),
        int64Data: field(7, 'bytes'),
        name: field(8, 'string'),
        rawData: field(9, 'bytes'),
        doubleData: field(10, 'bytes'),
        externalData: field(13, 'Text', 'repeated'),
        dataLocation: field(14, 'int32'),
      },
    },
    Text: { fields: { key: field(1, 'string'), value: field(2, 'string') } },
    ValueInfo: { fields: { name: field(1, 'string'), type: field(2, 'ValueType') } },
    ValueType: { fields: { tensorType: field(1, 'TensorType') } },
    TensorType: { fields: { elemType: field(1, 'int32'), shape: field(2, 'Shape') } },
    Shape: { fields: { dim: field(1, 'Dimension', 'repeated') } },
    Dimension: { fields: { dimValue: field(1, 'int64'), dimParam: field(2, 'string') } },
  },
})
const modelType = root.lookupType('Model')

export interface OnnxTensor {
  name?: string
  dims: number[]
  dataType: number
  floatData?: Uint8Array
  int32Data?: Uint8Array
  int64Data?: Uint8Array
  doubleData?: Uint8Array
  rawData?: Uint8Array
  dataLocation?: number
}

export interface OnnxAttribute {
  name: string
  f?: number
  i?: number
  s?: Uint8Array
  t?: OnnxTensor
  floats?: number[]
  ints?: number[]
  /** FLOAT 1, INT 2, STRING 3, TENSOR 4, FLOATS 6, INTS 7. */
  type?: number
}

export interface OnnxNode {
  input: string[]
  output: string[]
  name?: string
  opType: string
  attribute: OnnxAttribute[]
  domain?: string
}

interface OnnxValueInfo {
  name: string
  type?: { tensorType?: { elemType?: number; shape?: { dim?: { dimValue?: number; dimParam?: string }[] } } }
}

export interface OnnxGraph {
  name?: string
  node: OnnxNode[]
  initializer: OnnxTensor[]
  input: OnnxValueInfo[]
  output: OnnxValueInfo[]
}

export interface OnnxModel {
  irVersion: number
  producerName?: string
  graph: OnnxGraph
  opsetImport: { domain?: string; version: number }[]
}

/** Bytes of a file that may describe the graph; weights do not count. Decoded messages take up to fifty times as much. */
const MAX_DESCRIPTION = 16 * 2 ** 20
/** Fields whose bytes are used as they are: of the graph its initializers, of these the numbers. */
const NUMBERS = new Set([4, 5, 7, 9, 10])

/** Bytes of a file that are not numbers of tensors. Walks the file without making anything. */
function descriptionBytes(bytes: Buffer): number {
  let numbers = 0
  const walk = (end: number, reader: protobuf.Reader, inside: 'model' | 'graph' | 'tensor') => {
    while (reader.pos < end) {
      const tag = reader.uint32()
      const id = tag >>> 3
      const wire = tag & 7
      const inner = inside === 'model' && id === 7 ? 'graph' : inside === 'graph' && id === 5 ? 'tensor' : null
      if (wire !== 2) reader.skipType(wire)
      else {
        const length = reader.uint32()
        if (inner) walk(reader.pos + length, reader, inner)
        else {
          if (inside === 'tensor' && NUMBERS.has(id)) numbers += length
          reader.skip(length)
        }
      }
    }
  }
  walk(bytes.length, protobuf.Reader.create(bytes), 'model')
  return bytes.length - numbers
}

/** @throws WbsrError WBSR_INVALID_FILE */
export function decodeOnnx(file: string, bytes: Buffer): OnnxModel {
  let model: OnnxModel
  try {
    const description = descriptionBytes(bytes)
    if (description > MAX_DESCRIPTION)
      throw new RangeError(`it has ${description} bytes beside its weights, expected at most ${MAX_DESCRIPTION}`)
    model = modelType.toObject(modelType.decode(bytes), { longs: Number, arrays: true }) as OnnxModel
  } catch (error) {
    // ONNX has no mark of its own: what is nothing else comes here, too.
    const what = /\.onnx$/i.test(file)
      ? 'is not a valid ONNX file'
      : 'is no model that wbsr reads (.safetensors, .pth, .onnx, .param with .bin); taken for ONNX'
    throw damaged(file, `${what}: ${(error as Error).message}`, error)
  }
  if (!model.graph || model.graph.node.length === 0) throw damaged(file, 'is not a valid ONNX file: it has no graph')
  return model
}

export function encodeOnnx(model: OnnxModel): Uint8Array {
  return modelType.encode(modelType.fromObject(model)).finish()
}
