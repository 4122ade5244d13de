// Trains one of the supernets that the package ships, by its configuration in this folder:
//
//   node train/run.mjs train/x2.json            starts, or goes on from the checkpoint
//   node train/run.mjs train/x2.json --steps N  adds N steps to a finished or stopped run (`extend`)
//
// Paths in the configuration are relative to the folder above the repository's root, where shared/ lies. Ctrl+C writes a
// checkpoint and stops. One line of JSON per 100 steps and per validation goes to train/NAME.log.jsonl.
import { appendFileSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import * as wbsr from 'wbsr'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const config = process.argv[2]
if (!config) throw new Error('Expected a configuration, e.g. train/x2.json')
const name = path.basename(config, '.json')
/** @type {any} */
const { network, data, ...options } = JSON.parse(readFileSync(config, 'utf8'))
const at = (/** @type {string} */ file) => path.resolve(root, '..', file)
const { family, ...shape } = network
/** @type {Record<string, (options: any) => wbsr.Network>} */
const families = /** @type {any} */ (wbsr)
const directory = path.join(root, 'train', 'checkpoints', name)
const log = path.join(root, 'train', `${name}.log.jsonl`)
const write = (/** @type {object} */ line) => appendFileSync(log, `${JSON.stringify(line)}\n`)
const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => stop.abort())

const more = process.argv.indexOf('--steps')
const started = performance.now()
let sum = 0
let count = 0 // fewer than 100 in the first line after a resume
const model = await wbsr.trainSupernet({
  ...options,
  // An extension goes on from its own checkpoint; `from` is where the run began.
  from: more > 0 || !options.from ? undefined : path.join(root, options.from),
  ...(more > 0 && { steps: Number(process.argv[more + 1]), extend: directory }),
  network: families[family](shape),
  data: { ...data, train: at(data.train), validation: at(data.validation) },
  checkpoint: { directory, everySteps: 500 },
  signal: stop.signal,
  onStart: ({ skipped, ...report }) => write({ date: new Date().toISOString(), ...report, skipped: skipped.length }),
  onStep: (/** @type {wbsr.StepReport} */ { step, steps, loss, learningRate, eta, waitForData }) => {
    sum += loss
    count++
    if (step % 100 !== 0) return
    const line = {
      step,
      steps,
      loss: sum / count,
      learningRate,
      waitForData,
      seconds: (performance.now() - started) / 1000,
      eta,
    }
    sum = 0
    count = 0
    write(line)
    console.log(line.step, line.loss.toFixed(5), `${line.seconds.toFixed(0)} s, ${eta.toFixed(0)} s to go`)
  },
  onValidation: (/** @type {wbsr.ValidationReport} */ report) => {
    write(report)
    console.log(
      `validation at ${report.step}: bicubic ${report.bicubic.y.toFixed(3)}, smallest ${report.smallest.y.toFixed(3)}, largest ${report.largest.y.toFixed(3)} dB on Y`,
    )
  },
})
await model.save(path.join(directory, 'model.safetensors'))
