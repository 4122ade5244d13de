// Trains a model on a folder of your own photographs, with a report to look at, and enlarges one of them with it.
//
//   npm install wbsr
//   node train-own.mjs photos/ own.safetensors              # 5000 steps; look at own.run/report.html meanwhile
//   node train-own.mjs photos/ own.safetensors --steps 20000 --scale 3
//
// Ctrl+C writes a checkpoint; the same command goes on from there. Every tenth photograph is held out: what the model gains over
// bicubic is measured on photographs that it has not seen.
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { evaluate, loadSupernet, srresnet, trainSupernet, WbsrError } from 'wbsr'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { steps: { type: 'string', default: '5000' }, scale: { type: 'string', default: '2' } },
})
const [photographs, file] = positionals
if (photographs === undefined || file === undefined) {
  console.error('usage: node train-own.mjs PHOTOGRAPHS MODEL.safetensors [--steps N] [--scale 2|3|4]')
  process.exit(2)
}
const scale = /** @type {2 | 3 | 4} */ (Number(values.scale))
const directory = `${file.replace(/\.safetensors$/, '')}.run`

const names = (await readdir(photographs)).filter((name) => /\.(jpe?g|png|tiff?|webp)$/i.test(name)).sort()
const pictures = names.map((name) => path.join(photographs, name))
if (pictures.length < 2)
  throw new Error(`Expected at least 2 photographs in ${photographs} but there are ${pictures.length}`)
const held = pictures.filter((_, i) => i % 10 === 9 || i === pictures.length - 1)
const train = pictures.filter((picture) => !held.includes(picture))

const stop = new AbortController()
process.once('SIGINT', () => stop.abort())

try {
  const trained = await trainSupernet({
    network: srresnet({ scale, widths: [16, 32], depths: [1, 2, 4] }),
    // Photographs are JPEG as a rule: the model is to enlarge such pictures, not their blocks.
    data: { train, validation: held, degradation: 'photo' },
    steps: Number(values.steps),
    batchSize: 8,
    patchSize: 32 * scale,
    optimizer: { learningRate: 1e-3, finalLearningRate: 1e-5 },
    checkpoint: { directory },
    report: path.join(directory, 'report.html'),
    signal: stop.signal,
    onStart: ({ skipped }) => skipped.forEach(({ file, reason }) => console.error(`left out: ${file}: ${reason}`)),
    onStep: ({ step, steps, loss, eta }) => {
      if (step % 100 === 0) console.log(`step ${step} of ${steps}, loss ${loss.toFixed(4)}, ${Math.round(eta)} s to go`)
    },
    onValidation: ({ step, bicubic, largest }) =>
      console.log(`step ${step}: ${largest.y.toFixed(2)} dB, bicubic ${bicubic.y.toFixed(2)} dB`),
  })
  await trained.save(file)
  trained.dispose()
} catch (error) {
  if (!(error instanceof WbsrError) || error.code !== 'WBSR_ABORTED') throw error
  console.log(`stopped; the same command goes on from ${directory}`)
  process.exit(130)
}

const model = await loadSupernet(file)
const { sets } = await evaluate(model, { sets: { held }, runs: [{ name: 'own', loss: 0.02 }], ssim: false })
const { own, bicubic } = sets[0].summary
console.log(`held-out photographs: ${own.psnr.y.toFixed(2)} dB, bicubic ${bicubic.psnr.y.toFixed(2)} dB`)

const sample = `${directory}/${path.parse(held[0]).name}-x${scale}.png`
const { width, height } = await model.upscaleFile(held[0], sample, { scale })
console.log(`${file} made ${sample}: ${width} x ${height}`)
model.dispose()
