// Tests bench/gpu.sh without a GPU: every stage reports why it cannot run, and the benchmark program works against the
// CUDA on the host (build/bench-gpu, sizes of a few pixels).
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const there = (program: string, ...args: string[]) => spawnSync(program, args).status === 0
const noPython = there('python3', '-c', 'import sys; sys.exit(sys.version_info < (3, 9))')
  ? false
  : 'there is no python3'

function executable(file: string, script: string) {
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, `#!/bin/sh\n${script}\n`)
  chmodSync(file, 0o755)
}

/** programs: a folder whose programs come before those of the machine; packed: what carry.sh left. */
async function run(
  out: string,
  build: string,
  args: string[],
  { programs = '', packed = path.join(out, 'nothing') } = {},
) {
  const env = {
    ...process.env,
    PATH: programs ? `${programs}:${process.env.PATH}` : process.env.PATH,
    WBSR_GPU_PACKED: packed,
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
  const { code, output, record } = await run(path.join(t.testdir(), 'out'), t.testdir(), ['bunch'])
  t.equal(code, 2)
  t.match(
    output,
    /no stage bunch; there are build, kernels, convolutions, network, profile, tiles, checks, .+, first, second/,
  )
  t.equal(record, null)
})

t.test(
  'without a GPU every stage says why',
  { skip: noPython || (there('nvidia-smi') && 'there is a GPU') },
  async (t) => {
    const folder = t.testdir({ 'bench-gpu': {}, 'checks-gpu': {} })
    for (const name of [
      'bench-gpu/gpu_contestant',
      'bench-gpu/gpu_train',
      'checks-gpu/cuda_some_check',
      'checks-gpu/cuda_network_check',
    ])
      executable(path.join(folder, name), 'exit 1')
    const stages = 'kernels convolutions network profile tiles checks train bench node sanitizer'.split(' ')
    const { code, output, record } = await run(path.join(folder, 'out'), folder, stages)
    t.equal(code, 1, output)
    t.match(record.stages, {
      kernels: { state: 'skipped', reason: 'nvidia-smi shows no GPU' },
      convolutions: { state: 'skipped', reason: 'nvidia-smi shows no GPU' },
      network: { state: 'skipped', reason: 'nvidia-smi shows no GPU' },
      tiles: { state: 'skipped', reason: 'nvidia-smi shows no GPU' },
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
  executable(file, 'read line\necho \'{"error": "WBSR_NO_DEVICE: as told"}\'\nread line')
  const { code, output, record } = await run(path.join(folder, 'out'), folder, [
    '--tiny',
    '--parts',
    'inference-srresnet,training,operators',
    'convolutions',
    'network',
    'bench',
  ])
  for (const stage of ['convolutions', 'network'])
    t.match(record.stages[stage], { state: 'failed', reason: /WBSR_NO_DEVICE: as told/ }, stage)
  t.equal(code, 1, output)
  const { parts } = record.stages.bench
  t.match(parts['inference-srresnet'].failed, /WBSR_NO_DEVICE: as told/)
  t.match(parts.training.failed, /WBSR_NO_DEVICE: as told/)
  t.match(parts.operators.copy.failed, /WBSR_NO_DEVICE: as told/)
  t.ok(record.targets.length > 10)
  for (const row of record.targets) t.match(row, { state: 'not run', measured: null, note: /./ }, row.what)
})

t.test('executables that were carried', { skip: noPython }, async (t) => {
  const folder = t.testdir({ packed: {}, binaries: { 'bench-gpu': {} } })
  executable(path.join(folder, 'programs', 'cmake'), 'echo no cmake; exit 3')
  for (const name of ['nvcc', 'nvidia-smi']) executable(path.join(folder, 'programs', name), 'exit 1')
  const hash = spawnSync('python3', ['-B', '-c', 'import machine; print(machine.sources())'], {
    cwd: path.join(root, 'bench', 'gpu'),
    encoding: 'utf8',
  }).stdout.trim()
  t.match(hash, /^[0-9a-f]{16}$/)
  const pack = (sources: string, contestant: string) => {
    executable(path.join(folder, 'binaries', 'bench-gpu', 'gpu_contestant'), contestant)
    writeFileSync(path.join(folder, 'binaries', `sources-${sources}`), '')
    const archive = path.join(folder, 'packed', 'binaries-90.tar.xz')
    t.equal(
      spawnSync('tar', ['-C', path.join(folder, 'binaries'), '-cJf', archive, 'bench-gpu', `sources-${sources}`])
        .status,
      0,
    )
  }
  const build = async (name: string) => {
    const options = { programs: path.join(folder, 'programs'), packed: path.join(folder, 'packed') }
    const { output, record } = await run(
      path.join(folder, name),
      path.join(folder, `${name}-build`),
      ['build'],
      options,
    )
    return { output, stage: record.stages.build }
  }
  const runs = 'echo Expected inference, training >&2; exit 2'
  pack(hash, runs)
  t.match((await build('fits')).stage, { state: 'done', reason: 'carried' })
  pack(hash, 'exit 127')
  const strange = await build('strange')
  t.match(strange.stage, { state: 'failed', reason: /^cmake: 3: no cmake/ }, 'one that does not run is compiled')
  t.match(strange.output, /build: compiles: those that are carried do not run here: 127/)
  pack('0123456789abcdef', runs)
  t.match((await build('old')).output, /build: compiles: those that are carried were built from other sources/)
})

const built =
  existsSync(path.join(root, 'build', 'bench-gpu', 'gpu_contestant')) && existsSync(path.join(root, 'dist', 'index.js'))
t.test(
  'the contestant on the host',
  { skip: noPython || (!built && 'build/bench-gpu or dist/ is not built (node scripts/setup.mjs --test)') },
  async (t) => {
    t.testdir()
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
    // An ncu that runs what it is given, and has one kernel to tell of if that succeeds.
    executable(
      path.join(t.testdirName, 'programs', 'ncu'),
      `while [ "$1" != sh ]; do shift; done
out=$("$@") || exit 1
case $out in *error*) echo "$out"; exit 1;; esac
echo '"Kernel Name","Metric Name","Metric Unit","Metric Value"'
echo '"conv","gpu__time_duration.sum","us","12.5"'
echo '"conv","lts__throughput.avg.pct_of_peak_sustained_elapsed","%","71"'`,
    )
    const programs = path.join(t.testdirName, 'programs')
    const out = path.join(t.testdirName, 'out')
    const { code, output, record } = await run(
      out,
      path.join(root, 'build'),
      [
        '--tiny',
        '--parts',
        'inference-srresnet,training,operators,routed',
        'convolutions',
        'network',
        'profile',
        'tiles',
        'bench',
      ],
      { programs },
    )
    t.equal(code, 0, output)
    t.same(
      Object.keys(record.stages),
      ['convolutions', 'network', 'profile', 'tiles', 'bench'],
      'what is learnt soonest comes first',
    )
    const { table } = record.stages.convolutions
    for (const on of ['tiles', 'frame', 'patches'])
      for (const autotune of [0, 8])
        t.ok(
          table.some((row: any) => row.on === on && row.autotune === autotune && row.seconds > 0 && row.plan),
          `${on}, autotune ${autotune}`,
        )
    t.match(record.stages.network, { captured: true, finite: true, twice: true })
    t.match(record.stages.profile.kernels, [{ kernel: 'conv', microseconds: 12.5, l2: 71 }])
    t.match(output, /profile: +12\.5 us +1 x .* l2 +71\.0 %/)
    t.ok(record.stages.tiles.parts['inference-srresnet-tiles'].tiles.times.wbsr.seconds > 0)
    t.notOk(record.stages.tiles.parts['inference-srresnet-tiles'].frame)
    t.equal(record.plans.restored, 0)
    t.ok(record.plans.kept > 0 && existsSync(path.join(out, 'gpu-plans.tar.xz')), 'plans are kept')
    // In another folder, as on another machine: what was kept is carried there.
    mkdirSync(path.join(t.testdirName, 'packed'))
    copyFileSync(path.join(out, 'gpu-plans.tar.xz'), path.join(t.testdirName, 'packed', 'gpu-plans.tar.xz'))
    const again = await run(path.join(t.testdirName, 'again'), path.join(root, 'build'), ['--tiny', 'network'], {
      packed: path.join(t.testdirName, 'packed'),
    })
    t.equal(again.code, 0, again.output)
    t.same(
      again.record.plans,
      { restored: record.plans.kept, kept: record.plans.kept },
      'and nothing is compiled again',
    )
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

t.test('the roofline table of bench/README.md', async (t) => {
  const text = readFileSync(path.join(root, 'bench', 'README.md'), 'utf8')
  const rows = text
    .slice(text.indexOf('### Roofline'))
    .split('\n')
    .filter((line) => line.startsWith('| ') && /\d/.test(line))
    .slice(0, 11)
    .map((line) => line.split('|').map((cell) => cell.trim()))
  // Tensors of bf16, thin ones of 8 floats; at scale 1, 2 and 4 of 64 tiles of 64x64.
  const pixels = (scale: number) => 64 * 64 * 64 * scale * scale
  const conv = (scale: number, into: number, out: number, count = 1) =>
    (2 * 9 * into * out * pixels(scale) * count) / 1e9
  const bytes = (scale: number, perPixel: number, count = 1) => (pixels(scale) * perPixel * count) / 1e6
  const expected = [
    [conv(1, 3, 64), bytes(1, 16 + 128)],
    [conv(1, 64, 64, 16), bytes(1, 256, 16)],
    [conv(1, 64, 64, 16), bytes(1, 384, 16)],
    [conv(1, 64, 256), bytes(1, 128 + 512)],
    [0, bytes(1, 1024)],
    [conv(2, 64, 256), bytes(2, 128 + 512)],
    [0, bytes(2, 1024)],
    [conv(4, 64, 64), bytes(4, 256)],
    [conv(4, 64, 3), bytes(4, 128 + 32)],
    [0, bytes(1, 32) + bytes(4, 64)],
  ]
  expected.push([0, 1].map((i) => expected.reduce((sum, row) => sum + row[i]!, 0)))
  t.equal(rows.length, expected.length)
  rows.forEach((cells, i) => {
    const [gflop, megabytes] = expected[i]!
    const near = (cell: number, value: number) => Math.abs(Number(cells[cell]) - value) <= Math.max(1, 0.003 * value)
    t.ok(near(2, gflop!) && near(3, megabytes!), `${cells[1]}: ${gflop} GFLOP, ${megabytes} MB`)
    t.ok(near(4, gflop! / 0.79) && near(5, megabytes! / 4.3), `${cells[1]}: floors`)
    t.equal(cells[8], '', 'nothing was measured')
  })
})
