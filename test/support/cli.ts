// The program `wbsr`, as it is built, in processes of its own; and a tiny model and pictures for it.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { writeModelFile } from '../../lib/models/model-file.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { unbuilt } from './package.js'
import { realState } from './real-state.js'

export const program = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../dist/cli/main.js')

/** Reason to skip the tests of a file, or false. */
export const skip = unbuilt(program)

export interface Ran {
  /** Exit status, or the signal that ended it. */
  status: number | NodeJS.Signals
  out: Buffer
  text: string
  /** Standard error. */
  said: string
}

export interface Options {
  cwd?: string
  input?: Buffer
  env?: NodeJS.ProcessEnv
  uid?: number
}

/** Without what tap preloads into every process, which env(1) drops: removed from the environment here, tap adds it again. */
export function start(args: readonly string[], { cwd, env, uid }: Options = {}): ChildProcessWithoutNullStreams {
  const { NO_COLOR: _colour, ...clean } = process.env
  const command = ['-u', 'NODE_OPTIONS', process.execPath, program, ...args]
  return spawn('env', command, { cwd, env: { ...clean, ...env }, uid, stdio: 'pipe' })
}

export async function wbsr(args: readonly string[], options: Options = {}): Promise<Ran> {
  const child = start(args, options)
  child.stdin.on('error', () => {}).end(options.input)
  return ended(child)
}

/** What a process wrote until it ended, or until the test closed the stream. */
export async function ended(child: ChildProcessWithoutNullStreams): Promise<Ran> {
  const [out, said]: [Buffer[], Buffer[]] = [[], []]
  child.stdout.on('data', (part: Buffer) => out.push(part))
  child.stderr.on('data', (part: Buffer) => said.push(part))
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  const whole = Buffer.concat(out)
  return { status: signal ?? code!, out: whole, text: whole.toString(), said: Buffer.concat(said).toString() }
}

/** Waits until `ready` holds, for a minute at most. */
export async function until(ready: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 6000; i++) {
    if (await ready()) return
    await setTimeout(10)
  }
  throw new Error('what was waited for did not come')
}

export const temporaries = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.tmp'))

/** A x2 model with four subnets and weights of a seed. */
export async function tinyModel(file: string): Promise<string> {
  const state = realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] }))
  await writeModelFile(file, { ...state, router: null })
  state.engine.dispose()
  return file
}

/** A picture with flat and noisy parts, in the format of its name. */
export async function drawPicture(file: string, width: number, height: number, seed = 1): Promise<string> {
  const data = Buffer.alloc(width * height * 3)
  let state = seed
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const x = Math.floor(i / 3) % width
    data[i] = 80 + 60 * Math.sin(x / 9 + (i % 3)) + (x > width / 2 ? (state >>> 24) / 3 : 0)
  }
  await sharp(data, { raw: { width, height, channels: 3 } })
    .withMetadata({ density: 144 })
    .toFile(file)
  return file
}

export const sizeOf = async (file: string | Buffer): Promise<[number, number]> => {
  const { width, height } = await sharp(file).metadata()
  return [width, height]
}
