import t from 'tap'
import { upscale } from '../../lib/infer/upscale.js'
import { calibrate, fillUnseen } from '../../lib/routing/calibrate.js'
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

t.test('classes without tiles are filled in', async (t) => {
  t.strictSame(fillUnseen([null, 4, null, null, 1, null]), [4, 4, 3, 2, 1, 1])
  t.strictSame(fillUnseen([7, null]), [7, 7])
})
