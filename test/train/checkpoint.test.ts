import { copyFileSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { readSafetensors, writeSafetensors } from '../../lib/files/safetensors.js'
import { trainSupernet } from '../../lib/index.js'
import { native } from '../../lib/native.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import type { TrainOptions } from '../../lib/train/options.js'
import type { EpochReport, StepReport } from '../../lib/train/reports.js'
import { naming } from '../support/naming.js'
import { onSmallDisk } from '../support/small-disk.js'
import { cuttings, numbers, run, weights } from '../support/training.js'

/** Trains and returns all that a run leaves; `stopAfter` aborts it there, 'validation' in the midst of the first one. */
async function record(options: TrainOptions, folder: string, stopAfter?: number | 'validation') {
  const steps: ReturnType<typeof numbers>[] = []
  const epochs: Omit<EpochReport, 'seconds'>[] = []
  const stop = new AbortController()
  const onStep = (report: StepReport) => {
    steps.push(numbers(report))
    if (report.step !== stopAfter) return
    stop.abort()
    return new Promise(() => {}) // nothing more happens in this step
  }
  const onEpoch = ({ seconds, ...rest }: EpochReport) => void epochs.push(rest)
  let error: unknown = null
  const { psnr } = native
  if (stopAfter === 'validation') {
    native.psnr = (...args) => {
      stop.abort()
      return psnr(...args)
    }
  }
  try {
    const model = await trainSupernet({ ...options, signal: stop.signal, onStep, onEpoch })
    await model.save(path.join(folder, 'model.safetensors'))
    model.dispose()
  } catch (e) {
    error = e
  } finally {
    native.psnr = psnr
  }
  return { steps, epochs, error }
}

for (const [name, more] of [
  [
    'sandwich, learned sigma, frequency term',
    { loss: { kind: 'bd', components: 2, sigma: { initial: 0.02, learn: true }, frequency: 0.05 } },
  ],
  ['degraded LR, distillation', { loss: 'l1', distillation: 0.5, data: { train: '', degradation: 'photo' } }],
  [
    'single, l2, weight decay',
    { subnetsPerStep: 'single', loss: 'l2', optimizer: { learningRate: 1e-3, weightDecay: 0.01 } },
  ],
] as [string, Partial<TrainOptions>][]) {
  t.test(`a stopped and resumed run equals the uninterrupted one (${name})`, async (t) => {
    const train = await cuttings(t.testdir({ whole: {}, parts: {} }))
    const files = readdirSync(train)
      .filter((file) => file.endsWith('.png'))
      .map((file) => path.join(train, file))
    const options = (directory: string) => ({
      ...run(train, { steps: 12, batchSize: 16, ...more, checkpoint: { directory, everySteps: 2 } }),
      data: { ...more.data, train: files, validation: files[0]!, step: 32, cache: false as const },
    })
    const whole = path.join(train, 'whole')
    const parts = path.join(train, 'parts')
    // A comparison by tap takes a minute where they differ.
    const sameFile = (name: string) => readFileSync(path.join(parts, name)).equals(readFileSync(path.join(whole, name)))
    const uninterrupted = await record(options(whole), whole)
    t.equal(uninterrupted.error, null)
    t.equal(uninterrupted.steps.length, 12)

    const first = await record(options(parts), parts, 3)
    t.match(first.error, { code: 'WBSR_ABORTED' })
    // Step 6 ends an epoch: its report and validation are still to come.
    const second = await record(options(parts), parts, 6)
    t.match(second.error, { code: 'WBSR_ABORTED' })
    const third = await record(options(parts), parts, 'validation')
    t.match(third.error, { code: 'WBSR_ABORTED' })
    t.same(third.steps, [])
    const fourth = await record(options(parts), parts, 8)
    t.match(fourth.error, { code: 'WBSR_ABORTED' })
    const fifth = await record(options(parts), parts, 12)
    t.match(fifth.error, { code: 'WBSR_ABORTED' })
    const sixth = await record(options(parts), parts)
    t.equal(sixth.error, null)
    const all = [first, second, third, fourth, fifth, sixth]
    t.same(
      all.flatMap(({ steps }) => steps),
      uninterrupted.steps,
    )
    t.same(
      all.flatMap(({ epochs }) => epochs),
      uninterrupted.epochs,
    )
    t.ok(sameFile('model.safetensors'), 'the same model to the last bit')
    t.ok(sameFile('checkpoint.safetensors'))

    const done = await record(options(parts), parts)
    t.same(done.steps, [], 'a finished run has nothing left to do')
    t.ok(sameFile('model.safetensors'))
  })
}

t.test('resume: which checkpoint is continued', async (t) => {
  const train = await cuttings(t.testdir({ a: {}, b: {} }))
  const a = path.join(train, 'a')
  const b = path.join(train, 'b')
  await t.rejects(trainSupernet(run(train, { checkpoint: { directory: a, resume: true } })), {
    code: 'WBSR_NOT_FOUND',
    message: /there is no checkpoint to resume from/,
  })
  t.match((await record(run(train, { checkpoint: { directory: a } }), a, 4)).error, { code: 'WBSR_ABORTED' })
  const file = path.join(a, 'checkpoint.safetensors')
  const other = await record(run(train, { checkpoint: { directory: b, resume: file } }), b)
  t.same(
    other.steps.map(({ step }) => step),
    [5, 6],
    'from a named file',
  )
  t.ok(existsSync(path.join(b, 'checkpoint.safetensors')))
  const anew = await record(run(train, { checkpoint: { directory: a, resume: false } }), a, 2)
  t.same(
    anew.steps.map(({ step }) => step),
    [1, 2],
  )
  const on = await record(run(train, { checkpoint: { directory: a, resume: true } }), a)
  t.same(
    on.steps.map(({ step }) => step),
    [3, 4, 5, 6],
  )
})

t.test('a checkpoint of another run is refused with what differs', async (t) => {
  const train = await cuttings(t.testdir({ a: {} }))
  const directory = path.join(train, 'a')
  const base = run(train, { checkpoint: { directory } })
  t.match((await record(base, directory, 2)).error, { code: 'WBSR_ABORTED' })
  const file = path.join(directory, 'checkpoint.safetensors')
  const before = readFileSync(file)
  const refuses = async (more: Partial<TrainOptions>, message: RegExp) => {
    await t.rejects(
      trainSupernet({ ...base, ...more }),
      { name: 'WbsrError', code: 'WBSR_INVALID_FILE', message },
      String(message),
    )
    await t.rejects(trainSupernet({ ...base, ...more }), { message: naming(file) })
  }
  await refuses(
    { network: srresnet({ scale: 2, widths: [8, 16], depths: [1, 3] }) },
    /another network: depths is \[1,2\] there and \[1,3\] here/,
  )
  await refuses({ seed: 2 }, /other options: seed is 1 there and 2 here/)
  await refuses({ steps: 7 }, /steps is 6 there and 7 here/)
  await refuses({ loss: 'l1' }, /loss\.kind is "bd" there and "l1" here/)
  await refuses({ optimizer: { learningRate: 2e-3 } }, /optimizer\.learningRate is 0\.001 there and 0\.002 here/)
  await refuses({ ema: false }, /ema is 0\.999 there and 0 here/)
  await refuses(
    { data: { train, cache: false, degradation: 'photo' } },
    /degradation is absent there and \{"blur":.*"validation":true\} here/,
  )
  await refuses({ distillation: 0.5 }, /distillation is absent there and 0\.5 here/)
  await refuses({ sampler: { delta: 0.5 } }, /sampler\.delta is 0\.9 there and 0\.5 here/)
  await refuses(
    { data: { train: path.join(train, 'nagasaki-boats.png'), cache: false } },
    /data is "[0-9a-f]+" there and "[0-9a-f]+" here/,
  )
  t.same(readFileSync(file), before, 'it is left as it was')

  const model = path.join(train, 'model.safetensors')
  const finished = await trainSupernet(run(train))
  await finished.save(model)
  finished.dispose()
  await t.rejects(trainSupernet({ ...base, checkpoint: { directory, resume: model } }), {
    code: 'WBSR_INVALID_FILE',
    message: /is not a training checkpoint/,
  })
})

t.test('damaged checkpoints are refused', async (t) => {
  const train = await cuttings(t.testdir({ a: {} }))
  const directory = path.join(train, 'a')
  const base = run(train, { checkpoint: { directory } })
  t.match((await record(base, directory, 2)).error, { code: 'WBSR_ABORTED' })
  const file = path.join(directory, 'checkpoint.safetensors')
  const good = readFileSync(file)
  for (const length of [0, 100, good.length >> 1, good.length - 4]) {
    truncateSync(file, length)
    await t.rejects(trainSupernet(base), { code: 'WBSR_INVALID_FILE' }, `cut to ${length} bytes`)
    writeFileSync(file, good)
  }
  const { tensors, metadata } = await readSafetensors(file)
  for (const name of ['wbsr/steps', 'wbsr/m/HRconv.bias', 'wbsr/ema/HRconv.bias', 'HRconv.bias']) {
    await writeSafetensors(
      file,
      [...tensors.values()].filter((tensor) => tensor.name !== name),
      metadata,
    )
    await t.rejects(
      trainSupernet(base),
      { code: 'WBSR_INVALID_FILE', message: new RegExp(`tensor ${name} .*is missing`) },
      name,
    )
  }
  await writeSafetensors(file, [...tensors.values()], { ...metadata, 'wbsr.checkpoint': '{"step":-1}' })
  await t.rejects(trainSupernet(base), { code: 'WBSR_INVALID_FILE', message: /metadata wbsr\.checkpoint is not/ })
})

t.test('a full disk stops the run and keeps the last checkpoint', async (t) => {
  const train = await cuttings(t.testdir({ disk: {}, spare: {} }))
  const disk = path.join(train, 'disk')
  const files = readdirSync(train)
    .filter((file) => file.endsWith('.png'))
    .map((file) => path.join(train, file))
  const options = (directory: string) => ({
    ...run(train, { checkpoint: { directory, everySteps: 1 } }),
    data: { train: files, cache: false as const },
  })
  // One checkpoint of 340 kB fits, two do not.
  await onSmallDisk(t, disk, '500k', async () => {
    const { error, steps } = await record(options(disk), disk)
    t.match(error, {
      name: 'WbsrError',
      code: 'WBSR_IO',
      message: /checkpoint\.safetensors: no space left on the disk/,
    })
    t.equal(steps.at(-1)!.step, 2, 'the second checkpoint is written while step 3 is done')
    t.same(readdirSync(disk), ['best.safetensors', 'checkpoint.safetensors'], 'two names of one file')
    const spare = path.join(train, 'spare')
    copyFileSync(path.join(disk, 'checkpoint.safetensors'), path.join(spare, 'checkpoint.safetensors'))
    const resumed = await record(options(spare), spare)
    t.equal(resumed.error, null)
    t.same(
      resumed.steps.map(({ step }) => step),
      [2, 3, 4, 5, 6],
      'it goes on after step 1',
    )
    t.ok(Object.keys(await weights(path.join(spare, 'model.safetensors'))).includes('HRconv.bias'))
  })
})
