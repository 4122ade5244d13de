// Writes files as torch.save does, for tests: a pickle of protocol 2 with the storages beside or behind it.
import { type ZipEntry, zipOf } from './zip.js'

export interface TorchTensor {
  shape: readonly number[]
  data: Float32Array | Uint16Array | Float64Array | BigInt64Array
  /** Default 'Float'. */
  type?: string
  /** Default row-major. */
  strides?: readonly number[]
  offset?: number
  /** Elements that the pickle claims of the storage. */
  claimed?: number
}

export type TorchValue = TorchTensor | Map<string, TorchValue> | number | string | boolean | null

const isTensor = (value: TorchValue): value is TorchTensor =>
  typeof value === 'object' && value !== null && 'shape' in value

const u32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
const op = (...codes: number[]) => Buffer.from(codes)
const text = (value: string) => Buffer.concat([op(0x58), u32(Buffer.byteLength(value)), Buffer.from(value)])
const global = (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`)
const integer = (value: number) => {
  const bytes = Buffer.alloc(10)
  bytes[0] = 0x8a
  bytes[1] = 8
  bytes.writeBigInt64LE(BigInt(value), 2)
  return bytes
}
const tuple = (parts: Buffer[]) => Buffer.concat([op(0x28), ...parts, op(0x74)])
export const protocol = op(0x80, 2)
export const stop = op(0x2e)

const rowMajor = (shape: readonly number[]) => shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1))

const bytesOf = ({ data }: TorchTensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)

function pickled(value: TorchValue, storages: TorchTensor[], legacy: boolean): Buffer {
  if (value === null) return op(0x4e)
  if (typeof value === 'boolean') return op(value ? 0x88 : 0x89)
  if (typeof value === 'number') return integer(value)
  if (typeof value === 'string') return text(value)
  if (isTensor(value)) {
    const { shape, type = 'Float', strides = rowMajor(shape), offset = 0, claimed = value.data.length } = value
    const key = String(storages.push(value) - 1)
    const id = [text('storage'), global('torch', `${type}Storage`), text(key), text('cpu'), integer(claimed)]
    const storage = Buffer.concat([tuple(legacy ? [...id, op(0x4e)] : id), op(0x51)])
    const hooks = Buffer.concat([global('collections', 'OrderedDict'), op(0x29, 0x52)])
    const args = [storage, integer(offset), tuple(shape.map(integer)), tuple(strides.map(integer)), op(0x89), hooks]
    return Buffer.concat([global('torch._utils', '_rebuild_tensor_v2'), tuple(args), op(0x52)])
  }
  const items = [...value].flatMap(([key, v]) => [text(key), pickled(v, storages, legacy)])
  return Buffer.concat([global('collections', 'OrderedDict'), op(0x29, 0x52, 0x28), ...items, op(0x75)])
}

/** As torch.save with the zip archive of PyTorch 1.6. */
export function torchZip(
  value: TorchValue,
  options: { root?: string; deflate?: boolean; folders?: boolean; pickle?: Buffer; byteOrder?: string } = {},
): Buffer {
  const { root = 'archive', deflate = false, folders = false, byteOrder = 'little' } = options
  const storages: TorchTensor[] = []
  const pickle = options.pickle ?? Buffer.concat([protocol, pickled(value, storages, false), stop])
  const folder = (name: string): ZipEntry[] => (folders ? [{ name, data: Buffer.alloc(0) }] : [])
  return zipOf([
    ...folder(`${root}/`),
    { name: `${root}/data.pkl`, data: pickle, deflate },
    { name: `${root}/byteorder`, data: Buffer.from(byteOrder) },
    ...folder(`${root}/data/`),
    ...storages.map((tensor, i) => ({ name: `${root}/data/${i}`, data: bytesOf(tensor), deflate })),
    { name: `${root}/version`, data: Buffer.from('3\n'), deflate },
  ])
}

/** As torch.save(..., _use_new_zipfile_serialization=False). */
export function torchLegacy(value: TorchValue): Buffer {
  const storages: TorchTensor[] = []
  const one = (...parts: Buffer[]) => Buffer.concat([protocol, ...parts, stop])
  const magic = Buffer.from('8a0a6cfc9c46f9206aa85019', 'hex')
  const main = one(pickled(value, storages, true))
  const keys = storages.map((_, i) => text(String(i)))
  return Buffer.concat([
    one(magic),
    one(op(0x4d, 0xe9, 0x03)),
    one(op(0x7d, 0x28), text('little_endian'), op(0x88, 0x75)),
    main,
    one(op(0x5d, 0x28), ...keys, op(0x65)),
    ...storages.flatMap((tensor) => {
      const count = Buffer.alloc(8)
      count.writeBigInt64LE(BigInt(tensor.data.length))
      return [count, bytesOf(tensor)]
    }),
  ])
}
