// wbsr video: upscaleVideo with its progress.
import { upscaleVideo, type VideoOptions, type VideoProgress, WbsrError } from '../index.js'
import { Ended, UsageError } from './exit.js'
import type { VideoFlags, VideoSizeFlags } from './flags.js'
import { listenForInterrupts } from './interrupt.js'
import { Models } from './model.js'
import { duration, percent, Terminal } from './terminal.js'

/** Where a model of the package is to be chosen and nothing is said of the size. */
const FACTOR = 2
/** Between two reports for scripts, and between two lines where there is no terminal. */
const JSON_MS = 1000
const LINE_MS = 30_000

/** The words of a text, of which quotes join some. */
function wordsOf(text: string): string[] {
  const words = text.match(/"[^"]*"|'[^']*'|[^\s"']+/g) ?? []
  return words.map((word) => word.replace(/^(["'])(.*)\1$/, '$2'))
}

/** Options of upscaleVideo that flags say. */
export function videoOptions(flags: VideoSizeFlags): VideoOptions {
  const { router, loss, budget, threshold, encoder, encoderOptions, segment, scale, size } = flags
  return {
    ...(router !== undefined && { router }),
    ...(loss !== undefined && { loss }),
    ...(budget !== undefined && { budget }),
    ...(threshold !== undefined && { threshold }),
    ...(scale !== undefined && { scale }),
    ...size,
    ...(encoder !== undefined && { encoder }),
    ...(encoderOptions !== undefined && { encoderArguments: wordsOf(encoderOptions) }),
    ...(segment !== undefined && { segmentFrames: segment }),
  }
}

export async function video(input: string, output: string, flags: VideoFlags): Promise<void> {
  if (input === '-' || output === '-')
    throw new UsageError('Expected files: a video is read twice and its timestamps are written at last')
  const terminal = new Terminal({ quiet: flags.quiet ?? false, live: flags.json !== true })
  const interrupt = listenForInterrupts()
  await using models = await Models.open(flags.model, flags.scale ?? FACTOR, flags, (model) => {
    const { fallbackReason } = model.device()
    if (fallbackReason && flags.device === 'auto') terminal.warn(fallbackReason)
  })
  const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`)
  let told = performance.now()
  const onProgress = (progress: VideoProgress) => {
    const { done, total, framesPerSecond, eta, saved } = progress
    const text =
      `frame ${done}${total === null ? '' : ` of ${total}`}, ${framesPerSecond.toFixed(framesPerSecond < 10 ? 2 : 1)} fps` +
      `${eta === null ? '' : `, ${duration(eta)} to go`}${saved > 0 ? `, ${percent(saved)} of the work saved` : ''}`
    terminal.status(text)
    const now = performance.now()
    if (now - told < (flags.json ? JSON_MS : LINE_MS)) return
    told = now
    if (flags.json) print({ event: 'progress', ...progress })
    else if (!terminal.live) terminal.line(text)
  }
  try {
    const result = await upscaleVideo(models.only, input, output, {
      ...videoOptions(flags),
      resume: flags.resume,
      signal: interrupt.signal,
      onProgress,
    })
    for (const warning of result.warnings) terminal.warn(`${input}: ${warning}`)
    if (flags.json) print({ event: 'end', input, ...result })
    else {
      const { width, height, frames, resumed, seconds, saved, pixelFormat } = result
      terminal.line(
        `${input} -> ${output}  ${frames} frames of ${width}x${height} (${result.encoder}, ${pixelFormat}) in ${duration(seconds)}` +
          `${resumed > 0 ? `, ${resumed} of them done before` : ''}, ${percent(saved)} of the work saved`,
      )
    }
  } catch (error) {
    terminal.clear()
    const status = interrupt.status()
    if (status === undefined || !(error instanceof WbsrError) || error.code !== 'WBSR_ABORTED') throw error
    terminal.line(`stopped; the same command goes on from what lies in ${output}.wbsr`)
    throw new Ended(status)
  }
}
