// Trains configurations with several seeds each, measures the models, and prints means and deviations: what of the method
// helps (docs/ablation.md).
//
//     node train/ablation.mjs --steps 2000 --seeds 1,2,3 [--configurations l1-uniform,l1-hes]
//     node train/ablation.mjs --print
//
//   --plan FILE        configurations over a common base (default train/ablation.json), options of trainSupernet
//   --steps N          of every run (default 2000); another N is another experiment
//   --seeds 1,2,3      --configurations a,b    which runs (default: seeds 1 to 3 of all)
//   --sets set5,set14  of --data (default set5,set14,b100,urban100,test2k)
//   --data FOLDER      default ../shared/data; training pictures are named below it in the plan
//   --out FOLDER       default runs/ablation: checkpoints, and a JSON file for each run
//   --json FILE        all runs that are done, and the means, as one file
//   --reference NAME   the configuration that others are compared with (default: the first)
//   --print            prints what is done and trains nothing
//
// A run that was stopped goes on from its checkpoint, one that is done is not made again. Runs are made seed by seed, so that
// all configurations have the first seed before one has the second.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import * as wbsr from '../dist/index.js'

const root = path.resolve(import.meta.dirname, '..')
const { values } = parseArgs({
  options: {
    plan: { type: 'string', default: path.join(root, 'train', 'ablation.json') },
    steps: { type: 'string', default: '2000' },
    seeds: { type: 'string', default: '1,2,3' },
    configurations: { type: 'string' },
    sets: { type: 'string', default: 'set5,set14,b100,urban100,test2k' },
    data: { type: 'string', default: path.join(root, '..', 'shared', 'data') },
    out: { type: 'string', default: path.join(root, 'runs', 'ablation') },
    json: { type: 'string' },
    reference: { type: 'string' },
    threads: { type: 'string' },
    print: { type: 'boolean', default: false },
  },
})
/** @type {{ base: any, configurations: Record<string, any> }} */
const plan = JSON.parse(readFileSync(values.plan, 'utf8'))
const names = values.configurations?.split(',') ?? Object.keys(plan.configurations)
for (const name of names)
  if (!plan.configurations[name])
    throw new Error(
      `expected configurations of ${values.plan} (${Object.keys(plan.configurations).join(', ')}) but ${name} is none`,
    )
const steps = Number(values.steps)
const seeds = values.seeds.split(',').map(Number)
const sets = values.sets.split(',')
const RUNS = ['smallest', 'calibrated 0.6', 'largest']

/** @type {Record<string, (options: any) => wbsr.Network>} */
const families = /** @type {any} */ (wbsr)

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort())

/** @type {any[]} */
const done = []
for (const seed of seeds) {
  for (const name of names) {
    const file = path.join(values.out, `${name}-${steps}-${seed}.json`)
    const options = { ...plan.base, ...plan.configurations[name] }
    if (existsSync(file)) {
      const result = JSON.parse(readFileSync(file, 'utf8'))
      const [was, is] = [result.options, options].map((value) => JSON.stringify(value))
      if (was !== is) throw new Error(`${file} was made with other options; remove it to make it anew\n${was}\n${is}`)
      done.push(result)
    } else if (!values.print) {
      const result = await make(name, seed, options)
      mkdirSync(values.out, { recursive: true })
      writeFileSync(file, `${JSON.stringify(result, null, 1)}\n`)
      done.push(result)
    }
  }
}
if (done.length === 0) throw new Error(`${values.out}: no run of ${steps} steps is done`)
const means = summarise()
print(means)
if (values.json) {
  const { base, configurations } = plan
  writeFileSync(values.json, `${JSON.stringify({ steps, base, configurations, means, runs: done }, null, 1)}\n`)
}

/** Trains and measures one run. */
async function make(name, seed, { network, data, ...options }) {
  const { family, ...shape } = network
  const folder = path.join(values.out, `${name}-${steps}-${seed}`)
  const started = performance.now()
  let told = started
  console.error(`${name}, seed ${seed}`)
  const device = values.threads ? { threads: Number(values.threads) } : {}
  const model = await wbsr.trainSupernet({
    ...options,
    ...device,
    network: families[family](shape),
    data: { ...data, train: path.join(values.data, data.train) },
    steps,
    seed,
    checkpoint: { directory: folder, everySteps: 500 },
    signal: stop.signal,
    onStep: ({ step, loss, eta }) => {
      if (performance.now() - told < 20_000) return
      told = performance.now()
      console.error(`  ${step}/${steps}, loss ${loss.toFixed(5)}, ${eta.toFixed(0)} s to go`)
    },
  })
  const seconds = (performance.now() - started) / 1000
  const last = model.subnets.length - 1
  const evaluation = await wbsr.evaluate(model, {
    sets: Object.fromEntries(sets.map((set) => [set, path.join(values.data, set, 'hr')])),
    runs: [
      { name: RUNS[0], router: { subnet: 0 } },
      { name: RUNS[1], router: 'calibrated', budget: 0.6 },
      { name: RUNS[2], router: { subnet: last } },
    ],
    ssim: false,
    directory: path.join(folder, 'results'),
    signal: stop.signal,
  })
  model.dispose()
  const scores = Object.fromEntries(
    evaluation.sets.map(({ name: set, summary }) => [
      set,
      Object.fromEntries(
        ['bicubic', ...RUNS].map((run) => {
          const { images, psnr, share, classes } = summary[run]
          const perClass = classes.map((part) => (part.psnr ? { pixels: part.pixels, y: part.psnr.y } : null))
          return [run, { images, y: psnr.y, rgb: psnr.rgb, share, classes: perClass }]
        }),
      ),
    ]),
  )
  return { name, seed, steps, options: { network, data, ...options }, seconds, scores }
}

/** Of each configuration, set and run: PSNR on Y as mean and deviation over the seeds, and its difference to the reference with the same seeds. */
function summarise() {
  const reference = values.reference ?? names[0]
  const rows = []
  for (const name of names) {
    const own = done.filter((result) => result.name === name)
    if (own.length === 0) continue
    for (const set of Object.keys(own[0].scores)) {
      for (const run of ['bicubic', ...RUNS]) {
        const of = (result) => result.scores[set]?.[run]?.y
        const differences = own.flatMap((result) => {
          const other = done.find(({ name: n, seed }) => n === reference && seed === result.seed)
          return other && of(other) !== undefined ? [of(result) - of(other)] : []
        })
        rows.push({ name, set, run, ...spread(own.map(of)), difference: spread(differences) })
      }
    }
  }
  return { reference, rows }
}

/** Mean and deviation (of a sample, null for one value). */
function spread(list) {
  const mean = list.reduce((sum, value) => sum + value, 0) / list.length
  const squares = list.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { count: list.length, mean, deviation: list.length > 1 ? Math.sqrt(squares / (list.length - 1)) : null }
}

function print({ reference, rows }) {
  const text = ({ mean, deviation }, digits) =>
    `${mean.toFixed(digits)}${deviation === null ? '' : ` ± ${deviation.toFixed(digits)}`}`
  const found = [...new Set(rows.map(({ set }) => set))]
  for (const run of RUNS) {
    console.log(
      `\n${run}: PSNR on Y, ${steps} steps, mean ± deviation over seeds; in brackets the difference to ${reference}\n`,
    )
    const header = ['configuration', 'seeds', ...found]
    const lines = names.flatMap((name) => {
      const cells = found.map((set) => rows.find((row) => row.name === name && row.set === set && row.run === run))
      if (!cells[0]) return []
      const values_ = cells.map((row) => {
        if (!row) return ''
        const { difference } = row
        const sign = difference.mean > 0 ? '+' : ''
        return name === reference || difference.count === 0
          ? text(row, 3)
          : `${text(row, 3)} (${sign}${text(difference, 3)})`
      })
      return [[name, String(cells[0].count), ...values_]]
    })
    const line = (cells) => `| ${cells.join(' | ')} |`
    console.log([line(header), line(header.map(() => '---')), ...lines.map(line)].join('\n'))
  }
}
