// Training on a device that takes the next step before it has reported this one, and that makes its batches itself: the CPU
// declared to be such a device, with delayed reports. Numbers must equal those of the plain path.
import { existsSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import sharp from 'sharp'
import t from 'tap'
import { trainSupernet } from '../../lib/index.js'
import { type NativeDevice, native, type TrainJob, type TrainReport } from '../../lib/native.js'
import type { TrainOptions } from '../../lib/train/options.js'
import type { EpochReport, StepReport, ValidationReport } from '../../lib/train/reports.js'
import { cuttings, numbers, run, weights } from '../support/training.js'

const { Engine } = native
/** What the engines of a test have done. */
let seen = { underway: 0, most: 0, sources: 0, planes: 0, early: 0 }
let change: (report: TrainReport, step: number) => TrainReport = (report) => report

class Pipelined extends Engine {
  #steps = 0
  override get device(): NativeDevice {
    return { ...super.device, pipelined: true, regular: true }
  }
  override async train(job: TrainJob): Promise<TrainReport> {
    const step = ++this.#steps
    if ('source' in job) seen.sources++
    else seen.planes++
    seen.most = Math.max(seen.most, ++seen.underway)
    try {
      return change(await super.train(job), step)
    } finally {
      // Later than the device is done, and never in the same rhythm.
      await delay((step * 7) % 12)
      seen.underway--
    }
  }
  override getArena(...args: Parameters<InstanceType<typeof Engine>['getArena']>): Float32Array {
    if (seen.underway > 0) seen.early++
    return super.getArena(...args)
  }
}

/** Runs with pipelined engines. */
async function pipelined<T>(work: () => Promise<T>): Promise<T> {
  seen = { underway: 0, most: 0, sources: 0, planes: 0, early: 0 }
  native.Engine = Pipelined as typeof Engine
  try {
    return await work()
  } finally {
    native.Engine = Engine
  }
}

async function trained(options: TrainOptions, file: string) {
  const reports: StepReport[] = []
  const epochs: EpochReport[] = []
  const validations: ValidationReport[] = []
  const model = await trainSupernet({
    ...options,
    onStep: (report) => void reports.push(report),
    onEpoch: (report) => void epochs.push(report),
    onValidation: (report) => void validations.push(report),
  })
  await model.save(file)
  model.dispose()
  const timeless = <R extends { seconds: number }>({ seconds: _, ...rest }: R) => rest
  for (const { imagesPerSecond, waitForData, eta } of reports)
    t.ok(imagesPerSecond > 0 && waitForData >= 0 && waitForData <= 1 && eta >= 0)
  return {
    steps: reports.map(numbers),
    epochs: epochs.map(timeless),
    validations: validations.map(timeless),
    weights: await weights(file),
  }
}

t.test('two steps under way give the numbers of one at a time', async (t) => {
  const folder = t.testdir({ hr: {}, lr: {} })
  const train = await cuttings(path.join(folder, 'hr'))
  const lr = path.join(folder, 'lr')
  for (const name of ['allium-oreophilum', 'french-alpine-landscape', 'nagasaki-boats'])
    await sharp(path.join(train, `${name}.png`))
      .resize(96, 80)
      .png()
      .toFile(path.join(lr, `${name}.png`))
  const runs: [string, Partial<TrainOptions>][] = [
    ['bd', { loss: { kind: 'bd', components: 3, sigma: { initial: 0.03, final: 0.01 } } }],
    ['single', { subnetsPerStep: 'single', ema: false, loss: 'l1' }],
    ['LR files', { data: { train, lr }, loss: 'l2' }],
    [
      'validation and checkpoints',
      {
        data: { train, validation: train },
        validateEverySteps: 3,
        checkpoint: { directory: path.join(folder, 'run'), everySteps: 2, resume: false },
        loss: 'l2',
      },
    ],
    ['epochs', { steps: undefined, epochs: 2, batchSize: 16, loss: 'l2' }],
  ]
  for (const [name, more] of runs) {
    const options = run(train, { steps: 8, ...more })
    const plain = await trained(options, path.join(folder, 'plain.safetensors'))
    const other = await pipelined(() => trained(options, path.join(folder, 'pipelined.safetensors')))
    t.same(other.steps, plain.steps, `${name}: reports`)
    t.same(other.epochs, plain.epochs, `${name}: epochs`)
    t.ok(plain.steps.every((report) => !('parts' in report)))
    for (const [tensor, data] of Object.entries(plain.weights))
      if (!data.equals(other.weights[tensor]!)) t.fail(`${name}: ${tensor} differs`)
    t.match(
      seen,
      { most: 2, underway: 0, planes: 0, early: 0 },
      `${name}: two steps under way, none when the engine is read`,
    )
    t.equal(seen.sources, plain.steps.length, `${name}: batches are made by the device`)
    // Its regions are others, so that scores agree but for what lies at seams.
    for (const [i, validation] of plain.validations.entries())
      t.ok(Math.abs(validation.largest.y - other.validations[i]!.largest.y) < 0.01, `${name}: validations`)
  }
})

t.test('a learned sigma waits for each report', async (t) => {
  const train = await cuttings(t.testdir())
  const options = run(train, {
    loss: { kind: 'bd', components: 3, sigma: { initial: 0.03, learn: true, learningRate: 0.05 } },
  })
  const plain = await trained(options, path.join(train, 'plain.safetensors'))
  const other = await pipelined(() => trained(options, path.join(train, 'pipelined.safetensors')))
  t.same(other.steps, plain.steps)
  t.equal(new Set(plain.steps.map(({ sigma }) => sigma)).size, 6, 'sigma moves')
  t.match(seen, { most: 1, sources: 6 })
})

t.test('a loss that is not finite, found a step late, names its step and leaves nothing behind', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const steps: number[] = []
  const wild = run(train, {
    optimizer: { learningRate: 1e30 },
    checkpoint: { directory, everySteps: 1000 },
    onStep: ({ step }) => void steps.push(step),
  })
  await pipelined(() =>
    t.rejects(trainSupernet(wild), {
      name: 'WbsrError',
      code: 'WBSR_NON_FINITE',
      message: /^The loss of step 2 is not finite \(learning rate /,
    }),
  )
  t.same(steps, [1])
  t.match(seen, { most: 2, underway: 0, sources: 3 }, 'step 3 was under way and is over')
  t.notOk(existsSync(path.join(directory, 'checkpoint.safetensors')))

  // Also when an abort comes between the two: step 3 is under way, of weights that step 2 has left alone.
  const stop = new AbortController()
  mkdirSync(directory, { recursive: true })
  await pipelined(() =>
    t.rejects(trainSupernet({ ...wild, signal: stop.signal, onStep: () => stop.abort() }), {
      code: 'WBSR_NON_FINITE',
      message: /step 2/,
    }),
  )
  t.notOk(existsSync(path.join(directory, 'checkpoint.safetensors')))
})

t.test('an aborted run goes on where it stopped, steps under way included', async (t) => {
  const train = await cuttings(t.testdir())
  const options = run(train, { steps: 12, loss: 'l2' })
  const whole = await trained(options, path.join(train, 'whole.safetensors'))
  for (const at of [1, 4]) {
    const directory = path.join(train, `run${at}`)
    const checkpoint = { directory, everySteps: 5 }
    const stop = new AbortController()
    const told: number[] = []
    const onStep = ({ step }: StepReport) => {
      told.push(step)
      if (step === at) stop.abort(new Error('enough'))
    }
    await pipelined(() =>
      t.rejects(trainSupernet({ ...options, checkpoint, signal: stop.signal, onStep }), {
        code: 'WBSR_ABORTED',
        cause: { message: 'enough' },
      }),
    )
    t.match(seen, { underway: 0, early: 0 })
    t.same(
      told,
      Array.from({ length: at }, (_, i) => i + 1),
    )
    let from = 0
    const rest = await pipelined(() =>
      trained(
        {
          ...options,
          checkpoint,
          onStart: ({ resumedFrom }) => {
            from = resumedFrom
          },
        },
        path.join(train, 'rest.safetensors'),
      ),
    )
    t.ok(from === at || from === at + 1, `resumed from ${from}`)
    t.same(rest.steps, whole.steps.slice(from))
    for (const [tensor, data] of Object.entries(whole.weights))
      if (!data.equals(rest.weights[tensor]!)) t.fail(`${tensor} differs`)
  }
})

t.test('a callback or a step that fails ends the run when nothing is under way any more', async (t) => {
  const train = await cuttings(t.testdir())
  const mine = new TypeError('mine')
  const throwing = run(train, {
    onStep: ({ step }) => {
      if (step === 3) throw mine
    },
  })
  t.equal(await pipelined(() => trainSupernet(throwing).catch((error: unknown) => error)), mine)
  t.equal(seen.underway, 0)
  try {
    change = (report, step) => {
      if (step === 3) throw Object.assign(new Error('the device is gone'), { code: 'WBSR_DEVICE_FAILED' })
      return { ...report, parts: step }
    }
    const reports: StepReport[] = []
    await pipelined(() =>
      t.rejects(trainSupernet(run(train, { onStep: (report) => void reports.push(report) })), {
        name: 'WbsrError',
        code: 'WBSR_DEVICE_FAILED',
        message: 'Step 3: the device is gone',
      }),
    )
    t.equal(seen.underway, 0)
    t.same(
      reports.map(({ step, parts }) => [step, parts]),
      [
        [1, undefined],
        [2, 2],
      ],
      'parts are told where there are more than one',
    )
  } finally {
    change = (report) => report
  }
})
