// A video file into a larger one: decoded, enlarged and encoded at the same time, frame by frame through pipes.
import { createHash } from 'node:crypto'
import { rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { aborted, invalidOption, WbsrError, wrapError } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { type SupernetModel, stateOf } from '../models/model.js'
import { native } from '../native.js'
import { checkString } from '../options.js'
import { markHandled } from '../promises.js'
import { MERGED_TILES, mapForDataset } from '../routing/class-map.js'
import { overlapOf } from '../tiling/overlap.js'
import { assemble } from './assemble.js'
import { chooseEncoder, choosePixelFormat, containerOf } from './containers.js'
import { decodeFrames, type Frame } from './decode.js'
import { type EncoderSettings, SegmentEncoder } from './encode.js'
import { type Ffmpeg, findFfmpeg } from './ffmpeg.js'
import { type FramePixels, FrameUpscaler, type FrameWork, TILE } from './frames.js'
import { checkVideoOptions, type VideoOptions, type VideoSettings } from './options.js'
import { probe, type VideoFacts } from './probe.js'
import { Segments } from './segments.js'

export interface VideoResult {
  file: string
  width: number
  height: number
  frames: number
  /** Of this process. */
  seconds: number
  /** Share of the work that did not have to be done, as nothing had changed there: 0 .. 1. */
  saved: number
  /** Frames that an earlier process had done. */
  resumed: number
  encoder: string
  pixelFormat: string
  warnings: string[]
}

/** Seconds before the last frame that is done at which decoding begins when a run goes on. */
const OVERLAP = 2

const even = (value: number) => Math.max(2, 2 * Math.round(value / 2))

function sizeOf(target: VideoSettings['target'], { width, height }: VideoFacts): { width: number; height: number } {
  if ('scale' in target) return { width: even(width * target.scale), height: even(height * target.scale) }
  return {
    width: target.width ?? even((width * target.height!) / height),
    height: target.height ?? even((height * target.width!) / width),
  }
}

/** The network as often as the size needs it, then the exact resize. */
class FramePipeline {
  readonly #passes: FrameUpscaler[] = []
  readonly #size: { width: number; height: number }

  constructor(state: ModelState, facts: VideoFacts, settings: VideoSettings, size: { width: number; height: number }) {
    let { width, height } = facts
    do {
      this.#passes.push(new FrameUpscaler(state, { width, height, bits: facts.bits }, settings.frames))
      width *= state.network.scale
      height *= state.network.scale
      // One row less than the size is of rounding to even sides.
    } while (width < size.width - 1 || height < size.height - 1)
    this.#size = size
  }

  async next(data: FramePixels): Promise<FrameWork> {
    let work: FrameWork = { data, flops: 0, saved: 0 }
    for (const pass of this.#passes) {
      const { data: larger, flops, saved } = await pass.next(work.data)
      work = { data: larger, flops: work.flops + flops, saved: work.saved + saved }
    }
    const { width, height } = this.#passes.at(-1)!
    const size = this.#size
    if (width === size.width && height === size.height) return work
    const resized = await native.resizeBicubic(work.data, width, height, 3, size.width, size.height, 0)
    return { ...work, data: resized as FramePixels }
  }

  release(): void {
    for (const pass of this.#passes) pass.release()
  }
}

/** What segments depend on. */
async function madeOf(
  state: ModelState,
  source: string,
  facts: VideoFacts,
  settings: VideoSettings,
  encoder: EncoderSettings,
) {
  const { size, mtimeMs } = await stat(source)
  const weights = await state.engine.readWeights()
  const { signal: _signal, router: _router, ...frames } = settings.frames
  const hash = createHash('sha256')
    .update(JSON.stringify(state.network))
    .update(JSON.stringify(state.router))
    .update(new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength))
  // The router is a function; what counts is its map.
  const overlap = overlapOf(frames.halo, state.engine, state.source !== undefined)
  const map = mapForDataset(state, settings.frames, MERGED_TILES * TILE, overlap)
  const segmentFrames = settings.segmentFrames
  return JSON.parse(
    JSON.stringify({
      source: path.resolve(source),
      size,
      mtimeMs,
      index: facts.index,
      model: hash.digest('hex'),
      map,
      frames,
      encoder,
      segmentFrames,
    }),
  ) as unknown
}

/** Frames after the last one that is done, each later than the one before. */
async function* framesFrom(
  tools: Ffmpeg,
  source: string,
  facts: VideoFacts,
  last: number | null,
): AsyncGenerator<Frame> {
  const { timeBase, origin } = facts
  const from = last === null ? 0 : (last * timeBase[0]) / timeBase[1] - origin - OVERLAP
  let latest = last ?? Number.NEGATIVE_INFINITY
  let known = from <= 0
  for await (const frame of decodeFrames(tools, source, facts, from <= 0 ? null : from)) {
    if (!known && frame.pts > latest) {
      // The file cannot be entered at that time: from its beginning.
      for await (const other of decodeFrames(tools, source, facts, null)) {
        if (other.pts <= latest) continue
        latest = other.pts
        yield other
      }
      return
    }
    known = true
    if (frame.pts <= latest) continue
    latest = frame.pts
    yield frame
  }
}

/** Frames, of which one is decoded ahead of the one that was taken. */
class FramesAhead {
  readonly #frames: AsyncGenerator<Frame>
  #next: Promise<IteratorResult<Frame>>

  constructor(frames: AsyncGenerator<Frame>) {
    this.#frames = frames
    this.#next = markHandled(frames.next())
  }

  /** null: there are no more. */
  async take(): Promise<Frame | null> {
    const { done, value } = await this.#next
    if (done) return null
    this.#next = markHandled(this.#frames.next())
    return value
  }

  async close(): Promise<void> {
    await this.#next.catch(() => {})
    await this.#frames.return(undefined)
  }
}

/**
 * Enlarges a video with the user's ffmpeg, which decodes and encodes through pipes. Audio, subtitles, chapters, attachments
 * and metadata are copied, timestamps are those of the source, 10 bits stay 10 bits, colour tags are kept; rotated videos come
 * out upright. Tiles that did not change are not computed again. The result appears whole or not at all; while it is made a
 * folder beside it (its name and .wbsr) holds what is done, and a run that was stopped or killed goes on from there.
 *
 * @param output .mp4, .mov, .m4v, .mkv, .webm or .nut
 * @throws WbsrError WBSR_NOT_FOUND: no ffmpeg, no encoder, no source; WBSR_INVALID_FILE with ffmpeg's words;
 *   WBSR_INVALID_OPTION, WBSR_IO, WBSR_ABORTED, WBSR_DISPOSED
 */
export async function upscaleVideo(
  model: SupernetModel,
  input: string,
  output: string,
  options: VideoOptions = {},
): Promise<VideoResult> {
  const state = stateOf(model)
  const source = checkString(input, 'input')
  const container = containerOf(checkString(output, 'output'))
  const settings = checkVideoOptions(options, state)
  const { signal } = settings.frames
  if (path.resolve(source) === path.resolve(output))
    throw invalidOption('output', 'another file than the input', output)
  if (!(await stat(source).catch(() => null))) throw new WbsrError('WBSR_NOT_FOUND', `Video ${source} does not exist`)
  const tools = await findFfmpeg()
  const facts = await probe(tools, source)
  const size = sizeOf(settings.target, facts)
  const { pixelFormats, ...chosen } = await chooseEncoder(tools, container, settings.encoder)
  const encoder: EncoderSettings = {
    encoder: chosen.encoder,
    arguments: settings.encoderArguments ?? chosen.arguments,
    pixelFormat: choosePixelFormat(facts, pixelFormats),
    ...size,
  }
  const segments = await Segments.open(output, await madeOf(state, source, facts, settings, encoder), settings.resume)
  const warnings = [...facts.warnings, ...(segments.discarded ? [segments.discarded] : [])]
  const pipeline = new FramePipeline(state, facts, settings, size)
  try {
    const run = new VideoRun(tools, source, facts, settings, encoder, segments, pipeline)
    await run.all()
    if (signal?.aborted) throw aborted('upscaling video', signal)
    const left = await assemble(tools, source, output, container, facts, segments, signal)
    if (left.length > 0) warnings.push(`not carried over, as ${container.format} does not take it: ${left.join(', ')}`)
    await segments.remove()
    return {
      file: output,
      ...size,
      frames: run.done,
      seconds: run.seconds,
      saved: run.saved,
      resumed: run.resumed,
      encoder: encoder.encoder,
      pixelFormat: encoder.pixelFormat,
      warnings,
    }
  } catch (error) {
    throw signal?.aborted ? aborted('upscaling video', signal) : wrapError(error)
  } finally {
    pipeline.release()
    await segments.release()
  }
}

/** The frames of one run, segment by segment. */
class VideoRun {
  readonly resumed: number
  done: number
  #flops = 0
  #saved = 0
  readonly #start = performance.now()
  readonly #tools: Ffmpeg
  readonly #source: string
  readonly #facts: VideoFacts
  readonly #settings: VideoSettings
  readonly #encoder: EncoderSettings
  readonly #segments: Segments
  readonly #pipeline: FramePipeline

  constructor(
    tools: Ffmpeg,
    source: string,
    facts: VideoFacts,
    settings: VideoSettings,
    encoder: EncoderSettings,
    segments: Segments,
    pipeline: FramePipeline,
  ) {
    this.#tools = tools
    this.#source = source
    this.#facts = facts
    this.#settings = settings
    this.#encoder = encoder
    this.#segments = segments
    this.#pipeline = pipeline
    for (const { flops, saved } of segments.list) {
      this.#flops += flops
      this.#saved += saved
    }
    this.resumed = segments.list.reduce((sum, { frames }) => sum + frames, 0)
    this.done = this.resumed
  }

  get seconds(): number {
    return (performance.now() - this.#start) / 1000
  }

  get saved(): number {
    const all = this.#flops + this.#saved
    return all === 0 ? 0 : this.#saved / all
  }

  async all(): Promise<void> {
    const last = this.#segments.list.at(-1)?.last ?? null
    const frames = new FramesAhead(framesFrom(this.#tools, this.#source, this.#facts, last))
    try {
      let frame = await frames.take()
      while (frame) frame = await this.#segment(frame, frames)
    } finally {
      await frames.close()
    }
    if (this.done === 0) throw new WbsrError('WBSR_INVALID_FILE', `${this.#source} has no frame that can be decoded`)
  }

  /** Makes the segment that begins with a frame, and returns the first frame of the next one; null: that was the last. */
  async #segment(first: Frame, frames: FramesAhead): Promise<Frame | null> {
    const { signal } = this.#settings.frames
    const origin = this.#segments.list[0]?.first ?? first.pts
    const file = this.#segments.next()
    const encoder = new SegmentEncoder(this.#tools, file, this.#facts, this.#encoder, origin)
    const segment = { frames: 0, first: first.pts, last: first.pts, flops: 0, saved: 0 }
    try {
      let writing: Promise<void> = Promise.resolve()
      let frame: Frame | null = first
      while (frame && segment.frames < this.#settings.segmentFrames) {
        if (signal?.aborted) throw aborted('upscaling video', signal)
        const { data, flops, saved }: FrameWork = await this.#pipeline.next(frame.data)
        await writing
        writing = markHandled(encoder.frame(data, frame.pts))
        segment.frames++
        segment.last = frame.pts
        segment.flops += flops
        segment.saved += saved
        this.#count(flops, saved)
        frame = await frames.take()
      }
      await writing
      await encoder.end()
      await this.#segments.add(file, segment)
      return frame
    } catch (error) {
      await encoder.destroy()
      await rm(file, { force: true })
      throw error
    }
  }

  #count(flops: number, saved: number): void {
    this.done++
    this.#flops += flops
    this.#saved += saved
    const { onProgress } = this.#settings
    if (!onProgress) return
    const { seconds } = this
    const framesPerSecond = (this.done - this.resumed) / seconds
    const total = this.#facts.frames === null ? null : Math.max(this.#facts.frames, this.done)
    onProgress({
      done: this.done,
      total,
      seconds,
      framesPerSecond,
      eta: total === null ? null : (total - this.done) / framesPerSecond,
      saved: this.saved,
    })
  }
}
