// Bands of a picture: the same bytes as upscale() gives, whatever the cut; costs known before any work.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { assembleBands } from '../../lib/fleet/assemble.js'
import { cutBands } from '../../lib/fleet/bands.js'
import { probeOf } from '../../lib/fleet/identity.js'
import { type BandsManifest, bandKey } from '../../lib/fleet/manifest.js'
import { checkPictureOptions, type PictureOptions } from '../../lib/fleet/options.js'
import { type Price, pictureJob } from '../../lib/fleet/picture-job.js'
import { predict } from '../../lib/fleet/predict.js'
import { runBand } from '../../lib/fleet/run-band.js'
import { measureSpeeds } from '../../lib/fleet/speeds.js'
import { folderStore } from '../../lib/fleet/store.js'
import { upscale } from '../../lib/infer/upscale.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import type { RawImage } from '../../lib/types.js'
import { picture } from '../support/infer-pictures.js'
import { realState } from '../support/real-state.js'

const folder = mkdtempSync(path.join(tmpdir(), 'wbsr-fleet-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const store = folderStore(path.join(folder, 'store'))
const network = srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })
const state = realState(network)
const other = realState(network, { threads: 1 })
t.teardown(() => [state, other].forEach(({ engine }) => engine.dispose()))
const { signal } = new AbortController()

/** Bands of a picture, last one first and by turns on two engines, put together. */
async function inBands(image: RawImage, options: PictureOptions, name: string) {
  const settings = checkPictureOptions({ rate: 1e9, compressionLevel: 1, ...options }, state)
  const { manifest, price } = await pictureJob(state, image, `${name}.png`, settings, {}, store)
  const job = manifest as BandsManifest
  for (let band = job.bands.length - 1; band >= 0; band--)
    await runBand(band % 2 ? other : state, store, job, band, signal)
  const rows = Buffer.concat(job.bands.map((band) => readFileSync(store.file!(bandKey(job.id, band)))))
  return { job, price, rows }
}

const cases: [string, RawImage, PictureOptions][] = [
  ['one subnet', picture(150, 700), { router: { subnet: 3 }, bands: 9 }],
  ['several subnets', picture(333, 611), { router: 'projection', bands: 4 }],
  ['narrow groups', picture(200, 333), { router: 'projection', groupRows: 1, bands: 6, tile: 48 }],
  ['a budget of this picture', picture(300, 520, 3, 'uint16'), { router: 'calibrated', budget: 0.5, bands: 3 }],
  ['a budget of the table', picture(300, 520), { router: 'calibrated', budget: 0.5, budgetScope: 'dataset', bands: 3 }],
  ['alpha as opacity', picture(140, 530, 4), { router: 'projection', alphaChannel: 'opacity', bands: 3 }],
  ['alpha as data', picture(140, 530, 4), { router: 'projection', alphaChannel: 'data', bands: 3 }],
  ['grey floats', picture(97, 300, 1, 'float'), { router: 'projection', groupRows: 2, bands: 3 }],
  ['no halo', picture(97, 300, 3), { router: 'projection', halo: 0, groupRows: 1, bands: 5 }],
]

for (const [name, image, options] of cases) {
  t.test(`bands are upscale()'s bytes: ${name}`, async (t) => {
    const { job, rows } = await inBands(image, options, 'case')
    t.ok(job.bands.length > 1, `${job.bands.length} bands`)
    const { bands: _bands, ...same } = options
    const whole = await upscale(state, image, { ...same, groupRows: job.groupRows })
    const { buffer, byteOffset, byteLength } = whole.data
    t.ok(rows.equals(Buffer.from(buffer, byteOffset, byteLength)), 'the same bytes')
  })
}

t.test('what a band costs is known before: as much as runs', async (t) => {
  const image = picture(300, 900)
  const { job, price } = await inBands(image, { router: 'projection', bands: 3 }, 'cost')
  const whole = await upscale(state, image, { router: 'projection', groupRows: job.groupRows })
  t.equal(
    price.flops,
    price.bands.reduce((sum, { flops }) => sum + flops, 0),
  )
  t.ok(
    Math.abs(price.flops / (1 + price.overhead) / whole.allocation.flops - 1) < 1e-9,
    'without the seams: as upscale',
  )
  t.ok(price.overhead > 0 && price.overhead < 0.5, `${price.overhead}`)
  t.same(price.output, { width: 600, height: 1800 })
})

t.test('a band that is there already is not done again, one of a wrong size is', async (t) => {
  const { job, rows } = await inBands(picture(80, 600), { router: { subnet: 0 }, bands: 2 }, 'again')
  t.match(await runBand(state, store, job, 0, signal), { found: true, flops: 0 })
  writeFileSync(store.file!(bandKey(job.id, job.bands[0]!)), 'half')
  t.match(await runBand(state, store, job, 0, signal), { found: false })
  const first = readFileSync(store.file!(bandKey(job.id, job.bands[0]!)))
  t.ok(first.equals(rows.subarray(0, first.length)))
})

t.test('bands become one file, the one that wbsr upscale writes; a missing band is named', async (t) => {
  const image = picture(120, 600)
  const { job } = await inBands(image, { router: 'projection', bands: 3, compressionLevel: 1 }, 'file')
  const result = await assembleBands(store, job, signal)
  t.match(result, { width: 240, height: 1200, channels: 3 })
  const whole = await upscale(state, image, { router: 'projection', groupRows: job.groupRows })
  const pixels = await sharp(store.file!('file.png')).raw().toBuffer()
  t.ok(pixels.equals(Buffer.from(whole.data.buffer)), 'the pixels of upscale()')
  await store.remove(bandKey(job.id, job.bands[1]!))
  await t.rejects(assembleBands(store, job, signal), { code: 'WBSR_NOT_FOUND', message: /band 1 of job/ })
})

t.test('an abort ends a band at once and leaves nothing', async (t) => {
  const { job } = await inBands(picture(400, 1200), { router: { subnet: 3 }, bands: 1 }, 'abort')
  await store.remove(bandKey(job.id, job.bands[0]!))
  const controller = new AbortController()
  const running = runBand(state, store, job, 0, controller.signal, () => controller.abort())
  await t.rejects(running, { code: 'WBSR_ABORTED' })
  t.equal(await store.size(bandKey(job.id, job.bands[0]!)), null)
})

t.test('cuts are as equal as groups allow', (t) => {
  const costs = [5, 1, 1, 1, 8, 1, 1, 6].map((flops) => ({ flops, seam: 0.5 }))
  const bands = cutBands(costs, 3)
  t.equal(bands.length, 3)
  t.same(
    bands.map(({ first, end }) => [first, end]),
    [
      [0, 4],
      [4, 5],
      [5, 8],
    ],
  )
  t.same(
    bands.map(({ flops }) => flops),
    [8, 8.5, 8.5],
  )
  t.equal(cutBands(costs, 100).length, 8, 'no more bands than groups')
  t.equal(cutBands(costs, 1).length, 1)
  t.end()
})

t.test('the probe does not depend on threads, but on weights', async (t) => {
  t.equal(await probeOf(state), await probeOf(other))
  const changed = realState(network, { gain: 1.001 })
  t.teardown(() => changed.engine.dispose())
  t.not(await probeOf(changed), await probeOf(state))
})

t.test('what is beside the network is measured once, by the same code', async (t) => {
  const settings = checkPictureOptions({ compressionLevel: 0 }, state)
  const speeds = await measureSpeeds(state, settings)
  for (const value of Object.values(speeds)) t.ok(value > 0 && Number.isFinite(value))
  t.equal(await measureSpeeds(state, settings), speeds)
  const price: Price = {
    name: '',
    kind: 'bands',
    input: { width: 100, height: 100 },
    output: { width: 200, height: 200 },
    bands: [10, 20, 30].map((flops, first) => ({ first, end: first + 1, flops })),
    flops: 60,
    overhead: 0,
    rate: 10,
    speeds: { perBand: 1, assembly: 1000, splitting: 100 },
    bytes: { input: 300, bands: 12_000, result: 12_000 },
  }
  t.match(predict([price], 2), { parts: { splitting: 3, bands: 5, assembly: 12 }, seconds: 20, busy: 0.9 })
  t.match(predict([price], 2, { assembly: 2000 }), { parts: { assembly: 6 } })
})
