// The sum over the micro-batches of a step, in pairs: always the same additions in the same order, whichever rank has a
// micro-batch. Floating-point sums depend on their order, so this is what makes a run independent of the number of ranks.
//
// A node of the tree is a range of micro-batches, cut in two after the largest power of two below its length. Its value is
// at the rank that has the first of them; rank r has a contiguous share. Summed from left to right, a rank holds about
// log2(microBatches) values at once.

/** Rank r has the micro-batches from shares[r] to shares[r + 1] - 1. */
export function shares(microBatches: number, ranks: number): number[] {
  return Array.from({ length: ranks + 1 }, (_, rank) => Math.floor((microBatches * rank) / ranks))
}

/** What is done with the values. */
export interface Summands<T> {
  /** The value of a micro-batch of this rank; called in ascending order. */
  leaf(index: number): Promise<T>
  /** into += other; `other` is not used any more. */
  add(into: T, other: T): Promise<void>
  /** The value is not used here any more. */
  send(value: T, to: number): Promise<void>
  receive(from: number): Promise<T>
}

/** The sum, on rank 0; null on all others. @throws what the summands throw */
export async function treeSum<T>(
  microBatches: number,
  { rank, ranks }: { rank: number; ranks: number },
  summands: Summands<T>,
): Promise<T | null> {
  const from = shares(microBatches, ranks)
  const owner = (index: number): number => from.findLastIndex((first) => first <= index)
  const own = { from: from[rank]!, to: from[rank + 1]! }
  const sum = async (a: number, b: number): Promise<T | null> => {
    // Between other ranks.
    if (b <= own.from || a >= own.to) return null
    if (b - a === 1) return await summands.leaf(a)
    const middle = a + 2 ** (Math.ceil(Math.log2(b - a)) - 1)
    const [at, there] = [owner(a), owner(middle)]
    const left = await sum(a, middle)
    const right = await sum(middle, b)
    if (at === there) {
      if (left !== null && right !== null) await summands.add(left, right)
    } else if (there === rank) {
      await summands.send(right!, at)
    } else if (at === rank) {
      await summands.add(left!, await summands.receive(there))
    }
    return at === rank ? left : null
  }
  return await sum(0, microBatches)
}
