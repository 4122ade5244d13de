// Runs that begin with what others left: `extend` with all of their state, `from` with their weights; and the best checkpoint.
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { readSafetensors } from '../../lib/files/safetensors.js'
import { loadSupernet, srresnet, type TrainOptions, trainSupernet } from '../../lib/index.js'
import { TRAINING_PREFIX } from '../../lib/models/model-file.js'
import { native } from '../../lib/native.js'
import type { StartReport, StepReport, ValidationReport } from '../../lib/train/reports.js'
import { cuttings, numbers, recorder, run, weights } from '../support/training.js'

const constant = { learningRate: 1e-3, finalLearningRate: 1e-3 }

/** Trains, saves the model beside the checkpoint, and returns the reports. */
async function trained(options: TrainOptions, stopAfter?: number) {
  const starts: StartReport[] = []
  const steps: StepReport[] = []
  const stop = new AbortController()
  const onStep = (report: StepReport) => {
    steps.push(report)
    if (report.step === stopAfter) stop.abort()
  }
  const onStart = (report: StartReport) => void starts.push(report)
  const running = trainSupernet({ ...options, signal: stop.signal, onStart, onStep })
  const model = await running.catch((error) => {
    if (error.code !== 'WBSR_ABORTED') throw error
    return null
  })
  await model?.save(path.join(options.checkpoint!.directory, 'model.safetensors'))
  const training = model?.training
  model?.dispose()
  return { start: starts[0]!, steps, training }
}

for (const [name, more] of [
  ['l1', { loss: 'l1' }],
  [
    'learned sigma, single',
    { loss: { kind: 'bd', components: 2, sigma: { initial: 0.02, learn: true } }, subnetsPerStep: 'single' },
  ],
] as [string, Partial<TrainOptions>][]) {
  t.test(`an extended run equals a longer one where the schedules are constant (${name})`, async (t) => {
    const train = await cuttings(t.testdir())
    const options = (directory: string, steps: number) =>
      run(train, {
        sampler: { kind: 'uniform' },
        optimizer: constant,
        steps,
        ...more,
        checkpoint: { directory: path.join(train, directory) },
      })
    const whole = await trained(options('whole', 12))
    const first = await trained(options('first', 5))
    // Of a finished run, and of one that was stopped.
    const second = await trained({ ...options('second', 7), extend: path.join(train, 'first') })
    t.match(second.start, { steps: 12, resumedFrom: 5, extendedFrom: 5 })
    t.same(
      [...first.steps, ...second.steps].map(numbers).map(({ steps: _, epochs: __, ...rest }) => rest),
      whole.steps.map(numbers).map(({ steps: _, epochs: __, ...rest }) => rest),
    )
    await trained(options('stopped', 9), 3)
    await trained({ ...options('third', 9), extend: path.join(train, 'stopped/checkpoint.safetensors') })
    const expected = await weights(path.join(train, 'whole/checkpoint.safetensors'))
    for (const other of ['second', 'third']) {
      const found = await weights(path.join(train, other, 'checkpoint.safetensors'))
      t.same(Object.keys(found), Object.keys(expected))
      for (const [tensor, data] of Object.entries(expected))
        if (!data.equals(found[tensor]!)) t.fail(`${other}: ${tensor} differs`)
    }
    t.match(second.training, { steps: 12, options: { extends: { step: 5 } } })
  })
}

t.test('moments begin anew where the learning rate starts far above that of the end', async (t) => {
  const train = await cuttings(t.testdir())
  const optimizer = { learningRate: 1e-3, finalLearningRate: 1e-6 }
  const options = (directory: string, more: Partial<TrainOptions>) =>
    run(train, { steps: 6, optimizer, ema: 0, ...more, checkpoint: { directory: path.join(train, directory) } })
  await trained(options('annealed', {}))
  const extend = path.join(train, 'annealed')
  const one = await trained(options('restart', { steps: 1, extend, optimizer: { learningRate: 1e-3 } }))
  t.equal(one.start.newMoments, true)
  const gentle = await trained(options('gentle', { steps: 1, extend, optimizer: { learningRate: 3e-6 } }))
  t.equal(gentle.start.newMoments, false)
  const steps = async (directory: string) => {
    const bytes = (await weights(path.join(train, directory, 'checkpoint.safetensors')))[`${TRAINING_PREFIX}steps`]!
    return Math.max(...new Int32Array(Uint8Array.from(bytes).buffer))
  }
  t.same([await steps('annealed'), await steps('restart'), await steps('gentle')], [6, 1, 7], 'steps of Adam')
  // The first step of Adam moves no weight by more than the learning rate, whatever came before.
  const before = await weights(path.join(train, 'annealed/checkpoint.safetensors'))
  const after = await weights(path.join(train, 'restart/checkpoint.safetensors'))
  const moved = Object.entries(before).flatMap(([name, data]) => {
    const [from, to] = [data, after[name]!].map((bytes) => new Float32Array(Uint8Array.from(bytes).buffer))
    return name.startsWith(TRAINING_PREFIX) ? [] : [...from!].map((w, i) => Math.abs(to![i]! - w))
  })
  const most = moved.reduce((a, b) => Math.max(a, b))
  t.ok(most > 0.9e-3 && most < 1.001e-3, `${most}`)
})

t.test('an extension has schedules of its own, is resumed as any run, and is done once', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const base = run(train, { steps: 4, checkpoint: { directory } })
  await trained(base)
  const kept = path.join(train, 'kept.safetensors')
  copyFileSync(path.join(directory, 'checkpoint.safetensors'), kept)
  // In the folder of the run itself: other rate, other data, other batches.
  const more: TrainOptions = {
    ...base,
    extend: directory,
    steps: 6,
    batchSize: 3,
    optimizer: { learningRate: 5e-4 },
    data: { train: path.join(train, 'nagasaki-boats.png'), cache: false },
    sampler: { classLevelFrom: 0.5 },
  }
  const part = await trained(more, 7)
  t.match(part.start, { steps: 10, resumedFrom: 4, extendedFrom: 4, images: 1 })
  t.equal(part.steps[0]!.learningRate, 5e-4, 'the cosine begins anew')
  const rest = await trained(more)
  t.match(rest.start, { resumedFrom: 7, extendedFrom: 4 })
  t.equal(rest.steps.at(-1)!.learningRate, 1e-7, 'and ends')
  const again = await trained(more)
  t.same(again.steps, [], 'a finished extension has nothing left to do')

  // The same from the file that was kept, without a stop.
  const other = path.join(train, 'other')
  const whole = await trained({ ...more, extend: kept, checkpoint: { directory: other } })
  t.same([...part.steps, ...rest.steps].map(numbers), whole.steps.map(numbers))
  const file = (folder: string) => readFileSync(path.join(folder, 'model.safetensors'))
  t.ok(file(other).equals(file(directory)))

  // Once more, from its end.
  const third = await trained({ ...more, extend: directory, steps: 2 })
  t.match(third.start, { steps: 12, resumedFrom: 10, extendedFrom: 10 })
  const fourth = await trained({ ...more, extend: directory, steps: 2, checkpoint: { directory, resume: false } })
  t.match(fourth.start, { steps: 14, extendedFrom: 12 })
  await t.rejects(trainSupernet({ ...more, extend: kept }), {
    code: 'WBSR_INVALID_FILE',
    message: /checkpoint of another run than this extension/,
  })
  await t.rejects(trainSupernet({ ...base, checkpoint: { directory } }), {
    code: 'WBSR_INVALID_FILE',
    message: /extends is .* there and absent here/,
  })
  await t.rejects(trainSupernet({ ...more, extend: path.join(train, 'nowhere') }), {
    code: 'WBSR_NOT_FOUND',
    message: /no checkpoint to extend/,
  })
  const network = srresnet({ scale: 2, widths: [8], depths: [1] })
  await t.rejects(trainSupernet({ ...more, network, extend: kept, checkpoint: undefined }), {
    code: 'WBSR_INVALID_FILE',
    message: /another network/,
  })
  await t.rejects(trainSupernet({ ...more, extend: path.join(other, 'model.safetensors') }), {
    code: 'WBSR_INVALID_FILE',
    message: /not a training checkpoint/,
  })

  // An average can begin with an extension, or end.
  for (const [there, here] of [
    [false, 0.9],
    [0.9, false],
  ] as const) {
    const at = path.join(train, `ema${here}`)
    mkdirSync(at)
    await trained({ ...base, ema: there, checkpoint: { directory: at } })
    await trained({ ...base, ema: here, extend: at, checkpoint: { directory: path.join(at, 'more') } })
    const tensors = await weights(path.join(at, 'more/checkpoint.safetensors'))
    t.equal('wbsr/ema/HRconv.weight' in tensors, here !== false)
  }
})

t.test('from: the weights of a model or a file, everything else anew', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'base')
  const base = run(train, { steps: 5, checkpoint: { directory } })
  await trained(base)
  const file = path.join(directory, 'model.safetensors')
  const model = await loadSupernet(file, { device: 'cpu' })
  const fine = (from: TrainOptions['from'], more: Partial<TrainOptions> = {}) =>
    run(train, { steps: 3, seed: 4, from, optimizer: { learningRate: 1e-4 }, ...more })
  const results = []
  for (const from of [file, model, path.join(directory, 'checkpoint.safetensors')]) {
    const { reports, onStep } = recorder()
    const starts: StartReport[] = []
    const tuned = await trainSupernet({ ...fine(from), onStep, onStart: (report) => void starts.push(report) })
    t.match(starts, [{ steps: 3, resumedFrom: 0, from: { taken: 16, initialised: [] } }])
    results.push(reports.map(numbers))
    tuned.dispose()
  }
  t.same(results[0], results[1], 'a file or the model')
  t.same(results[0], results[2], 'of a checkpoint its average')
  const { reports, onStep } = recorder()
  ;(await trainSupernet({ ...fine(undefined), onStep })).dispose()
  t.ok(reports[0]!.loss !== results[0]![0]!.loss)

  // Another network: what fits is taken, and what does not is named.
  const x3 = srresnet({ scale: 3, widths: [8, 16], depths: [1, 2] })
  const starts: StartReport[] = []
  const other = await trainSupernet({
    ...fine(model, { network: x3, patchSize: 33 }),
    onStart: (report) => void starts.push(report),
  })
  other.dispose()
  t.match(starts, [{ from: { taken: 14, initialised: ['upconv1.weight', 'upconv1.bias'] } }])
  const warnings: Error[] = []
  const listener = (warning: Error) => void warnings.push(warning)
  process.on('warning', listener)
  ;(await trainSupernet(fine(model, { network: x3, patchSize: 33 }))).dispose()
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', listener)
  t.match(
    warnings.filter(({ name }) => name === 'WbsrWarning'),
    [{ message: /14 parameters are taken, upconv1\.weight, upconv1\.bias are initialised/ }],
  )
  const wide = srresnet({ scale: 2, widths: [12], depths: [1] })
  await t.rejects(trainSupernet(fine(file, { network: wide })), {
    code: 'WBSR_INVALID_FILE',
    message: /model\.safetensors: does not fit the network: only 1 of 12 parameters/,
  })
  await t.rejects(trainSupernet(fine(path.join(train, 'nowhere'))), { code: 'WBSR_NOT_FOUND' })
  await t.rejects(trainSupernet(fine(path.join(train, 'nagasaki-boats.png'))), { code: 'WBSR_INVALID_FILE' })

  // A stopped run goes on with its own weights, and with the same start only.
  const at = path.join(train, 'tuned')
  const tune = { ...fine(file), checkpoint: { directory: at } }
  const whole = await trained({ ...tune, checkpoint: { directory: path.join(train, 'whole') } })
  const part = await trained(tune, 1)
  const rest = await trained(tune)
  t.same([...part.steps, ...rest.steps].map(numbers), whole.steps.map(numbers))
  await t.rejects(trainSupernet({ ...tune, from: undefined }), {
    code: 'WBSR_INVALID_FILE',
    message: /from is ".*" there and absent here/,
  })
  model.dispose()
  await t.rejects(trainSupernet(fine(model)), { code: 'WBSR_DISPOSED' })
})

t.test('the best checkpoint by validation', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const { psnr } = native
  // The second validation is the best one: 40 dB; others less.
  let calls = 0
  const perValidation = 3 * 6 // 3 images, bicubic and two subnets on Y and RGB
  native.psnr = async () => [30, 40, 35, 40][Math.floor(calls++ / perValidation)]!
  t.teardown(() => {
    native.psnr = psnr
  })
  const validations: ValidationReport[] = []
  const options = run(train, {
    data: { train, validation: train },
    steps: 8,
    validateEverySteps: 2,
    loss: 'l1',
    checkpoint: { directory, everySteps: 100 },
    onValidation: (report) => void validations.push(report),
  })
  ;(await trainSupernet(options)).dispose()
  t.same(
    validations.map(({ best }) => best),
    [true, true, false, false],
    'equal is not better',
  )
  const best = path.join(directory, 'best.safetensors')
  const { metadata } = await readSafetensors(best)
  t.match(JSON.parse(metadata['wbsr.checkpoint']!), { step: 4, best: { best: { step: 4, value: 40 } } })
  const model = await loadSupernet(best, { device: 'cpu' })
  t.equal(model.subnets.length, 4)
  model.dispose()
  // It is a checkpoint like any other: a run can go on from it.
  native.psnr = psnr
  const { reports, onStep } = recorder()
  ;(
    await trainSupernet({ ...options, checkpoint: { directory: path.join(train, 'again'), resume: best }, onStep })
  ).dispose()
  t.same(
    reports.map(({ step }) => step),
    [5, 6, 7, 8],
  )
  t.notOk(JSON.parse(metadata['wbsr.checkpoint']!).history[0].best, 'histories do not change')
})

t.test('the best checkpoint by loss, where nothing is validated', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const at = (name: string) => path.join(directory, name)
  const options = run(train, {
    steps: 40,
    loss: 'l1',
    sampler: { kind: 'uniform' },
    optimizer: constant,
    checkpoint: { directory, everySteps: 10 },
  })
  ;(await trainSupernet(options)).dispose()
  const state = JSON.parse((await readSafetensors(at('checkpoint.safetensors'))).metadata['wbsr.checkpoint']!)
  const { step, value } = state.best.best
  t.ok([10, 20, 30, 40].includes(step) && value > 0 && value < 0.1, `step ${step}, loss ${value}`)
  const best = JSON.parse((await readSafetensors(at('best.safetensors'))).metadata['wbsr.checkpoint']!)
  t.equal(best.step, step)

  // A file of that name that is in the way is replaced; without links it is a copy.
  rmSync(at('best.safetensors'))
  renameSync(at('checkpoint.safetensors'), at('best.safetensors'))
  ;(await trainSupernet({ ...options, checkpoint: { directory, everySteps: 10, resume: false } })).dispose()
  t.ok(existsSync(at('checkpoint.safetensors')))
  t.equal(JSON.parse((await readSafetensors(at('best.safetensors'))).metadata['wbsr.checkpoint']!).step, step)
})
