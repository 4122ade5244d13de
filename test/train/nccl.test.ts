// Ranks with a CUDA device each, whose gradients travel by NCCL: on the host's CUDA, with a stand-in for libnccl.so.2
// (test/native/cuda/host_cuda). The numbers of one process, resuming on another number of ranks, and what ends a run.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { TrainOptions } from '../../lib/train/options.js'
import { type Launch, type Ranks, ranks, type Scenario, withoutMpi } from '../support/mpi.js'
import { checksFolder, packageFolder, unbuilt } from '../support/package.js'
import { cuttings, weights } from '../support/training.js'

const plugin = path.join(checksFolder, 'host_cuda', 'libwbsr_cuda.so')
const skip = unbuilt(plugin)
if (skip) t.test('training by NCCL', { skip }, () => {})
else await tests()

async function tests() {
  const folder = packageFolder(t, readFileSync(plugin))
  const support = path.dirname(fileURLToPath(import.meta.url)).replace(/train$/, 'support')
  cpSync(path.join(support, 'rank.mjs'), path.join(folder, 'test', 'support', 'rank.mjs'))
  const photographs = path.join(folder, 'photographs')
  mkdirSync(photographs)
  await cuttings(photographs)
  const temporary = path.join(folder, 'tmp')
  mkdirSync(temporary)

  const STEPS = 4
  const options: Partial<TrainOptions> = {
    steps: STEPS,
    batchSize: 4,
    microBatches: 4,
    patchSize: 16,
    device: 'auto',
    distributed: 'nccl',
    calibration: { images: 1, pixels: 512, tileSize: 16 },
  }
  let made = 0
  const newFolder = () => {
    const runs = path.join(folder, 'runs', String(made++))
    mkdirSync(runs, { recursive: true })
    return runs
  }
  const scenario = (more: Partial<TrainOptions> = {}, rest: Partial<Scenario> = {}): Scenario => ({
    train: [path.join(photographs, '*.png')],
    folder: newFolder(),
    options: { ...options, ...more },
    ...rest,
  })
  const env = { WBSR_HOST_DEVICES: '3', TMPDIR: temporary }
  const run = (count: number, what: Scenario, launch: Launch = {}) =>
    ranks(count, what, { folder, ...launch, env: { ...env, ...launch.env } })
  /** Without mpirun. */
  const meet = () => ({ rendezvous: path.join(newFolder(), 'meeting') })
  const steps = ({ lines }: Ranks) =>
    lines.filter(({ step }) => step !== undefined).map(({ step, loss }) => [step, loss])
  const endings = ({ lines }: Ranks) =>
    Object.fromEntries(
      lines.filter(({ message }) => message !== undefined).map(({ rank, code, message }) => [rank, { code, message }]),
    )
  const model = ({ folder: at }: Scenario, rank = 0) => weights(path.join(at, `model-${rank}.safetensors`))

  const alone = scenario()
  const whole = await run(0, alone)
  t.equal(steps(whole).length, STEPS, whole.said)

  t.test('gradients in the host’s memory give the same bits', async (t) => {
    const host = scenario({ distributed: undefined })
    t.same(steps(await run(0, host)), steps(whole))
    t.same(await model(host), await model(alone))
  })

  t.test('two and three ranks give the numbers and the model of one', async (t) => {
    for (const [count, launch] of [
      [2, meet()],
      [3, meet()],
      [2, {}],
    ] as const) {
      if (!('rendezvous' in launch) && withoutMpi) continue
      const own = scenario()
      const ran = await run(count, own, launch)
      t.equal(ran.status, 0, ran.said)
      t.same(steps(ran), steps(whole), 'rank 0 alone reports')
      for (let rank = 0; rank < count; rank++) t.same(await model(own, rank), await model(alone), `rank ${rank}`)
      if ('rendezvous' in launch) t.notOk(existsSync(launch.rendezvous), 'the file is gone')
    }
    t.same(readdirSync(temporary), [], 'nothing of the connections is left')
  })

  t.test('an abort on one rank; the other number of ranks goes on exactly', async (t) => {
    for (const [first, second] of [
      [2, 0],
      [0, 2],
    ] as const) {
      const checkpoint = { directory: newFolder(), everySteps: 100 }
      const event = first === 2 ? 'abort 1' : 'abort 0'
      const before = await run(first, scenario({ checkpoint }, { at: 2, event, wait: 5000 }), first ? meet() : {})
      t.equal(before.status, 1, before.said)
      t.same(
        Object.values(endings(before)).map(({ code }) => code),
        Array(first || 1).fill('WBSR_ABORTED'),
      )
      const resumed = scenario({ checkpoint })
      const after = await run(second, resumed, second ? meet() : {})
      t.equal(after.status, 0, after.said)
      t.same([...steps(before), ...steps(after)], steps(whole), `${first} ranks, then ${second}`)
      t.same(await model(resumed), await model(alone))
    }
  })

  t.test('kill -9 of a rank: the others end, and the run goes on on fewer or more', async (t) => {
    for (const victim of [0, 1]) {
      const checkpoint = { directory: newFolder(), everySteps: 1 }
      const pids = new Map<number, number>()
      const killed = await run(2, scenario({ checkpoint }, { at: 3, wait: 5000 }), {
        ...meet(),
        onLine: ({ rank, pid, step }) => {
          if (pid !== undefined) pids.set(rank, pid)
          if (step === 3) process.kill(pids.get(victim)!, 'SIGKILL')
        },
      })
      t.match(endings(killed)[1 - victim], {
        code: 'WBSR_RANK_FAILED',
        message: `Rank ${victim} ended the run: its process ended before the run did`,
      })
      const restarted = scenario({ checkpoint })
      const ran = await run(victim === 0 ? 3 : 0, restarted, victim === 0 ? meet() : {})
      t.equal(ran.status, 0, ran.said)
      t.same(steps(ran), steps(whole).slice(STEPS - steps(ran).length))
      t.ok(steps(ran).length <= STEPS - 2, 'from a checkpoint')
      t.same(await model(restarted), await model(alone))
    }
  })

  t.test('what is missing or wrong is named', async (t) => {
    const missing = await run(2, scenario(), { ...meet(), env: { WBSR_HOST_NCCL: 'none', WBSR_NCCL_PATH: temporary } })
    t.match(endings(missing), {
      0: { code: 'WBSR_NO_DEVICE', message: /^NCCL was not found: .*libnccl\.so\.2/ },
      1: { code: 'WBSR_RANK_FAILED', message: /^Rank 0 ended the run: NCCL was not found/ },
    })
    const shared = await run(2, scenario({ device: 'cuda:1' }), meet())
    // Each may hear first that the other one has failed.
    const refused = Object.values(endings(shared)).filter(({ code }) => code === 'WBSR_NO_DEVICE')
    t.match(refused[0]?.message, /NCCL cannot connect rank \d of 2, on CUDA device 1: .*invalid usage/)
    const cpu = await run(0, scenario({ device: 'cpu' }))
    t.match(endings(cpu)[0], {
      code: 'WBSR_INVALID_OPTION',
      message: `Expected 'cuda' with distributed 'nccl' for device but received "cpu"`,
    })
  })
}
