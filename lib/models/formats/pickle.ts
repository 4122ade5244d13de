// Reads the data of a Python pickle without executing anything. A pickle is a program for a stack machine; this file
// implements the part of that machine that files of torch.save need (protocols 2 to 5). Only the names of
// pickle-values.ts are known. Any other name, and any opcode that is not implemented, ends reading with an error, so that
// no file can cause code to run. Every opcode consumes at least one byte and adds at most one value, so time and memory
// are linear in the file's size.

import { PickleBytes } from './pickle-bytes.js'
import { call, type PickleContext, storageOf } from './pickle-objects.js'
import { DTYPE, NAMES, Name, Opaque, type PickleValue } from './pickle-values.js'

const MARK = Symbol('mark')
type Slot = PickleValue | typeof MARK

/** One pickle of `bytes`, from `start` on. `end` is where the next one may follow. */
export function readPickle(bytes: Buffer, start: number, context: PickleContext): { value: PickleValue; end: number } {
  const { fail } = context
  const stack: Slot[] = []
  const memo = new Map<number, PickleValue>()
  const input = new PickleBytes(bytes, start, fail)

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
  for (;;) {
    const position = input.at
    const opcode = input.u8()
    switch (opcode) {
      case 0x80: {
        const protocol = input.u8()
        if (protocol < 2 || protocol > 5) fail(`its pickle has protocol ${protocol}, expected 2 to 5`)
        break
      }
      case 0x95: // FRAME
        input.u64()
        break
      case 0x2e: {
        // STOP
        const value = pop()
        return { value, end: input.at }
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
        stack.push(input.i32())
        break
      case 0x4b:
        stack.push(input.u8())
        break
      case 0x4d:
        stack.push(input.u16())
        break
      case 0x8a:
        stack.push(input.integer(input.u8()))
        break
      case 0x8b:
        stack.push(input.integer(input.u32()))
        break
      case 0x47:
        stack.push(input.f64())
        break
      case 0x58:
      case 0x54: // BINUNICODE, BINSTRING
        stack.push(input.text(input.u32()))
        break
      case 0x8c:
      case 0x55: // SHORT_BINUNICODE, SHORT_BINSTRING
        stack.push(input.text(input.u8()))
        break
      case 0x8d:
        stack.push(input.text(input.u64()))
        break
      case 0x42:
        stack.push(input.raw(input.u32()))
        break
      case 0x43:
        stack.push(input.raw(input.u8()))
        break
      case 0x8e:
        stack.push(input.raw(input.u64()))
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
        memo.set(input.u8(), top())
        break
      case 0x72: // LONG_BINPUT
        memo.set(input.u32(), top())
        break
      case 0x94: // MEMOIZE
        memo.set(memo.size, top())
        break
      case 0x68: // BINGET
        remembered(input.u8())
        break
      case 0x6a: // LONG_BINGET
        remembered(input.u32())
        break
      case 0x63: {
        // GLOBAL
        const module = input.line()
        name(module, input.line())
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
        stack.push(call(pop(), args, context))
        break
      }
      case 0x81: {
        // NEWOBJ
        const args = pop()
        stack.push(call(pop(), args, context))
        break
      }
      case 0x62: // BUILD: attributes of an object, of which none is used
        pop()
        top()
        break
      case 0x51: // BINPERSID
        stack.push(storageOf(pop(), context))
        break
      default:
        fail(
          `its pickle has the opcode 0x${opcode.toString(16)} at byte ${position}, which no weights need, and is refused (nothing was executed)`,
        )
    }
  }
}
