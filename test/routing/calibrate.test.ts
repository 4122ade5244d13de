import t from 'tap'
import { upscale } from '../../lib/infer/upscale.js'
import { randomFor } from '../../lib/random.js'
import { calibrate, fillUnseen } from '../../lib/routing/calibrate.js'
import { evenPlaces, TileSample } from '../../lib/routing/tile-sample.js'
import type { RawImage } from '../../lib/types.js'
import { fakeState } from '../support/fake-engine.js'
import { nearest, picture } from '../support/infer-pictures.js'

async function* pairs(images: RawImage[], scale = 2) {
  for (const lr of images)
    yield { lr, hr: { ...lr, data: nearest(lr, scale), width: lr.width * scale, height: lr.height * scale } }
}

t.test('errors are those of each subnet on the tiles of each class', async (t) => {
  // HR is the nearest upscaled picture, so the fake engine's only error is its subnet's offset.
  const state = fakeState({ offset: (subnet) => -0.01 * (3 - subnet), thresholds: [0.02, 0.05, 0.1, 9] })
  const images = [0, 1].map((seed) => {
    const image = picture(130, 150, 3, 'float', seed)
    for (let i = 0; i < image.data.length; i++) image.data[i] = 0.1 + 0.8 * image.data[i]!
    return image
  })
  const table = await calibrate(state, pairs(images), { tileSize: 32 })
  t.equal(table.tiles, 2 * 5 * 5)
  t.equal(table.tileSize, 32)
  t.ok(Math.abs(table.frequency.reduce((a, b) => a + b) - 1) < 1e-12)
  t.equal(table.frequency[4], 0)
  const seen = table.frequency.filter((f) => f > 0).length
  t.ok(seen >= 2, `${seen} classes seen`)
  for (const row of table.squaredError)
    row.forEach((error, m) => t.ok(Math.abs(error / (0.01 * (3 - m)) ** 2 - 1) < 1e-3, `subnet ${m}: ${error}`))
  t.ok(table.bicubicSquaredError.every((e) => e > 0))
  t.ok(table.bicubicSquaredError[0]! < table.bicubicSquaredError[3]!, 'bicubic is worse on harder classes')
  t.strictSame(
    await upscale(fakeState({ router: table, thresholds: [0.02, 0.05, 0.1, 9] }), images[0]!, {
      router: 'calibrated',
      budget: 1,
    }).then((r) => r.allocation.histogram.slice(0, 2)),
    [0, 0],
  )
})

t.test('a bounded number of tiles, progress', async (t) => {
  const images = [0, 1, 2].map((seed) => picture(200, 180, 3, 'uint8', seed))
  const thresholds = [0.02, 0.05, 0.1, 9]
  const calls = fakeState({ thresholds, offset: (subnet) => -0.01 * (3 - subnet) })
  const told: { done: number; total: number }[] = []
  const options = {
    tileSize: 32,
    pixels: 20 * 32 * 32 + 5,
    sizes: images,
    onProgress: (p: (typeof told)[0]) => told.push(p),
  }
  const table = await calibrate(calls, pairs(images), options)
  t.equal(table.tiles, 20)
  const area = calls.calls.flatMap((job) => job.regions.map((r) => (r.subnet === 0 ? r.keepWidth * r.keepHeight : 0)))
  t.ok(area.reduce((a, b) => a + b) <= options.pixels)
  t.ok(
    calls.calls.every((job) => job.regions.every((r) => r.width === 44 && r.height === 44)),
    'one size for all, also at the borders',
  )
  t.same(told.at(-1), { done: 3 + 20 * 3, total: 3 + 20 * 3 })
  t.ok(told.every(({ done, total }, i) => total === 63 && (i === 0 || done > told[i - 1]!.done)))
  // A network that accepts only multiples of 8 has a slightly larger input.
  const eights = fakeState({ thresholds })
  Object.assign(eights.engine, { sizeMultiple: 8 })
  t.equal((await calibrate(eights, pairs(images), { ...options, onProgress: undefined })).tiles, 20)
  t.ok(eights.calls.every((job) => job.regions.every((r) => r.width === 48 && r.height === 48)))
  // Frequencies are those of all tiles, whatever is measured.
  const all = await calibrate(fakeState({ thresholds }), pairs(images), { tileSize: 32 })
  t.equal(all.tiles, 3 * 7 * 6)
  t.strictSame(table.frequency, all.frequency)
  t.same(await calibrate(fakeState({ thresholds, offset: (m) => -0.01 * (3 - m) }), pairs(images), options), table)
  const other = await calibrate(fakeState({ thresholds }), pairs(images), {
    ...options,
    seed: 2,
    onProgress: undefined,
  })
  t.notSame(other.bicubicSquaredError, table.bicubicSquaredError, 'another seed, other tiles')
  t.equal((await calibrate(fakeState(), pairs(images), { tileSize: 64, pixels: 1 })).tiles, 1, 'at least one')
})

t.test('the choice of tiles', async (t) => {
  t.same(evenPlaces([5, 0, 100, 2], 20), [5, 0, 13, 2])
  t.same(evenPlaces([5, 0, 100, 2], 200), [5, 0, 100, 2])
  t.same(evenPlaces([9, 9, 9], 8), [2, 3, 3], 'what is left over goes to the hardest')
  t.same(evenPlaces([9, 9, 9], 2), [0, 1, 1])
  // What was dropped is never missed: as many as if all tiles had been offered at once, and the same ones.
  const random = randomFor(7)
  const batches = Array.from({ length: 12 }, () =>
    Array.from({ length: 1 + random.integer(30) }, () => 1 + Math.floor(5 * random.next() ** 3)),
  )
  const kept = new TileSample<string>(5, 40)
  const whole = new TileSample<string>(5, 1e9)
  for (const [i, classes] of batches.entries()) {
    for (const sample of [kept, whole]) await sample.add(classes, randomFor(3, i), (tile) => `${i}/${tile}`)
    t.ok(kept.tiles().length <= 40)
  }
  t.equal(kept.offered, batches.flat().length)
  const counts = [1, 2, 3, 4, 5].map((k) => batches.flat().filter((c) => c === k).length)
  const places = evenPlaces(counts, 40)
  const priorities = new Map<string, number>()
  for (const [i, classes] of batches.entries()) {
    const stream = randomFor(3, i)
    for (const tile of classes.keys()) priorities.set(`${i}/${tile}`, stream.next())
  }
  const expected = [1, 2, 3, 4, 5].flatMap((k) =>
    whole
      .tiles()
      .filter((tile) => tile.class === k)
      .sort((a, b) => priorities.get(a.tile)! - priorities.get(b.tile)!)
      .slice(0, places[k - 1]),
  )
  t.same(new Set(kept.tiles().map(({ tile }) => tile)), new Set(expected.map(({ tile }) => tile)))
})

t.test('errors, abort', async (t) => {
  const image = picture(64, 600)
  await t.rejects(calibrate(fakeState(), pairs([])), { code: 'WBSR_NO_DATA' })
  await t.rejects(calibrate(fakeState(), pairs([image], 3)), {
    code: 'WBSR_INVALID_IMAGE',
    message: /128x1200 .* 192x1800/,
  })
  await t.rejects(calibrate(fakeState(), pairs([image]), { signal: AbortSignal.abort() }), { code: 'WBSR_ABORTED' })
  await t.rejects(calibrate(fakeState(), pairs([image]), { tiles: 1 } as object), { code: 'WBSR_INVALID_OPTION' })
})

t.test('classes without tiles are filled in', async (t) => {
  t.strictSame(fillUnseen([null, 4, null, null, 1, null]), [4, 4, 3, 2, 1, 1])
  t.strictSame(fillUnseen([7, null]), [7, 7])
})
