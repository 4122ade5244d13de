// The frames of a video from decoding to encoding, segment by segment, and what is told of them meanwhile.
import { rm } from 'node:fs/promises'
import { aborted, WbsrError } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { native } from '../native.js'
import { markHandled } from '../promises.js'
import { decodeFrames, type Frame } from './decode.js'
import { type EncoderSettings, SegmentEncoder } from './encode.js'
import type { Ffmpeg } from './ffmpeg.js'
import { type FramePixels, FrameUpscaler, type FrameWork } from './frames.js'
import type { VideoSettings } from './options.js'
import type { VideoFacts } from './probe.js'
import type { Segments } from './segments.js'

/** Seconds before the last frame that is done at which decoding begins when a run goes on. */
const OVERLAP = 2

/** The network as often as the size needs it, then the exact resize. */
export class FramePipeline {
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

/** The frames of one run, segment by segment. */
export class VideoRun {
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
