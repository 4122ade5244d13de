// Damages files for fuzz tests: flipped bits, cut, repeated and inserted bytes, numbers at the edges of their range.

/** xorshift32: the same mutations from the same seed. */
export function randomNumbers(seed: number): () => number {
  let state = seed | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

const EDGES = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff]

/** @param weight how much of the file's end is left as it is (raw numbers, of which any value is valid) */
export function mutated(bytes: Buffer, random: () => number, weight = 0): Buffer {
  const below = (n: number) => Math.floor(random() * n)
  let out = Buffer.from(bytes)
  const changes = 1 + below(4)
  for (let i = 0; i < changes; i++) {
    const length = out.length
    if (length < 8) return out
    const at = below(Math.max(8, Math.floor(length * (random() < weight ? 0.1 : 1))) - 7)
    switch (below(7)) {
      case 0:
        out[at] = out[at]! ^ (1 << below(8))
        break
      case 1:
        out[at] = below(256)
        break
      case 2:
        out.writeUInt32LE(EDGES[below(EDGES.length)]!, at)
        break
      case 3:
        out.writeBigUInt64LE(BigInt(Math.floor(random() * 2 ** 53)), at)
        break
      case 4: // cut
        out = Buffer.concat([out.subarray(0, at), out.subarray(at + 1 + below(64))])
        break
      case 5: // repeat
        out = Buffer.concat([out.subarray(0, at), out.subarray(at, at + 1 + below(64)), out.subarray(at)])
        break
      default: // truncate
        out = out.subarray(0, at)
    }
  }
  return out
}
