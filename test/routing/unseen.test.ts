// Whether `loss` and `guarantee` keep their word on photographs that neither training nor calibration saw: a small supernet
// trained and calibrated on photographs of ../shared/data, tile by tile on others.
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { decodeImage } from '../../lib/images/images.js'
import { srresnet, trainSupernet } from '../../lib/index.js'
import { lossOf } from '../../lib/routing/tile-loss.js'
import type { RawImage } from '../../lib/types.js'

const shared = path.resolve(import.meta.dirname, '../../../shared/data')
const absent = existsSync(path.join(shared, 'b100')) ? false : '../shared/data is not here'
const scale = 2
const tile = 32

const filesOf = (folder: string, from: number, to: number) =>
  readdirSync(path.join(shared, folder))
    .filter((name) => /\.(jpg|png)$/.test(name))
    .sort()
    .slice(from, to)
    .map((name) => path.join(shared, folder, name))

/** Samples in [0, 1], which results keep without rounding. */
async function floats(file: string): Promise<RawImage> {
  const image = await decodeImage(file, file)
  return { ...image, data: Float32Array.from(image.data, (v) => v / 255) }
}

/** Mean squared error against HR, which may be a little larger, of a tile at (x, y) in LR pixels. */
function errorOf(sr: RawImage, hr: RawImage, x: number, y: number): number {
  let sum = 0
  for (let row = 0; row < tile * scale; row++)
    for (let i = 0; i < tile * scale * 3; i++) {
      const at = (image: RawImage) => image.data[((y * scale + row) * image.width + x * scale) * 3 + i]!
      sum += (at(sr) - at(hr)) ** 2
    }
  return sum / (3 * (tile * scale) ** 2)
}

t.test('on photographs that calibration never saw', { skip: absent }, async (t) => {
  using model = await trainSupernet({
    network: srresnet({ scale, widths: [8, 16], depths: [1, 3] }),
    data: { train: filesOf('train/bsds400', 0, 60), validation: filesOf('train/bsds400', 60, 110), cache: false },
    steps: 400,
    batchSize: 8,
    patchSize: 48,
    optimizer: { learningRate: 1e-3 },
    loss: 'l1',
    calibration: { tileSize: tile, pixels: 2 ** 20 },
    device: 'cpu',
    threads: 2,
  })
  const guarantee = { loss: 0.2, confidence: 0.95 }
  const loss = 0.05
  const names = readdirSync(path.join(shared, 'b100/hr')).sort().slice(0, 40)
  const seen = { guaranteed: [] as boolean[], smaller: 0, losses: [] as number[], pictures: [] as number[], cost: 0 }
  for (const name of names) {
    const lr = await floats(path.join(shared, `b100/lr_x${scale}`, name))
    const hr = await floats(path.join(shared, 'b100/hr', name))
    const largest = await model.upscale(lr, { router: { subnet: model.subnets.length - 1 }, tile })
    const kept = await model.upscale(lr, { guarantee, tile })
    const cheap = await model.upscale(lr, { loss, tile })
    seen.cost += cheap.allocation.spent / names.length
    let [own, best] = [0, 0]
    for (const { x, y, width, height, subnet } of kept.allocation.tiles) {
      if (width < tile || height < tile) continue
      const error = errorOf(largest, hr, x, y)
      seen.guaranteed.push(lossOf(errorOf(kept, hr, x, y), error) <= guarantee.loss)
      if (subnet < model.subnets.length - 1) seen.smaller++
      const cheaper = errorOf(cheap, hr, x, y)
      seen.losses.push(lossOf(cheaper, error))
      own += cheaper
      best += error
    }
    seen.pictures.push(10 * Math.log10(own / best))
  }
  const tiles = seen.guaranteed.length
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
  const share = seen.guaranteed.filter(Boolean).length / tiles
  t.comment(
    `${tiles} tiles: ${(100 * share).toFixed(1)} % lose at most ${guarantee.loss} dB, ${seen.smaller} by smaller subnets; ` +
      `loss ${loss}: ${mean(seen.losses).toFixed(3)} dB over tiles, ${mean(seen.pictures).toFixed(3)} dB over pictures, ` +
      `${seen.cost.toFixed(2)} of the cost`,
  )
  t.ok(seen.smaller > tiles / 50, `${seen.smaller} tiles by smaller subnets`)
  t.ok(share >= guarantee.confidence, `${share} of tiles`)
  // The option is a mean over pictures; smooth tiles lose more, since they count by their error.
  t.ok(mean(seen.pictures) <= 2 * loss, `${mean(seen.pictures)} dB is near the expected loss`)
})
