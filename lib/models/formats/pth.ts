// Files of torch.save: a zip archive (PyTorch 1.6 and newer) with a pickle and one entry per storage, or a legacy file,
// a row of pickles followed by the storages. See pickle.ts for what a pickle may hold.

import { widen } from '../../files/half.js'
import { damaged, type ReadBudget } from '../../files/read-budget.js'
import { countOf, type StoredTensor } from '../../files/tensor.js'
import { readPickle } from './pickle.js'
import type { PickleContext } from './pickle-objects.js'
import { type PickleValue, STORAGE_BYTES } from './pickle-values.js'
import { readZip } from './zip.js'

/** First pickle of a legacy file. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn

/** Could this be a file of torch.save? */
export function isPth(bytes: Buffer): boolean {
  return isZip(bytes) || (bytes[0] === 0x80 && bytes[1]! >= 2 && bytes[1]! <= 5)
}

const isZip = (bytes: Buffer) => bytes.length >= 4 && bytes.readUInt32LE(0) === 0x04034b50

/** Raw little-endian bytes of each storage, known when the pickle was read. */
type Storages = Map<string, Buffer>

/** Type and size of each storage that the pickle names. */
type Described = Map<string, { type: string; count: number }>

/** Numbers of one storage as float32. */
function elements(bytes: Buffer, type: string): Float32Array {
  // A copy is aligned to any type.
  const { buffer } = new Uint8Array(bytes)
  switch (type) {
    case 'Float':
      return new Float32Array(buffer)
    case 'Half':
      return widen(new Uint16Array(buffer), 'F16')
    case 'BFloat16':
      return widen(new Uint16Array(buffer), 'BF16')
    case 'Double':
      return Float32Array.from(new Float64Array(buffer))
    case 'Long':
      return Float32Array.from(new BigInt64Array(buffer), Number)
    case 'Int':
      return Float32Array.from(new Int32Array(buffer))
    case 'Short':
      return Float32Array.from(new Int16Array(buffer))
    case 'Char':
      return Float32Array.from(new Int8Array(buffer))
    default:
      return Float32Array.from(new Uint8Array(buffer))
  }
}

/** `source` from `offset` on, gathered by strides into row-major order. */
function gather(source: Float32Array, offset: number, shape: number[], strides: number[]): Float32Array {
  const out = new Float32Array(countOf(shape))
  if (out.length === 0) return out
  const inner = shape.length === 0 ? 1 : shape.at(-1)!
  const step = shape.length === 0 ? 1 : strides.at(-1)!
  const index = new Array<number>(Math.max(0, shape.length - 1)).fill(0)
  for (let to = 0; to < out.length; to += inner) {
    let from = offset
    for (let d = 0; d < index.length; d++) from += index[d]! * strides[d]!
    if (step === 1) out.set(source.subarray(from, from + inner), to)
    else for (let i = 0; i < inner; i++) out[to + i] = source[from + i * step]!
    for (let d = index.length - 1; d >= 0 && ++index[d]! === shape[d]!; d--) index[d] = 0
  }
  return out
}

function context(file: string, budget: ReadBudget, storages: Storages, seen: Described): PickleContext {
  const fail = (what: string): never => {
    throw damaged(file, what)
  }
  return {
    fail,
    storage(key, type, count) {
      const known = seen.get(key)
      if (known && (known.type !== type || known.count !== count))
        fail(`storage ${key} has two descriptions, ${known.count} of ${known.type} and ${count} of ${type}`)
      seen.set(key, { type, count })
    },
    tensor(storage, offset, shape, strides): StoredTensor {
      return {
        shape,
        type: storage.type,
        read() {
          const bytes = storages.get(storage.key)
          if (!bytes) return fail(`it lacks the storage ${storage.key}`)
          const size = STORAGE_BYTES[storage.type]!
          const count = countOf(shape)
          budget.take(4 * count, `a tensor of size (${shape.join(', ')})`)
          if (count === 0) return new Float32Array(0)
          const last = shape.reduce((sum, n, i) => sum + (n - 1) * strides[i]!, 0)
          const first = storage.offset + offset
          if ((first + last + 1) * size > bytes.length)
            fail(`storage ${storage.key} has ${bytes.length} bytes, too few for a tensor of size (${shape.join(', ')})`)
          budget.take(4 * (last + 1), `a tensor of size (${shape.join(', ')})`)
          return gather(
            elements(bytes.subarray(first * size, (first + last + 1) * size), storage.type),
            0,
            shape,
            strides,
          )
        },
      }
    },
  }
}

async function readArchive(file: string, bytes: Buffer, budget: ReadBudget): Promise<PickleValue> {
  const archive = await readZip(file, bytes, budget)
  const pickles = archive.names.filter((name) => /(^|\/)data\.pkl$/.test(name)).sort((a, b) => a.length - b.length)
  const [pickle] = pickles
  if (pickle === undefined) throw damaged(file, 'is a zip archive without data.pkl, expected one that torch.save wrote')
  const root = pickle.slice(0, -'data.pkl'.length)
  if (archive.names.includes(`${root}constants.pkl`))
    throw damaged(
      file,
      'is a TorchScript archive, which holds a program; save the state_dict alone, torch.save(model.state_dict(), file)',
    )
  if (archive.names.includes(`${root}byteorder`)) {
    const order = (await archive.read(`${root}byteorder`)).toString('latin1')
    if (order !== 'little') throw damaged(file, `has ${order.slice(0, 20)}-endian numbers, expected little-endian ones`)
  }
  const storages: Storages = new Map()
  const seen = new Map() as Described
  const data = await archive.read(pickle)
  const { value } = readPickle(data, 0, context(file, budget, storages, seen))
  for (const [key, { type, count }] of seen) {
    const storage = await archive.read(`${root}data/${key}`)
    if (storage.length < count * STORAGE_BYTES[type]!)
      throw damaged(
        file,
        `storage ${key} has ${storage.length} bytes where ${count} numbers of type ${type} are expected`,
      )
    storages.set(key, storage)
  }
  return value
}

function readLegacy(file: string, bytes: Buffer, budget: ReadBudget): PickleValue {
  const storages: Storages = new Map()
  const seen = new Map() as Described
  const inside = context(file, budget, storages, seen)
  let at = 0
  const next = (): PickleValue => {
    const { value, end } = readPickle(bytes, at, inside)
    at = end
    return value
  }
  if (next() !== LEGACY_MAGIC)
    throw damaged(
      file,
      'is a pickle that torch.save did not write, expected a file of torch.save(model.state_dict(), file)',
    )
  next() // protocol version
  const system = next()
  if (system instanceof Map && system.get('little_endian') === false)
    throw damaged(file, 'has big-endian numbers, expected little-endian ones')
  const value = next()
  const keys = next()
  if (!Array.isArray(keys)) throw damaged(file, 'has no list of its storages')
  for (const key of keys) {
    const storage = typeof key === 'string' ? seen.get(key) : undefined
    if (at + 8 > bytes.length) throw damaged(file, `is truncated in front of storage ${String(key)}`)
    const count = Number(bytes.readBigInt64LE(at))
    at += 8
    if (!storage) throw damaged(file, `holds the storage ${String(key)}, which its pickle does not describe`)
    const size = count * STORAGE_BYTES[storage.type]!
    if (count !== storage.count || at + size > bytes.length)
      throw damaged(
        file,
        `is truncated in storage ${String(key)}: ${count} numbers of type ${storage.type} do not follow`,
      )
    storages.set(String(key), bytes.subarray(at, at + size))
    at += size
  }
  return value
}

/**
 * What a file of torch.save holds: nested mappings whose leaves are tensors, numbers and text.
 *
 * @throws WbsrError WBSR_INVALID_FILE
 */
export async function readPth(file: string, bytes: Buffer, budget: ReadBudget): Promise<PickleValue> {
  return isZip(bytes) ? readArchive(file, bytes, budget) : readLegacy(file, bytes, budget)
}
