import path from 'node:path'
import t from 'tap'
import { readSafetensors } from '../../lib/files/safetensors.js'
import { loadSupernet, trainSupernet } from '../../lib/index.js'
import type { EpochReport, StartReport, ValidationReport } from '../../lib/train/reports.js'
import { cuttings, numbers, recorder, run, tiny, weights } from '../support/training.js'

t.test('a tiny network learns within seconds and beats bicubic', async (t) => {
  const train = await cuttings(t.testdir())
  const { reports, onStep } = recorder()
  const validations: ValidationReport[] = []
  const model = await trainSupernet(
    run(train, {
      data: { train, validation: train },
      steps: 400,
      loss: 'l2',
      sampler: { kind: 'uniform' },
      ema: 0.98,
      optimizer: { learningRate: 2e-3 },
      validateEverySteps: 200,
      onStep,
      onValidation: (report) => void validations.push(report),
    }),
  )
  const mean = (from: number) => reports.slice(from, from + 100).reduce((sum, { loss }) => sum + loss, 0) / 100
  t.ok(mean(300) < 0.8 * mean(0), `loss ${mean(0)} -> ${mean(300)}`)
  t.same(
    validations.map(({ step }) => step),
    [200, 400],
  )
  const { bicubic, largest, smallest, ema, images } = validations[1]!
  t.match({ ema, images }, { ema: true, images: 3 })
  t.ok(bicubic.y > 20 && bicubic.y < 45, `${bicubic.y} dB`)
  for (const subnet of [smallest, largest]) {
    t.ok(
      subnet.y > bicubic.y + 0.5 && subnet.rgb > bicubic.rgb + 0.5,
      `${subnet.y} and ${subnet.rgb} dB against ${bicubic.y} and ${bicubic.rgb}`,
    )
  }

  t.ok(model.router!.tiles > 0)
  t.equal(model.router!.squaredError.length, 10)
  t.match(model.training, { steps: 400, images: 3, calibration: { source: 'validation', images: 3 } })
  const file = path.join(t.testdirName, 'model.safetensors')
  await model.save(file)
  const loaded = await loadSupernet(file, { device: 'cpu' })
  t.same(loaded.router, model.router)
  t.same(loaded.classes, model.classes)
  t.same(loaded.training, JSON.parse(JSON.stringify(model.training)))
  model.dispose()
  loaded.dispose()
})

t.test('reports are complete', async (t) => {
  const train = await cuttings(t.testdir())
  const { reports, onStep } = recorder()
  const starts: StartReport[] = []
  const epochs: EpochReport[] = []
  const validations: ValidationReport[] = []
  const model = await trainSupernet(
    run(train, {
      data: { train, validation: train, step: 32 },
      steps: undefined,
      epochs: 2,
      batchSize: 16,
      loss: { kind: 'bd', components: 3 },
      onStep,
      onStart: (report) => void starts.push(report),
      onEpoch: (report) => void epochs.push(report),
      onValidation: (report) => void validations.push(report),
    }),
  )
  model.dispose()
  // 6 x 5 patches in each of three images: 90 patches, 6 batches of 16.
  t.match(starts, [{ steps: 12, epochs: 2, resumedFrom: 0, images: 3, patches: 90, validationImages: 3, skipped: [] }])
  t.equal(
    starts[0]!.classCounts.reduce((a, b) => a + b),
    90,
  )
  t.same(
    reports.map(({ step, steps, epoch, epochs }) => [step, steps, epoch, epochs]),
    Array.from({ length: 12 }, (_, i) => [i + 1, 12, i < 6 ? 1 : 2, 2]),
  )
  for (const r of reports) {
    t.ok(Math.abs(r.data + r.balance - r.loss) <= 1e-5 * Math.abs(r.loss), `${r.data} + ${r.balance} = ${r.loss}`)
    t.ok(r.balance !== 0 && r.gradientRatio > 0 && r.gradientRatio < 10 && r.sigma === 0.02)
    t.same(r.losses.map(({ subnet }) => subnet).slice(0, 2), [3, 0])
    t.ok(Math.abs(r.losses.reduce((sum, { loss }) => sum + loss, 0) / 3 - r.loss) < 1e-6)
    t.ok(
      r.imagesPerSecond > 0 && r.waitForData >= 0 && r.waitForData <= 1 && r.eta > 0,
      'the calibration is still to come',
    )
  }
  t.equal(reports[0]!.learningRate, 1e-3)
  t.ok(Math.abs(reports[11]!.learningRate - 1e-7) < 1e-15)
  t.match(epochs, [
    { epoch: 1, epochs: 2, step: 6, steps: 12, stepsRun: 6 },
    { epoch: 2, step: 12, stepsRun: 6 },
  ])
  t.ok(Math.abs(epochs[1]!.loss - reports.slice(6).reduce((sum, { loss }) => sum + loss, 0) / 6) < 1e-9)
  t.ok(epochs.every(({ seconds }) => seconds > 0))
  t.match(validations, [
    { epoch: 1, step: 6, images: 3, ema: true },
    { epoch: 2, step: 12 },
  ])
})

t.test('one seed gives one result', async (t) => {
  const train = await cuttings(t.testdir())
  const results = []
  for (const seed of [5, 5, 6]) {
    const { reports, onStep } = recorder()
    const model = await trainSupernet(run(train, { seed, onStep }))
    const file = path.join(train, `${results.length}.safetensors`)
    await model.save(file)
    model.dispose()
    results.push({ steps: reports.map(numbers), weights: await weights(file) })
  }
  t.same(results[0], results[1])
  t.notSame(results[0]!.steps, results[2]!.steps)
  t.notSame(results[0]!.weights, results[2]!.weights)
})

t.test('single trains one subnet a step and leaves the weights outside of it alone', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const drawn: number[] = []
  const files: Record<string, Float32Array>[] = []
  for (const steps of [1, 2, 3, 4, 5, 6]) {
    // The same run, stopped later each time.
    const stop = new AbortController()
    const { reports, onStep } = recorder()
    const running = trainSupernet(
      run(train, {
        steps: 7,
        subnetsPerStep: 'single',
        ema: false,
        signal: stop.signal,
        checkpoint: { directory, resume: 'auto' },
        onStep: (report) => {
          onStep(report)
          if (report.step === steps) stop.abort()
        },
      }),
    )
    await t.rejects(running, { code: 'WBSR_ABORTED' })
    drawn.push(reports.at(-1)!.losses[0]!.subnet)
    t.equal(reports.at(-1)!.losses.length, 1)
    const { tensors } = await readSafetensors(path.join(directory, 'checkpoint.safetensors'))
    files.push(Object.fromEntries([...tensors].map(([name, { data }]) => [name, data as Float32Array])))
  }
  // Subnets: 0 = 8x1, 1 = 8x2, 2 = 16x1, 3 = 16x2.
  t.ok(new Set(drawn).size > 1, `subnets ${drawn}`)
  let narrow = 0
  for (let i = 1; i < files.length; i++) {
    const changed = (name: string, from: number, to: number) =>
      files[i]![name]!.subarray(from, to).some((v, k) => v !== files[i - 1]![name]![from + k])
    const subnet = drawn[i]!
    const deep = subnet === 1 || subnet === 3
    const wide = subnet >= 2
    t.ok(changed('conv_first.weight', 0, 8 * 27))
    t.equal(changed('conv_first.weight', 8 * 27, 16 * 27), wide, `width of step ${i + 1}`)
    t.equal(changed('recon_trunk.1.conv1.weight', 0, 16 * 16 * 9), deep, `depth of step ${i + 1}`)
    for (const arena of ['m', 'v']) t.equal(changed(`wbsr/${arena}/conv_first.weight`, 8 * 27, 16 * 27), wide)
    if (!wide) narrow++
  }
  t.ok(narrow > 0, 'a narrow subnet was among them')
})

t.test('the model holds the moving average, or the weights when it is off', async (t) => {
  const train = await cuttings(t.testdir())
  const save = async (name: string, ema: number | false) => {
    const directory = path.join(train, name)
    const model = await trainSupernet(run(train, { ema, checkpoint: { directory } }))
    await model.save(path.join(directory, 'model.safetensors'))
    model.dispose()
    return {
      model: await weights(path.join(directory, 'model.safetensors')),
      checkpoint: await weights(path.join(directory, 'checkpoint.safetensors')),
    }
  }
  const on = await save('on', 0.9)
  const off = await save('off', false)
  const name = 'HRconv.weight'
  t.same(on.model[name], on.checkpoint[`wbsr/ema/${name}`])
  t.notSame(on.model[name], on.checkpoint[name])
  t.same(off.model[name], off.checkpoint[name])
  t.equal(off.checkpoint[`wbsr/ema/${name}`], undefined)
  t.same(on.checkpoint[name], off.checkpoint[name], 'averaging does not change the weights themselves')

  const fromCheckpoint = await loadSupernet(path.join(train, 'on/checkpoint.safetensors'), { device: 'cpu' })
  await fromCheckpoint.save(path.join(train, 'average.safetensors'))
  fromCheckpoint.dispose()
  t.same((await weights(path.join(train, 'average.safetensors')))[name], on.model[name])
})

t.test('without validation images the router is calibrated on training images', async (t) => {
  const train = await cuttings(t.testdir())
  const model = await trainSupernet(run(train, { calibration: { images: 2, tileSize: 16 } }))
  t.match(model.training, { calibration: { source: 'training', images: 2, tileSize: 16 }, history: [] })
  t.equal(model.router!.tileSize, 16)
  t.same(model.network, tiny)
  model.dispose()
})

t.test('distillation changes what smaller subnets aim at, and nothing else', async (t) => {
  const train = await cuttings(t.testdir())
  const losses = async (distillation: number) => {
    const { reports, onStep } = recorder()
    const model = await trainSupernet(run(train, { steps: 2, loss: 'l1', distillation, onStep }))
    model.dispose()
    return reports.map((report) => Object.fromEntries(report.losses.map(({ subnet, loss }) => [subnet, loss])))
  }
  const [without, half, whole] = [await losses(0), await losses(0.5), await losses(1)]
  t.same(Object.keys(without[0]!), Object.keys(half[0]!), 'the same subnets')
  const others = Object.keys(without[0]!).filter((subnet) => subnet !== '3')
  t.equal(others.length, 2)
  t.equal(half[0]!['3'], without[0]!['3'], 'the largest aims at HR')
  // Before the first update all weights are the same: the loss against a mixture is no larger than the mixture of losses.
  for (const subnet of others) {
    t.not(half[0]![subnet], without[0]![subnet])
    t.ok(half[0]![subnet]! <= (without[0]![subnet]! + whole[0]![subnet]!) / 2 + 1e-6)
  }
  t.not(half[1]!['3'], without[1]!['3'], 'shared weights went another way')
})
