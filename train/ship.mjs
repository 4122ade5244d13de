// Puts a trained model into the package: weights/NAME.safetensors and its card weights/NAME.json, and a row of the table in
// weights/README.md.
//
//     node train/ship.mjs train/checkpoints/x2/best.safetensors x2
//     node train/ship.mjs CHECKPOINT NAME [--calibration FOLDER] [--data FOLDER]
//
// - A checkpoint is calibrated first, on --calibration (default: the training photographs), degraded as in training.
// - Weights are stored as half floats where that changes PSNR on Y by less than 0.005 dB on every set; else as float32.
// - Scores are those on the sets of --data (default ../shared/data) that are there: set5, set14, b100, urban100, test2k;
//   models for lossy input are measured on the same sets as JPEG of quality 75 with chroma subsampling too.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { readSafetensors, writeSafetensors } from '../dist/files/safetensors.js'
import { calibrateRouter, evaluate, evaluationTable, loadSupernet } from '../dist/index.js'

const root = path.resolve(import.meta.dirname, '..')
const LIMIT = 0.005
const SETS = ['set5', 'set14', 'b100', 'urban100', 'test2k']
const MODELS = /<!-- models: .*? -->\n([\s\S]*?)\n<!-- end of models -->/

const usage = 'Usage: node train/ship.mjs CHECKPOINT NAME [--calibration FOLDER] [--data FOLDER] [--weights FOLDER]'
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    calibration: { type: 'string' },
    data: { type: 'string', default: path.join(root, '..', 'shared', 'data') },
    weights: { type: 'string', default: path.join(root, 'weights') },
  },
})
const [checkpoint, name] = positionals
if (!checkpoint || !name || positionals.length > 2 || !/^x[234](-[a-z]+)?$/.test(name)) {
  console.error(`${usage}\nNAME: x2, x4, x2-photo ...`)
  process.exit(2)
}
const trained = path.join(values.data, 'train', 'free')
const calibration = values.calibration ?? trained

const source = await readSafetensors(checkpoint)
const training = trainingOf(source.metadata)
const { degradation } = training.options
const input = degradation ? 'lossy' : 'clean'

const model = await loadSupernet(checkpoint)
if (name !== `x${model.scale}` && !name.startsWith(`x${model.scale}-`))
  throw new Error(`expected a model of scale ${name[1]} for ${name} but ${checkpoint} has scale ${model.scale}`)
if (!model.router) {
  console.log(`calibrating on ${calibration}`)
  await calibrateRouter(model, { hr: calibration, degradation })
  const { router } = /** @type {{ router: any }} */ (model)
  training.calibration = { pictures: path.basename(calibration), tiles: router.tiles, tileSize: router.tileSize }
}

const work = mkdtempSync(path.join(os.tmpdir(), 'wbsr-ship-'))
try {
  const files = { f32: path.join(work, 'f32.safetensors'), f16: path.join(work, 'f16.safetensors') }
  for (const precision of /** @type {const} */ (['f32', 'f16'])) await model.save(files[precision], { precision })
  const [full, half] = [await measure(model), await measure(await loadSupernet(files.f16))]
  const changes = full.sets.flatMap(({ name: set, summary }, i) =>
    ['smallest', 'largest'].map((run) => ({
      set,
      run,
      change: half.sets[i].summary[run].psnr.y - summary[run].psnr.y,
    })),
  )
  const most = Math.max(...changes.map(({ change }) => Math.abs(change)))
  const precision = most < LIMIT ? 'f16' : 'f32'
  console.log(`half floats change PSNR by at most ${most.toFixed(5)} dB: stored as ${precision}`)
  const evaluation = precision === 'f16' ? half : full

  mkdirSync(values.weights, { recursive: true })
  const file = path.join(values.weights, `${name}.safetensors`)
  const stored = await readSafetensors(files[precision])
  await writeSafetensors(file, [...stored.tensors.values()], {
    ...stored.metadata,
    'wbsr.training': JSON.stringify(training),
  })
  const bytes = readFileSync(file)
  const card = {
    name: `wbsr:${name}`,
    scale: model.scale,
    input,
    network: { name: model.network.name, widths: model.network.widths, depths: model.network.depths },
    parameters: model.subnets[model.subnets.length - 1].parameters,
    precision,
    bytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    licence: 'MIT',
    data: {
      name: 'photographs under CC0, CC-BY and in the public domain',
      images: 100,
      attribution: 'weights/ATTRIBUTION.md',
    },
    // `steps` of the options are those that the run was to have.
    recipe: { ...training.options, steps: training.steps, plannedSteps: training.options.steps },
    halfFloats: { largestChange: most },
    scores: evaluation.sets.map(({ name: set, lr, summary, pictures }) => ({
      set: set.replace(/ as JPEG$/, ''),
      images: pictures.length,
      lr: set.endsWith(' as JPEG') ? 'bicubic, then JPEG of quality 75, 4:2:0' : lr,
      bicubic: round(summary.bicubic.psnr.y),
      smallest: round(summary.smallest.psnr.y),
      largest: round(summary.largest.psnr.y),
    })),
    limits: limitsOf(input),
  }
  writeFileSync(path.join(values.weights, `${name}.json`), `${JSON.stringify(card, null, 2)}\n`)
  console.log(evaluationTable(evaluation))
  writeTable(values.weights)
  console.log(`${file}: ${(bytes.length / 1e3).toFixed(0)} KB`)
} finally {
  rmSync(work, { recursive: true, force: true })
  model.dispose()
}

/** What is recorded of the training: of a model its own record, of a checkpoint its progress. */
function trainingOf(metadata) {
  const stored = metadata['wbsr.training']
  const progress = metadata['wbsr.checkpoint']
  if (!stored && !progress) throw new Error(`${checkpoint}: expected a model or a checkpoint that wbsr trained`)
  const { step, steps = step, options, history, calibration: measured } = JSON.parse(stored ?? progress)
  // Of all validations only the last: a file that ships need not be larger than its weights.
  return { steps, options, history: history.slice(-1), ...(measured && { calibration: measured }) }
}

async function measure(net) {
  const found = SETS.filter((set) => existsSync(path.join(values.data, set, 'hr')))
  if (found.length === 0) throw new Error(`${values.data}: expected at least one of ${SETS.join(', ')} with hr/`)
  const jpeg = { probability: 1, quality: [75, 75], subsampling: 1 }
  const sets = Object.fromEntries(
    found.flatMap((set) => {
      const hr = path.join(values.data, set, 'hr')
      const clean = [[set, hr]]
      return input === 'lossy' ? [...clean, [`${set} as JPEG`, { hr, degradation: { jpeg } }]] : clean
    }),
  )
  const last = net.subnets.length - 1
  return await evaluate(net, {
    sets,
    runs: [
      { name: 'smallest', router: { subnet: 0 } },
      { name: 'calibrated 0.6', router: 'calibrated', budget: 0.6 },
      { name: 'largest', router: { subnet: last } },
    ],
    ssim: false,
  })
}

function round(value) {
  return Math.round(value * 1000) / 1000
}

function limitsOf(kind) {
  return [
    kind === 'clean'
      ? 'clean pictures: the blocks and ringing of JPEG are sharpened with the rest'
      : 'mild compression (JPEG 50 to 95), blur and noise: strong artefacts stay',
    'photographs: drawings and text come out sharper than by bicubic, but other models do better there',
    'restores what a bicubic reduction took away and invents no detail',
  ]
}

/** The table of weights/README.md, by the cards that are there. */
function writeTable(folder) {
  const readme = path.join(folder, 'README.md')
  if (!existsSync(readme)) return
  const cards = ['x2', 'x3', 'x4']
    .flatMap((scale) => [scale, `${scale}-photo`])
    .map((model) => path.join(folder, `${model}.json`))
    .filter((file) => existsSync(file))
    .map((file) => JSON.parse(readFileSync(file, 'utf8')))
  const header = [
    'model',
    'widths x depths',
    'parameters',
    'KB',
    'steps',
    'set',
    'LR',
    'bicubic',
    'smallest',
    'largest',
  ]
  const rows = cards.flatMap((card) =>
    card.scores.map((score, i) => {
      const { widths, depths } = card.network
      const own = [
        `\`${card.name}\``,
        `${widths.join('/')} x ${depths.join('/')}`,
        String(card.parameters),
        (card.bytes / 1e3).toFixed(0),
        String(card.recipe.steps),
      ]
      const psnr = ['bicubic', 'smallest', 'largest'].map((key) => score[key].toFixed(2))
      return [...(i === 0 ? own : own.map(() => '')), `${score.set} (${score.images})`, score.lr, ...psnr]
    }),
  )
  const line = (cells) => `| ${cells.join(' | ')} |`
  const table = [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n')
  const text = readFileSync(readme, 'utf8')
  if (!MODELS.test(text)) throw new Error(`${readme}: expected the marks of the table of models`)
  const mark = '<!-- models: written by train/ship.mjs -->'
  const said = 'PSNR in dB on Y, border of `scale` pixels shaved, mean over the pictures.'
  writeFileSync(
    readme,
    text.replace(MODELS, () => `${mark}\n\n${said}\n\n${table}\n\n<!-- end of models -->`),
  )
}
