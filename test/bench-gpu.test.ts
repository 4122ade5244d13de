// Tests bench/gpu.sh without a GPU: every stage reports why it cannot run, and the benchmark program works against the
// CUDA on the host (build/bench-gpu, sizes of a few pixels).
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const there = (program: string, ...args: string[]) => spawnSync(program, args).status === 0
const noPython = there('python3', '-c', 'import sys; sys.exit(sys.version_info < (3, 9))')
  ? false
  : 'there is no python3'

async function run(out: string, build: string, ...args: string[]) {
  const env = {
    ...process.env,
    OUT: out,
    WBSR_GPU_BUILD: build,
    WBSR_NO_TORCH: '1',
    WBSR_BENCH_PATIENCE: '20',
    WBSR_REGIONS: path.join(out, '..', 'regions.txt'),
    WBSR_FRAME: path.join(out, '..', 'frame.rgb'),
  }
  const child = spawn(path.join(root, 'bench', 'gpu.sh'), args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const [code] = (await once(child, 'close')) as [number]
  const file = existsSync(out) ? readdirSync(out).find((name) => name.endsWith('.json')) : undefined
  return { code, output, record: file ? JSON.parse(readFileSync(path.join(out, file), 'utf8')) : null }
}

t.test('wrong arguments', { skip: noPython }, async (t) => {
  const { code, output, record } = await run(path.join(t.testdir(), 'out'), t.testdir(), 'bunch')
  t.equal(code, 2)
  t.match(output, /no stage bunch; there are build, checks, train/)
  t.equal(record, null)
})

t.test(
  'without a GPU every stage says why',
  { skip: noPython || (there('nvidia-smi') && 'there is a GPU') },
  async (t) => {
    const folder = t.testdir({ 'bench-gpu': {}, 'checks-gpu': {} })
    for (const name of ['bench-gpu/gpu_contestant', 'bench-gpu/gpu_train', 'checks-gpu/cuda_some_check']) {
      writeFileSync(path.join(folder, name), '#!/bin/sh\nexit 1\n')
      chmodSync(path.join(folder, name), 0o755)
    }
    const { code, output, record } = await run(
      path.join(folder, 'out'),
      folder,
      'checks',
      'train',
      'bench',
      'node',
      'sanitizer',
      'profile',
    )
    t.equal(code, 1, output)
    t.match(record.stages, {
      checks: { state: 'skipped', reason: 'nvidia-smi shows no GPU' },
      bench: { state: 'skipped', reason: 'nvidia-smi shows no GPU' },
    })
    for (const [name, stage] of Object.entries<{ state: string; reason: string }>(record.stages)) {
      t.match(stage.state, /^(skipped|failed)$/, name)
      t.match(stage.reason, /GPU|photographs|addon|installed|Node/, name)
    }
    t.equal(record.gpu, null)
    t.match(record.versions.torch.missing, /WBSR_NO_TORCH/)
  },
)

t.test('a benchmark program that crashes loses only its own figures', { skip: noPython }, async (t) => {
  const folder = t.testdir({ 'bench-gpu': {} })
  const file = path.join(folder, 'bench-gpu', 'gpu_contestant')
  writeFileSync(file, '#!/bin/sh\nread line\necho \'{"error": "WBSR_NO_DEVICE: as told"}\'\nread line\n')
  chmodSync(file, 0o755)
  const { code, output, record } = await run(
    path.join(folder, 'out'),
    folder,
    '--tiny',
    '--parts',
    'inference-srresnet,training,operators',
    'bench',
  )
  t.equal(code, 1, output)
  const { parts } = record.stages.bench
  t.match(parts['inference-srresnet'].failed, /WBSR_NO_DEVICE: as told/)
  t.match(parts.training.failed, /WBSR_NO_DEVICE: as told/)
  t.match(parts.operators.copy.failed, /WBSR_NO_DEVICE: as told/)
  t.ok(record.targets.length > 10)
  for (const row of record.targets) t.match(row, { state: 'not run', measured: null, note: /./ }, row.what)
})

const built =
  existsSync(path.join(root, 'build', 'bench-gpu', 'gpu_contestant')) && existsSync(path.join(root, 'dist', 'index.js'))
t.test(
  'the contestant on the host',
  { skip: noPython || (!built && 'build/bench-gpu or dist/ is not built (node scripts/setup.mjs --test)') },
  async (t) => {
    mkdirSync(path.join(t.testdir(), 'out'))
    // What carry.sh takes along, of a small picture: the regions of today's lib/infer.
    const { NODE_OPTIONS: _options, ...env } = process.env
    const planned = spawnSync(
      process.execPath,
      [path.join(root, 'bench', 'gpu', 'regions.mjs'), t.testdirName, 'tiny'],
      {
        env,
        encoding: 'utf8',
      },
    )
    t.equal(planned.status, 0, planned.stderr)
    const { code, output, record } = await run(
      path.join(t.testdirName, 'out'),
      path.join(root, 'build'),
      '--tiny',
      '--parts',
      'inference-srresnet,training,operators,routed',
      'bench',
    )
    t.equal(code, 0, output)
    const { parts } = record.stages.bench
    for (const shape of ['tiles', 'frame']) t.ok(parts['inference-srresnet'][shape].times.wbsr.seconds > 0, shape)
    for (const name of [
      'copy',
      'router',
      'convTiles',
      'convData',
      'convWeights',
      'shuffle',
      'upsample',
      'gather',
      'blend',
      'finish',
    ])
      t.ok(parts.operators[name].rate > 0, name)
    t.ok(parts.operators.loss16.times.wbsr.seconds > 0)
    for (const way of ['calibrated', 'tiled', 'whole']) t.ok(parts.routed.times[way].seconds > 0, way)
    const { firstLosses } = parts.training.batch16
    t.equal(firstLosses.wbsr.length, 10)
    t.ok(firstLosses.wbsr[9] < firstLosses.wbsr[0], `training lowers the loss: ${firstLosses.wbsr}`)
    for (const row of record.targets) t.equal(row.measured === null, !/^fused router|C\+\+/.test(row.what), row.what)
  },
)
