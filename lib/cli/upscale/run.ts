// wbsr upscale: the model, the pictures, progress and the account of what was done.

import { WbsrError } from '../../errors.js'
import { checkUpscaleOptions } from '../../infer/options.js'
import { stateOf } from '../../models/model.js'
import type { Target } from '../../stream/target.js'
import { Ended, EXIT, isDiskFull, messageOf, UsageError } from '../exit.js'
import type { UpscaleFlags } from '../flags.js'
import { type Interrupt, listenForInterrupts } from '../interrupt.js'
import { Models } from '../model.js'
import { duration, percent, Terminal } from '../terminal.js'
import { type Job, planJobs, STANDARD } from './jobs.js'
import { decodePicture, discardPicture, encodePicture, runPicture } from './picture.js'
import { runPipeline } from './pipeline.js'
import type { Decoded, Finished, PictureSettings } from './types.js'

/** Errors after which no other picture can be enlarged. */
const FATAL: readonly unknown[] = ['WBSR_DEVICE_FAILED', 'WBSR_DISPOSED', 'WBSR_ABORTED', 'WBSR_INTERNAL']

/** Where a model of the package is to be chosen and nothing is said of the size. */
const FACTOR = 2
/** MB of a result above which it is made in bands. */
const LARGEST = 256

const label = (file: string, end: 'input' | 'output') => (file === STANDARD ? `standard ${end}` : file)

const suffixOf = (target: Target) =>
  'scale' in target ? `-x${target.scale}` : `-${target.width ?? ''}x${target.height ?? ''}`

function upscaleOptions({ router, loss, budget, alpha, wrap }: UpscaleFlags): PictureSettings['upscale'] {
  return {
    ...(router !== undefined && { router }),
    ...(loss !== undefined && { loss }),
    ...(budget !== undefined && { budget }),
    ...(alpha !== undefined && { alphaChannel: alpha }),
    ...(wrap !== undefined && { wrap }),
  }
}

export async function upscaleAll(inputs: string[], flags: UpscaleFlags): Promise<void> {
  const toStandard = flags.out === STANDARD || (flags.out === undefined && inputs[0] === STANDARD)
  if (toStandard && flags.json)
    throw new UsageError('Expected --out FILE with --json, as both the picture and JSON go to standard output')
  if (toStandard && process.stdout.isTTY)
    throw new UsageError('Expected --out FILE or a redirection: a picture is not written to a terminal')
  const terminal = new Terminal({ quiet: flags.quiet ?? false, live: flags.json !== true })
  const interrupt = listenForInterrupts()
  const upscale = upscaleOptions(flags)
  const read = flags.page === undefined ? {} : { page: flags.page }
  await using models = await Models.open(flags.model, flags.scale ?? FACTOR, flags, (model) => {
    // Once for all pictures.
    checkUpscaleOptions({ ...upscale, ...read }, stateOf(model))
    const { fallbackReason } = model.device()
    if (fallbackReason && flags.device === 'auto') terminal.warn(fallbackReason)
  })
  const target: Target = flags.size ?? { scale: flags.scale ?? models.scale }
  const plan = await planJobs(inputs, {
    out: flags.out,
    format: flags.format,
    skipExisting: flags.skipExisting,
    map: flags.map,
    suffix: suffixOf(target),
  })
  const account = new Account(plan.jobs.length + plan.failed.length, terminal, flags.json === true)
  for (const { input, error } of plan.failed) account.failed(input, error)
  for (const { input, output } of plan.skipped) account.skipped(input, output)
  const settings: PictureSettings = {
    models,
    target,
    upscale,
    read,
    encode: {
      quality: flags.quality ?? 95,
      compressionLevel: flags.compression ?? 6,
      ...(flags.tileSize !== undefined && { tileSize: flags.tileSize }),
      ...(flags.bigtiff !== undefined && { bigTiff: flags.bigtiff }),
    },
    metadata: flags.metadata,
    largest: (flags.memory ?? LARGEST) * 1e6,
    signal: interrupt.signal,
    onProgress: (job, share) => account.progress(job, share),
  }
  await work(plan.jobs, settings, account, interrupt)
  account.end(interrupt)
}

async function work(jobs: Job[], settings: PictureSettings, account: Account, interrupt: Interrupt): Promise<void> {
  const done = new Map<Job, Finished>()
  await runPipeline<Job, Decoded, Finished>(
    jobs,
    {
      decode: (job) => decodePicture(job, settings),
      run: async (decoded, job) => {
        account.progress(job, 0)
        const finished = await runPicture(decoded, job, settings)
        done.set(job, finished)
        return finished
      },
      encode: (finished, job) => encodePicture(finished, job, settings),
      discard: discardPicture,
    },
    (job, error) => {
      const finished = done.get(job)
      done.delete(job)
      // Not the picture's fault.
      if (interrupt.signal.aborted && error) return false
      if (error === undefined && finished) account.written(job, finished)
      else account.failed(job.input, error)
      const fatal = error instanceof WbsrError && FATAL.includes(error.code)
      return !interrupt.signal.aborted && !fatal && !isDiskFull(error)
    },
  )
}

/** Counts what became of the pictures, and tells it. */
class Account {
  readonly #counts = { written: 0, failed: 0, skipped: 0 }
  readonly #total: number
  readonly #terminal: Terminal
  readonly #json: boolean
  readonly #start = performance.now()
  #settled = 0

  constructor(total: number, terminal: Terminal, json: boolean) {
    this.#total = total
    this.#terminal = terminal
    this.#json = json
  }

  progress({ input }: Job, share: number): void {
    const done = this.#settled + share
    const passed = (performance.now() - this.#start) / 1000
    const left = done > 0.02 ? `, ${duration((passed / done) * (this.#total - done))} to go` : ''
    const place = this.#total > 1 ? `[${Math.min(this.#settled + 1, this.#total)}/${this.#total}] ` : ''
    // The name comes last: it is what a narrow terminal cuts off.
    this.#terminal.status(`${place}${percent(share)}${left}  ${label(input, 'input')}`)
  }

  written(job: Job, { header, result, share, tilesPerSubnet, image, seconds, passes }: Finished): void {
    this.#counts.written++
    this.#settled++
    const { input, output } = job
    if (this.#json)
      this.#print({
        event: 'picture',
        status: 'written',
        input,
        output,
        inputSize: [image.width, image.height],
        size: [result.width, result.height],
        passes,
        seconds,
        share,
        tilesPerSubnet,
        warnings: header.warnings,
        ...(job.map !== null && { map: job.map }),
      })
    for (const warning of header.warnings) this.#terminal.warn(`${input}: ${warning}`)
    if (this.#json) return
    this.#terminal.line(
      `${label(input, 'input')} -> ${label(output, 'output')}  ${image.width}x${image.height} -> ${result.width}x${result.height}, ` +
        `${duration(seconds)}, ${percent(share)} of the largest subnet's work${share > 1 ? ' (tiles overlap)' : ''}`,
    )
  }

  failed(input: string, error: unknown): void {
    this.#counts.failed++
    this.#settled++
    if (this.#json)
      this.#print({
        event: 'picture',
        status: 'failed',
        input,
        code: error instanceof WbsrError ? error.code : 'WBSR_INTERNAL',
        message: (error as Error).message,
      })
    const text = messageOf(error)
    this.#terminal.error(input === STANDARD || text.includes(input) ? text : `${input}: ${text}`)
  }

  skipped(input: string, output: string): void {
    this.#counts.skipped++
    if (this.#json) this.#print({ event: 'picture', status: 'skipped', input, output })
  }

  /** @throws Ended where the exit status is not 0 */
  end(interrupt: Interrupt): void {
    const { written, failed, skipped } = this.#counts
    const seconds = (performance.now() - this.#start) / 1000
    const left = this.#total - this.#settled
    if (this.#json) this.#print({ event: 'end', ...this.#counts, left, seconds })
    const parts = [
      `${written} written`,
      failed > 0 && `${failed} failed`,
      skipped > 0 && `${skipped} there already`,
      left > 0 && `${left} not done`,
    ].filter((part) => part !== false)
    if (this.#total > 1 || skipped > 0 || left > 0) this.#terminal.line(`${parts.join(', ')} in ${duration(seconds)}`)
    this.#terminal.clear()
    const status = interrupt.status() ?? (failed === 0 && left === 0 ? EXIT.done : EXIT.partial)
    if (status !== EXIT.done) throw new Ended(status)
  }

  #print(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value)}\n`)
  }
}
