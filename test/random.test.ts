import t from 'tap'
import { permutation, philox, randomFor } from '../lib/random.js'

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
t.test('philox gives the published answers', async (t) => {
  const cases: [number[], [number, number], number[]][] = [
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ]
  for (const [counter, key, expected] of cases) {
    const block = Uint32Array.from(counter)
    philox(block, ...key)
    t.same([...block], expected)
  }
})

t.test('a stream depends on seed and keys only', async (t) => {
  const draw = (seed: number, ...keys: number[]): number[] => {
    const random = randomFor(seed, ...keys)
    return Array.from({ length: 9 }, () => random.next())
  }
  t.same(draw(7, 1, 2), draw(7, 1, 2))
  const streams = [
    draw(7, 1, 2),
    draw(7, 2, 1),
    draw(8, 1, 2),
    draw(7, 1),
    draw(7),
    draw(7, 1, 2, 0),
    draw(7, 1, 2 + 2 ** 32),
    draw(7 + 2 ** 32, 1, 2),
    draw(7, 0),
  ]
  t.equal(new Set(streams.flat()).size, 81, 'no number in common')
})

t.test('numbers are uniform', async (t) => {
  const cells = 64,
    draws = 64_000
  const chiSquare = (value: (i: number) => number): number => {
    const counts = new Float64Array(cells)
    for (let i = 0; i < draws; i++) counts[value(i)]!++
    return counts.reduce((sum, n) => sum + (n - draws / cells) ** 2 / (draws / cells), 0)
  }
  // 63 degrees of freedom: 99.99 % lie below 113, and a value below 25 would be too even.
  const within = (value: number, what: string): void => {
    t.ok(value > 25 && value < 113, `${what}: chi square ${value}`)
  }
  const one = randomFor(3)
  within(
    chiSquare(() => Math.floor(one.next() * cells)),
    'one stream',
  )
  within(
    chiSquare(() => Math.floor((one.next() * 4096) % cells)),
    'lower bits',
  )
  within(
    chiSquare((i) => randomFor(3, i).integer(cells)),
    'first numbers of many streams',
  )
  within(
    chiSquare((i) => randomFor(i, 5).integer(cells)),
    'many seeds',
  )
  within(
    chiSquare(
      (i) =>
        randomFor(3, Math.floor(i / 8), i % 8).integer(8) * 8 + randomFor(3, Math.floor(i / 8), (i + 1) % 8).integer(8),
    ),
    'neighbouring keys are independent',
  )
})

t.test('integers and permutations', async (t) => {
  const random = randomFor(1)
  for (let i = 0; i < 1000; i++) {
    const value = random.integer(3)
    if (![0, 1, 2].includes(value)) t.fail(`integer(3) gave ${value}`)
  }
  t.equal(random.integer(1), 0)
  const order = permutation(1000, randomFor(1, 2))
  t.same(
    [...order].sort((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  )
  t.same(order, permutation(1000, randomFor(1, 2)))
  t.ok([...order].filter((v, i) => v === i).length < 8, 'few stay in place')
  t.same([...permutation(0, random)], [])
  // All six orders of three are equally likely.
  const counts = new Map<string, number>()
  for (let i = 0; i < 6000; i++) {
    const key = permutation(3, randomFor(9, i)).join()
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  t.equal(counts.size, 6)
  for (const [key, n] of counts) t.ok(Math.abs(n - 1000) < 130, `${key}: ${n}`)
})
