// Compares routers on trained models: one subnet everywhere, random, the paper's, calibrated, ARM, ClassSR, a predictor, the
// oracle, each at the same budgets; means and deviations over the models, which are of several seeds (docs/ablation.md).
//
//     node train/rivals.mjs runs/ablation/l1-hes-2000-1 runs/ablation/l1-hes-2000-2 runs/ablation/l1-hes-2000-3
//
//   MODELS             model files, checkpoints, or folders that hold checkpoint.safetensors; all of one network
//   --budgets 0.4,0.6,0.8   shares of the largest subnet's cost
//   --sets set5,b100/4 of --data (default set5,set14,b100,urban100,test2k); b100/4: every fourth picture of b100
//   --data FOLDER      default ../shared/data
//   --train FOLDER     pictures that tables are measured and networks trained on (default train/free below --data)
//   --images N         of these, a seeded choice (default 25)    --pixels N    LR pixels of their tiles (default 2^20)
//   --steps N          training steps of ClassSR's classifier and of the predictor (default 300)
//   --tile N           LR pixels of a tile (default 32)
//   --out FOLDER       default runs/rivals: models with their tables, and results
//   --json FILE        all figures and the means, as one file
//   --threads N
//
// What was made is not made again. Every table is measured anew on the same pictures, also that of 'calibrated', so that no
// router has seen more than another.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import * as wbsr from '../dist/index.js'

const root = path.resolve(import.meta.dirname, '..')
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    budgets: { type: 'string', default: '0.4,0.6,0.8' },
    sets: { type: 'string', default: 'set5,set14,b100,urban100,test2k' },
    data: { type: 'string', default: path.join(root, '..', 'shared', 'data') },
    train: { type: 'string' },
    images: { type: 'string', default: '25' },
    pixels: { type: 'string', default: String(2 ** 20) },
    steps: { type: 'string', default: '300' },
    tile: { type: 'string', default: '32' },
    out: { type: 'string', default: path.join(root, 'runs', 'rivals') },
    json: { type: 'string' },
    threads: { type: 'string' },
  },
})
if (positionals.length === 0) throw new Error('expected models: files, or folders that hold checkpoint.safetensors')
const budgets = values.budgets.split(',').map(Number)
const tile = Number(values.tile)
const measuring = {
  hr: values.train ?? path.join(values.data, 'train', 'free'),
  images: Number(values.images),
  pixels: Number(values.pixels),
  tileSize: tile,
}
const ROUTERS = /** @type {const} */ ([
  'random',
  'projection-budget',
  'calibrated',
  'arm',
  'classsr',
  'predictor',
  'oracle',
])

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort())
mkdirSync(values.out, { recursive: true })

/** @type {any[]} */
const done = []
for (const given of positionals) done.push(await compare(given))
const differing = done.find(({ subnets }) => JSON.stringify(subnets) !== JSON.stringify(done[0].subnets))
if (differing)
  throw new Error(`expected models of one network, but ${differing.model} has other subnets than ${done[0].model}`)
const rows = summarise()
print()
if (values.json)
  writeFileSync(
    values.json,
    `${JSON.stringify({ sets: values.sets, budgets, tile, measuring: { ...measuring, hr: path.relative(root, measuring.hr) }, rows, models: done }, null, 1)}\n`,
  )

/** The model with all tables: from an earlier call, or measured now. */
async function prepare(given) {
  const file = existsSync(given) && statSync(given).isDirectory() ? path.join(given, 'checkpoint.safetensors') : given
  const device = values.threads ? { threads: Number(values.threads) } : {}
  const model = await wbsr.loadSupernet(file, device)
  const contents = file.startsWith('wbsr:') ? file : readFileSync(file)
  const settings = JSON.stringify([measuring, values.steps])
  const key = createHash('sha256').update(contents).update(settings).digest('hex').slice(0, 16)
  const kept = path.join(values.out, `${key}.safetensors`)
  if (existsSync(kept)) {
    model.dispose()
    return { key, model: await wbsr.loadSupernet(kept, device) }
  }
  for (const router of /** @type {const} */ (['calibrated', 'arm', 'classsr', 'predictor'])) {
    console.error(`${given}: ${router}`)
    const trained = router === 'classsr' || router === 'predictor' ? { steps: Number(values.steps) } : {}
    await wbsr.calibrateRouter(model, { router, ...measuring, ...trained, signal: stop.signal })
  }
  await model.save(kept)
  return { key, model }
}

async function compare(given) {
  const { key, model } = await prepare(given)
  const all = model.subnets
  const runs = [
    ...all.map(({ index }) => ({ name: `subnet ${index}`, router: { subnet: index }, tile })),
    { name: 'projection', router: /** @type {const} */ ('projection'), tile },
    { name: 'classsr', router: /** @type {const} */ ('classsr'), tile },
    ...ROUTERS.flatMap((router) => budgets.map((budget) => ({ name: `${router} ${budget}`, router, budget, tile }))),
  ]
  let told = performance.now()
  const evaluation = await wbsr.evaluate(model, {
    sets: Object.fromEntries(values.sets.split(',').map(picturesOf)),
    runs,
    ssim: false,
    directory: path.join(values.out, key),
    signal: stop.signal,
    onProgress: ({ done: count, total, set, picture, run }) => {
      if (performance.now() - told < 20_000) return
      told = performance.now()
      console.error(`${given}: ${count}/${total} ${set} ${picture} ${run}`)
    },
  })
  model.dispose()
  const scores = evaluation.sets.flatMap(({ name: set, summary }) => {
    const found = runs.map(({ name }) => ({ set, run: name, share: summary[name].share, y: summary[name].psnr.y }))
    const fixed = found.filter(({ run }) => run.startsWith('subnet '))
    return found.map((row) => ({ ...row, gain: row.y - staticAt(fixed, row.share) }))
  })
  return { model: given, subnets: all.map(({ width, depth, flops }) => ({ width, depth, flops })), scores }
}

/**
 * Name and pictures of NAME or NAME/N.
 * @param {string} set
 * @returns {[string, string | string[]]}
 */
function picturesOf(set) {
  const [name, every] = set.split('/')
  const folder = path.join(values.data, name, 'hr')
  if (every === undefined) return [name, folder]
  if (!(Number(every) >= 1)) throw new Error(`expected NAME/N with N of 1 or more for --sets but received ${set}`)
  const files = readdirSync(folder).sort()
  return [name, files.filter((_, i) => i % Number(every) === 0).map((file) => path.join(folder, file))]
}

/**
 * PSNR of fixed subnets at a cost: on the upper convex hull of (share, PSNR), which mixing two subnets at random would reach.
 * Beyond its ends that of the nearest one.
 */
function staticAt(fixed, share) {
  const hull = []
  for (const point of [...fixed].sort((a, b) => a.share - b.share || b.y - a.y)) {
    if (hull.length > 0 && point.y <= hull.at(-1).y) continue
    const slope = (a, b) => (b.y - a.y) / (b.share - a.share)
    while (hull.length > 1 && slope(hull.at(-2), hull.at(-1)) <= slope(hull.at(-1), point)) hull.pop()
    hull.push(point)
  }
  const above = hull.findIndex((point) => point.share >= share)
  if (above <= 0) return hull.at(above === 0 ? 0 : -1).y
  const [a, b] = [hull[above - 1], hull[above]]
  return a.y + ((share - a.share) / (b.share - a.share)) * (b.y - a.y)
}

/** Mean and deviation (of a sample, null for one value). */
function spread(list) {
  const mean = list.reduce((sum, value) => sum + value, 0) / list.length
  const squares = list.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, deviation: list.length > 1 ? Math.sqrt(squares / (list.length - 1)) : null }
}

function summarise() {
  return done[0].scores.map(({ set, run }, i) => {
    const of = (name) => spread(done.map(({ scores }) => scores[i][name]))
    return { set, run, models: done.length, share: of('share'), y: of('y'), gain: of('gain') }
  })
}

function print() {
  const text = ({ mean, deviation }, digits, factor = 1) =>
    `${(factor * mean).toFixed(digits)}${deviation === null ? '' : ` ± ${(factor * deviation).toFixed(digits)}`}`
  const line = (cells) => `| ${cells.join(' | ')} |`
  for (const set of new Set(rows.map((row) => row.set))) {
    console.log(
      `\n${set}: mean ± deviation over ${done.length} models; gain: dB over fixed subnets of the same cost (mixed at random)\n`,
    )
    const header = ['run', 'cost, %', 'PSNR on Y', 'gain']
    const lines = rows
      .filter((row) => row.set === set)
      .map(({ run, share, y, gain }) => [run, text(share, 1, 100), text(y, 3), text(gain, 3)])
    console.log([line(header), line(header.map(() => '---')), ...lines.map(line)].join('\n'))
  }
}
