// Starts ranks with mpirun, or a process by itself.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { TrainOptions } from '../../lib/train/options.js'
import { findProgram } from './find-program.js'
import { unbuilt } from './package.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')

/** Reason to skip tests that start ranks by themselves, and those that need mpirun; or false. */
export const withoutDist = unbuilt(path.join(root, 'dist', 'index.js'))
export const withoutMpi: string | false =
  findProgram('mpirun') === undefined ? 'mpirun is not installed (apt-get install openmpi-bin)' : withoutDist

/** More ranks than cores, and as root. */
export const launch = ['--allow-run-as-root', '--oversubscribe', '--bind-to', 'none']

/** What the ranks do (rank.mjs). */
export interface Scenario {
  /** Photographs, of each rank (the last one for those beyond). */
  train: string[]
  /** Where the models go. */
  folder: string
  options: Partial<TrainOptions>
  /** Options of rank 1. */
  other?: Partial<TrainOptions>
  /** After this step (on rank 0) something happens ... */
  at?: number
  /** ... on rank 0: its signal fires, its callback throws; on rank 1: its signal fires, its process exits. */
  event?: 'abort 0' | 'throw 0' | 'abort 1' | 'exit 1'
  /** Milliseconds that rank 0 then waits. */
  wait?: number
}

export interface Line {
  rank: number
  pid?: number
  step?: number
  loss?: number
  done?: boolean
  ticks?: number
  code?: string | null
  message?: string
}

export interface Ranks {
  status: number | NodeJS.Signals
  lines: Line[]
  /** What was written besides. */
  said: string
}

/** Runs the scenario on that many ranks; 0: in a process of its own, without mpirun. onLine may end processes. */
export async function ranks(
  count: number,
  scenario: Scenario,
  onLine: (line: Line, child: ChildProcess) => void = () => {},
): Promise<Ranks> {
  const program = [process.execPath, path.join(root, 'test', 'support', 'rank.mjs'), JSON.stringify(scenario)]
  // Without what tap preloads into every process.
  const command = [
    'env',
    '-u',
    'NODE_OPTIONS',
    ...(count === 0 ? [] : ['mpirun', ...launch, '-n', String(count)]),
    ...program,
  ]
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
  const lines: Line[] = []
  let said = ''
  let rest = ''
  child.stdout.on('data', (part: Buffer) => {
    const all = (rest + part.toString()).split('\n')
    rest = all.pop()!
    for (const text of all) {
      if (!text.startsWith('{"rank"')) {
        said += `${text}\n`
        continue
      }
      const line = JSON.parse(text) as Line
      lines.push(line)
      onLine(line, child)
    }
  })
  child.stderr.on('data', (part: Buffer) => {
    said += part.toString()
  })
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return { status: signal ?? code!, lines, said }
}
