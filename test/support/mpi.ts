// Starts ranks with mpirun, by themselves, or a process alone.
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
export const mpiOptions = ['--allow-run-as-root', '--oversubscribe', '--bind-to', 'none']

/** What the ranks do (rank.mjs). */
export interface Scenario {
  /** Photographs, of each rank (the last one for those beyond). */
  train: string[]
  /** Where the models go. */
  folder: string
  options: Partial<TrainOptions>
  /** Options of rank 1. */
  other?: Partial<TrainOptions>
  /** After this step (on rank 0), for the first time, something happens ... */
  at?: number
  /** ... on rank 0: its signal fires, its callback throws; on rank 1: its signal fires, its process exits. */
  event?: 'abort 0' | 'throw 0' | 'abort 1' | 'exit 1'
  /** SIGTERM ends the run as an abort does. */
  terminable?: boolean
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

export interface Launch {
  /** Hears each line, of the process that was started; may end processes. */
  onLine?: (line: Line, child: ChildProcess) => void
  /** The root of the package that is used. */
  folder?: string
  /** A file: mpirun is started again and again until it ends well, each time on as many ranks as the file has lines. */
  hosts?: string
  /** A file: the ranks meet through it, without mpirun. */
  rendezvous?: string
  env?: NodeJS.ProcessEnv
}

/** Runs the scenario on that many ranks; 0: in a process of its own, without mpirun. */
export async function ranks(count: number, scenario: Scenario, launch: Launch = {}): Promise<Ranks> {
  const { onLine = () => {}, folder = root, hosts, rendezvous, env } = launch
  // Without what tap preloads into every process.
  const { NODE_OPTIONS: _, ...clean } = { ...process.env, ...env }
  const program = [process.execPath, path.join(folder, 'test', 'support', 'rank.mjs'), JSON.stringify(scenario)]
  // As in docs/distributed.md.
  const loop = `until mpirun ${mpiOptions.join(' ')} -n "$(wc -l < "$0")" "$@"; do sleep 0.1; done`
  const mpirun = hosts ? ['sh', '-c', loop, hosts] : ['mpirun', ...mpiOptions, '-n', String(count)]
  const lines: Line[] = []
  let said = ''
  const run = async (command: string[], more: NodeJS.ProcessEnv): Promise<number | NodeJS.Signals> => {
    const child = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...clean, ...more },
    })
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
    return signal ?? code!
  }
  const statuses = await Promise.all(
    rendezvous === undefined
      ? [run(count === 0 && !hosts ? program : [...mpirun, ...program], {})]
      : Array.from({ length: count }, (_, rank) =>
          run(program, { WBSR_RENDEZVOUS: rendezvous, RANK: String(rank), WORLD_SIZE: String(count) }),
        ),
  )
  return { status: statuses.find((status) => status !== 0) ?? 0, lines, said }
}
