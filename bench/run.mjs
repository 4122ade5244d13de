// `npm run bench`: the table of ratios that bench/README.md explains, each pair measured in one run. Options:
//   --only inference,training,threads,networks,routing,pareto,peers,loop,memory   some parts; fleet, which needs redis-server,
//                                              runs only when it is named
//   --rounds N                                 turns per contestant (default 7; medians are reported)
//   --threads N                                default 2
//   --model FILE                               a trained x4 model for the routing part
//   --lines N, --kills N                       of the fleet part: LR lines of its picture (6250), kills of each worker (20)
//   --isa avx2                                 every program sees a processor without AVX-512 (x86-64)
//   --no-write                                 no file in bench/results
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { native } from '../dist/native.js'
import { root } from '../scripts/run.mjs'
import { againWithAvx2, heldToAvx2 } from './avx2.mjs'
import { eventLoop } from './event_loop.mjs'
import { fleet } from './fleet.mjs'
import { memory } from './memory.mjs'
import { inference, training } from './network.mjs'
import { networksPart } from './networks.mjs'
import { pareto } from './pareto.mjs'
import { versions } from './peers.mjs'
import { pictures } from './pictures.mjs'
import { routing } from './routing.mjs'
import { threadsPart } from './threads.mjs'

const parts = {
  inference,
  training,
  threads: threadsPart,
  networks: networksPart,
  routing,
  pareto,
  peers: pictures,
  loop: eventLoop,
  memory,
  fleet,
}
const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '7' },
    threads: { type: 'string', default: '2' },
    model: { type: 'string' },
    lines: { type: 'string', default: '6250' },
    kills: { type: 'string', default: '20' },
    isa: { type: 'string' },
    'no-write': { type: 'boolean' },
  },
})
const chosen = options.only?.split(',') ?? Object.keys(parts).filter((name) => name !== 'fleet')
for (const name of chosen)
  if (!parts[name])
    throw new Error(`Expected --only to name some of ${Object.keys(parts).join(', ')} but received ${name}`)
const [threads, rounds, lines, kills] = [options.threads, options.rounds, options.lines, options.kills].map(Number)
if (!(threads >= 1 && rounds >= 1 && lines >= 64 && kills >= 0))
  throw new Error('Expected numbers of at least 1 for --threads and --rounds, 64 for --lines and 0 for --kills')
if (options.isa !== undefined && (options.isa !== 'avx2' || process.arch !== 'x64'))
  throw new Error(`Expected --isa avx2, on x86-64, but received ${options.isa}`)
if (options.isa && !heldToAvx2()) process.exit(await againWithAvx2())

const seconds = (value) => (value === undefined ? '' : value >= 10 ? value.toFixed(1) : value.toFixed(3))
/** @type {[string, (row: any) => string][]} */
const columns = [
  ['what', (row) => row.what],
  ['against', (row) => row.against],
  ['ours s', (row) => seconds(row.seconds)],
  ['other s', (row) => seconds(row.theirs)],
  ['ratio', (row) => row.ratio?.toFixed(3) ?? '-'],
  ['wanted', (row) => row.target ?? ''],
  [
    '',
    (row) => (row.skipped ? `skipped: ${row.skipped}` : row.reached === undefined ? '' : row.reached ? 'yes' : 'NO'),
  ],
  ['checked', (row) => row.checked ?? ''],
]

function show(rows) {
  const cells = [columns.map(([title]) => title), ...rows.map((row) => columns.map(([, cell]) => cell(row)))]
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i].length)))
  return cells
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const git = (...args) => {
  try {
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return null
  }
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'wbsr-bench-'))
const [cpu] = native.findDevices('cpu').devices
if (!cpu) throw new Error('this build of wbsr has no CPU device')
const [isa, onednn] = cpu.details.split(', oneDNN ')
if (options.isa && isa !== options.isa) throw new Error(`Expected kernels for ${options.isa} but found ${isa}`)
const load = os.loadavg()[0]
console.log(
  `${cpu.name}, ${isa}, ${cpu.threads} cores, oneDNN ${onednn}, ${threads} threads, median of ${rounds} turns`,
)
if (load > 0.7) console.log(`bench: other programs are running (load ${load.toFixed(1)}): expect less steady figures`)
const table = []
const details = {}
try {
  for (const name of chosen) {
    const result = await parts[name]({ folder, threads, rounds, model: options.model, lines, kills })
    table.push(...result.table)
    details[name] = result.details
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(show(table))

if (!options['no-write']) {
  const date = new Date().toISOString()
  const record = {
    date,
    command: ['npm run bench --', ...process.argv.slice(2)].join(' '),
    machine: {
      cpu: cpu.name,
      isa,
      cores: cpu.threads,
      memory: os.totalmem(),
      system: `${os.type()} ${os.release()}`,
      loadBefore: load,
    },
    versions: {
      wbsr: JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')).version,
      commit: git('rev-parse', 'HEAD'),
      clean: git('status', '--porcelain', '--untracked-files=no') === '',
      node: process.version,
      onednn,
      ...versions,
    },
    threads,
    rounds,
    table,
    details,
  }
  const file = path.join(root, 'bench', 'results', `cpu-${date.slice(0, 19).replace(/[:T]/g, '-')}.json`)
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(record, null, 1)}\n`)
  console.log(`written to ${path.relative(root, file)}`)
}
if (table.some((row) => row.reached === false)) process.exitCode = 1
