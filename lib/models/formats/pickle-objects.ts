// The objects that a pickle of torch.save describes: tensors, their storages, and the calls that make them.
import { countOf, type StoredTensor } from '../../files/tensor.js'
import { isStorage, NAMES, Name, Opaque, type PickleDict, type PickleValue, type Storage } from './pickle-values.js'

/** The file of a pickle: it holds the numbers of the tensors. */
export interface PickleContext {
  /** Throws an error that says `what` is wrong. */
  fail(what: string): never
  /** Called for every storage that is named. */
  storage(key: string, type: string, count: number): void
  /** The numbers of a tensor of this storage. */
  tensor(storage: Storage, offset: number, shape: number[], strides: number[]): StoredTensor
}

const MAX_DIMENSIONS = 8
/** More elements than any storage has. */
const MAX_ELEMENTS = 2 ** 40

function sizes(value: PickleValue, what: string, { fail }: PickleContext): number[] {
  if (!Array.isArray(value) || value.length > MAX_DIMENSIONS)
    return fail(`a tensor has no list of at most ${MAX_DIMENSIONS} numbers as ${what}`)
  for (const size of value)
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
      fail(`a tensor has ${String(size)} in its ${what}`)
  return value as number[]
}

function tensor(args: PickleValue[], context: PickleContext): StoredTensor {
  const { fail } = context
  const [storage, offset] = args
  if (storage === undefined || !isStorage(storage)) return fail('a tensor has no storage')
  if (typeof offset !== 'number' || !Number.isSafeInteger(offset) || offset < 0)
    return fail(`a tensor has the storage offset ${String(offset)}`)
  const shape = sizes(args[2], 'size', context)
  const strides = sizes(args[3], 'strides', context)
  if (shape.length !== strides.length) fail(`a tensor has ${shape.length} sizes and ${strides.length} strides`)
  const count = countOf(shape)
  const last = count === 0 ? -1 : shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, offset)
  if (count > MAX_ELEMENTS || last >= storage.count)
    fail(
      `a tensor of size (${shape.join(', ')}) with strides (${strides.join(', ')}) reaches outside of its storage of ${storage.count} elements`,
    )
  return context.tensor(storage, offset, shape, strides)
}

/** The result of a call (REDUCE, NEWOBJ): only the names of pickle-values.ts have one. Nothing is executed. */
export function call(callee: PickleValue, args: PickleValue, context: PickleContext): PickleValue {
  const { fail } = context
  if (!(callee instanceof Name)) return fail('its pickle calls something that is no name, and is refused')
  if (!Array.isArray(args)) return fail(`its pickle calls ${callee.name} without a list of arguments`)
  switch (NAMES[callee.name]) {
    case 'dict': {
      const dict: PickleDict = new Map()
      // Python 2 passes the items as a list of pairs.
      const items = args.find((a) => Array.isArray(a)) as PickleValue[] | undefined
      for (const item of items ?? []) if (Array.isArray(item) && item.length === 2) dict.set(item[0], item[1])
      return dict
    }
    case 'tensor':
      return tensor(args, context)
    case 'parameter':
      return args[0]
    case 'size':
      return Array.isArray(args[0]) ? args[0] : fail('torch.Size has no list of sizes')
    case 'opaque':
      return new Opaque(callee.name)
    default:
      return fail(`its pickle calls ${callee.name}, which is no function, and is refused`)
  }
}

/** The storage of a persistent id (BINPERSID). */
export function storageOf(id: PickleValue, context: PickleContext): Storage {
  const { fail } = context
  const [kind, type, key, , count, view] = Array.isArray(id) ? id : []
  const storageType = type instanceof Name ? /^torch\.(\w+)Storage$/.exec(type.name)?.[1] : undefined
  if (kind !== 'storage' || storageType === undefined || typeof key !== 'string')
    return fail('its pickle refers to something that is no storage')
  if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0 || count > MAX_ELEMENTS)
    return fail(`storage ${key} has ${String(count)} elements`)
  context.storage(key, storageType, count)
  const storage: Storage = { key, type: storageType, count, offset: 0 }
  if (view === undefined || view === null) return storage
  // Files before PyTorch 1.0 may hold a part of another storage: (key, offset, size).
  const [, from, size] = Array.isArray(view) ? view : []
  if (typeof from !== 'number' || typeof size !== 'number' || !(from >= 0 && size >= 0 && from + size <= count))
    return fail(`storage ${key} is not a part of the one that it names`)
  return { ...storage, offset: from, count: size }
}
