import t from 'tap'
import { allocationOverlay, costColour } from '../../lib/infer/overlay.js'
import { upscale } from '../../lib/infer/upscale.js'
import { fakeState } from '../support/fake-engine.js'
import { picture } from '../support/infer-pictures.js'

t.test('each tile has the colour of its subnet, at LR and SR size', async (t) => {
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
