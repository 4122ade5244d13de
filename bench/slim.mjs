// slimFrom and a short training, measured: PSNR of every subnet before and after, against the model that was slimmed and
// against bicubic interpolation (docs/models.md has the table).
//
//   node bench/slim.mjs --model FILE --widths 32,44,52 --depths 4,6 --data ../shared/data
//
// --data: folder with train/free (photographs) and set5, set14, b100 (hr/ and lr_x<scale>/, same names); others by --train and
// --sets. --steps, --batch, --patch (HR pixels), --learning-rate, --threads, --seed; --pictures N (of --train, to measure how
// much channels matter), --share 0.7,0.5 (of averageModels), --save FILE, --no-write.
// --targets photographs trains towards the photographs; --targets model towards what the model makes of them, so that the
// largest subnet begins at its optimum and the smaller ones learn to repeat it. --loss: l1 or another element loss. --from
// FILE goes on from what an earlier run of the same widths and depths saved; with --steps 0 that is measured alone.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { averageModels, loadModel, loadSupernet, psnr, resizeBicubic, slimFrom, trainSupernet } from '../dist/index.js'
import { root } from '../scripts/run.mjs'

const { values: options } = parseArgs({
  options: {
    model: { type: 'string' },
    widths: { type: 'string' },
    pictures: { type: 'string', default: '0' },
    share: { type: 'string', default: '0.7' },
    depths: { type: 'string' },
    data: { type: 'string', default: path.join(root, '../shared/data') },
    train: { type: 'string' },
    sets: { type: 'string', default: 'set5,set14,b100' },
    steps: { type: 'string', default: '1500' },
    batch: { type: 'string', default: '8' },
    patch: { type: 'string', default: '96' },
    'learning-rate': { type: 'string', default: '1e-4' },
    threads: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    targets: { type: 'string', default: 'photographs' },
    loss: { type: 'string', default: 'l1' },
    from: { type: 'string' },
    save: { type: 'string' },
    'no-write': { type: 'boolean' },
  },
})
if (!['photographs', 'model'].includes(options.targets))
  throw new Error(`--targets: expected photographs or model, got ${options.targets}`)
if (!options.model) throw new Error('Expected --model FILE, a file that loadModel reads')
const levels = (text) => text?.split(',').map(Number)
const [steps, batchSize, patchSize, threads, seed] = ['steps', 'batch', 'patch', 'threads', 'seed'].map((name) =>
  Number(options[name]),
)
const learningRate = Number(options['learning-rate'])

async function rgb(file) {
  const { data, info } = await sharp(file)
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true })
  if (info.channels !== 3) throw new Error(`${file} has ${info.channels} channels`)
  return { data: new Uint8Array(data), width: info.width, height: info.height, channels: /** @type {3} */ (3) }
}

/** Pairs of one set at a scale, HR cut at the top left to scale times LR. */
async function picturesOf(set, scale) {
  const folder = path.join(options.data, set)
  const pairs = []
  for (const name of readdirSync(path.join(folder, 'hr')).filter((file) => file.endsWith('.png'))) {
    const lr = await rgb(path.join(folder, `lr_x${scale}`, name))
    const whole = await rgb(path.join(folder, 'hr', name))
    const [width, height] = [lr.width * scale, lr.height * scale]
    const data = new Uint8Array(width * height * 3)
    for (let y = 0; y < height; y++)
      data.set(whole.data.subarray(y * whole.width * 3, (y * whole.width + width) * 3), y * width * 3)
    pairs.push({ lr, hr: { data, width, height, channels: /** @type {3} */ (3) } })
  }
  return pairs
}

/** Mean PSNR on Y, shaved by the scale, of what `enlarge` makes. */
async function score(pairs, scale, enlarge) {
  let sum = 0
  for (const { lr, hr } of pairs) sum += await psnr(await enlarge(lr), hr, { channel: 'y', shave: scale })
  return sum / pairs.length
}

const scoreSubnet = (model, pairs, subnet) =>
  score(pairs, model.scale, (lr) => model.upscale(lr, { router: { subnet }, tile: 'image' }))

const started = performance.now()
const original = await loadModel(options.model, { threads })
const { scale } = original
const sets = {}
for (const name of options.sets.split(',')) sets[name] = await picturesOf(name, scale)
const widths = levels(options.widths)
const depths = levels(options.depths)
const train = options.train ?? path.join(options.data, 'train/free')
const photographs = readdirSync(train).filter((file) => /\.(jpe?g|png)$/.test(file))
const pictures = []
for (const file of photographs.slice(0, Number(options.pictures)))
  pictures.push(await resizeBicubic(await rgb(path.join(train, file)), { scale: 1 / scale }))
const slim = await slimFrom(original, {
  ...(widths && { widths }),
  ...(depths && { depths }),
  ...(pictures.length > 0 && { pictures }),
})
const start = options.from ? await loadSupernet(options.from, { threads }) : slim
const everySubnet = async (model, chosen = Object.entries(sets)) => {
  const rows = []
  for (const { index, width, depth, flops, parameters } of model.subnets) {
    const row = { width, depth, flops, parameters, psnr: {} }
    for (const [name, pairs] of chosen) row.psnr[name] = await scoreSubnet(model, pairs, index)
    rows.push(row)
    console.log(
      `${width}x${depth}: ${Object.entries(row.psnr)
        .map(([name, dB]) => `${name} ${dB.toFixed(3)}`)
        .join(', ')}`,
    )
  }
  return rows
}
const bicubic = {}
for (const [name, pairs] of Object.entries(sets))
  bicubic[name] = await score(pairs, scale, (lr) =>
    resizeBicubic(lr, { width: lr.width * scale, height: lr.height * scale }),
  )
console.log('bicubic', bicubic)
const published = {}
for (const [name, pairs] of Object.entries(sets)) published[name] = await scoreSubnet(original, pairs, 0)
console.log('the model', published)
console.log('slimmed, before training (first set):')
const before = await everySubnet(slim, Object.entries(sets).slice(0, 1))

/**
 * A folder with LR pictures (lr/) and what the model makes of them (hr/), both as PNG, in the system's temporary folder: the
 * photographs cut into patches, so that the model saw as much as the subnets do (zeros begin at a patch's border, and attention
 * pools over the patch).
 */
async function modelTargets() {
  const folder = mkdtempSync(path.join(tmpdir(), 'wbsr-slim-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  for (const name of ['lr', 'hr']) mkdirSync(path.join(folder, name))
  const write = ({ data, width, height, channels }, file) =>
    sharp(data, { raw: { width, height, channels } }).png({ compressionLevel: 1 }).toFile(file)
  const side = patchSize / scale
  for (const file of photographs) {
    const whole = await resizeBicubic(await rgb(path.join(train, file)), { scale: 1 / scale })
    const { name } = path.parse(file)
    for (let y = 0; y + side <= whole.height; y += side) {
      for (let x = 0; x + side <= whole.width; x += side) {
        const data = new Uint8Array(side * side * 3)
        for (let row = 0; row < side; row++) {
          const at = ((y + row) * whole.width + x) * 3
          data.set(whole.data.subarray(at, at + side * 3), row * side * 3)
        }
        const lr = { data, width: side, height: side, channels: /** @type {3} */ (3) }
        await write(lr, path.join(folder, 'lr', `${name}-${x}-${y}.png`))
        await write(await original.upscale(lr, { tile: 'image' }), path.join(folder, 'hr', `${name}-${x}-${y}.png`))
      }
    }
  }
  return folder
}

const targets = options.targets === 'model' ? await modelTargets() : null
const trainingStarted = performance.now()
/** @type {import('../dist/index.js').TrainOptions} */
const training = {
  from: start,
  data: targets ? { train: path.join(targets, 'hr'), lr: path.join(targets, 'lr') } : { train },
  steps,
  batchSize,
  patchSize,
  seed,
  threads,
  loss: /** @type {'l1'} */ (options.loss),
  sampler: { kind: 'uniform' },
  optimizer: { learningRate },
  device: 'cpu',
  // Its router table is not looked at here.
  calibration: { images: 1, pixels: 4096 },
  divergence: 'ignore',
  onStep: ({ step, losses, eta }) => {
    if (step % 50 === 0)
      console.log(
        `${step}/${steps}, ${eta.toFixed(0)} s: ${losses.map(({ subnet, loss }) => `${subnet}: ${loss.toFixed(5)}`).join(' ')}`,
      )
  },
}
const trained = steps > 0 ? await trainSupernet(training) : start
const trainingSeconds = (performance.now() - trainingStarted) / 1000
if (options.save) await trained.save(options.save)
console.log(`after ${steps} steps (${trainingSeconds.toFixed(0)} s):`)
const after = await everySubnet(trained)
const averaged = []
for (const share of options.share.split(',').map(Number)) {
  console.log(`with a share of ${share} of these weights:`)
  averaged.push({ share, subnets: await everySubnet(await averageModels(trained, slim, { share })) })
}

if (!options['no-write']) {
  const date = new Date().toISOString()
  const record = {
    date,
    command: ['node bench/slim.mjs', ...process.argv.slice(2)].join(' '),
    commit: execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim(),
    architecture: original.architecture,
    training: {
      steps,
      batchSize,
      patchSize,
      learningRate,
      loss: options.loss,
      targets: options.targets,
      seed,
      threads,
      seconds: trainingSeconds,
    },
    pictures: Object.fromEntries(Object.entries(sets).map(([name, { length }]) => [name, length])),
    bicubic,
    published,
    before,
    after,
    averaged,
    seconds: (performance.now() - started) / 1000,
  }
  const file = path.join(
    root,
    'bench/results',
    `slim-${original.architecture.name}-x${scale}-${date.slice(0, 10)}.json`,
  )
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(record, null, 1)}\n`)
  console.log(`written to ${path.relative(root, file)}`)
}
