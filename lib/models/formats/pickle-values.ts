// What a pickle of torch.save may hold: kinds of values, and the names that mean anything.
import type { StoredTensor } from '../../files/tensor.js'

export type PickleValue =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | PickleDict
  | Set<PickleValue>
  | Name
  | Opaque
  | Storage
  | StoredTensor

export type PickleDict = Map<PickleValue, PickleValue>

/** A global name, "module.attribute". */
export class Name {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

/** A value that a weights file may have and that means nothing here (a device, a random state, a numpy scalar). */
export class Opaque {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

/** A named run of numbers of one type outside of the pickle. */
export interface Storage {
  key: string
  /** As in 'FloatStorage' without 'Storage'. */
  type: string
  /** Elements. */
  count: number
  /** Index of the first element within the storage that the file holds. */
  offset: number
}

export const isStorage = (value: PickleValue): value is Storage =>
  typeof value === 'object' && value !== null && 'key' in value && 'count' in value

/** Types of storages and their bytes per element. */
export const STORAGE_BYTES: Readonly<Record<string, number>> = {
  Float: 4,
  Half: 2,
  BFloat16: 2,
  Double: 8,
  Long: 8,
  Int: 4,
  Short: 2,
  Char: 1,
  Byte: 1,
  Bool: 1,
}

/** Names that a file may hold. 'dict' makes a mapping, 'opaque' a value without meaning; tensors are made by their function. */
export const NAMES: Readonly<Record<string, 'dict' | 'opaque' | 'tensor' | 'parameter' | 'size' | 'storage'>> = {
  'collections.OrderedDict': 'dict',
  'collections.defaultdict': 'dict',
  'builtins.dict': 'opaque',
  'torch._utils._rebuild_tensor_v2': 'tensor',
  'torch._utils._rebuild_tensor': 'tensor',
  'torch._utils._rebuild_parameter': 'parameter',
  'torch.nn.parameter.Parameter': 'parameter',
  'torch.Size': 'size',
  'torch.device': 'opaque',
  'numpy.core.multiarray.scalar': 'opaque',
  'numpy._core.multiarray.scalar': 'opaque',
  'numpy.dtype': 'opaque',
  '_codecs.encode': 'opaque',
  ...Object.fromEntries(Object.keys(STORAGE_BYTES).map((type) => [`torch.${type}Storage`, 'storage' as const])),
}

/** Types of the network elements' numbers, which appear as plain names. */
export const DTYPE = /^torch\.(float16|float32|float64|bfloat16|int8|int16|int32|int64|uint8|bool)$/
