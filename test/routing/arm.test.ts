// Router 'arm': its edge score and its map worked out by hand, its table measured, and the same choice in every kind of call.
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import sharp from 'sharp'
import t from 'tap'
import { readSafetensors, writeSafetensors } from '../../lib/files/safetensors.js'
import { calibrateRouter, evaluate, loadSupernet, tilesOf, type UpscaledTile } from '../../lib/index.js'
import { SupernetModel, stateOf } from '../../lib/models/model.js'
import { arm } from '../../lib/routing/arm.js'
import { edgeScores } from '../../lib/routing/edge-score.js'
import { bestAtPrice, bestWithinBudget } from '../../lib/routing/price.js'
import { picture, save } from '../support/data-pictures.js'
import { realState } from '../support/real-state.js'
import { cuttings, tiny } from '../support/training.js'

t.test('the edge score is the mean absolute Laplacian of 8-bit luma', async (t) => {
  // Mirrored at its edges the 2 x 2 tile has around a pixel four times the pixel diagonally opposite.
  const grey = Uint8Array.of(10, 20, 30, 15)
  const expected = [8 * 15 - 80, 8 * 30 - 160, 8 * 20 - 240, 8 * 10 - 120].map(Math.abs)
  t.equal(edgeScores(grey, 2, 1, Int32Array.of(0, 0, 2, 2))[0], expected.reduce((a, b) => a + b) / 4)
  t.equal(edgeScores(Uint8Array.of(0, 255, 255, 0), 2, 1, Int32Array.of(0, 0, 2, 2))[0], 0, 'equal diagonals')
  t.equal(edgeScores(Uint8Array.of(0, 0, 0, 255), 2, 1, Int32Array.of(0, 0, 2, 2))[0], (2 * 255) / 4, 'at most 255')
  t.equal(edgeScores(Uint8Array.of(7), 1, 1, Int32Array.of(0, 0, 1, 1))[0], 0, 'a single pixel')
  // The middle of 3 x 3 alone, and the same in colour, in 16 bits, in float and under opaque alpha.
  const middle = Uint8Array.of(1, 2, 3, 4, 90, 6, 7, 8, 9)
  const score = edgeScores(middle, 3, 1, Int32Array.of(0, 0, 3, 3))[0]!
  const spread = <T extends Uint8Array | Uint16Array | Float32Array>(into: T, of: (v: number) => number[]): T => {
    into.set([...middle].flatMap(of))
    return into
  }
  const rect = Int32Array.of(0, 0, 3, 3)
  t.equal(
    edgeScores(
      spread(new Uint8Array(27), (v) => [v, v, v]),
      3,
      3,
      rect,
    )[0],
    score,
  )
  t.equal(
    edgeScores(
      spread(new Uint16Array(9), (v) => [v * 257]),
      3,
      1,
      rect,
    )[0],
    score,
  )
  t.equal(
    edgeScores(
      spread(new Float32Array(9), (v) => [v / 255]),
      3,
      1,
      rect,
    )[0],
    score,
  )
  t.equal(
    edgeScores(
      spread(new Uint8Array(18), (v) => [v, 255]),
      3,
      2,
      rect,
    )[0],
    score,
  )
  t.equal(
    edgeScores(
      spread(new Uint8Array(18), (v) => [v, 0]),
      3,
      2,
      rect,
    )[0],
    0,
    'hidden colours do not count',
  )
  // Rectangles do not see beyond their edges.
  t.strictSame(edgeScores(middle, 3, 1, Int32Array.of(0, 0, 1, 3, 0, 0, 3, 3)), Float64Array.of(16, score))
})

t.test('the map is the subnet of the largest PSNR - alpha cost', async (t) => {
  const psnr = [
    [40, 40.1, 40.2],
    [30, 31, 31.15],
  ]
  const costs = [0.25, 0.5, 1]
  t.same(bestAtPrice(psnr, costs, 0.1), [2, 2])
  t.same(bestAtPrice(psnr, costs, 0.25), [1, 2])
  t.same(bestAtPrice(psnr, costs, 0.35), [1, 1])
  t.same(bestAtPrice(psnr, costs, 0.5), [0, 1])
  t.same(bestAtPrice(psnr, costs, 5), [0, 0])
  // Prices at which a class changes: .2 and .4 (the first one), .3 and 4.
  t.same(bestWithinBudget(psnr, costs, [0.5, 0.5], 1), [2, 2])
  t.same(bestWithinBudget(psnr, costs, [0.5, 0.5], 0.75), [1, 2])
  t.same(bestWithinBudget(psnr, costs, [0.5, 0.5], 0.74), [1, 1])
  t.same(bestWithinBudget(psnr, costs, [0.5, 0.5], 0.49), [0, 1])
  t.same(bestWithinBudget(psnr, costs, [0.5, 0.5], 0.3), [0, 0])
  t.same(bestWithinBudget(psnr, costs, [0.5, 0.5], 0.1), [0, 0])
  t.same(bestAtPrice([[3, 3, 2]], costs, 0), [0], 'of equal ones the cheapest')
  const table = { psnr } as never
  const input = { classes: 2, costs, frequency: [0.5, 0.5], alpha: 1, table }
  t.same(arm.map({ ...input, goal: { alpha: 0.25 } }), [1, 2])
  t.same(arm.map({ ...input, goal: { budget: 0.75 } }), [1, 2])
  t.same(arm.map({ ...input, goal: { budget: 1 } }), [2, 2])
})

t.test('the table is measured, kept in the file, and used by every kind of call', async (t) => {
  const folder = t.testdir({ hr: {} })
  const hr = await cuttings(path.join(folder, 'hr'))
  const lr = path.join(folder, 'lr.png')
  await save(lr, picture(150, 140, 3, 160))
  const model = new SupernetModel(realState(tiny, { gain: 3 }))
  await t.rejects(model.upscale(lr, { router: 'arm' }), {
    message: /no table of ARM: calibrateRouter\(model, \{ router: 'arm'/,
  })
  const before = JSON.stringify([model.classes, model.router])
  await calibrateRouter(model, { router: 'arm', hr, tileSize: 32 })
  t.equal(JSON.stringify([model.classes, model.router]), before, "the table of 'calibrated' stays")
  const { classes, table } = stateOf(model).arm!
  t.match(classes, { count: 30, measure: 'edge' })
  t.ok(classes.thresholds.every((v, i) => v >= 0 && v <= 255 && (i === 0 || v > classes.thresholds[i - 1]!)))
  t.match(table, { psnr: { length: 30 }, squaredError: { length: 30 }, tiles: 27, tileSize: 32 })
  t.ok(Math.abs(table.frequency.reduce((a, b) => a + b) - 1) < 1e-9)

  // These weights learned nothing. As if larger subnets were worth more where there are edges:
  table.psnr = table.psnr!.map((_, k) => [0, 1, 2, 3].map((m) => 30 + 0.02 * k * m))

  const file = path.join(folder, 'arm.safetensors')
  await model.save(file)
  await using net = await loadSupernet(file, { device: 'cpu', threads: 1 })
  t.same(stateOf(net).arm, stateOf(model).arm)
  model.dispose()

  const tile = 32
  for (const budget of [0.4, 0.7, 1]) {
    const { allocation } = await net.upscale(lr, { router: 'arm', budget, tile })
    t.ok(allocation.spent <= Math.max(budget, 0.4) + (budget === 1 ? 1 : 0), `${allocation.spent} of ${budget}`)
    t.ok(allocation.expected && allocation.tiles.every(({ class: k }) => k >= 1 && k <= 30))
    const maps = new Set(allocation.tiles.map(({ class: k, subnet }) => `${k} ${subnet}`))
    t.equal(maps.size, new Set(allocation.tiles.map(({ class: k }) => k)).size, 'one subnet for a class')
  }
  const price = (alpha: number) => net.upscale(lr, { router: 'arm', alpha, tile })
  const [free, dear] = [await price(1e-9), await price(1e6)]
  t.equal(dear.allocation.histogram[0], dear.allocation.tiles.length, 'at a high price the cheapest')
  t.ok(free.allocation.flops > dear.allocation.flops)
  await t.rejects(net.upscale(lr, { router: 'arm', alpha: 1, budget: 0.5 }), {
    message: /only one for budget and alpha/,
  })
  await t.rejects(net.upscale(lr, { router: 'arm', loss: 0.1 }), { message: /nothing with this router/ })

  // The stream and the file get the map of all pictures.
  const options = { router: 'arm', budget: 0.6 } as const
  const whole = await net.upscale(lr, { ...options, tile, budgetScope: 'dataset' })
  const subnets: number[] = []
  await pipeline(tilesOf(lr, { size: tile }), net.inferStream(options), async (tiles: AsyncIterable<UpscaledTile>) => {
    for await (const made of tiles) subnets.push(made.subnet)
  })
  t.same(
    subnets,
    whole.allocation.tiles.map(({ subnet }) => subnet),
  )
  t.ok(new Set(subnets).size > 1, 'several subnets')
  const rows = net.upscaleStream({ ...options, width: 150, height: 140, tile })
  rows.end(await sharp(lr).raw().toBuffer())
  t.ok(Buffer.from(whole.data.buffer, whole.data.byteOffset, whole.data.byteLength).equals(await buffer(rows)))
  const paper = await net.upscale(lr, { router: 'arm', alpha: 0.2, protocol: 'paper' })
  t.ok(paper.allocation.tiles.every(({ class: k, subnet }) => k <= 30 && subnet >= 0))

  const { sets } = await evaluate(net, {
    sets: { cuttings: hr },
    ssim: false,
    runs: [
      { router: 'arm', budget: 0.5 },
      { router: 'arm', alpha: 0.1 },
    ],
  })
  t.ok(sets[0]!.summary['arm 0.5']!.share <= 0.5 && sets[0]!.summary['arm alpha 0.1']!.psnr.y > 0)

  // Nothing in a file is believed.
  const { tensors, metadata } = await readSafetensors(file)
  const kept = JSON.parse(metadata['wbsr.arm']!)
  for (const [arm_, message] of [
    [{ ...kept, table: { ...kept.table, psnr: [[1]] } }, /wbsr\.arm has no PSNR of 30 classes by 4 subnets/],
    [{ ...kept, table: { ...kept.table, squaredError: [] } }, /wbsr\.arm is not a table of 30 classes/],
    [{ ...kept, classes: { count: 2 } }, /wbsr\.arm is not \{ count, thresholds/],
  ] as const) {
    const damaged = path.join(folder, 'damaged.safetensors')
    await writeSafetensors(
      damaged,
      [...tensors].map(([name, tensor]) => ({ ...tensor, name })),
      { ...metadata, 'wbsr.arm': JSON.stringify(arm_) },
    )
    await t.rejects(loadSupernet(damaged, { device: 'cpu' }), { code: 'WBSR_INVALID_FILE', message })
  }
  for (const key of ['classes', 'thresholds'])
    await t.rejects(calibrateRouter(net, { router: 'arm', hr, [key]: 5 }), { message: /nothing with router 'arm'/ })
})
