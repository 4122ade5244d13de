import t from 'tap'
import { allocationOverlay, costColour } from '../../lib/infer/overlay.js'
import { upscale } from '../../lib/infer/upscale.js'
import { native } from '../../lib/native.js'
import { calibrate, fillUnseen } from '../../lib/routing/calibrate.js'
import type { RawImage } from '../../lib/types.js'
import { fakeState } from '../support/fake-engine.js'
import { nearest, picture } from '../support/infer-pictures.js'

async function* pairs(images: RawImage[], scale = 2) {
  for (const lr of images)
    yield { lr, hr: { ...lr, data: nearest(lr, scale), width: lr.width * scale, height: lr.height * scale } }
}

t.test('errors are those of each subnet on the tiles of each class', async (t) => {
  // Against the nearest upscaled picture the fake engine's only error is its subnet's offset.
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

t.test('maxTiles, errors, abort', async (t) => {
  const image = picture(64, 600)
  t.equal((await calibrate(fakeState(), pairs([image, image, image]), { maxTiles: 3 })).tiles, 4, 'whole groups')
  await t.rejects(calibrate(fakeState(), pairs([])), { code: 'WBSR_NO_DATA' })
  await t.rejects(calibrate(fakeState(), pairs([image], 3)), {
    code: 'WBSR_INVALID_IMAGE',
    message: /128x1200 .* 192x1800/,
  })
  await t.rejects(calibrate(fakeState(), pairs([image]), { signal: AbortSignal.abort() }), { code: 'WBSR_ABORTED' })
  await t.rejects(calibrate(fakeState(), pairs([image]), { tiles: 1 } as object), { code: 'WBSR_INVALID_OPTION' })
})

t.test('classes never seen', async (t) => {
  t.strictSame(fillUnseen([null, 4, null, null, 1, null]), [4, 4, 3, 2, 1, 1])
  t.strictSame(fillUnseen([7, null]), [7, 7])
})

t.test('native squaredErrors and averageTiles', async (t) => {
  const a = Float32Array.from({ length: 4 * 3 * 3 }, (_, i) => i / 20 - 0.2)
  const b = new Float32Array(36).fill(0.5)
  const errors = await native.squaredErrors(a, b, 4, 3, Int32Array.of(0, 0, 4, 3, 1, 1, 2, 1))
  const clamp = (v: number) => Math.min(1, Math.max(0, v))
  const all = a.reduce((sum, v) => sum + (clamp(v) - 0.5) ** 2, 0)
  const part = a.subarray(15, 21).reduce((sum, v) => sum + (clamp(v) - 0.5) ** 2, 0)
  t.ok(Math.abs(errors[0]! - all) < 1e-6)
  t.ok(Math.abs(errors[1]! - part) < 1e-6)
  t.throws(() => native.squaredErrors(a, b, 4, 3, Int32Array.of(0, 0, 5, 3)), { code: 'WBSR_INVALID_OPTION' })
  t.throws(() => native.squaredErrors(a, b.subarray(1), 4, 3, Int32Array.of(0, 0, 4, 3)), {
    code: 'WBSR_INVALID_OPTION',
  })
  // two by one tiles of 3x3 at step 2: the middle column is the mean, rounded half up
  const tiles = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90)
  t.strictSame(
    [...(await native.averageTiles(tiles, 2, 1, 3, 2, 1))],
    [1, 2, 7, 20, 30, 4, 5, 23, 50, 60, 7, 8, 40, 80, 90],
  )
  t.throws(() => native.averageTiles(tiles, 2, 1, 3, 4, 1), { code: 'WBSR_INVALID_OPTION' })
})

t.test('allocationOverlay', async (t) => {
  const image = picture(100, 70, 4, 'uint16')
  const result = await upscale(fakeState({ offset: () => 0 }), image, { router: 'projection', tile: 32 })
  for (const base of [image, result]) {
    const overlay = allocationOverlay(base, result.allocation, { opacity: 1 })
    t.strictSame([overlay.width, overlay.height, overlay.channels], [base.width, base.height, 3])
    const scale = base.width / 100
    for (const tile of result.allocation.tiles) {
      const at = 3 * ((tile.y * scale + 2) * base.width + tile.x * scale + 2)
      t.strictSame([...overlay.data.subarray(at, at + 3)], costColour(tile.subnet / 2))
    }
  }
  const plain = allocationOverlay(picture(100, 70), result.allocation, { opacity: 0 })
  const at = 3 * (2 * 100 + 2)
  t.strictSame(
    plain.data.subarray(at, at + 3),
    picture(100, 70).data.subarray(at, at + 3),
    'opacity 0 tints borders only',
  )
  const [cheap, costly] = [costColour(0), costColour(1)]
  t.ok(cheap[2] > cheap[0] && costly[0] > costly[2], 'blue to red')
  t.throws(() => allocationOverlay(picture(100, 70), {} as never), {
    code: 'WBSR_INVALID_OPTION',
    message: /for allocation but received/,
  })
  t.throws(() => allocationOverlay(picture(101, 70), result.allocation), {
    code: 'WBSR_INVALID_OPTION',
    message: /100x70/,
  })
})
