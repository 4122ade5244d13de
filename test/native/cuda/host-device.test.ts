// The CUDA device through Node and the public API, on the host's CUDA and cuDNN (test/native/cuda/host_cuda): pictures
// equal the CPU's within bf16 rounding, training learns, jobs abort half-way, several models and worker threads share the
// device, and the process may exit while jobs run.

import { mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { checksFolder, packageIn, unbuilt } from '../../support/package.js'

const file = path.join(checksFolder, 'host_cuda', 'libwbsr_cuda.so')
const skip = unbuilt(file)
const photographs = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)),
  '..',
  '..',
  '..',
  'node_modules',
  '@stdlib',
)

async function packageWithPhotograph(t: Test) {
  const run = packageIn(t, readFileSync(file))
  const folder = path.join(t.testdirName, 'photographs')
  mkdirSync(folder)
  await sharp(path.join(photographs, 'datasets-img-allium-oreophilum', 'data', 'image.jpg'))
    .extract({ left: 300, top: 200, width: 96, height: 64 })
    .png()
    .toFile(path.join(folder, 'a.png'))
  return (source: string) => run(prelude + source)
}

const prelude = `
  import { readFileSync } from 'node:fs'
  import { loadSupernet, listDevices, rcan, resizeBicubic, srresnet, trainSupernet } from './dist/index.js'
  const small = srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })
  const train = (options = {}) => trainSupernet({
    network: small, data: { train: 'photographs/', cache: false }, steps: 3, batchSize: 2, patchSize: 32, optimizer: { learningRate: 1e-3 }, threads: 1, ...options,
  })
  // A picture without patterns that a mistake could hide in.
  const picture = (width, height, seed = 1) => {
    const data = new Uint8Array(width * height * 3)
    let state = seed
    for (let i = 0; i < data.length; i++) { state = (state * 1103515245 + 12345) % 2147483648; data[i] = 96 + (state >> 16) % 64 }
    return { data, width, height, channels: 3 }
  }
  const difference = (a, b) => {
    let most = a.data.length === b.data.length ? 0 : Infinity
    for (let i = 0; i < a.data.length; i++) most = Math.max(most, Math.abs(a.data[i] - b.data[i]))
    return most
  }
  const print = (value) => console.log(JSON.stringify(value))
`

// Untrained weights, times `gain`: an untrained SRResNet hardly changes the bicubic picture, an untrained RCAN amplifies until
// most samples are at 0 or 1. apart: of 255, with the weights as they are; null: rounding is amplified too much.
// share: how far pixels may be from the CPU's, as a share of what weights that are all 2^-6 of themselves too large or too
// small change. bf16 rounds to 2^-9, tf32 to 2^-12. Measured over three seeds: SRResNet bf16 0.11 .. 0.33, tf32 0.015 ..
// 0.035; RCAN bf16 0.09 .. 0.23, fp32 0.0006 at most. A factor of 1.05 in channel attention makes RCAN's 0.48 and 0.43.
for (const { name, network, precision, relative, apart, gain, share } of [
  {
    name: 'srresnet',
    network: 'srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })',
    precision: 'bf16',
    relative: 1e-3,
    apart: 2,
    gain: 4,
    share: 0.5,
  },
  {
    name: 'srresnet',
    network: 'srresnet({ scale: 3, widths: [8, 16], depths: [1, 2] })',
    precision: 'tf32',
    relative: 1e-4,
    apart: 1,
    gain: 4,
    share: 0.08,
  },
  {
    name: 'rcan',
    network: 'rcan({ scale: 2, widths: [16, 36], depths: [1, 2], groups: 2 })',
    precision: 'bf16',
    relative: 2e-2,
    apart: null,
    gain: 0.7,
    share: 0.35,
  },
  {
    name: 'rcan',
    network: 'rcan({ scale: 4, widths: [16, 36], depths: [1, 2], groups: 2 })',
    precision: 'fp32',
    relative: 1e-4,
    apart: 1,
    gain: 0.7,
    share: 0.002,
  },
] as const) {
  t.test(`${name} in ${precision} trains, is saved, and upscales as on the CPU`, { skip }, async (t) => {
    const run = await packageWithPhotograph(t)
    const answer = run(`
      import { readSafetensors, writeSafetensors } from './dist/files/safetensors.js'
      const network = ${network}
      const losses = { cuda: [], cpu: [] }
      for (const device of ['cuda', 'cpu']) {
        const onGpu = device === 'cuda' ? { precision: '${precision}' } : {}
        const model = await train({ network, patchSize: 8 * network.scale, device, ...onGpu, seed: 5, onStep: ({ loss }) => losses[device].push(loss) })
        if (device === 'cuda') await model.save('x.safetensors')
        model.dispose()
      }
      const cuda = await loadSupernet('x.safetensors', { precision: '${precision}' })
      const cpu = await loadSupernet('x.safetensors', { device: 'cpu' })
      const differences = {}
      const lr = picture(45, 37)
      const ways = { whole: { router: { subnet: 3 }, tile: 'image' }, projection: { router: 'projection', tile: 16 }, calibrated: { budget: 0.6, tile: 16 } }
      for (const [name, options] of Object.entries({ ...ways, paper: { router: 'projection', protocol: 'paper' } }))
        differences[name] = difference(await cuda.upscale(lr, options), await cpu.upscale(lr, options))
      const bicubic = await resizeBicubic(lr, { scale: network.scale })
      const changed = difference(await cuda.upscale(lr, { router: { subnet: 3 } }), bicubic)

      const { tensors, metadata } = await readSafetensors('x.safetensors')
      const scaled = async (file, factor) => {
        await writeSafetensors(file, [...tensors.values()].map((tensor) =>
          tensor.name.endsWith('.weight') ? { ...tensor, data: tensor.data.map((w) => w * factor()) } : tensor), metadata)
        return file
      }
      let state = 7
      const offBy = () => { state = (state * 1103515245 + 12345) % 2147483648; return ${gain} * (1 + ((state >> 16) & 1 ? 2 ** -6 : -(2 ** -6))) }
      const right = await scaled('right.safetensors', () => ${gain})
      const models = {
        cuda: await loadSupernet(right, { precision: '${precision}' }),
        cpu: await loadSupernet(right, { device: 'cpu' }),
        wrong: await loadSupernet(await scaled('wrong.safetensors', offBy), { device: 'cpu' }),
      }
      const float = { ...lr, data: Float32Array.from(lr.data, (v) => v / 255) }
      const rms = (a, b) => Math.sqrt(a.data.reduce((sum, v, i) => sum + (v - b.data[i]) ** 2, 0) / a.data.length)
      const errors = {}
      for (const [name, options] of Object.entries(ways)) {
        const expected = await models.cpu.upscale(float, options)
        errors[name] = { rounding: rms(await models.cuda.upscale(float, options), expected), wrong: rms(await models.wrong.upscale(float, options), expected) }
      }
      print({ devices: listDevices().map(({ id, name }) => ({ id, name })), device: cuda.device(), losses, differences, changed, errors })
    `)
    t.match(answer.devices[0], { id: 'cuda:0', name: 'host CUDA' })
    t.match(answer.device, { kind: 'cuda', name: 'host CUDA', precision, fallbackReason: null })
    t.equal(answer.losses.cuda.length, 3)
    for (const [i, loss] of answer.losses.cuda.entries()) {
      const cpu = answer.losses.cpu[i]
      t.ok(
        Math.abs(loss / cpu - 1) <= relative,
        `step ${i + 1}: ${loss}, on the CPU ${cpu}, ${Math.abs(loss / cpu - 1).toExponential(1)} apart`,
      )
    }
    for (const [router, difference] of Object.entries(answer.differences))
      if (apart !== null) t.ok((difference as number) <= apart, `${router}: at most ${difference} of 255 apart`)
    t.ok(answer.changed >= 10, `the network changes pixels by up to ${answer.changed}`)
    for (const [router, { rounding, wrong }] of Object.entries<{ rounding: number; wrong: number }>(answer.errors)) {
      t.ok(wrong > 1e-4, `${router}: wrong weights show, ${(255 * wrong).toFixed(3)} of 255`)
      t.ok(
        rounding <= share * wrong,
        `${router}: rounding changes ${(rounding / wrong).toFixed(4)} of that, at most ${share}`,
      )
    }
  })
}

t.test('aborts in the middle and works on', { skip }, async (t) => {
  const run = await packageWithPhotograph(t)
  const answer = run(`
    const model = await train({ device: 'cuda' })
    const lr = picture(64, 64)
    const options = { router: { subnet: 3 }, tile: 16 }
    const before = await model.upscale(lr, options)
    const upscale = new AbortController()
    const aborted = await model.upscale(picture(64, 256), { ...options, groupRows: 2, signal: upscale.signal, onProgress: () => upscale.abort() }).then(() => 'done', ({ code }) => code)
    const training = new AbortController()
    const stopped = await train({ device: 'cuda', steps: 1000, signal: training.signal, onStep: ({ step }) => { if (step === 2) training.abort() } }).then(() => 'done', ({ code }) => code)
    print({ aborted, stopped, difference: difference(before, await model.upscale(lr, options)) })
  `)
  t.same(answer, { aborted: 'WBSR_ABORTED', stopped: 'WBSR_ABORTED', difference: 0 })
})

t.test('models beside each other and in worker threads', { skip }, async (t) => {
  const run = await packageWithPhotograph(t)
  const answer = run(`
    import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
    const options = { router: 'projection', tile: 16 }
    if (!isMainThread) {
      const model = await loadSupernet('x.safetensors', { device: 'cuda' })
      parentPort.postMessage((await model.upscale(picture(40, 30, workerData), options)).data)
    } else {
      const model = await train({ device: 'cuda', seed: 9 })
      await model.save('x.safetensors')
      const other = await loadSupernet('x.safetensors')
      const seeds = [1, 2, 3]
      const alone = []
      for (const seed of seeds) alone.push(await model.upscale(picture(40, 30, seed), options))
      const beside = await Promise.all(seeds.flatMap((seed) => [model, other].map((m) => m.upscale(picture(40, 30, seed), options))))
      const threads = await Promise.all(seeds.map((seed) => new Promise((resolve, reject) =>
        new Worker(new URL(import.meta.url), { workerData: seed }).once('message', resolve).once('error', reject))))
      print({
        beside: beside.map((result, i) => difference(result, alone[i >> 1])),
        threads: threads.map((data, i) => difference({ data }, alone[i])),
      })
    }
  `)
  t.same(answer, { beside: [0, 0, 0, 0, 0, 0], threads: [0, 0, 0] })
})

t.test('an exit while jobs run', { skip }, async (t) => {
  const run = await packageWithPhotograph(t)
  const answer = run(`
    import { isMainThread, Worker } from 'node:worker_threads'
    if (isMainThread) {
      const model = await train({ device: 'cuda' })
      await model.save('x.safetensors')
      const worker = new Worker(new URL(import.meta.url))
      await new Promise((resolve) => worker.once('message', resolve))
      await worker.terminate()
      const again = await model.upscale(picture(20, 20))
      void train({ device: 'cuda', steps: 100000 }).catch(() => {})
      void model.upscale(picture(512, 512), { tile: 16 }).catch(() => {})
      setTimeout(() => { print(again.width); process.exit(0) }, 300)
    } else {
      const { parentPort } = await import('node:worker_threads')
      const model = await loadSupernet('x.safetensors', { device: 'cuda' })
      void model.upscale(picture(512, 512), { tile: 16, onProgress: () => parentPort.postMessage('busy') })
    }
  `)
  t.equal(answer, 40)
})
