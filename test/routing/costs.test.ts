// Plans by measured cost: the table, predicted seconds by hand, smoothing against its sum of costs, the choice of a plan, and a
// real measurement.
import t from 'tap'
import { loadSupernet } from '../../lib/index.js'
import { upscale } from '../../lib/infer/upscale.js'
import type { ModelState } from '../../lib/model-state.js'
import type { InferRegion, NativeEngine } from '../../lib/native.js'
import { type CostTable, checkCostTable, rateOf, regionSeconds } from '../../lib/routing/cost-table.js'
import { leastWithin, multiplierWithin } from '../../lib/routing/lagrange.js'
import { smoothed } from '../../lib/routing/smooth.js'
import { expectedLoss, expectedLossOfTiles } from '../../lib/routing/tile-loss.js'
import { fakeState } from '../support/fake-engine.js'
import { picture } from '../support/infer-pictures.js'
import { integer, random } from '../support/random.js'

/** Subnets of the fake engine: 1e6 x cost FLOP per 1024 pixels x 1.024, 0.25 / 0.5 / 1. */
const table = (change: Partial<CostTable> = {}): CostTable => ({
  threads: 1,
  edges: [32, 128],
  apart: [
    [1e9, 3e9],
    [1e9, 3e9],
    [1e9, 3e9],
  ],
  together: [4e9, 4e9, 4e9],
  perPixel: 1e-9,
  ...change,
})

t.test('rates between measured edges', async (t) => {
  const costs = table()
  t.same([rateOf(costs, 0, 16 * 16), rateOf(costs, 0, 32 * 32), rateOf(costs, 0, 500 * 500)], [1e9, 1e9, 3e9])
  // 64 lies half way between 32 and 128.
  t.ok(Math.abs(rateOf(costs, 0, 64 * 64) - 2e9) < 1)
})

t.test('seconds of regions, by hand', async (t) => {
  const { engine } = fakeState()
  const region = (subnet: number, edge: number): InferRegion => ({
    picture: 0,
    subnet,
    x: 0,
    y: 0,
    width: edge,
    height: edge,
    keepX: 0,
    keepY: 0,
    keepWidth: edge,
    keepHeight: edge,
    rampLeft: 0,
    rampTop: 0,
    rampRight: 0,
    rampBottom: 0,
  })
  const close = (a: number, b: number) => t.ok(Math.abs(a / b - 1) < 1e-9, `${a} is ${b}`)
  // A region of 32 x 32 by the largest subnet has 1.024e6 FLOP.
  const one = 1.024e6 / 1e9
  close(regionSeconds(table(), engine, [region(2, 32), region(1, 32)]), 1.5 * one)
  // Two threads: three equal regions would leave one thread idle, so that the first is shared.
  const two = table({ threads: 2 })
  close(regionSeconds(two, engine, [region(2, 32), region(2, 32)]), one)
  close(regionSeconds(two, engine, [region(2, 32), region(2, 32), region(2, 32)]), 1.024e6 / 4e9 + one)
  // Half and half beside a whole one needs no sharing.
  close(regionSeconds(two, engine, [region(1, 32), region(2, 32), region(1, 32)]), one)
  t.equal(regionSeconds(two, engine, []), 0)
})

t.test('the multiplier is that of the step that the limit stops', async (t) => {
  const value = [
    [1, 3, 10],
    [1, 3, 10],
  ]
  const weight = [
    [4, 1, 0],
    [8, 2, 0],
  ]
  const frequency = [0.5, 0.5]
  // Hull steps from the least weight: 7 / 1 and 2 / 3 in the first class, 7 / 2 and 2 / 6 in the second.
  t.equal(multiplierWithin({ value, weight, frequency }, 0), 7)
  t.equal(multiplierWithin({ value, weight, frequency }, 0.5), 3.5)
  t.ok(Math.abs(multiplierWithin({ value, weight, frequency }, 1.5) - 2 / 3) < 1e-12)
  t.equal(multiplierWithin({ value, weight, frequency }, 6), 0)
  t.same(leastWithin({ value, weight, frequency }, 6), [0, 0])
})

t.test('smoothing lowers the sum of costs', async (t) => {
  const next = random(5)
  const edge = [1, 2, 4]
  for (let round = 0; round < 50; round++) {
    const [columns, rows] = [integer(next, 1, 9), integer(next, 1, 9)]
    const own = Array.from({ length: columns * rows }, () => edge.map(() => 20 * next()))
    const subnets = Array.from({ length: columns * rows }, () => integer(next, 0, 2))
    const total = (map: ArrayLike<number>) => {
      let sum = 0
      for (let i = 0; i < map.length; i++) {
        sum += own[i]![map[i]!]!
        for (const j of [(i + 1) % columns ? i + 1 : -1, i + columns])
          if (j > 0 && j < map.length && map[i] !== map[j]) sum += edge[map[i]!]! + edge[map[j]!]!
      }
      return sum
    }
    const result = smoothed(subnets, { columns, rows }, { own, edge })
    if (total(result) > total(subnets) + 1e-9) t.fail(`round ${round} rose`)
  }
  // A single tile amid others: it stays where it saves more than its context costs.
  const around = [2, 2, 2, 2, 0, 2, 2, 2, 2]
  const saving = (saved: number) => around.map((_, i) => [i === 4 ? 10 - saved : 10, 10, 10])
  const centre = (saved: number) => smoothed(around, { columns: 3, rows: 3 }, { own: saving(saved), edge })[4]
  t.same([centre(19), centre(21)], [2, 0], '4 edges of 1 + 4')
})

/** Errors with which `loss: 0.5` gives smooth tiles subnet 0 and busy ones subnet 2. */
const routed = (): ModelState['router'] => ({
  squaredError: [
    [1e-4, 1e-4, 1e-4],
    [2e-3, 1.5e-3, 1e-3],
    [6e-3, 4e-3, 2e-3],
    [12e-3, 8e-3, 4e-3],
  ],
  bicubicSquaredError: [1e-4, 3e-3, 9e-3, 2e-2],
  frequency: [0.25, 0.25, 0.25, 0.25],
  tiles: 100,
  tileSize: 64,
})

t.test('the fastest plan', async (t) => {
  const state = fakeState({ router: routed(), blur: 1, receptiveField: 40 })
  const image = picture(300, 200)
  const run = (costs: CostTable, more = {}) => upscale(state, image, { loss: 0.3, costs, ...more })

  // The smallest subnet is ten times slower than its FLOPs say: nothing uses it.
  const slow = table({
    apart: [
      [1e8, 1e8],
      [3e9, 3e9],
      [3e9, 3e9],
    ],
  })
  const even = table({ apart: Array.from({ length: 3 }, () => [3e9, 3e9]) })
  const [a, b] = [await run(slow), await run(even)]
  t.equal(a.allocation.histogram[0], 0)
  t.ok(b.allocation.histogram[0]! > 0, `${b.allocation.histogram}`)
  t.ok(b.timings.predicted! > 0)
  t.ok(b.allocation.expected!.loss >= 0)
  t.equal(b.allocation.expectedOverall, null)

  // Where small regions are slow, one subnet takes the whole picture in as few regions as possible.
  const regions = (costs: CostTable) => run(costs).then(() => state.calls.at(-1)!.regions)
  const steep = await regions(table({ edges: [60, 150], apart: Array.from({ length: 3 }, () => [1e6, 3e9]) }))
  t.equal(new Set(steep.map(({ subnet }) => subnet)).size, 1)

  // The same table gives the same pixels, and what was given is kept.
  t.same((await run(even)).data, b.data)
  const fixed = await run(even, { tile: 48 })
  t.equal(fixed.allocation.tiles[0]!.width, 48)
  // Predicted and cheapest: no candidate of the plan is faster than what was chosen.
  for (const tile of [32, 64, 128]) {
    const other = await run(even, { tile, regionPixels: 1 << 15 })
    t.ok(
      b.timings.predicted! <= other.timings.predicted! || b.allocation.expected!.loss < other.allocation.expected!.loss,
    )
  }
})

t.test('the expectation of tiles is that of their map', async (t) => {
  const map = [0, 1, 2, 2]
  const shares = [0.1, 0.2, 0.3, 0.4]
  const tiles = shares.map((share, k) => ({ class: k + 1, subnet: map[k]!, share }))
  t.equal(expectedLossOfTiles(routed()!, tiles), expectedLoss(routed()!, shares, map))
})

t.test('what cannot be planned is refused', async (t) => {
  const image = picture(64, 64)
  const state = fakeState({ router: routed() })
  const refused = (options: object, message: RegExp, of = state) =>
    t.rejects(upscale(of, image, options), { code: 'WBSR_INVALID_OPTION', message })
  await refused({ costs: table(), budget: 0.5 }, /unless the router is 'calibrated' and aims at `loss` for costs/)
  await refused({ costs: table(), router: { subnet: 0 } }, /unless the router.* for costs/)
  await refused({ costs: table(), router: { tiles: [0] } }, /nothing with router \{ tiles \} for costs/)
  await refused({ costs: table(), tile: 'image' }, / for tile /)
  await refused({ costs: table({ threads: 3 }) }, /with the device's 1 threads for costs/)
  await refused({ costs: table({ apart: [[1, 1]] }) }, /this model's 3 subnets, .* for costs/)
  await refused({ costs: table({ edges: [64, 32] }) }, / for costs /)
  await refused({ costs: {} }, / for costs /)
  await refused({ costs: table() }, /regions of fixed shapes/, fakeState({ router: routed(), regular: true }))
  t.throws(() => checkCostTable(table({ perPixel: Number.NaN }), state.engine as NativeEngine), {
    code: 'WBSR_INVALID_OPTION',
  })
})

t.test('a measured table of a real model', async (t) => {
  await using model = await loadSupernet('wbsr:x2', { device: 'cpu', threads: 1 })
  const costs = await model.measureCosts({ rounds: 1 })
  t.same([costs.threads, costs.apart.length], [1, model.subnets.length])
  const image = picture(150, 100)
  const plain = await model.upscale(image)
  const planned = await model.upscale(image, { costs: JSON.parse(JSON.stringify(costs)) })
  t.same([planned.width, planned.height], [plain.width, plain.height])
  t.ok(planned.timings.predicted! > 0)
  // Smaller regions never run faster by much: a picture of four times the size takes longer.
  const large = await model.upscale(picture(300, 200), { costs })
  t.ok(large.timings.predicted! > planned.timings.predicted!)
  await t.rejects(model.measureCosts({ rounds: 0 }), { code: 'WBSR_INVALID_OPTION' })
  await t.rejects(model.measureCosts({ signal: AbortSignal.abort() }), { code: 'WBSR_ABORTED' })
  const stop = new AbortController()
  const measuring = model.measureCosts({ rounds: 100, signal: stop.signal })
  setTimeout(() => stop.abort(), 50)
  await t.rejects(measuring, { code: 'WBSR_ABORTED' })
})
