// Progress reports of a run: phases, progress, remaining seconds; and an abort in every phase.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { trainSupernet } from '../../lib/index.js'
import type { Phase } from '../../lib/train/estimate.js'
import { Estimate, workOf } from '../../lib/train/estimate.js'
import { type ProgressReport, RunProgress } from '../../lib/train/progress.js'
import { cuttings, recorder, run } from '../support/training.js'

t.test('phases come in order, each from nothing to all', async (t) => {
  const train = await cuttings(t.testdir())
  const reports: ProgressReport[] = []
  const told: string[] = []
  const { reports: steps, onStep } = recorder()
  const model = await trainSupernet(
    run(train, {
      data: { train, validation: train },
      loss: { kind: 'bd', components: 2 },
      validateEverySteps: 4,
      onStep,
      onProgress: async (report) => {
        reports.push(report)
        if (told.at(-1) !== report.phase) told.push(report.phase)
        await delay(1)
      },
    }),
  )
  model.dispose()
  t.same(told, ['index', 'mixture', 'steps', 'validation', 'steps', 'validation', 'steps', 'calibration'])
  for (const phase of ['index', 'mixture', 'steps', 'validation', 'calibration'] as const) {
    const own = reports.filter((report) => report.phase === phase)
    t.equal(own[0]!.done, 0)
    t.equal(own.at(-1)!.done, own.at(-1)!.total, `${phase} ends`)
    t.ok(own.every(({ done, total }) => done >= 0 && done <= total))
  }
  const last = (phase: Phase) => reports.findLast((report) => report.phase === phase)!
  t.equal(last('index').total, 6, 'training and validation images')
  t.equal(last('steps').total, 6)
  t.equal(last('validation').total, 3)
  t.equal(last('calibration').total, 3 + 12 * 4, '3 pictures, 12 tiles of 64, 4 subnets')
  t.equal(last('calibration').eta, 0)
  // Unknown before the first step, then all that is to come, validations and calibration too.
  t.ok(
    reports.every(
      ({ phase, done, eta }) =>
        (eta === null) === (['index', 'mixture'].includes(phase) || (phase === 'steps' && done === 0)),
    ),
  )
  t.ok(steps.every(({ eta }) => eta > 0))
})

t.test('a run is not silent while one thing takes long', async (t) => {
  const estimate = new Estimate()
  estimate.plan({ step: 4, validation: 0, calibration: 8 })
  estimate.steps(2, 3, 0)
  const reports: ProgressReport[] = []
  const progress = new RunProgress(
    (report) => void reports.push(report),
    estimate,
    (error) => t.fail(String(error)),
  )
  progress.enter('steps', 4, 2)
  await delay(2300)
  t.ok(reports.length >= 3, `${reports.length} reports in 2.3 s`)
  t.ok(reports.every(({ phase, done, total }) => phase === 'steps' && done === 2 && total === 4))
  t.equal(Math.round(reports[0]!.eta!), 12, 'two steps of 3 s, a calibration as long as two steps')
  t.ok(Math.abs(reports.at(-1)!.eta! - 10) < 0.5, 'the time that passes counts')
  progress.close()
  const before = reports.length
  await delay(1200)
  t.equal(reports.length, before)
})

t.test('a callback that takes its time gets the newest, and each end of a phase', async (t) => {
  const seen: [Phase, number][] = []
  const progress = new RunProgress(
    async ({ phase, done }) => {
      seen.push([phase, done])
      await delay(150)
    },
    new Estimate(),
    (error) => t.fail(String(error)),
  )
  progress.enter('index', 3)
  for (let i = 1; i <= 3; i++) progress.advance(i)
  progress.enter('steps', 1000)
  for (let i = 1; i < 500; i++) progress.advance(i)
  await delay(800)
  progress.close()
  t.same(seen.slice(0, 3), [
    ['index', 0],
    ['index', 3],
    ['steps', 0],
  ])
  t.ok(seen.length <= 5)
})

t.test('the estimate follows what was measured', async (t) => {
  const subnets = [1, 2, 3, 6].map((n) => ({ flops: 1024 * n }))
  t.same(workOf(subnets, 'sandwich', { step: 10, validation: 100, calibration: 50 }), {
    step: 3 * 10 * (1 + 6 + 2.5),
    validation: 700,
    calibration: 600,
  })
  t.equal(workOf(subnets, 'single', { step: 10, validation: 0, calibration: 0 }).step, 3 * 10 * 3)
  t.equal(workOf(subnets.slice(0, 1), 'sandwich', { step: 10, validation: 0, calibration: 0 }).step, 30)
  const estimate = new Estimate()
  t.equal(estimate.seconds(), null)
  estimate.plan({ step: 10, validation: 20, calibration: 40 })
  estimate.at('steps', 0, 10)
  estimate.steps(10, null, 2)
  t.equal(estimate.seconds(), null)
  estimate.steps(10, 0.5, 2)
  t.equal(estimate.seconds(), 10 * 0.5 + 2 * 1 + 2, 'validations and calibration by the speed of steps')
  estimate.at('validation', 0, 4)
  await delay(200)
  estimate.at('validation', 4, 4)
  estimate.at('steps', 5, 10)
  estimate.steps(5, 0.5, 1)
  const left = estimate.seconds()!
  t.ok(left > 2.5 + 0.19 * 3 && left < 2.5 + 3 * 2, `${left}: one more validation and a calibration twice as long`)
})

t.test('what onProgress throws ends the run as it is, in any phase', async (t) => {
  const train = await cuttings(t.testdir())
  for (const phase of ['index', 'mixture', 'steps', 'validation', 'calibration'] as const) {
    const mine = new RangeError(phase)
    const options = run(train, {
      data: { train, validation: train },
      loss: { kind: 'bd', components: 2 },
      onProgress: async (report) => {
        if (report.phase === phase) throw mine
      },
    })
    t.equal(await trainSupernet(options).catch((error: unknown) => error), mine, phase)
  }
})

t.test('every phase hears an abort, and a run that was stopped in its calibration goes on there', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const base = run(train, {
    data: { train, validation: train },
    loss: { kind: 'bd', components: 2 },
    checkpoint: { directory },
  })
  for (const phase of ['index', 'mixture', 'steps', 'validation', 'calibration'] as const) {
    const stop = new AbortController()
    const onProgress = (report: ProgressReport) => {
      if (report.phase === phase) stop.abort(phase)
    }
    const options = { ...base, checkpoint: { directory, resume: false }, signal: stop.signal, onProgress }
    await t.rejects(trainSupernet(options), { code: 'WBSR_ABORTED', cause: phase }, phase)
    t.equal(
      existsSync(path.join(directory, 'checkpoint.safetensors')),
      phase === 'validation' || phase === 'calibration',
      phase,
    )
  }
  const { reports, onStep } = recorder()
  const phases: Phase[] = []
  const onProgress = ({ phase }: ProgressReport) => void phases.push(phase)
  const model = await trainSupernet({ ...base, onStep, onProgress })
  t.same(reports, [], 'no step is left')
  t.notOk(phases.includes('validation') || phases.includes('mixture'))
  const whole = await trainSupernet({ ...base, checkpoint: undefined })
  t.same(model.router, whole.router)
  model.dispose()
  whole.dispose()
})
