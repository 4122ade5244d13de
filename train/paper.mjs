// The rows of the paper's tables (docs/paper.md, method.md section 5): trains one of the methods with its own recipe and prints
// PSNR on RGB and GFLOPs by protocol 'paper', beside the published figures.
//
//     node train/paper.mjs --network srresnet --method wbsr --train DIV2K_train_HR --test2k Test2K [--device cuda]
//
//   --network srresnet|rcan    x4, the paper's widths and depths
//   --method NAME      baseline: the largest subnet alone, L1; arm: ARM (widths at the largest depth); wbsr: HES and BDLoss
//   --train FOLDER     HR pictures (DIV2K); --images N of them measure ARM's table (default 50)
//   --test2k FOLDER    --test4k FOLDER    HR pictures to measure on, either or both
//   --epochs N         default 100, as in the paper: days on a GPU; or --steps N
//   --batch N, --patch N, --widths 36,52,64, --depths 4,8,16, --scale N, --rate R    others than the paper's
//   --out FOLDER       default runs/paper: checkpoints, the model, results; a run that was stopped goes on
//   --device NAME, --threads N
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import * as wbsr from '../dist/index.js'

const root = path.resolve(import.meta.dirname, '..')
const { values } = parseArgs({
  options: {
    network: { type: 'string', default: 'srresnet' },
    method: { type: 'string', default: 'wbsr' },
    train: { type: 'string' },
    images: { type: 'string', default: '50' },
    test2k: { type: 'string' },
    test4k: { type: 'string' },
    epochs: { type: 'string' },
    steps: { type: 'string' },
    batch: { type: 'string', default: '16' },
    patch: { type: 'string', default: '128' },
    widths: { type: 'string', default: '36,52,64' },
    depths: { type: 'string' },
    scale: { type: 'string', default: '4' },
    rate: { type: 'string', default: '2e-4' },
    out: { type: 'string', default: path.join(root, 'runs', 'paper') },
    device: { type: 'string' },
    threads: { type: 'string' },
  },
})

/** The paper's depths, and its figures: PSNR on RGB and GFLOPs on Test2K, then on Test4K. */
const NETWORKS = {
  srresnet: {
    depths: [4, 8, 16],
    make: wbsr.srresnet,
    published: {
      baseline: { whole: [26.19, 5.19, 27.65, 5.19] },
      arm: {
        'ARM-L': [26.21, 4.0, 27.66, 3.41],
        'ARM-M': [26.2, 3.48, 27.65, 3.24],
        'ARM-S': [26.18, 2.87, 27.63, 2.77],
      },
      wbsr: { projection: [26.26, 3.37, 27.73, 3.22], whole: [26.38, 5.19, 27.8, 5.19] },
    },
  },
  rcan: {
    depths: [5, 10, 20],
    make: wbsr.rcan,
    published: {
      baseline: { whole: [26.39, 32.6, 27.89, 32.6] },
      arm: {},
      wbsr: { projection: [26.45, 18.52, 27.94, 19.4], whole: [26.51, 32.6, 28.1, 32.6] },
    },
  },
}
const METHODS = ['baseline', 'arm', 'wbsr']
const one = (key, names) => {
  if (!names.includes(values[key]))
    throw new Error(`expected ${names.join(' or ')} for --${key} but received ${values[key]}`)
  return values[key]
}
const family = NETWORKS[one('network', Object.keys(NETWORKS))]
const method = one('method', METHODS)
const tests = { test2k: values.test2k, test4k: values.test4k }
const sets = Object.fromEntries(
  Object.entries(tests).flatMap(([set, folder]) => (folder === undefined ? [] : [[set, folder]])),
)
if (!values.train || Object.keys(sets).length === 0) throw new Error('expected --train, and --test2k or --test4k')

const numbers = (text) => text.split(',').map(Number)
const widths = numbers(values.widths)
const depths = values.depths ? numbers(values.depths) : family.depths
const last = [depths.at(-1)]
const shape = { baseline: [[widths.at(-1)], last], arm: [widths, last], wbsr: [widths, depths] }[method]
const plain = { loss: 'l1', sampler: { kind: 'uniform' } }
/** What the methods differ in; the rest is the paper's, or the common default. */
const RECIPES = {
  baseline: plain,
  arm: { ...plain, subnetsPerStep: 'single-by-cost' },
  wbsr: {
    sampler: { kind: 'hes', classes: 10, thresholds: 'quantile' },
    loss: { kind: 'bd', fidelity: 'l2' },
  },
}

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort())
const out = path.join(values.out, `${values.network}-${method}`)
mkdirSync(out, { recursive: true })
let told = performance.now()
const model = await wbsr.trainSupernet({
  network: family.make({ scale: Number(values.scale), widths: shape[0], depths: shape[1] }),
  data: { train: values.train },
  ...(values.steps ? { steps: Number(values.steps) } : { epochs: Number(values.epochs ?? 100) }),
  batchSize: Number(values.batch),
  patchSize: Number(values.patch),
  optimizer: {
    learningRate: Number(values.rate),
    finalLearningRate: 1e-7,
    betas: [0.9, method === 'arm' ? 0.99 : 0.999],
  },
  ...RECIPES[method],
  ...(values.device && { device: values.device }),
  ...(values.threads && { threads: Number(values.threads) }),
  checkpoint: { directory: out },
  signal: stop.signal,
  onStep: ({ step, steps, loss, eta }) => {
    if (performance.now() - told < 60_000) return
    told = performance.now()
    console.error(`${step}/${steps}, loss ${loss.toFixed(5)}, ${(eta / 3600).toFixed(1)} h to go`)
  },
})
if (method === 'arm')
  await wbsr.calibrateRouter(model, { router: 'arm', hr: values.train, tileSize: 32, images: Number(values.images) })
await model.save(path.join(out, 'model.safetensors'))

const whole = { name: 'whole', router: { subnet: model.subnets.length - 1 } }
// ARM's eta of 32, 8 and 2 times the largest subnet's cost.
const prices = { 'ARM-L': 1 / 32, 'ARM-M': 1 / 8, 'ARM-S': 1 / 2 }
const runs = {
  baseline: [whole],
  arm: [
    ...Object.entries(prices).map(([name, alpha]) => ({ name, router: /** @type {const} */ ('arm'), alpha })),
    whole,
  ],
  wbsr: [{ name: 'projection', router: /** @type {const} */ ('projection') }, whole],
}[method]
const evaluation = await wbsr.evaluate(model, {
  sets,
  runs,
  protocol: 'paper',
  ssim: false,
  directory: path.join(out, 'results'),
  signal: stop.signal,
})
model.dispose()
const line = (cells) => `| ${cells.join(' | ')} |`
const header = ['set', `${values.network}, ${method}`, 'PSNR RGB', 'GFLOPs', 'published PSNR', 'published GFLOPs']
console.log(line(header))
console.log(line(header.map(() => '---')))
for (const { name: set, summary } of evaluation.sets)
  for (const { name } of runs) {
    const { psnr, flops } = summary[name]
    const figures = family.published[method][name]?.slice(set === 'test2k' ? 0 : 2) ?? []
    const published = [figures[0], figures[1]].map((value) => value?.toFixed(2) ?? '')
    console.log(line([set, name, psnr.rgb.toFixed(2), (flops / 1e9).toFixed(3), ...published]))
  }
