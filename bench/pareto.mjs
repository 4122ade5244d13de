// PSNR over seconds: every static subnet on the whole picture, the routers at several settings and tile sizes, bicubic and
// lanczos3 (sharp), on small photographs (@stdlib, reduced to 768x512 HR) and, where ../shared/data is there, on 4K ones. Each
// set gets a table and a picture in bench/results.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { loadSupernet, psnr, resizeBicubic, shippedModels } from '../dist/index.js'
import { paretoDrawing } from '../examples/demo/pareto.mjs'
import { root } from '../scripts/run.mjs'
import { median } from './contest.mjs'
import { picture } from './model.mjs'

/** Photographs of @stdlib that stand for small pictures. */
export const SMALL = ['march-pastoral', 'nagasaki-boats', 'black-canyon', 'locomotion-house-cat', 'airplane-from-above']
const LOSSES = [0.005, 0.01, 0.02, 0.05, 0.1]
const BUDGETS = [0.3, 0.4, 0.6, 0.8]
const WANTED = { small: 0.75, '4K': 0.6 }

/** HR pictures, cut to a multiple of the scale. */
async function setOf(name, scale) {
  if (name === 'small') return Promise.all(SMALL.map((file) => picture(file, 768, 512)))
  const folder = path.join(root, '..', 'shared', 'data', 'test4k')
  if (!existsSync(folder)) return []
  const files = readdirSync(folder, { recursive: true }).filter((file) => /\.(jpe?g|png)$/i.test(String(file)))
  return Promise.all(
    files.map(async (file) => {
      const image = sharp(path.join(folder, String(file)))
        .removeAlpha()
        .toColourspace('srgb')
      const { width = 0, height = 0 } = await image.metadata()
      const size = { width: width - (width % scale), height: height - (height % scale) }
      const { data } = await image
        .extract({ left: 0, top: 0, ...size })
        .raw()
        .toBuffer({ resolveWithObject: true })
      return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), ...size, channels: 3 }
    }),
  )
}

/** name -> { kind, run(lr, hr) -> { pixels, flops share, predicted seconds } } */
function entrants(model, costs) {
  const largest = model.subnets.length - 1
  const upscale = (options) => async (lr) => {
    const result = await model.upscale(lr, options)
    const { allocation, timings } = result
    return { image: result, share: allocation.flops / allocation.flopsOfLargest, predicted: timings.predicted }
  }
  const size = (hr) => ({ width: hr.width, height: hr.height })
  const all = [
    {
      name: 'bicubic',
      kind: 'resize',
      run: async (lr, hr) => ({ image: await resizeBicubic(lr, size(hr)), share: 0 }),
    },
    {
      name: 'lanczos3 (sharp)',
      kind: 'resize',
      run: async (lr, hr) => {
        /** @type {import('sharp').CreateRaw} */
        const raw = { width: lr.width, height: lr.height, channels: 3 }
        const data = await sharp(lr.data, { raw })
          .resize({ ...size(hr), fit: 'fill', kernel: 'lanczos3' })
          .raw()
          .toBuffer()
        return {
          image: { ...size(hr), data: new Uint8Array(data.buffer, data.byteOffset, data.length), channels: 3 },
          share: 0,
        }
      },
    },
  ]
  for (const { index, width, depth } of model.subnets)
    all.push({
      name: `${width}x${depth} whole picture`,
      kind: index === largest ? 'largest' : 'static',
      run: upscale({ router: { subnet: index }, tile: 'image' }),
    })
  for (const loss of LOSSES)
    all.push({ name: `calibrated, loss ${loss}`, kind: 'routed', run: upscale({ router: 'calibrated', loss }) })
  for (const loss of LOSSES)
    all.push({
      name: `by measured costs, loss ${loss}`,
      kind: 'routed',
      run: upscale({ router: 'calibrated', loss, costs }),
    })
  for (const budget of BUDGETS)
    all.push({ name: `calibrated, budget ${budget}`, kind: 'routed', run: upscale({ router: 'calibrated', budget }) })
  for (const tile of [32, 128])
    all.push({
      name: `calibrated, loss 0.02, tile ${tile}`,
      kind: 'routed',
      run: upscale({ router: 'calibrated', loss: 0.02, tile }),
    })
  all.push({ name: 'projection', kind: 'routed', run: upscale({ router: 'projection' }) })
  all.push({
    name: 'projection-budget 0.6',
    kind: 'routed',
    run: upscale({ router: 'projection-budget', budget: 0.6 }),
  })
  return all
}

/** Every entrant on every picture, in turns: mean PSNR on Y and the sum of the pictures' median seconds. */
async function measure(all, pictures, scale, rounds) {
  const points = all.map(({ name, kind }) => ({ name, kind, psnr: 0, seconds: 0, share: 0, predicted: 0 }))
  for (const hr of pictures) {
    const lr = await resizeBicubic(hr, { width: hr.width / scale, height: hr.height / scale })
    const times = all.map(() => [])
    for (let round = -1; round < rounds; round++)
      for (let i = 0; i < all.length; i++) {
        const k = (i + round + 1) % all.length
        const start = performance.now()
        const { image, share, predicted = 0 } = await all[k].run(lr, hr)
        if (round >= 0) times[k].push((performance.now() - start) / 1000)
        else {
          points[k].psnr += (await psnr(image, hr, { shave: scale })) / pictures.length
          points[k].share += share / pictures.length
          points[k].predicted += predicted
        }
      }
    times.forEach((list, k) => {
      points[k].seconds += median(list)
    })
  }
  return points
}

/** Part `pareto` of `npm run bench`: a trained model is needed (--model FILE, else the package's x2). */
export async function pareto({ threads, rounds, model: file }) {
  const name = file ?? (shippedModels().some((m) => m.name === 'wbsr:x2') ? 'wbsr:x2' : null)
  if (!name) return { table: [{ what: 'PSNR over seconds', against: '', skipped: 'no trained model: --model FILE' }] }
  const model = await loadSupernet(name, { device: 'cpu', threads })
  const costs = await model.measureCosts()
  const table = []
  const details = {}
  for (const set of ['small', '4K']) {
    const pictures = await setOf(set, model.scale)
    const what = `${path.basename(name)}, ${set} photographs`
    if (pictures.length === 0) {
      table.push({ what, against: 'largest subnet', skipped: '../shared/data/test4k is not there' })
      continue
    }
    const points = await measure(
      entrants(model, costs),
      pictures,
      model.scale,
      set === 'small' ? rounds : Math.min(rounds, 3),
    )
    const largest = points.find((p) => p.kind === 'largest')
    for (const p of points)
      console.log(
        `${set.padEnd(6)}${p.name.padEnd(34)}${p.psnr.toFixed(3)} dB  ${p.seconds.toFixed(3)} s  ${(p.seconds / largest.seconds).toFixed(2)} of the seconds  ${p.share.toFixed(2)} of the FLOPs`,
      )
    const beaten = points
      .filter((p) => p.kind === 'routed')
      .filter((r) => points.some((s) => s.kind === 'static' && s.seconds < r.seconds && s.psnr > r.psnr))
    for (const [label, entrant] of [
      ['loss 0.02', 'calibrated, loss 0.02'],
      ['loss 0.02 by measured costs', 'by measured costs, loss 0.02'],
    ]) {
      const { seconds, psnr: reached } = points.find((p) => p.name === entrant)
      const ratio = seconds / largest.seconds
      table.push({
        what: `${what}: ${label}`,
        against: 'largest subnet, whole picture',
        seconds,
        theirs: largest.seconds,
        ratio,
        target: `<= ${WANTED[set]}`,
        reached: ratio <= WANTED[set],
        checked: `${(reached - largest.psnr).toFixed(3)} dB`,
      })
    }
    const misses = points
      .filter((p) => p.predicted > 0)
      .map((p) => ({ name: p.name, error: p.predicted / p.seconds - 1 }))
    const worst = misses.reduce((a, b) => (Math.abs(b.error) > Math.abs(a.error) ? b : a))
    table.push({
      what: `${what}: predicted against measured seconds`,
      against: '',
      target: 'within 10 %',
      reached: Math.abs(worst.error) <= 0.1,
      checked: misses.map(({ name, error }) => `${name.split(' ').at(-1)}: ${(100 * error).toFixed(0)} %`).join('; '),
    })
    table.push({
      what: `${what}: routed points that a static subnet beats in both`,
      against: '',
      target: '0',
      reached: beaten.length === 0,
      checked: beaten.map((p) => p.name).join('; ') || 'none',
    })
    const folder = path.join(root, 'bench', 'results')
    mkdirSync(folder, { recursive: true })
    writeFileSync(path.join(folder, `pareto-${set.toLowerCase()}.svg`), paretoDrawing(what, points))
    details[set] = points
  }
  model.dispose()
  return { table, details }
}
