// Ranks that train one model: the numbers of one process, resuming on another number of ranks, and what ends a run.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { TrainOptions } from '../../lib/train/options.js'
import { type Ranks, ranks, type Scenario, withoutDist, withoutMpi } from '../support/mpi.js'
import { cuttings, weights } from '../support/training.js'

const STEPS = 10
const photographs = await cuttings(t.testdir())

/** Everything that could depend on how a batch is cut: shared terms of the loss, a learned sigma, distillation, degradation. */
const options: Partial<TrainOptions> = {
  steps: STEPS,
  batchSize: 8,
  microBatches: 4,
  distributed: 'mpi',
  loss: { kind: 'bd', sigma: { initial: 0.02, learn: true } },
  distillation: 0.3,
  sampler: { kind: 'hes', classLevelFrom: 0.5 },
  calibration: { images: 1, pixels: 4096 },
}

let folders = 0
const newFolder = () => {
  const folder = path.join(photographs, 'runs', String(folders++))
  mkdirSync(folder, { recursive: true })
  return folder
}

function scenario(more: Partial<TrainOptions> = {}, rest: Partial<Scenario> = {}): Scenario {
  const data = { train: '', degradation: 'photo' as const, ...more.data }
  const { train: _, ...shared } = data
  return {
    train: [path.join(photographs, '*.png')],
    folder: newFolder(),
    options: { ...options, ...more, data: shared as TrainOptions['data'] },
    ...rest,
  }
}

const model = ({ folder }: Scenario, rank = 0) => weights(path.join(folder, `model-${rank}.safetensors`))
const steps = ({ lines }: Ranks) => lines.filter(({ step }) => step !== undefined).map(({ step, loss }) => [step, loss])
const endings = ({ lines }: Ranks) =>
  Object.fromEntries(
    lines.filter(({ message }) => message !== undefined).map(({ rank, code, message }) => [rank, { code, message }]),
  )

const alone = scenario()
let whole: Ranks

t.test('a process by itself', { skip: withoutDist }, async (t) => {
  whole = await ranks(0, alone)
  t.equal(steps(whole).length, STEPS, whole.said)
})

t.test('a micro-batch is not the batch, to the last bit, but nearly', { skip: withoutDist }, async (t) => {
  const once = await ranks(0, scenario({ microBatches: 1 }))
  t.notSame(steps(once), steps(whole))
  steps(once).forEach(([, loss], i) => {
    t.ok(Math.abs(loss! - steps(whole)[i]![1]!) < 1e-4 * loss!)
  })
})

t.test('two and three ranks give the numbers and the model of one', { skip: withoutMpi }, async (t) => {
  for (const count of [2, 3]) {
    const own = scenario(
      { data: { train: '', memory: count === 3 ? 0 : undefined } },
      count === 2 ? { at: 2, wait: 400 } : {},
    )
    const ran = await ranks(count, own)
    t.equal(ran.status, 0, ran.said)
    t.same(steps(ran), steps(whole), 'rank 0 alone reports')
    for (let rank = 0; rank < count; rank++) t.same(await model(own, rank), await model(alone), `rank ${rank}`)
    t.same(
      readFileSync(path.join(own.folder, 'model-1.safetensors')),
      readFileSync(path.join(own.folder, 'model-0.safetensors')),
    )
    // While it waits for rank 0, which waits for 400 ms.
    if (count === 2)
      t.ok(ran.lines.find(({ rank, done }) => rank === 1 && done)!.ticks! > 10, 'the event loop of rank 1 runs')
  }
})

t.test('an abort on either rank; the other number of ranks goes on exactly', { skip: withoutMpi }, async (t) => {
  const cases = [
    { first: 2, second: 0, event: 'abort 1' },
    { first: 0, second: 2, event: 'abort 0' },
    { first: 2, second: 3, event: 'abort 0' },
  ] as const
  for (const { first, second, event } of cases) {
    const directory = newFolder()
    const checkpoint = { directory, everySteps: 100 }
    const stopped = scenario({ checkpoint }, { at: 4, event, wait: 5000 })
    const before = await ranks(first, stopped)
    t.equal(before.status, 1, before.said)
    for (const { code } of Object.values(endings(before))) t.equal(code, 'WBSR_ABORTED')
    t.equal(Object.keys(endings(before)).length, first || 1, 'every rank is told')
    t.same(readdirSync(directory), ['checkpoint.safetensors'])
    const resumed = scenario({ checkpoint })
    const after = await ranks(second, resumed)
    t.equal(after.status, 0, after.said)
    t.same([...steps(before), ...steps(after)], steps(whole), `${first} ranks, then ${second}`)
    t.same(await model(resumed), await model(alone))
  }
})

t.test('an error on one rank ends all of them', { skip: withoutMpi }, async (t) => {
  const directory = newFolder()
  const checkpoint = { directory, everySteps: 1 }
  await t.test('a callback of rank 0', async (t) => {
    const ran = await ranks(2, scenario({ checkpoint }, { at: 3, event: 'throw 0' }))
    t.equal(ran.status, 1)
    t.match(endings(ran), {
      0: { code: null, message: 'no more of this' },
      1: { code: 'WBSR_RANK_FAILED', message: 'Rank 0 ended the run: no more of this' },
    })
    t.ok(existsSync(path.join(directory, 'checkpoint.safetensors')))
  })
  await t.test('a photograph of rank 1', async (t) => {
    const own = newFolder()
    for (const name of readdirSync(photographs).filter((file) => file.endsWith('.png')))
      cpSync(path.join(photographs, name), path.join(own, name))
    const damaged = scenario({ data: { train: '', memory: 0 } }, { at: 2, wait: 300 })
    damaged.train.push(own)
    const ran = await ranks(2, damaged, {
      onLine: ({ step }) => {
        if (step === 1) for (const name of readdirSync(own)) truncateSync(path.join(own, name), 3000)
      },
    })
    t.equal(ran.status, 1)
    t.match(endings(ran), {
      0: { code: 'WBSR_RANK_FAILED', message: /^Rank 1 ended the run: .*\.png: / },
      1: { code: 'WBSR_INVALID_IMAGE' },
    })
  })
  await t.test('other options', async (t) => {
    const ran = await ranks(2, scenario({}, { other: { optimizer: { learningRate: 1e-4 } } }))
    t.match(endings(ran), {
      0: { code: 'WBSR_RANK_FAILED', message: /^Rank 1 ended the run: All ranks of a run need the same options/ },
      1: { code: 'WBSR_INVALID_OPTION', message: /same options: expected .* on rank 1$/ },
    })
  })
  await t.test('a process that ends well, but too early', async (t) => {
    const ran = await ranks(2, scenario({}, { at: 3, event: 'exit 1', wait: 5000 }))
    t.match(endings(ran), {
      0: { code: 'WBSR_RANK_FAILED', message: 'Rank 1 ended the run: its process ended before the run did' },
    })
  })
  await t.test('more ranks than micro-batches', async (t) => {
    const ran = await ranks(3, scenario({ microBatches: 2 }))
    t.match(endings(ran)[0], {
      code: 'WBSR_INVALID_OPTION',
      message: 'Expected at least 3, the number of ranks, for microBatches but received 2',
    })
  })
})

t.test('kill -9 of a rank: the run ends, and goes on on fewer or more', { skip: withoutMpi }, async (t) => {
  for (const victim of [0, 1]) {
    const checkpoint = { directory: newFolder(), everySteps: 2 }
    const pids = new Map<number, number>()
    const killed = await ranks(2, scenario({ checkpoint }, { at: 7, wait: 60_000 }), {
      onLine: ({ rank, pid, step }) => {
        if (pid !== undefined) pids.set(rank, pid)
        if (step === 7) process.kill(pids.get(victim)!, 'SIGKILL')
      },
    })
    t.not(killed.status, 0)
    t.same(steps(killed), steps(whole).slice(0, 7))
    const restarted = scenario({ checkpoint })
    const ran = await ranks(victim === 0 ? 3 : 1, restarted)
    t.equal(ran.status, 0, ran.said)
    t.same(steps(ran), steps(whole).slice(STEPS - steps(ran).length))
    t.ok(steps(ran).length <= STEPS - 4, 'from a checkpoint')
    t.same(await model(restarted), await model(alone))
  }
})

t.test('a launcher that starts again, on what is left of the machines', { skip: withoutMpi }, async (t) => {
  const hosts = path.join(newFolder(), 'hosts')
  const machines = (count: number) => writeFileSync(hosts, 'localhost\n'.repeat(count))
  const pids = new Map<number, number>()
  const own = scenario({ checkpoint: { directory: newFolder(), everySteps: 2 } }, { at: 5, wait: 60_000 })
  let killed = false
  machines(3)
  const ran = await ranks(3, own, {
    hosts,
    onLine: ({ rank, pid, step }) => {
      if (pid !== undefined) pids.set(rank, pid)
      if (step !== 5 || killed) return
      killed = true
      machines(2)
      process.kill(pids.get(2)!, 'SIGKILL')
    },
  })
  t.equal(ran.status, 0, ran.said)
  const again = steps(ran).length - STEPS
  t.ok(again >= 1 && again <= 3, `from the last checkpoint: ${again} steps were done twice`)
  t.same([...new Map(steps(ran) as [number, number][])], steps(whole))
  t.same(
    ran.lines
      .filter(({ done }) => done)
      .map(({ rank }) => rank)
      .sort(),
    [0, 1],
  )
  for (const rank of [0, 1]) t.same(await model(own, rank), await model(alone))
})

t.test('SIGTERM to mpirun ends the run, which goes on exactly', { skip: withoutMpi }, async (t) => {
  const checkpoint = { directory: newFolder(), everySteps: 2 }
  const stopped = scenario({ checkpoint }, { at: 5, wait: 60_000, terminable: true })
  const before = await ranks(2, stopped, {
    onLine: ({ step }, mpirun) => {
      if (step === 5) mpirun.kill('SIGTERM')
    },
  })
  t.not(before.status, 0)
  // Each rank has a second for its last checkpoint before mpirun kills it: enough, but not on any machine.
  for (const { code } of Object.values(endings(before))) t.equal(code, 'WBSR_ABORTED')
  const resumed = scenario({ checkpoint })
  const after = await ranks(3, resumed)
  t.equal(after.status, 0, after.said)
  t.same(steps(after), steps(whole).slice(STEPS - steps(after).length))
  t.ok(steps(after).length <= STEPS - 4, 'from a checkpoint')
  t.same(await model(resumed), await model(alone))
})
