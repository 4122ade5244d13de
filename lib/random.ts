// Random numbers that need no state: what is drawn depends only on the seed and on keys such as step and slot. A run that
// is resumed at step k therefore draws what the uninterrupted run draws there, and nothing has to be saved for it.
// The generator is Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011), in 32-bit arithmetic.

/** A stream of random numbers. */
export interface RandomStream {
  /** Uniform in [0, 1), 53 bits. */
  next(): number
  /** Uniform integer in [0, n), n from 1 to 2^32. */
  integer(n: number): number
}

/** High 32 bits of the unsigned product a * b (Math.imul gives the low ones). */
function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff,
    a1 = a >>> 16
  const b0 = b & 0xffff,
    b1 = b >>> 16
  const cross = a1 * b0 + ((a0 * b0) >>> 16) // below 2^32
  const middle = a0 * b1 + (cross & 0xffff) // below 2^32
  return (a1 * b1 + Math.floor(cross / 0x10000) + Math.floor(middle / 0x10000)) >>> 0
}

/**
 * One Philox4x32-10 block: replaces the four 32-bit words of `counter` by four random ones, for the 64-bit key
 * (key0, key1).
 */
export function philox(counter: Uint32Array, key0: number, key1: number): void {
  let c0 = counter[0]!,
    c1 = counter[1]!,
    c2 = counter[2]!,
    c3 = counter[3]!
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0),
      low0 = Math.imul(0xd2511f53, c0)
    const high1 = multiplyHigh(0xcd9e8d57, c2),
      low1 = Math.imul(0xcd9e8d57, c2)
    c0 = (high1 ^ c1 ^ key0) >>> 0
    c1 = low1 >>> 0
    c2 = (high0 ^ c3 ^ key1) >>> 0
    c3 = low0 >>> 0
    key0 = (key0 + 0x9e3779b9) >>> 0
    key1 = (key1 + 0xbb67ae85) >>> 0
  }
  counter[0] = c0
  counter[1] = c1
  counter[2] = c2
  counter[3] = c3
}

/**
 * The stream of a seed and any number of keys (non-negative integers up to 2^53 - 1). Different keys, and different numbers
 * of keys, give independent streams; the same ones always give the same numbers.
 */
export function randomFor(seed: number, ...keys: number[]): RandomStream {
  const block = new Uint32Array(4)
  let key0 = seed >>> 0
  let key1 = Math.floor(seed / 0x100000000) >>> 0
  keys.forEach((key, i) => {
    // The last word tells the absorbing of keys (i + 1) from the stream itself (0).
    block.set([key >>> 0, Math.floor(key / 0x100000000) >>> 0, 0, i + 1])
    philox(block, key0, key1)
    key0 = block[0]!
    key1 = block[1]!
  })
  let drawn = 0 // blocks
  let used = 4 // words of the current block
  const word = (): number => {
    if (used === 4) {
      block.set([drawn >>> 0, Math.floor(drawn / 0x100000000), 0, 0])
      philox(block, key0, key1)
      drawn++
      used = 0
    }
    return block[used++]!
  }
  const next = (): number => {
    const high = word() >>> 5
    return (high * 0x4000000 + (word() >>> 6)) / 0x20000000000000
  }
  return { next, integer: (n) => Math.floor(next() * n) }
}

/** A uniformly random order of 0 .. count - 1 (Fisher-Yates). */
export function permutation(count: number, random: RandomStream): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = random.integer(i + 1)
    const swapped = order[i]!
    order[i] = order[j]!
    order[j] = swapped
  }
  return order
}
