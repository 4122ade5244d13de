// Runs that diverge end with an error that reports it; ordinary runs do not, however they begin.
import { existsSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { loadSupernet, rcan, type TrainOptions, trainSupernet } from '../../lib/index.js'
import { DivergenceGuard, validationsDiverged } from '../../lib/train/divergence.js'
import type { HistoryEntry } from '../../lib/train/reports.js'
import { cuttings, run } from '../support/training.js'

t.test('learning rates that are far too high', async (t) => {
  const train = await cuttings(t.testdir())
  for (const [learningRate, steps, loss] of [
    [0.3, 60, 'bd'],
    [3, 200, 'l1'],
    [100, 4, 'bd'],
    [0.3, 40, 'l2'],
  ] as const) {
    let last = 0
    const options = run(train, { steps, loss, optimizer: { learningRate }, onStep: ({ step }) => void (last = step) })
    await t.rejects(
      trainSupernet(options),
      {
        name: 'WbsrError',
        code: 'WBSR_DIVERGED',
        message:
          /^Training diverged: over steps \d+ to \d+ .* times that of bicubic .* loss of step \d+ is .* at learning rate /,
      },
      `${learningRate} for ${steps} steps`,
    )
    t.ok(last <= 100, `noticed after step ${last}`)
  }
})

t.test('a run that diverges late keeps its best and its last good checkpoint', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const good = run(train, {
    steps: 20,
    loss: 'l1',
    optimizer: { learningRate: 1e-3, finalLearningRate: 1e-3 },
    checkpoint: { directory, everySteps: 10 },
  })
  ;(await trainSupernet(good)).dispose()
  const best = path.join(directory, 'best.safetensors')
  t.ok(existsSync(best))
  // The same run, driven on at a rate that ruins it.
  const error = (await trainSupernet({ ...good, steps: 100, extend: directory, optimizer: { learningRate: 1 } }).catch(
    (e: unknown) => e,
  )) as Error
  t.match(error, { code: 'WBSR_DIVERGED' })
  t.ok(error.message.includes(`is ${best}`), error.message)
  const model = await loadSupernet(best, { device: 'cpu' })
  const picture = { data: new Uint8Array(16 * 16 * 3).fill(120), width: 16, height: 16, channels: 3 as const }
  const { data } = await model.upscale(picture, { router: { subnet: 3 } })
  t.ok(
    data.every((v) => Math.abs(v - 120) < 10),
    'it is a model of before',
  )
  model.dispose()
})

t.test('ordinary runs are left alone', async (t) => {
  const train = await cuttings(t.testdir({ flat: {} }))
  const flat = path.join(train, 'flat')
  mkdirSync(flat, { recursive: true })
  for (const [i, value] of [
    [0, 40],
    [1, 200],
  ] as const)
    await sharp(new Uint8Array(64 * 64 * 3).fill(value), { raw: { width: 64, height: 64, channels: 3 } })
      .png()
      .toFile(path.join(flat, `${i}.png`))
  const runs: [string, Partial<TrainOptions>][] = [
    // Without an image skip the first loss is hundreds of times that of bicubic, and rises before it falls.
    [
      'from nothing',
      {
        network: rcan({ scale: 2, widths: [16], depths: [1], groups: 1 }),
        steps: 120,
        loss: 'l1',
        optimizer: { learningRate: 3e-3 },
      },
    ],
    ['a wild start', { steps: 120, loss: 'l1', optimizer: { learningRate: 0.01 } }],
    ['one patch of 8 pixels', { batchSize: 1, patchSize: 8, steps: 300, loss: 'l2' }],
    ['harder patches at once', { steps: 120, loss: 'bd', sampler: { classLevelFrom: 0.3, delta: 0.1 } }],
    ['flat pictures, where bicubic is exact', { data: { train: flat }, steps: 60, loss: 'l1' }],
    ['a rate that does nothing', { steps: 60, loss: 'l1', optimizer: { learningRate: 1e-9 } }],
  ]
  for (const [name, more] of runs) {
    const model = await trainSupernet(run(train, { calibration: { pixels: 1, images: 1 }, ...more }))
    model.dispose()
    t.pass(name)
  }
})

t.test("divergence: 'ignore' goes on", async (t) => {
  const train = await cuttings(t.testdir())
  const model = await trainSupernet(
    run(train, { steps: 30, loss: 'l1', optimizer: { learningRate: 0.3 }, divergence: 'ignore' }),
  )
  t.equal(model.training!['steps'], 30)
  model.dispose()
})

t.test('the guard: windows above the limits of their own batches', async (t) => {
  const size = 8
  const loss = { kind: 'l1' as const, fidelity: 'l1' as const, dimension: 1, sigma: 0, fidelityScale: 1 }
  /** A batch of checkered patches, where bicubic errs by the amplitude. */
  const batch = (amplitude: number) => {
    const hr = Float32Array.from(
      { length: 3 * size * size },
      (_, i) => 0.5 + ((i + Math.floor(i / size)) % 2 ? amplitude : -amplitude),
    )
    const lr = new Float32Array((3 * size * size) / 4).fill(0.5)
    return {
      step: 0,
      batchSize: 1,
      lrSize: size / 2,
      hrSize: size,
      level: 'sample' as const,
      patches: Uint32Array.of(0),
      classes: [1],
      lr,
      hr,
    }
  }
  /** Steps until the guard objects, for data terms by step. */
  const objects = async (data: (step: number) => number, amplitude: (step: number) => number, steps = 400) => {
    const guard = new DivergenceGuard({ first: 0, length: steps, scale: 2 }, null)
    for (let step = 0; step < steps; step++) {
      const limits = await guard.see([batch(amplitude(step))], loss)
      if (guard.book(step, data(step), limits && limits[0]!)) return step + 1
    }
    return guard.finish(steps) ? steps : null
  }
  const even = () => 0.05
  t.equal(await objects(() => 0.06, even), null)
  t.equal(
    await objects((s) => (s < 100 ? 0.05 : 1.2), even),
    100 + 10 + 50,
    'a window above after ten steps, and two more',
  )
  t.equal(await objects((s) => (s >= 100 && s < 130 ? 5 : 0.05), even), null, 'a spike of 30 steps')
  t.equal(
    await objects(
      (s) => (s < 100 ? 0.01 : 0.15),
      (s) => (s < 100 ? 0.01 : 0.15),
    ),
    null,
    'patches fifteen times as hard',
  )
  t.equal(await objects(() => 5, even), null, 'no worse than at the start')
  // Stuck: five times bicubic's error for thousands of steps.
  t.equal(await objects(() => 0.25, even, 1900), null)
  t.ok((await objects(() => 0.25, even, 4000))! < 2150)
  t.equal(await objects((s) => 0.25 * 0.9995 ** s, even, 4000), null, 'slow, but it improves')
})

t.test('validations', async (t) => {
  const entry = (step: number, y: number): HistoryEntry => {
    const at = (value: number) => ({ y: value, rgb: value })
    return {
      epoch: 1,
      epochs: 1,
      step,
      steps: 1000,
      images: 1,
      ema: true,
      bicubic: at(30),
      smallest: at(y),
      largest: at(y),
    }
  }
  t.ok(validationsDiverged([entry(100, 32), entry(200, 9), entry(300, 8), entry(400, 8)]))
  t.notOk(validationsDiverged([entry(100, 32), entry(200, 9), entry(300, 8)]), 'too few')
  t.notOk(validationsDiverged([entry(10, 9), entry(20, 8), entry(30, 8)]), 'too early')
  t.notOk(validationsDiverged([entry(100, 9), entry(200, 11), entry(300, 14)]), 'they improve')
  t.notOk(validationsDiverged([entry(100, 32), entry(200, 9), entry(300, 8), entry(400, 31)]))
})
