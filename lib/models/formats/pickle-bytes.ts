// Reads the numbers and texts that the opcodes of a pickle have as arguments.

/** A position in `bytes`. Reading past the end calls `fail`, which throws. */
export class PickleBytes {
  readonly #bytes: Buffer
  readonly #fail: (what: string) => never
  /** Position of the next byte. */
  at: number

  constructor(bytes: Buffer, start: number, fail: (what: string) => never) {
    this.#bytes = bytes
    this.#fail = fail
    this.at = start
  }

  /** Moves over `count` bytes; returns where they begin. */
  #take(count: number): number {
    const from = this.at
    if (!(count >= 0) || from + count > this.#bytes.length) this.#fail(`its pickle is truncated at byte ${from}`)
    this.at = from + count
    return from
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2))
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4))
  }

  i32(): number {
    return this.#bytes.readInt32LE(this.#take(4))
  }

  u64(): number {
    const value = Number(this.#bytes.readBigUInt64LE(this.#take(8)))
    if (!Number.isSafeInteger(value)) this.#fail(`its pickle has a length of ${value} bytes`)
    return value
  }

  f64(): number {
    return this.#bytes.readDoubleBE(this.#take(8))
  }

  text(length: number): string {
    return this.#bytes.toString('utf8', this.#take(length), this.at)
  }

  raw(length: number): Uint8Array {
    return new Uint8Array(this.#bytes.subarray(this.#take(length), this.at))
  }

  /** Up to the next newline, which is skipped. */
  line(): string {
    const stop = this.#bytes.indexOf(10, this.at)
    if (stop < 0) this.#fail('its pickle is truncated')
    const value = this.#bytes.toString('utf8', this.at, stop)
    this.at = stop + 1
    return value
  }

  /** A signed integer of `length` bytes, little-endian; a bigint where a number cannot hold it. */
  integer(length: number): number | bigint {
    if (length > 64) this.#fail(`its pickle has an integer of ${length} bytes`)
    let value = 0n
    const from = this.#take(length)
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[from + i]!)
    if (length > 0 && this.#bytes[from + length - 1]! & 0x80) value -= 1n << BigInt(8 * length)
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value
  }
}
