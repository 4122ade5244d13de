// safetensors, the format of models and checkpoints: 8 bytes of little-endian header length, a JSON header with
// dtype, shape and data_offsets of every tensor, then raw little-endian bytes. npm has no library for it.
// Reading is strict: a damaged file is refused with a message about what was expected.

import { type FileHandle, open } from 'node:fs/promises'
import { invalidOption, WbsrError } from '../errors.js'
import { isRangeError } from '../realms.js'
import { writeBytes, writeFileAtomic } from './atomic.js'
import { HALF_LIMIT, narrow, widen } from './half.js'
import { repeatedKey } from './json-keys.js'

export type TensorArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array

type ArrayType = { new (buffer: ArrayBuffer): TensorArray; readonly BYTES_PER_ELEMENT: number }

// array: type of the tensor's data in memory. Half floats are float32 there, since JavaScript has no type for them.
const DTYPES = {
  F64: { bytes: 8, array: Float64Array },
  I64: { bytes: 8, array: BigInt64Array },
  U64: { bytes: 8, array: BigUint64Array },
  F32: { bytes: 4, array: Float32Array },
  I32: { bytes: 4, array: Int32Array },
  U32: { bytes: 4, array: Uint32Array },
  F16: { bytes: 2, array: Float32Array },
  BF16: { bytes: 2, array: Float32Array },
  I16: { bytes: 2, array: Int16Array },
  U16: { bytes: 2, array: Uint16Array },
  I8: { bytes: 1, array: Int8Array },
  U8: { bytes: 1, array: Uint8Array },
  BOOL: { bytes: 1, array: Uint8Array },
} as const satisfies Record<string, { bytes: number; array: ArrayType }>

export type TensorDtype = keyof typeof DTYPES

/** A tensor in row-major order; `data` has as many elements as the product of `shape`. */
export interface Tensor {
  name: string
  dtype: TensorDtype
  shape: number[]
  data: TensorArray
}

export interface Safetensors {
  /** By name, in the order of the file's header. F16 and BF16 come as Float32Array, BOOL as Uint8Array. */
  tensors: Map<string, Tensor>
  metadata: Record<string, string>
}

// The limit of the reference implementation; a file with a longer header is no safetensors file.
const MAX_HEADER = 100_000_000

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)

/**
 * Writes tensors and string metadata to a file, atomically (see writeFileAtomic). The data starts at a multiple of 8
 * bytes and wider types come first, so every tensor is aligned to its type. F16 takes a Float32Array and rounds it.
 *
 * @throws WbsrError WBSR_INVALID_OPTION for a tensor whose data, type and shape do not fit, or values beyond F16; WBSR_IO
 */
export async function writeSafetensors(
  file: string,
  tensors: readonly Tensor[],
  metadata: Record<string, string> = {},
): Promise<void> {
  const header: [string, unknown][] = []
  if (Object.keys(metadata).length > 0) {
    for (const [key, value] of Object.entries(metadata))
      if (typeof value !== 'string') throw invalidOption(`metadata.${key}`, 'a string', value)
    header.push(['__metadata__', metadata])
  }
  const names = new Set(['__metadata__'])
  const ordered = [...tensors].sort((a, b) => (DTYPES[b.dtype]?.bytes ?? 0) - (DTYPES[a.dtype]?.bytes ?? 0))
  let offset = 0
  for (const { name, dtype, shape, data } of ordered) {
    const type = DTYPES[dtype]
    if (!type || dtype === 'BF16')
      throw invalidOption(
        `dtype of tensor ${name}`,
        `one of ${Object.keys(DTYPES)
          .filter((d) => d !== 'BF16')
          .join(', ')}`,
        dtype,
      )
    if (names.has(name)) throw invalidOption('tensors', 'distinct tensor names other than __metadata__', name)
    // By its name: in a vm context the native side gives arrays of another realm.
    if (data[Symbol.toStringTag] !== type.array.name)
      throw invalidOption(`data of tensor ${name}`, `a ${type.array.name} (${dtype})`, data)
    if (!shape.every(isCount) || product(shape) !== data.length)
      throw invalidOption(`shape of tensor ${name}`, `a shape of ${data.length} elements`, shape)
    if (dtype === 'F16' && (data as Float32Array).some((value) => Math.abs(value) >= HALF_LIMIT))
      throw invalidOption(`data of tensor ${name}`, 'values within 65504 (F16)', data)
    names.add(name)
    const end = offset + data.length * type.bytes
    header.push([name, { dtype, shape, data_offsets: [offset, end] }])
    offset = end
  }
  const text = Buffer.from(JSON.stringify(Object.fromEntries(header)))
  const padded = Math.ceil(text.length / 8) * 8
  const start = Buffer.alloc(8 + padded, ' ')
  start.writeBigUInt64LE(BigInt(padded), 0)
  text.copy(start, 8)
  await writeFileAtomic(file, async (handle) => {
    await writeBytes(handle, start)
    for (const { dtype, data } of ordered) {
      const stored = dtype === 'F16' ? narrow(data as Float32Array) : data
      await writeBytes(handle, new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength))
    }
  })
}

/** Random access to bytes that are in a file or in memory. */
interface Source {
  name: string
  size: number
  read(target: Uint8Array, position: number): Promise<void>
}

function bufferSource(buffer: Uint8Array): Source {
  return {
    name: 'the safetensors buffer',
    size: buffer.byteLength,
    read: async (target, position) => target.set(buffer.subarray(position, position + target.byteLength)),
  }
}

async function fileSource(file: string, handle: FileHandle): Promise<Source> {
  const stats = await handle.stat()
  if (stats.isDirectory()) throw new WbsrError('WBSR_INVALID_FILE', `${file} is a folder, expected a safetensors file`)
  return {
    name: file,
    size: stats.size,
    async read(target, position) {
      for (let done = 0; done < target.byteLength; ) {
        const { bytesRead } = await handle.read(
          target,
          done,
          Math.min(1 << 26, target.byteLength - done),
          position + done,
        )
        if (bytesRead === 0) throw new WbsrError('WBSR_INVALID_FILE', `${file} became shorter while it was read`)
        done += bytesRead
      }
    },
  }
}

/** One entry of the header, checked. */
function checkEntry(name: string, entry: unknown, dataSize: number, fail: (what: string) => never) {
  if (!isRecord(entry)) fail(`tensor ${name}: expected an object in the header`)
  for (const key of ['dtype', 'shape', 'data_offsets'])
    if (!Object.hasOwn(entry, key)) fail(`tensor ${name}: ${key} is missing`)
  for (const key of Object.keys(entry))
    if (!['dtype', 'shape', 'data_offsets'].includes(key)) fail(`tensor ${name}: unknown key ${key}`)
  const { dtype, shape, data_offsets: offsets } = entry as { dtype: unknown; shape: unknown; data_offsets: unknown }
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPES, dtype))
    fail(`tensor ${name}: unknown dtype ${JSON.stringify(dtype)}, expected one of ${Object.keys(DTYPES).join(', ')}`)
  if (!Array.isArray(shape) || !shape.every(isCount))
    fail(`tensor ${name}: expected a list of sizes as shape but found ${JSON.stringify(shape)}`)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    fail(`tensor ${name}: expected two data_offsets but found ${JSON.stringify(offsets)}`)
  const [begin, end] = offsets as [number, number]
  if (begin > end || end > dataSize)
    fail(`tensor ${name}: data_offsets ${begin}..${end} are outside of the ${dataSize} bytes of data (truncated file?)`)
  const bytes = product(shape as number[]) * DTYPES[dtype as TensorDtype].bytes
  if (bytes !== end - begin)
    fail(
      `tensor ${name}: shape [${(shape as number[]).join(', ')}] of ${dtype} needs ${bytes} bytes but has ${end - begin}`,
    )
  return { name, dtype: dtype as TensorDtype, shape: shape as number[], begin, end }
}

async function parse(source: Source): Promise<Safetensors> {
  const fail = (what: string): never => {
    throw new WbsrError('WBSR_INVALID_FILE', `${source.name} is not a valid safetensors file: ${what}`)
  }
  if (source.size < 8) fail(`expected at least 8 bytes but it has ${source.size}`)
  const lengthBytes = Buffer.alloc(8)
  await source.read(lengthBytes, 0)
  const length = Number(lengthBytes.readBigUInt64LE(0))
  if (length > MAX_HEADER) fail(`a header of ${length} bytes is too large (at most ${MAX_HEADER})`)
  if (8 + length > source.size)
    fail(`it is truncated: the header should have ${length} bytes but only ${source.size - 8} follow`)
  const text = Buffer.alloc(length)
  await source.read(text, 8)
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text))
  } catch (error) {
    return fail(`its header is not JSON (${(error as Error).message})`)
  }
  if (!isRecord(header)) return fail('expected a JSON object as header')
  const repeated = repeatedKey(text.toString())
  if (repeated !== null) fail(`key ${JSON.stringify(repeated)} appears twice in its header`)
  const metadata = Object.hasOwn(header, '__metadata__') ? header.__metadata__ : {}
  if (!isRecord(metadata) || !Object.values(metadata).every((value) => typeof value === 'string'))
    fail('expected an object of strings as __metadata__')

  const dataStart = 8 + length
  const dataSize = source.size - dataStart
  const entries = Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, entry]) => checkEntry(name, entry, dataSize, fail))
  let covered = 0
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin < covered) fail(`tensor ${name}: data_offsets ${begin}..${end} overlap those of another tensor`)
    if (begin > covered) fail(`bytes ${covered}..${begin} belong to no tensor`)
    covered = end
  }
  if (covered !== dataSize) fail(`expected ${covered} bytes of data but it has ${dataSize}`)

  const tensors = new Map<string, Tensor>()
  for (const { name, dtype, shape, begin, end } of entries) {
    // Each tensor has a buffer of its own: always aligned, and keeping one tensor does not keep the others in memory.
    const bytes = new ArrayBuffer(end - begin)
    await source.read(new Uint8Array(bytes), dataStart + begin)
    const data =
      dtype === 'F16' || dtype === 'BF16' ? widen(new Uint16Array(bytes), dtype) : new DTYPES[dtype].array(bytes)
    tensors.set(name, { name, dtype, shape, data })
  }
  return { tensors, metadata: metadata as Record<string, string> }
}

/**
 * Reads a whole safetensors file (a path, or its bytes).
 *
 * @throws WbsrError WBSR_INVALID_FILE naming the file and what was expected (truncated, overlapping or out-of-range
 *   offsets, shape and size that differ, unknown dtype, broken or repeated header keys, bytes that belong to no
 *   tensor); WBSR_NOT_FOUND; WBSR_IO
 */
export async function readSafetensors(file: string | Uint8Array): Promise<Safetensors> {
  if (typeof file !== 'string') return parse(bufferSource(file))
  let handle: FileHandle | undefined
  try {
    handle = await open(file, 'r')
    return await parse(await fileSource(file, handle))
  } catch (error) {
    if (error instanceof WbsrError) throw error
    if ((error as { code?: string }).code === 'ENOENT')
      throw new WbsrError('WBSR_NOT_FOUND', `${file} does not exist, expected a safetensors file`, { cause: error })
    if (isRangeError(error))
      throw new WbsrError('WBSR_OUT_OF_MEMORY', `Not enough memory to read ${file}`, { cause: error })
    throw new WbsrError('WBSR_IO', `Cannot read ${file}: ${(error as Error).message}`, { cause: error })
  } finally {
    await handle?.close()
  }
}
