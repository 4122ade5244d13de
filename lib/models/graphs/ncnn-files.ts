// The two files of a model of ncnn: a text that describes the graph (.param) and a row of weights (.bin).

import { widen } from '../../files/half.js'
import { damaged, type ReadBudget } from '../../files/read-budget.js'

const MAGIC = '7767517'
const MAX_LAYERS = 20_000

/** Weights in half precision. */
const TAG_HALF = 0x01306b47
/** Weights in float32 with a tag that declares it. */
const TAG_FLOAT = 0x0002c056

export function isNcnnParam(bytes: Buffer): boolean {
  return /^\s*7767517\s/.test(bytes.toString('latin1', 0, 32))
}

export interface Layer {
  type: string
  name: string
  inputs: string[]
  outputs: string[]
  /** Numbers by id, or rows of numbers. */
  parameters: Map<number, number | number[]>
}

/** @throws WbsrError WBSR_INVALID_FILE naming the line */
export function readParam(file: string, text: string): Layer[] {
  const lines = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
  if (lines[0] !== MAGIC) throw damaged(file, `is not a .param file of ncnn: expected ${MAGIC} in the first line`)
  const count = Number(lines[1]?.split(/\s+/)[0])
  if (!Number.isInteger(count) || count < 2 || count > MAX_LAYERS || lines.length !== count + 2)
    throw damaged(file, `says that it has ${lines[1]} layers and blobs but has ${lines.length - 2} layers`)
  return lines.slice(2).map((line, index) => {
    const fail = (what: string): never => {
      throw damaged(file, `layer ${index} (${line.slice(0, 60)}): ${what}`)
    }
    const [type = '', name = '', inputCount = '', outputCount = '', ...rest] = line.split(/\s+/)
    const [ins, outs] = [Number(inputCount), Number(outputCount)]
    if (!(Number.isInteger(ins) && Number.isInteger(outs) && ins >= 0 && outs >= 0 && ins + outs <= rest.length))
      fail('its numbers of inputs and outputs do not fit')
    const parameters = new Map<number, number | number[]>()
    for (const entry of rest.slice(ins + outs)) {
      const [key = '', value = ''] = entry.split('=')
      const numbers = value.split(',').map(Number)
      const id = Number(key)
      if (value === '' || !Number.isInteger(id) || numbers.some((n) => !Number.isFinite(n)))
        fail(`cannot read ${entry}`)
      // Ids from -23300 downwards are rows: their length, then their values.
      if (id <= -23300) {
        if (numbers[0] !== numbers.length - 1) fail(`cannot read ${entry}`)
        parameters.set(-23300 - id, numbers.slice(1))
      } else parameters.set(id, numbers[0]!)
    }
    return { type, name, inputs: rest.slice(0, ins), outputs: rest.slice(ins, ins + outs), parameters }
  })
}

/** The row of weights, in the order of the layers. */
export class Weights {
  readonly #file: string
  readonly #bytes: Buffer
  readonly #budget: ReadBudget
  #at = 0

  constructor(file: string, bytes: Buffer, budget: ReadBudget) {
    this.#file = file
    this.#bytes = bytes
    this.#budget = budget
  }

  #take(size: number, what: string): Buffer {
    if (!(size >= 0) || this.#at + size > this.#bytes.length)
      throw damaged(
        this.#file,
        `is too short: ${what} should have ${size} bytes, ${this.#bytes.length - this.#at} are left`,
      )
    this.#at += size
    return this.#bytes.subarray(this.#at - size, this.#at)
  }

  /** Numbers in float32. */
  plain(count: number, what: string): Float32Array {
    this.#budget.take(4 * count, what)
    return new Float32Array(new Uint8Array(this.#take(4 * count, what)).buffer)
  }

  /** Numbers after a tag that declares their format. */
  tagged(count: number, what: string): Float32Array {
    const tag = this.#take(4, what).readUInt32LE(0)
    if (tag === 0 || tag === TAG_FLOAT) return this.plain(count, what)
    if (tag !== TAG_HALF)
      throw damaged(
        this.#file,
        `${what} is stored with tag 0x${tag.toString(16)} (8 bits or a table), expected float16 or float32`,
      )
    this.#budget.take(4 * count, what)
    const halves = this.#take(2 * count, what)
    // Up to the next multiple of four bytes.
    this.#take((4 - ((2 * count) % 4)) % 4, what)
    return widen(new Uint16Array(new Uint8Array(halves).buffer), 'F16')
  }

  end(): void {
    if (this.#at !== this.#bytes.length)
      throw damaged(this.#file, `has ${this.#bytes.length} bytes where ${this.#at} are expected`)
  }
}
