// All the ways in which a run ends early.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { trainSupernet } from '../../lib/index.js'
import { native } from '../../lib/native.js'
import { onAverage } from '../../lib/train/validation.js'
import { cuttings, recorder, run, tiny } from '../support/training.js'

t.test('a loss that is not finite stops the run, names the step and keeps the last good checkpoint', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const { reports, onStep } = recorder()
  // The first step is taken at full learning rate: its weights are finite but useless, which the second step notices.
  const wild = run(train, { optimizer: { learningRate: 1e30 }, checkpoint: { directory, everySteps: 1 }, onStep })
  await t.rejects(trainSupernet(wild), {
    name: 'WbsrError',
    code: 'WBSR_NON_FINITE',
    message: /^The loss of step 2 is not finite \(learning rate /,
  })
  t.equal(reports.length, 1)
  t.notOk(existsSync(path.join(directory, 'checkpoint.safetensors')), 'the weights of step 1 were never good')

  mkdirSync(directory, { recursive: true })
  const file = path.join(directory, 'checkpoint.safetensors')
  writeFileSync(file, 'the checkpoint before')
  await t.rejects(trainSupernet({ ...wild, checkpoint: { directory, everySteps: 1, resume: false } }), {
    code: 'WBSR_NON_FINITE',
  })
  t.equal(readFileSync(file, 'utf8'), 'the checkpoint before')

  await t.rejects(trainSupernet({ ...wild, steps: 1, ema: false, checkpoint: undefined }), {
    code: 'WBSR_NON_FINITE',
    message: /weights after step 1/,
  })
})

t.test('an abort takes effect at any time', async (t) => {
  const train = await cuttings(t.testdir())
  const reason = new Error('enough')
  const aborted = { name: 'WbsrError', code: 'WBSR_ABORTED', message: 'Training was aborted', cause: reason }
  await t.rejects(trainSupernet(run(train, { signal: AbortSignal.abort(reason) })), aborted, 'before the start')
  for (const milliseconds of [0, 1, 5, 20, 60, 150, 400]) {
    const stop = new AbortController()
    const running = trainSupernet(run(train, { steps: 1_000_000, batchSize: 4, signal: stop.signal }))
    setTimeout(() => stop.abort(reason), milliseconds)
    // Without the abort the run would take longer than any time limit of the test.
    await t.rejects(running, aborted, `after ${milliseconds} ms`)
  }
  for (const callback of ['onStart', 'onStep', 'onEpoch', 'onValidation'] as const) {
    const stop = new AbortController()
    const never = () => {
      stop.abort(reason)
      return new Promise(() => {})
    }
    await t.rejects(
      trainSupernet(
        run(train, { data: { train, validation: train }, batchSize: 16, signal: stop.signal, [callback]: never }),
      ),
      aborted,
      `in ${callback}`,
    )
  }
})

t.test('an abort does not hide a loss that is not finite, nor save its weights', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const stop = new AbortController()
  const { Engine } = native
  // Fires while the second step runs, too late for the engine.
  native.Engine = class extends Engine {
    override async train(job: Parameters<InstanceType<typeof Engine>['train']>[0]) {
      const report = await super.train({ ...job, cancel: undefined })
      if (!report.finite) stop.abort()
      return report
    }
  } as typeof Engine
  try {
    const wild = run(train, { optimizer: { learningRate: 1e30 }, checkpoint: { directory }, signal: stop.signal })
    await t.rejects(trainSupernet(wild), { code: 'WBSR_NON_FINITE', message: /step 2/ })
    t.ok(stop.signal.aborted)
    t.notOk(existsSync(path.join(directory, 'checkpoint.safetensors')))
  } finally {
    native.Engine = Engine
  }
})

t.test('the weights come back after a validation on their average, also when it fails', async (t) => {
  const engine = new native.Engine(tiny.graph, { threads: 1 })
  t.teardown(() => engine.dispose())
  engine.initialise(1)
  const weights = engine.getArena('weights')
  const average = weights.map((v) => v / 2)
  engine.setArena('ema', average)
  t.same(await onAverage(engine, true, async () => engine.getArena('weights')), average)
  t.same(engine.getArena('weights'), weights)
  await t.rejects(
    onAverage(engine, true, async () => {
      throw new Error('mine')
    }),
    { message: 'mine' },
  )
  t.same(engine.getArena('weights'), weights)
  t.same(engine.getArena('ema'), average)
  t.same(await onAverage(engine, false, async () => engine.getArena('weights')), weights)
})

t.test('an aborted run leaves a checkpoint of the last step', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const stop = new AbortController()
  const onStep = ({ step }: { step: number }) => {
    if (step === 3) stop.abort()
  }
  await t.rejects(trainSupernet(run(train, { checkpoint: { directory }, signal: stop.signal, onStep })), {
    code: 'WBSR_ABORTED',
  })
  const { reports, onStep: record } = recorder()
  const model = await trainSupernet(run(train, { checkpoint: { directory, resume: true }, onStep: record }))
  model.dispose()
  t.same(
    reports.map(({ step }) => step),
    [4, 5, 6],
  )
})

t.test('an abort during a validation leaves a checkpoint of the training weights', async (t) => {
  const train = await cuttings(t.testdir({ validation: {} }))
  const validation = path.join(train, 'validation')
  await sharp({
    create: {
      width: 240,
      height: 240,
      channels: 3,
      background: '#345',
      noise: { type: 'gaussian', mean: 128, sigma: 40 },
    },
  })
    .png()
    .toFile(path.join(validation, 'a.png'))
  const options = run(train, { data: { train, validation, cache: false }, validateEverySteps: 3, loss: 'l2' })
  const whole: number[] = []
  ;(await trainSupernet({ ...options, onStep: ({ loss }) => void whole.push(loss) })).dispose()
  for (const after of [0, 2, 5, 9, 14, 20, 30]) {
    const directory = path.join(train, `run${after}`)
    const stop = new AbortController()
    const told: string[] = []
    const aborted = trainSupernet({
      ...options,
      checkpoint: { directory },
      signal: stop.signal,
      onStep: ({ step }) => {
        told.push('step')
        if (step === 3)
          setTimeout(() => {
            stop.abort()
            told.push('aborted')
          }, after)
      },
      onValidation: () => void told.push('validation'),
    })
    await t.rejects(aborted, { code: 'WBSR_ABORTED' })
    t.equal(told.at(-1), 'aborted', 'nothing is told after an abort')
    const rest: number[] = []
    ;(
      await trainSupernet({
        ...options,
        checkpoint: { directory, resume: true },
        onStep: ({ loss }) => void rest.push(loss),
      })
    ).dispose()
    t.same(
      rest,
      whole.slice(whole.length - rest.length),
      `the same numbers after an abort ${after} ms into the validation`,
    )
    t.ok(rest.length <= 3)
  }
})

t.test('a checkpoint that cannot be written is known before the first step', async (t) => {
  const train = await cuttings(t.testdir({ file: 'not a folder' }))
  let steps = 0
  const bad = run(train, { checkpoint: { directory: path.join(train, 'file') }, onStep: () => void steps++ })
  await t.rejects(trainSupernet(bad), { code: 'WBSR_IO', message: /checkpoint\.safetensors/ })
  t.equal(steps, 0)
})

t.test('what a callback throws ends the run as it is', async (t) => {
  const train = await cuttings(t.testdir())
  for (const callback of ['onStart', 'onStep', 'onEpoch', 'onValidation'] as const) {
    const mine = new RangeError(`mine, from ${callback}`)
    let calls = 0
    const options = run(train, { data: { train, validation: train }, batchSize: 16 })
    const sync = trainSupernet({
      ...options,
      [callback]: () => {
        calls++
        throw mine
      },
    })
    t.equal(await sync.catch((error: unknown) => error), mine)
    t.equal(calls, 1)
    const later = trainSupernet({
      ...options,
      [callback]: async () => {
        calls++
        throw mine
      },
    })
    t.equal(await later.catch((error: unknown) => error), mine)
    t.equal(calls, 2)
  }
})

t.test('images that are no use are left out and reported', async (t) => {
  const train = await cuttings(t.testdir({ 'broken.png': 'not an image' }))
  const skipped: { file: string; reason: string }[] = []
  const model = await trainSupernet(run(train, { steps: 1, onStart: (report) => void skipped.push(...report.skipped) }))
  model.dispose()
  t.match(skipped, [{ file: path.join(train, 'broken.png'), reason: /cannot be decoded/ }])
  t.match(model.training, { skipped: ['broken.png'] })

  const warnings: Error[] = []
  const listener = (warning: Error) => void warnings.push(warning)
  process.on('warning', listener)
  ;(await trainSupernet(run(train, { steps: 1 }))).dispose()
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', listener)
  t.match(
    warnings.filter(({ name }) => name === 'WbsrWarning'),
    [{ message: /broken\.png is left out: / }],
  )

  await t.rejects(trainSupernet(run(path.join(train, 'broken.png'))), { code: 'WBSR_NO_DATA' })
  await t.rejects(trainSupernet(run(path.join(train, 'nowhere'))), { code: 'WBSR_NOT_FOUND' })
  await t.rejects(trainSupernet(run(train, { device: 'cuda' })), { code: 'WBSR_NO_DEVICE' })
})

t.test('native memory is freed however a run ends', async (t) => {
  const train = await cuttings(t.testdir())
  const { Engine } = native
  const live = new Set<object>()
  native.Engine = class extends Engine {
    constructor(...args: ConstructorParameters<typeof Engine>) {
      super(...args)
      live.add(this)
    }
    override dispose(): void {
      live.delete(this)
      super.dispose()
    }
  } as typeof Engine
  try {
    const stop = new AbortController()
    await t.rejects(trainSupernet(run(train, { signal: stop.signal, onStep: () => stop.abort() })), {
      code: 'WBSR_ABORTED',
    })
    t.equal(live.size, 0, 'abort')
    await t.rejects(
      trainSupernet(
        run(train, {
          onStep: () => {
            throw new Error('mine')
          },
        }),
      ),
      { message: 'mine' },
    )
    t.equal(live.size, 0, 'callback')
    await t.rejects(trainSupernet(run(train, { optimizer: { learningRate: 1e30 } })), { code: 'WBSR_NON_FINITE' })
    t.equal(live.size, 0, 'loss that is not finite')
    await t.rejects(trainSupernet(run(train, { steps: 1, optimizer: { learningRate: 1e30 }, ema: false })), {
      code: 'WBSR_NON_FINITE',
    })
    t.equal(live.size, 0, 'calibration that is not finite')
    const model = await trainSupernet(run(train))
    t.equal(live.size, 1, 'only the finished model is left')
    model.dispose()
    t.equal(live.size, 0)
  } finally {
    native.Engine = Engine
  }
})
