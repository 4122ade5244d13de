// A rank of a training, started by mpirun; with the built package, since TypeScript's loader takes longer to start than a run.
// Its argument is a Scenario (mpi.ts) as JSON; it writes lines of JSON.
import { existsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { launchedRank, srresnet, trainSupernet } from '../../dist/index.js'

const rank = launchedRank()
const { train, folder, options, other, at, event, terminable, wait = 0 } = JSON.parse(process.argv[2])
const say = (line) => process.stdout.write(`${JSON.stringify({ rank, ...line })}\n`)
const mark = path.join(folder, 'now')
const controller = new AbortController()
if (terminable) process.once('SIGTERM', () => controller.abort())
say({ pid: process.pid })
let ticks = 0
const ticking = setInterval(() => {
  ticks++
  if (rank === 0 || !existsSync(mark)) return
  if (event === 'abort 1') controller.abort()
  if (event === 'exit 1') process.exit(0)
}, 10)

try {
  const model = await trainSupernet({
    network: srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] }),
    patchSize: 32,
    optimizer: { learningRate: 1e-3 },
    threads: 1,
    device: 'cpu',
    ...options,
    ...(rank === 1 && other),
    data: { cache: false, ...options.data, train: train[rank] ?? train.at(-1) },
    signal: controller.signal,
    onStep: async ({ step, loss }) => {
      say({ step, loss })
      if (step !== at || existsSync(mark)) return
      writeFileSync(mark, '')
      if (event === 'abort 0') controller.abort()
      if (event === 'throw 0') throw new Error('no more of this')
      await delay(wait)
    },
  })
  await model.save(path.join(folder, `model-${rank}.safetensors`))
  model.dispose()
  say({ done: true, ticks })
} catch (error) {
  say({ code: error.code ?? null, message: error.message })
  process.exitCode = 1
}
clearInterval(ticking)
