// The user's ffmpeg: where it is, how its versions differ, and what is said when it is missing or fails.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { WbsrError } from '../errors.js'

/** Bytes of what a program says that are kept for a message: the end of it. */
const SAID = 4000

export interface Ffmpeg {
  ffmpeg: string
  ffprobe: string
  /** As it names itself: '5.1.8-0+deb12u1'. */
  version: string
  /** Options of this version: frames with the timestamps that they have. */
  passthrough: readonly string[]
}

const INSTALL =
  'install ffmpeg (Debian and Ubuntu: apt-get install ffmpeg), or name its folder in the environment variable WBSR_FFMPEG'

function missing(program: string, cause: unknown): WbsrError {
  return new WbsrError('WBSR_NOT_FOUND', `Video needs ${program}, which was not found: ${INSTALL}`, { cause })
}

/** A file as an argument: a name with a colon is no protocol, and one that begins with a dash no option. */
export const fileArgument = (file: string): string => `file:${file}`

/** Ends a process as its work is not wanted any more. */
export function stop(child: ChildProcess): void {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
}

/** A running program whose end, with what it said, can be waited for. */
export class Running {
  readonly child: ChildProcess
  /** Exit status 0, or rejects with what the program said. */
  readonly ended: Promise<void>
  #said = ''

  /** @param what for messages: 'Decoding in.mp4' */
  constructor(program: string, args: readonly string[], what: string, stdio: SpawnOptions['stdio']) {
    this.child = spawn(program, args, { stdio })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(-SAID)
    })
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', (error: NodeJS.ErrnoException) =>
        reject(error.code === 'ENOENT' ? missing(program, error) : failed(what, error.message, error)),
      )
      this.child.once('close', (code, signal) => {
        if (code === 0) resolve()
        else reject(failed(what, this.said || (signal ? `ffmpeg was ended by ${signal}` : `exit status ${code}`)))
      })
    })
    this.ended.catch(() => {})
  }

  /** The end of what it said so far. */
  get said(): string {
    return this.#said.trim()
  }
}

function failed(what: string, said: string, cause?: unknown): WbsrError {
  const full = /No space left on device/i.test(said)
  const lines = said.split('\n').slice(-6).join('\n')
  return new WbsrError(
    full ? 'WBSR_IO' : 'WBSR_INVALID_FILE',
    `${what} failed: ${full ? 'no space left on the disk' : lines}`,
    {
      cause,
    },
  )
}

/** Runs a program and returns what it prints. */
export async function output(program: string, args: readonly string[], what: string): Promise<string> {
  const running = new Running(program, args, what, ['ignore', 'pipe', 'pipe'])
  let text = ''
  running.child.stdout!.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  await running.ended
  return text
}

/**
 * Finds ffmpeg and ffprobe: in WBSR_FFMPEG where that is set, else in the PATH.
 *
 * @throws WbsrError WBSR_NOT_FOUND saying how to install it
 */
export async function findFfmpeg(): Promise<Ffmpeg> {
  const folder = process.env['WBSR_FFMPEG']
  const [ffmpeg, ffprobe] = ['ffmpeg', 'ffprobe'].map((name) => (folder ? `${folder}/${name}` : name)) as [
    string,
    string,
  ]
  const [version] = await Promise.all([
    output(ffmpeg, ['-hide_banner', '-version'], `Starting ${ffmpeg}`),
    output(ffprobe, ['-hide_banner', '-version'], `Starting ${ffprobe}`),
  ])
  const [, name = 'unknown'] = /^ffmpeg version (\S+)/.exec(version) ?? []
  const [, major, minor] = /^n?(\d+)\.(\d+)/.exec(name) ?? []
  // -fps_mode came with 5.1; builds from git have no number and are newer.
  const old = major !== undefined && (Number(major) < 5 || (Number(major) === 5 && Number(minor) < 1))
  return { ffmpeg, ffprobe, version: name, passthrough: old ? ['-vsync', 'passthrough'] : ['-fps_mode', 'passthrough'] }
}
