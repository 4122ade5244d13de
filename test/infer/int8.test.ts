// precision 'int8' on the CPU: refused with a reason where the processor has no AMX; else pixels that do not depend on threads,
// streams equal to pictures, and the PSNR that 8 bits cost on Set5 and on published models.
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import t from 'tap'
import { decodeImage } from '../../lib/images/images.js'
import { loadModel, loadSupernet, psnr, type SupernetModel, stitchTo, tilesOf, trainSupernet } from '../../lib/index.js'
import { native } from '../../lib/native.js'
import { cuttings, run } from '../support/training.js'

const here = native.deviceKinds().some(({ name, precisions }) => name === 'cpu' && precisions.includes('int8'))
const noAmx = here ? false : 'this processor has no AMX'
const data = path.resolve(import.meta.dirname, '../../../shared/data')
const noData = existsSync(path.join(data, 'set5')) ? false : '../shared/data is not here'

t.test('where there is no AMX', { skip: here && 'this processor has AMX' }, async (t) => {
  await t.rejects(loadSupernet('wbsr:x2', { device: 'cpu', precision: 'int8' }), {
    code: 'WBSR_INVALID_OPTION',
    message: `Expected 'fp32' or nothing with device 'cpu' ('int8' needs a processor with AMX) for precision but received "int8"`,
  })
})

t.test('training refuses it', { skip: noAmx }, async (t) => {
  await t.rejects(trainSupernet(run(t.testdir(), { precision: 'int8' })), {
    code: 'WBSR_INVALID_OPTION',
    message:
      "Expected 'bf16', 'tf32' or 'fp32' in training ('int8' is for inference) for precision but received \"int8\"",
  })
})

t.test('the same pixels with one thread and with two, and in a stream', { skip: noAmx }, async (t) => {
  const file = path.join(await cuttings(t.testdir()), 'nagasaki-boats.png')
  const results: Buffer[] = []
  const bytes = (sr: { data: ArrayBufferView }) => Buffer.from(sr.data.buffer, sr.data.byteOffset, sr.data.byteLength)
  for (const threads of [1, 2]) {
    using model = await loadSupernet('wbsr:x2', { device: 'cpu', precision: 'int8', threads })
    t.match(model.device(), { kind: 'cpu', precision: 'int8', fallbackReason: null })
    for (let i = 0; i < 2; ++i) results.push(bytes(await model.upscale(file)))
    const out = path.join(t.testdirName, 'out.png')
    await pipeline(tilesOf(file, { size: 64 }), model.inferStream(), stitchTo(out))
    results.push(bytes(await decodeImage(out)))
  }
  for (const other of results.slice(1)) t.ok(other.equals(results[0]!))
  using float = await loadSupernet('wbsr:x2', { device: 'cpu' })
  t.notOk(bytes(await float.upscale(file)).equals(results[0]!), '8 bits were used')
})

// dB that 8 bits may cost, mean over Set5 and largest of one picture.
for (const [name, load, scale, mean, single] of [
  ['wbsr:x2', (o: object) => loadSupernet('wbsr:x2', o), 2, 0.05, 0.1],
  ['wbsr:x4', (o: object) => loadSupernet('wbsr:x4', o), 4, 0.05, 0.1],
  ['EDSR x2', (o: object) => loadModel(path.join(data, 'weights/edsr_r8f64_x2.pth'), o), 2, 0.05, 0.1],
  ['RLFN x4', (o: object) => loadModel(path.join(data, 'weights/rlfn_x4.pth'), o), 4, 0.06, 0.15],
] as const)
  t.test(`${name} on Set5`, { skip: noAmx || noData }, async (t) => {
    using float = await load({ device: 'cpu' })
    using int8 = await load({ device: 'cpu', precision: 'int8' })
    const lost: number[] = []
    const folder = path.join(data, 'set5')
    for (const file of readdirSync(path.join(folder, 'hr'))) {
      const hr = await decodeImage(path.join(folder, 'hr', file))
      const lr = await decodeImage(path.join(folder, `lr_x${scale}`, file))
      const of = async (model: SupernetModel) =>
        psnr(await model.upscale(lr, { router: { subnet: model.subnets.length - 1 } }), hr, { shave: scale })
      lost.push((await of(float)) - (await of(int8)))
    }
    t.comment(`${name} loses ${lost.map((dB) => dB.toFixed(3)).join(', ')} dB`)
    t.ok(lost.reduce((a, b) => a + b, 0) / lost.length < mean)
    t.ok(Math.max(...lost) < single)
  })
