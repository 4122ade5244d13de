// The options `loss` and `guarantee`: maps by hand and against brute force, what tables hold, what upscale reports, and
// whether both keep their word on tiles that calibration never saw.
import t from 'tap'
import { upscale } from '../../lib/infer/upscale.js'
import { randomFor } from '../../lib/random.js'
import { calibrate } from '../../lib/routing/calibrate.js'
import { guaranteedMap, lossMap } from '../../lib/routing/calibrated.js'
import { checkRouting } from '../../lib/routing/options.js'
import {
  addedErrors,
  expectedLoss,
  expectedLossOverall,
  lossOf,
  lostTiles,
  quantilesOf,
  ranksOf,
} from '../../lib/routing/tile-loss.js'
import { createInferStream } from '../../lib/stream/infer-stream.js'
import type { RawImage, UpscaledTile } from '../../lib/types.js'
import { type FakeState, fakeState } from '../support/fake-engine.js'
import { nearest, picture } from '../support/infer-pictures.js'
import { integer, random } from '../support/random.js'

t.test('losses in dB, by hand', async (t) => {
  const close = (a: number, b: number) => t.ok(Math.abs(a - b) < 1e-3, `${a} is ${b}`)
  close(lossOf(2e-3, 1e-3), 3.008)
  close(lossOf(1e-3, 1e-3), 0)
  close(lossOf(0.5e-3, 1e-3), -3.005)
  // Both round to the same 8 bits.
  t.ok(lossOf(1e-9, 0) < 0.005)
})

t.test('what classes add to the error of pictures, by hand', async (t) => {
  // Errors far above that of rounding, 1.3e-6.
  const squaredError = [
    [3e-3, 2e-3, 1e-3],
    [30e-3, 20e-3, 10e-3],
    [5e-3, 10e-3, 10e-3],
  ]
  const near = (actual: number[][], wanted: number[][]) =>
    t.ok(
      actual.every((row, k) => row.every((v, m) => Math.abs(v - wanted[k]![m]!) < 0.005)),
      JSON.stringify(actual),
    )
  // All tiles in one picture, whose error is 0.5 * 1e-3 + 0.5 * 10e-3: the easy class hardly shows.
  const frequency = [0.5, 0.5, 0]
  near(addedErrors({ squaredError, frequency }), [
    [2 / 5.5, 1 / 5.5, 0],
    [20 / 5.5, 10 / 5.5, 0],
    [0, 0, 0],
  ])
  // Two pictures of one class each: both lose as much.
  const pictures = [
    [1, 0, 0],
    [0, 1, 0],
  ]
  near(addedErrors({ squaredError, frequency, pictures }), [
    [2, 1, 0],
    [2, 1, 0],
    [0, 0, 0],
  ])
  near(addedErrors({ squaredError, frequency, pictures }, 1), [
    [0.5, 0, 0],
    [0.5, 0, 0],
    [0, 0, 0],
  ])
  // A class that is in no picture is not free.
  const unseen = addedErrors({ squaredError, frequency: [1, 0, 0], pictures: [[1, 0, 0]] })
  t.ok(unseen[1]![0]! > 19, String(unseen[1]))

  const loss = (shares: number[], map: number[]) => expectedLoss({ squaredError, frequency }, shares, map)
  t.ok(Math.abs(loss([1, 0, 0], [0, 2, 2]) - 10 * Math.log10(3)) < 0.01)
  t.ok(Math.abs(loss([0.5, 0.5, 0], [0, 2, 2]) - 10 * Math.log10(6.5 / 5.5)) < 0.01)
  t.equal(loss([0, 0, 1], [0, 0, 0]), 0, 'never better than the largest subnet')
  const overall = expectedLossOverall({ squaredError, frequency, pictures }, [0, 2, 2])
  t.ok(Math.abs(overall - 5 * Math.log10(3)) < 0.01, `${overall}: mean of both pictures`)
})

t.test('the cheapest map of an expected loss, by hand', async (t) => {
  const added = [
    [0.02, 0.01, 0],
    [0.1, 0.04, 0],
    [0.5, 0.3, 0],
  ]
  const inDecibel = (share: number) => 10 * Math.log10(1 + share)
  const costs = [0.25, 0.5, 1]
  const at = (share: number, frequency = [0.5, 0.25, 0.25]) => lossMap(added, costs, frequency, inDecibel(share))
  t.same(at(0), [2, 2, 2])
  t.same(at(0.005), [1, 2, 2], 'half of the tiles at 0.01')
  t.same(at(0.01), [0, 2, 2])
  t.same(at(0.02), [0, 1, 2])
  t.same(at(0.035), [0, 0, 2])
  t.same(at(1), [0, 0, 0])
  t.same(at(0.02, [1, 0, 0]).slice(0, 1), [0])
  t.same(lossMap([[0, 0, 0]], costs, [1], 0), [0], 'what is lost nowhere costs nothing')
})

t.test('the cheapest map of an expected loss, against brute force', async (t) => {
  const next = random(17)
  let exact = 0
  const runs = 60
  for (let run = 0; run < runs; run++) {
    const [classes, subnets] = [integer(next, 1, 4), integer(next, 1, 5)]
    const costs = Array.from({ length: subnets }, () => 0.1 + next()).sort((a, b) => a - b)
    const losses = Array.from({ length: classes }, () =>
      [...Array.from({ length: subnets - 1 }, () => 0.2 * next()).sort((a, b) => b - a), 0].slice(-subnets),
    )
    const raw = Array.from({ length: classes }, () => next() + 0.02)
    const frequency = raw.map((f) => f / raw.reduce((a, b) => a + b))
    const wanted = 0.15 * next()
    const mean = (map: number[], of: (k: number, m: number) => number) =>
      map.reduce((sum, m, k) => sum + frequency[k]! * of(k, m), 0)
    const map = lossMap(losses, costs, frequency, 10 * Math.log10(1 + wanted))
    const cost = mean(map, (_, m) => costs[m]!)
    if (mean(map, (k, m) => losses[k]![m]!) > wanted + 1e-9) t.fail('loses more than wanted')
    let best = Infinity
    for (let code = 0; code < subnets ** classes; code++) {
      const other = Array.from({ length: classes }, (_, k) => Math.floor(code / subnets ** k) % subnets)
      if (mean(other, (k, m) => losses[k]![m]!) <= wanted)
        best = Math.min(
          best,
          mean(other, (_, m) => costs[m]!),
        )
    }
    if (cost <= best + 1e-12) exact++
    t.ok(cost <= 1.15 * best, `${cost} of ${best}`)
  }
  t.ok(exact > 0.8 * runs, `${exact} of ${runs} are the optimum`)
})

t.test('quantiles of tile losses', async (t) => {
  t.same(ranksOf(3), [1, 2, 3])
  t.same(ranksOf(0), [])
  t.equal(ranksOf(1000).length, 128)
  t.same([ranksOf(1000)[0], ranksOf(1000).at(-1)], [8, 1000])
  const tiles = [
    [0.3, 0.1, 0],
    [0.02, 0.05, 0],
    [0.11111, -0.2, 0],
  ]
  // Of the second tile the small subnet does better than the middle one, which would be chosen for more quality.
  t.same(quantilesOf(tiles, 3), [
    [0.05, 0.1112, 0.3],
    [0, 0.05, 0.1],
    [0, 0, 0],
  ])
  const losses = { tiles: [3], quantiles: [quantilesOf(tiles, 3)] }
  const lost = (most: number) => [0, 1, 2].map((m) => lostTiles(losses, 0, m, most))
  t.same(lost(0.1), [2, 0, 0])
  t.same(lost(0.01), [3, 2, 0])
  // Of many tiles what lies between two stored ranks counts as lost.
  const many = Array.from({ length: 1000 }, (_, i) => [i / 1000, 0])
  const stored = { tiles: [1000], quantiles: [quantilesOf(many, 2)] }
  t.equal(lostTiles(stored, 0, 0, 0.5), 500, 'rank 500 is stored, not 501, which is 0.5')
  for (const most of [0, 0.1, 0.333, 0.9, 2]) {
    const real = many.filter(([loss]) => loss! > most).length
    const counted = lostTiles(stored, 0, 0, most)
    t.ok(counted >= real && counted <= real + 8, `${counted} for ${real} lost`)
  }
})

t.test('the map of a guarantee, by hand', async (t) => {
  // 39 tiles; 95 % allow (1 - 0.95) 40 - 1 = 1 lost tile, 90 % allow 3.
  const tilesWith = (lost: number[]) =>
    Array.from({ length: 39 }, (_, i) => [...lost.map((n) => (i < n ? 0.5 : 0.05)), 0])
  const quantiles = [tilesWith([1, 0]), tilesWith([2, 1]), tilesWith([9, 2])].map((tiles) => quantilesOf(tiles, 3))
  const table = { tileLosses: { tiles: [39, 39, 39], quantiles } }
  t.same(guaranteedMap(table, 3, { loss: 0.1, confidence: 0.95 }), [0, 1, 2])
  t.same(guaranteedMap(table, 3, { loss: 0.1, confidence: 0.9 }), [0, 0, 1])
  t.same(guaranteedMap(table, 3, { loss: 0.1, confidence: 0.98 }), [2, 2, 2], 'one more than all tiles')
  t.same(guaranteedMap(table, 3, { loss: 0.01, confidence: 0.95 }), [2, 2, 2])
  t.same(guaranteedMap(table, 3, { loss: 1, confidence: 0.95 }), [0, 0, 0])
  const few = {
    tileLosses: { tiles: [18, 0], quantiles: [quantilesOf(tilesWith([0, 0]).slice(0, 18), 3), [[], [], []]] },
  }
  t.same(guaranteedMap(few, 3, { loss: 0.1, confidence: 0.95 }), [2, 2], 'too few tiles')
})

// Losses of one tile: noise of its own, and less of it with larger subnets, though not for every tile.
function tileLosses(next: () => number, k: number): number[] {
  const hard = 0.01 * (k + 1) ** 1.5 * Math.exp(1.2 * (next() + next() + next() - 1.5))
  return [4 * hard * (0.6 + 0.8 * next()), 1.5 * hard * (0.4 + 1.2 * next()), 0.5 * hard * 2 * next(), 0]
}

t.test('a guarantee holds for tiles that calibration never saw', async (t) => {
  const next = random(5)
  const subnets = 4
  for (const { loss, confidence, tiles } of [
    { loss: 0.1, confidence: 0.95, tiles: 40 },
    { loss: 0.05, confidence: 0.9, tiles: 25 },
    { loss: 0.2, confidence: 0.99, tiles: 300 },
  ]) {
    const rounds = 1500
    const classes = 5
    const kept = new Array<number>(classes).fill(0)
    let cheap = 0
    for (let round = 0; round < rounds; round++) {
      const measured = Array.from({ length: classes }, (_, k) =>
        quantilesOf(
          Array.from({ length: tiles }, () => tileLosses(next, k)),
          subnets,
        ),
      )
      const table = { tileLosses: { tiles: Array<number>(classes).fill(tiles), quantiles: measured } }
      const map = guaranteedMap(table, subnets, { loss, confidence })
      map.forEach((m, k) => {
        if (m < subnets - 1) cheap++
        // One new tile of each class.
        if (tileLosses(next, k)[m]! <= loss) kept[k]!++
      })
    }
    t.ok(cheap > (rounds * classes) / 10, `smaller subnets are used: ${cheap / (rounds * classes)}`)
    kept.forEach((count, k) => {
      // Three standard deviations of the mean of so many new tiles.
      const slack = 3 * Math.sqrt((confidence * (1 - confidence)) / rounds)
      t.ok(count / rounds >= confidence - slack, `class ${k + 1}: ${count / rounds} of tiles, wanted ${confidence}`)
    })
  }
})

async function* pairs(images: RawImage[], scale = 2) {
  for (const lr of images)
    yield { lr, hr: { ...lr, data: nearest(lr, scale), width: lr.width * scale, height: lr.height * scale } }
}

const thresholds = [0.02, 0.05, 0.1, 9]

/** Measured by a fake engine whose subnets are wrong by 0.03, 0.02 and 0.01 everywhere: losses of 9.5 and 6.0 dB. */
async function calibrated(): Promise<FakeState> {
  const images = [0, 1, 2, 3].map((seed) => {
    const image = picture(190, 180, 3, 'float', seed)
    for (let i = 0; i < image.data.length; i++) image.data[i] = 0.1 + 0.8 * image.data[i]!
    return image
  })
  const offset = (subnet: number) => 0.01 * (3 - subnet)
  const router = await calibrate(fakeState({ thresholds, offset }), pairs(images), { tileSize: 32 })
  return fakeState({ thresholds, offset, router })
}

t.test('calibration stores what a guarantee needs', async (t) => {
  const { router } = await calibrated()
  const { tiles, quantiles } = router!.tileLosses!
  t.equal(
    tiles.reduce((a, b) => a + b),
    router!.tiles,
  )
  quantiles.forEach((rows, k) => {
    t.equal(rows.length, 3)
    rows.forEach((row, m) => {
      t.equal(row.length, Math.min(tiles[k]!, 128))
      for (const v of row) t.ok(Math.abs(v - [9.54, 6.02, 0][m]!) < 0.05, `${v} dB`)
    })
  })
})

t.test('upscale and the stream keep the loss and tell of it', async (t) => {
  const state = await calibrated()
  const image = picture(190, 180, 3, 'float', 9)
  const histogram = async (options: object) => (await upscale(state, image, options)).allocation.histogram
  const all = 3 * 3
  t.same(await histogram({}), [0, 0, all], 'default 0.02 dB: every smaller subnet loses more')
  t.same(await histogram({ loss: 6.1 }), [0, all, 0])
  t.same(await histogram({ loss: 20 }), [all, 0, 0])
  t.same(await histogram({ guarantee: { loss: 7, confidence: 0.9 } }), [0, all, 0])
  t.same(await histogram({ guarantee: { loss: 5, confidence: 0.9 } }), [0, 0, all])
  const { allocation } = await upscale(state, image, { loss: 6.1 })
  t.ok(Math.abs(allocation.expected!.loss - 6.02) < 0.05, `${allocation.expected!.loss} dB`)
  t.ok(Math.abs(allocation.expectedOverall!.loss - 6.02) < 0.05)
  t.equal(allocation.expected!.cost, 0.5)
  t.equal(allocation.spent, allocation.flops / allocation.flopsOfLargest)
  t.ok(allocation.spent > 0.5 && allocation.spent < 0.7, `${allocation.spent} with halo`)
  const paper = await upscale(
    state,
    { ...image, data: new Uint8Array(image.data.length) },
    { loss: 20, protocol: 'paper' },
  )
  t.ok(paper.allocation.expected!.loss > 9)
  t.equal((await upscale(fakeState({ router: null }), image, {})).allocation.expected, null)

  // Of the two smaller subnets the larger one is what is lost against.
  const { allocation: fewer } = await upscale(state, image, { loss: 0.1, subnets: [0, 1] })
  t.same([fewer.histogram, fewer.expected!.loss], [[0, all, 0], 0])
  t.same(await histogram({ loss: 3.6, subnets: [0, 1] }), [all, 0, 0], '9.54 against 6.02 dB')
  t.same(await histogram({ guarantee: { loss: 9.7, confidence: 0.9 }, subnets: [0, 2] }), [all, 0, 0])
  t.same(await histogram({ guarantee: { loss: 9.7, confidence: 0.9 }, subnets: [1, 2] }), [0, all, 0])

  const stream = createInferStream(state, { loss: 6.1 })
  const out: UpscaledTile[] = []
  stream.on('data', (tile: UpscaledTile) => out.push(tile))
  stream.write({ x: 0, y: 0, width: 32, height: 32, channels: 3, data: image.data.slice(0, 32 * 32 * 3) })
  stream.end()
  await new Promise((resolve) => stream.on('end', resolve))
  t.same(
    out.map(({ subnet }) => subnet),
    [1],
  )
})

t.test('one price for all pictures: the cost follows the picture', async (t) => {
  // Class 1 loses nothing with the smallest subnet, the others do.
  const router = {
    squaredError: [1, 2, 3, 4].map((k) => (k === 1 ? [1e-3, 1e-3, 1e-3] : [2e-3, 1.5e-3, 1e-3])),
    bicubicSquaredError: [1, 1, 1, 1],
    frequency: [0.25, 0.25, 0.25, 0.25],
    tiles: 100,
    tileSize: 64,
  }
  const state = fakeState({ router })
  const flat = { data: new Uint8Array(128 * 128 * 3).fill(90), width: 128, height: 128, channels: 3 as const }
  const random = randomFor(3)
  const noise = { ...flat, data: Uint8Array.from(flat.data, () => random.integer(256)) }
  const easy = (await upscale(state, flat, {})).allocation
  const hard = (await upscale(state, noise, {})).allocation
  t.ok(easy.spent < 0.3 && hard.spent >= 1, `${easy.spent} and ${hard.spent}`)
  t.same([easy.expected!.loss, easy.expected!.cost], [0, 0.25])
})

t.test('options', async (t) => {
  const table = fakeState().router!
  const measured = fakeState({
    router: { ...table, tileLosses: { tiles: [0, 0, 0, 0], quantiles: Array(4).fill([[], [], []]) } },
  })
  t.same(checkRouting({}, measured).goal, { loss: 0.02 })
  t.same(checkRouting({}, fakeState({ router: null })).goal, { budget: 0.6 })
  t.same(checkRouting({ router: 'projection-budget' }, measured).goal, { budget: 0.6 })
  t.same(checkRouting({ budget: 0.4 }, measured).goal, { budget: 0.4 })
  const guarantee = { loss: 0.1, confidence: 0.95 }
  t.same(checkRouting({ guarantee }, measured).goal, { guarantee })
  const refuse = (options: object, message: RegExp, state = measured) =>
    t.throws(() => checkRouting(options as Record<string, unknown>, state), { code: 'WBSR_INVALID_OPTION', message })
  refuse({ budget: 0.5, loss: 0.1 }, /Expected only one for budget and loss/)
  refuse({ loss: 0.1, guarantee }, /only one for loss and guarantee/)
  refuse({ loss: -1 }, /between 0 and 100 for loss/)
  refuse({ loss: '1' }, /for loss/)
  refuse({ guarantee: 0.1 }, /an object for guarantee/)
  refuse({ guarantee: { loss: 0, confidence: 0.95 } }, /above 0 \(dB\) for guarantee\.loss/)
  refuse({ guarantee: { loss: 0.1, confidence: 1 } }, /between 0\.5 and 0\.9999 for guarantee\.confidence/)
  refuse({ guarantee: { loss: 0.1 } }, /for guarantee\.confidence but received undefined/)
  refuse({ guarantee: { ...guarantee, tiles: 3 } }, /no other keys than loss, confidence/)
  refuse({ loss: 0.1, router: 'projection' }, /nothing with this router \(it is for 'calibrated'\) for loss/)
  refuse({ guarantee, router: { subnet: 0 } }, /nothing with this router/)
  refuse({ loss: 0.1 }, /nothing with a model that has no router table/, fakeState({ router: null }))
  refuse({ guarantee }, /its router table has no losses of tiles/, fakeState())
  refuse({ guarantee, subnets: [0, 1] }, /nothing with subnets that leave out the largest/)
})
