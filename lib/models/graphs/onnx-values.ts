// What the values of an ONNX graph are while it is read: pictures, constants, and the sizes of pictures, with which
// exporters compute where code would name them.

import { widen } from '../../files/half.js'
import { damaged, type ReadBudget } from '../../files/read-budget.js'
import { isRangeError } from '../../realms.js'
import type { Node } from './import-graph.js'
import type { OnnxTensor } from './onnx-model.js'

/** A constant tensor. */
export interface Constant {
  kind: 'constant'
  shape: number[]
  data: Float32Array | Float64Array
}

/** A number that follows from the size of a picture: `factor` times its axis 0 .. 3 or (area) height times width. */
export interface Size {
  of: Node
  axis: 0 | 1 | 2 | 3 | 'area'
  factor: number
}

/** A row of numbers, some of which are sizes; `scalar`: it has no dimension. */
export interface Sizes {
  kind: 'sizes'
  entries: (number | Size)[]
  scalar: boolean
}

/** A picture. */
export interface Picture {
  kind: 'picture'
  node: Node
}

/** A step of a longer formula, which means something only together with the next ones. */
export interface Pending {
  kind:
    | 'padded' // zeros around; amount: how many
    | 'clipped' // to 0..1 or wider
    | 'stretched' // to five dimensions
    | 'folded' // reshaped to six dimensions, `shape`
    | 'reordered' // transposed from that; node is what it will be
    | 'rowSum' // summed over rows or columns; amount: the axis
    | 'sum' // over rows and columns
    | 'centred' // less its own mean; node is what it was
    | 'squared' // the square of that
    | 'squaredRowSum'
    | 'squaredSum'
    | 'variance'
    | 'erf' // erf(node / sqrt(2))
    | 'erfPlusOne'
    | 'timesErf' // node * (1 + erf(node / sqrt(2)))
  node: Node
  amount?: number
  shape?: (number | Size)[]
}

export type OnnxValue = Constant | Sizes | Picture | Pending

const MAX_DIMENSIONS = 8

/** Numbers of a packed field of varints. */
function varints(bytes: Uint8Array): Float64Array {
  const values: number[] = []
  for (let at = 0; at < bytes.length; ) {
    let value = 0n
    let shift = 0n
    for (;;) {
      const byte = bytes[at++]
      if (byte === undefined || shift > 63n) throw new RangeError('a number is truncated')
      value |= BigInt(byte & 0x7f) << shift
      shift += 7n
      if (byte < 0x80) break
    }
    values.push(Number(BigInt.asIntN(64, value)))
  }
  return Float64Array.from(values)
}

/** @throws WbsrError WBSR_INVALID_FILE */
export function constantOf(file: string, tensor: OnnxTensor, budget: ReadBudget): Constant {
  const label = tensor.name ? `tensor ${tensor.name}` : 'a tensor'
  const fail = (what: string): never => {
    throw damaged(file, `${label} ${what}`)
  }
  const shape = tensor.dims ?? []
  if (shape.length > MAX_DIMENSIONS || shape.some((n) => !Number.isSafeInteger(n) || n < 0))
    fail(`has the shape [${shape.join(', ')}]`)
  if (tensor.dataLocation === 1) fail('is stored in another file, which is not supported; save the model as one file')
  const count = shape.reduce((a, b) => a * b, 1)
  const data = numbersOf(tensor, fail, budget)
  if (data.length !== count) fail(`has ${data.length} numbers where its shape [${shape.join(', ')}] needs ${count}`)
  return { kind: 'constant', shape, data }
}

function numbersOf(
  { dataType, rawData, floatData, int32Data, int64Data, doubleData }: OnnxTensor,
  fail: (what: string) => never,
  budget: ReadBudget,
): Float32Array | Float64Array {
  const bytes = rawData?.length ? rawData : null
  const raw = (size: number) => {
    if (bytes!.length % size !== 0) fail(`has ${bytes!.length} bytes of numbers of ${size} bytes`)
    budget.take(bytes!.length, 'a tensor')
    // A copy is aligned.
    return new Uint8Array(bytes!).buffer
  }
  const list = (field: Uint8Array | undefined) => {
    budget.take(8 * (field?.length ?? 0), 'a tensor')
    return varints(field ?? new Uint8Array(0))
  }
  try {
    switch (dataType) {
      case 1:
        return new Float32Array(bytes ? raw(4) : new Uint8Array(floatData ?? []).buffer)
      case 2: // uint8
        return bytes ? Float64Array.from(bytes) : list(int32Data)
      case 3: // int8
        return bytes ? Float64Array.from(new Int8Array(raw(1))) : list(int32Data)
      case 6: // int32
        return bytes ? Float64Array.from(new Int32Array(raw(4))) : list(int32Data)
      case 7: // int64
        return bytes ? Float64Array.from(new BigInt64Array(raw(8)), Number) : list(int64Data)
      case 9: // bool
        return bytes ? Float64Array.from(bytes) : list(int32Data)
      case 10: // float16
        return widen(bytes ? new Uint16Array(raw(2)) : Uint16Array.from(list(int32Data)), 'F16')
      case 11: // double
        return new Float64Array(bytes ? raw(8) : new Uint8Array(doubleData ?? []).buffer)
      case 16: // bfloat16
        return widen(bytes ? new Uint16Array(raw(2)) : Uint16Array.from(list(int32Data)), 'BF16')
      default:
        return fail(`has numbers of type ${dataType}, which is not supported`)
    }
  } catch (error) {
    if (isRangeError(error)) return fail(`is damaged: ${error.message}`)
    throw error
  }
}
