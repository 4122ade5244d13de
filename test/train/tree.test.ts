// The sum over micro-batches: which additions are made, on any number of ranks that exchange values through queues.
import t from 'tap'
import { shares, treeSum } from '../../lib/train/distributed/tree.js'

/** The additions as text, and how many values a rank held at most. */
async function summed(count: number, ranks: number) {
  const queues = new Map<string, { values: string[]; waiting: ((value: string) => void)[] }>()
  const queue = (from: number, to: number) => {
    const key = `${from} ${to}`
    if (!queues.has(key)) queues.set(key, { values: [], waiting: [] })
    return queues.get(key)!
  }
  let most = 0
  const order: number[][] = []
  const results = await Promise.all(
    Array.from({ length: ranks }, async (_, rank) => {
      let held = 0
      order[rank] = []
      const keep = (value: string) => {
        most = Math.max(most, ++held)
        return { value }
      }
      const result = await treeSum<{ value: string }>(
        count,
        { rank, ranks },
        {
          leaf: async (index) => {
            order[rank]!.push(index)
            return keep(String(index))
          },
          add: async (into, other) => {
            into.value = `(${into.value}+${other.value})`
            held--
          },
          send: async ({ value }, to) => {
            held--
            const { values, waiting } = queue(rank, to)
            const next = waiting.shift()
            if (next) next(value)
            else values.push(value)
          },
          receive: async (from) => {
            const { values, waiting } = queue(from, rank)
            return keep(values.shift() ?? (await new Promise((resolve) => waiting.push(resolve))))
          },
        },
      )
      return result?.value ?? null
    }),
  )
  return { results, most, order }
}

t.test('the additions do not depend on the number of ranks', async (t) => {
  for (let count = 1; count <= 9; count++) {
    const { results, most } = await summed(count, 1)
    for (let ranks = 2; ranks <= count; ranks++) {
      const other = await summed(count, ranks)
      t.same(other.results, [results[0], ...Array(ranks - 1).fill(null)], `${count} on ${ranks}`)
      t.same(
        other.order.flat(),
        Array.from({ length: count }, (_, i) => i),
        'each micro-batch once, in order',
      )
      t.ok(other.most <= Math.ceil(Math.log2(count)) + 1)
    }
    t.ok(most <= Math.ceil(Math.log2(count)) + 1, `${most} values at once for ${count}`)
  }
  t.same((await summed(6, 1)).results, ['(((0+1)+(2+3))+(4+5))'])
})

t.test('shares are contiguous and as equal as can be', async (t) => {
  t.same(shares(8, 3), [0, 2, 5, 8])
  t.same(shares(4, 4), [0, 1, 2, 3, 4])
  t.same(shares(5, 1), [0, 5])
})
