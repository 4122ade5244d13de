// Reads the data that a Python pickle describes, and runs nothing. A pickle is a program for a stack machine; this is
// the part of that machine that files of torch.save need (protocols 2 to 5). Only the names of pickle-values.ts mean
// anything. Any other name, and any opcode that is not implemented, ends reading with an error, so that no file can cause code to run.
// Every opcode consumes at least one byte and adds at most one value, so time and memory are linear in the file's size.

import { countOf, type StoredTensor } from '../../files/tensor.js'
import {
  DTYPE,
  isStorage,
  NAMES,
  Name,
  Opaque,
  type PickleDict,
  type PickleValue,
  type Storage,
} from './pickle-values.js'

const MARK = Symbol('mark')
type Slot = PickleValue | typeof MARK

/** What a pickle's tensors are read from. */
export interface PickleContext {
  /** Throws; `what` says what is wrong. */
  fail(what: string): never
  /** Called for every storage that is named. */
  storage(key: string, type: string, count: number): void
  /** The numbers of a tensor of this storage. */
  tensor(storage: Storage, offset: number, shape: number[], strides: number[]): StoredTensor
}

const MAX_DIMENSIONS = 8
/** More elements than any storage has. */
const MAX_ELEMENTS = 2 ** 40

/** One pickle of `bytes`, from `start` on. `end` is where the next one may follow. */
export function readPickle(bytes: Buffer, start: number, context: PickleContext): { value: PickleValue; end: number } {
  const { fail } = context
  const stack: Slot[] = []
  const memo = new Map<number, PickleValue>()
  let at = start

  const need = (count: number): number => {
    const from = at
    if (!(count >= 0) || at + count > bytes.length) fail(`its pickle is truncated at byte ${from}`)
    at += count
    return from
  }
  const u8 = () => bytes[need(1)]!
  const u16 = () => bytes.readUInt16LE(need(2))
  const u32 = () => bytes.readUInt32LE(need(4))
  const i32 = () => bytes.readInt32LE(need(4))
  const u64 = () => {
    const value = Number(bytes.readBigUInt64LE(need(8)))
    if (!Number.isSafeInteger(value)) fail(`its pickle has a length of ${value} bytes`)
    return value
  }
  const text = (length: number) => bytes.toString('utf8', need(length), at)
  const raw = (length: number) => new Uint8Array(bytes.subarray(need(length), at))
  const line = () => {
    const stop = bytes.indexOf(10, at)
    if (stop < 0) fail('its pickle is truncated')
    const value = bytes.toString('utf8', at, stop)
    at = stop + 1
    return value
  }
  const integer = (length: number): number | bigint => {
    if (length > 64) fail(`its pickle has an integer of ${length} bytes`)
    let value = 0n
    const from = need(length)
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i]!)
    if (length > 0 && bytes[from + length - 1]! & 0x80) value -= 1n << BigInt(8 * length)
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value
  }

  const pop = (): PickleValue => {
    if (stack.length === 0 || stack.at(-1) === MARK) return fail('its pickle takes more from the stack than is there')
    return stack.pop() as PickleValue
  }
  const top = (): PickleValue => {
    if (stack.length === 0 || stack.at(-1) === MARK) return fail('its pickle takes more from the stack than is there')
    return stack.at(-1) as PickleValue
  }
  const popMark = (): PickleValue[] => {
    const mark = stack.lastIndexOf(MARK)
    if (mark < 0) return fail('its pickle takes more from the stack than is there')
    const values = stack.splice(mark + 1) as PickleValue[]
    stack.pop()
    return values
  }
  const setItems = (values: PickleValue[]) => {
    const target = top()
    if (values.length % 2 !== 0) fail('its pickle has a mapping with a key without value')
    if (target instanceof Opaque) return
    if (!(target instanceof Map)) return fail('its pickle puts items into something that is no mapping')
    for (let i = 0; i < values.length; i += 2) target.set(values[i], values[i + 1])
  }
  const append = (values: PickleValue[]) => {
    const target = top()
    if (!Array.isArray(target)) return fail('its pickle appends to something that is no list')
    for (const value of values) target.push(value)
  }
  const remembered = (index: number) => {
    if (!memo.has(index)) fail(`its pickle refers to memo entry ${index}, which is not there`)
    stack.push(memo.get(index))
  }
  const name = (module: string, attribute: string) => {
    const full = `${module.replace('__builtin__', 'builtins')}.${attribute}`
    if (NAMES[full] === undefined && !DTYPE.test(full))
      fail(
        `its pickle names ${full}, which no weights need, and is refused (nothing was executed); save the state_dict alone, torch.save(model.state_dict(), file)`,
      )
    stack.push(new Name(full))
  }
  const sizes = (value: PickleValue, what: string): number[] => {
    if (!Array.isArray(value) || value.length > MAX_DIMENSIONS)
      return fail(`a tensor has no list of at most ${MAX_DIMENSIONS} numbers as ${what}`)
    for (const size of value)
      if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
        fail(`a tensor has ${String(size)} in its ${what}`)
    return value as number[]
  }
  const tensor = (args: PickleValue[]): StoredTensor => {
    const [storage, offset] = args
    if (storage === undefined || !isStorage(storage)) return fail('a tensor has no storage')
    if (typeof offset !== 'number' || !Number.isSafeInteger(offset) || offset < 0)
      return fail(`a tensor has the storage offset ${String(offset)}`)
    const shape = sizes(args[2], 'size')
    const strides = sizes(args[3], 'strides')
    if (shape.length !== strides.length) fail(`a tensor has ${shape.length} sizes and ${strides.length} strides`)
    const count = countOf(shape)
    const last = count === 0 ? -1 : shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, offset)
    if (count > MAX_ELEMENTS || last >= storage.count)
      fail(
        `a tensor of size (${shape.join(', ')}) with strides (${strides.join(', ')}) reaches outside of its storage of ${storage.count} elements`,
      )
    return context.tensor(storage, offset, shape, strides)
  }
  const call = (callee: PickleValue, args: PickleValue): PickleValue => {
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
        return tensor(args)
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
  const persistent = (id: PickleValue): Storage => {
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

  for (;;) {
    const position = at
    const opcode = u8()
    switch (opcode) {
      case 0x80: {
        const protocol = u8()
        if (protocol < 2 || protocol > 5) fail(`its pickle has protocol ${protocol}, expected 2 to 5`)
        break
      }
      case 0x95: // FRAME
        u64()
        break
      case 0x2e: {
        // STOP
        const value = pop()
        return { value, end: at }
      }
      case 0x28:
        stack.push(MARK)
        break
      case 0x30: // POP
        if (stack.length === 0) fail('its pickle takes more from the stack than is there')
        stack.pop()
        break
      case 0x31: // POP_MARK
        popMark()
        break
      case 0x4e:
        stack.push(null)
        break
      case 0x88:
        stack.push(true)
        break
      case 0x89:
        stack.push(false)
        break
      case 0x4a:
        stack.push(i32())
        break
      case 0x4b:
        stack.push(u8())
        break
      case 0x4d:
        stack.push(u16())
        break
      case 0x8a:
        stack.push(integer(u8()))
        break
      case 0x8b:
        stack.push(integer(u32()))
        break
      case 0x47:
        stack.push(bytes.readDoubleBE(need(8)))
        break
      case 0x58:
      case 0x54: // BINUNICODE, BINSTRING
        stack.push(text(u32()))
        break
      case 0x8c:
      case 0x55: // SHORT_BINUNICODE, SHORT_BINSTRING
        stack.push(text(u8()))
        break
      case 0x8d:
        stack.push(text(u64()))
        break
      case 0x42:
        stack.push(raw(u32()))
        break
      case 0x43:
        stack.push(raw(u8()))
        break
      case 0x8e:
        stack.push(raw(u64()))
        break
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        stack.push([])
        break
      case 0x6c: // LIST
      case 0x74: // TUPLE
        stack.push(popMark())
        break
      case 0x85:
        stack.push([pop()])
        break
      case 0x86: {
        const b = pop()
        stack.push([pop(), b])
        break
      }
      case 0x87: {
        const c = pop()
        const b = pop()
        stack.push([pop(), b, c])
        break
      }
      case 0x7d: // EMPTY_DICT
        stack.push(new Map())
        break
      case 0x64: {
        // DICT
        const items = popMark()
        stack.push(new Map())
        setItems(items)
        break
      }
      case 0x8f: // EMPTY_SET
        stack.push(new Set())
        break
      case 0x90: {
        // ADDITEMS
        const items = popMark()
        const target = top()
        if (!(target instanceof Set)) fail('its pickle adds to something that is no set')
        else for (const item of items) target.add(item)
        break
      }
      case 0x61: {
        // APPEND
        const value = pop()
        append([value])
        break
      }
      case 0x65: // APPENDS
        append(popMark())
        break
      case 0x73: {
        // SETITEM
        const value = pop()
        const key = pop()
        setItems([key, value])
        break
      }
      case 0x75: // SETITEMS
        setItems(popMark())
        break
      case 0x71: // BINPUT
        memo.set(u8(), top())
        break
      case 0x72: // LONG_BINPUT
        memo.set(u32(), top())
        break
      case 0x94: // MEMOIZE
        memo.set(memo.size, top())
        break
      case 0x68: // BINGET
        remembered(u8())
        break
      case 0x6a: // LONG_BINGET
        remembered(u32())
        break
      case 0x63: {
        // GLOBAL
        const module = line()
        name(module, line())
        break
      }
      case 0x93: {
        // STACK_GLOBAL
        const attribute = pop()
        const module = pop()
        if (typeof attribute !== 'string' || typeof module !== 'string') fail('its pickle has a name that is no text')
        else name(module, attribute)
        break
      }
      case 0x52: {
        // REDUCE
        const args = pop()
        stack.push(call(pop(), args))
        break
      }
      case 0x81: {
        // NEWOBJ
        const args = pop()
        stack.push(call(pop(), args))
        break
      }
      case 0x62: // BUILD: attributes of an object, of which none is used
        pop()
        top()
        break
      case 0x51: // BINPERSID
        stack.push(persistent(pop()))
        break
      default:
        fail(
          `its pickle has the opcode 0x${opcode.toString(16)} at byte ${position}, which no weights need, and is refused (nothing was executed)`,
        )
    }
  }
}
