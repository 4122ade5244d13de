// The frames of a video from decoding to encoding, segment by segment, and what is told of them meanwhile.
import { WbsrError } from '../errors.js'
import type { Frame } from './decode.js'
import type { FramePipeline } from './frame-pipeline.js'
import type { FrameWork } from './frames.js'
import { FramesAhead, framesAfter } from './frames-after.js'
import type { VideoWork } from './prepare.js'
import type { Segments } from './segments.js'
import { writeSegment } from './write-segment.js'

/** Of what ffmpeg said: that the file ends too early, else the first line. */
function tellingLine(said: string): string {
  const lines = said.split('\n').map((line) => line.replace(/ @ 0x[0-9a-f]+(?=\])/, '').trim())
  return lines.find((line) => /partial file|ended prematurely|truncat/i.test(line)) ?? lines[0]!
}

/** The frames of one run, segment by segment. */
export class VideoRun {
  readonly resumed: number
  done: number
  /** What ffmpeg said of faults that it passed over; '': nothing. */
  #said = ''
  #flops = 0
  #saved = 0
  readonly #start = performance.now()
  readonly #work: VideoWork
  readonly #segments: Segments
  readonly #pipeline: FramePipeline

  constructor(work: VideoWork, segments: Segments, pipeline: FramePipeline) {
    this.#work = work
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

  /** What is to be told of the source now that it was read. */
  get warnings(): string[] {
    return this.#said === ''
      ? []
      : [`parts of it may be missing or damaged, as ffmpeg says: ${tellingLine(this.#said)}`]
  }

  async all(): Promise<void> {
    const last = this.#segments.list.at(-1)?.last ?? null
    const { tools, source, facts } = this.#work
    const complain = (said: string) => {
      this.#said = said
    }
    const frames = new FramesAhead(framesAfter(tools, source, facts, last, true, complain))
    try {
      let frame = await frames.take()
      while (frame) frame = await this.#segment(frame, frames)
    } finally {
      await frames.close()
    }
    if (this.done === 0) throw new WbsrError('WBSR_INVALID_FILE', `${source} has no frame that can be decoded`)
  }

  /** Makes the segment that begins with a frame, and returns the first frame of the next one; null: that was the last. */
  async #segment(first: Frame, frames: FramesAhead): Promise<Frame | null> {
    const origin = this.#segments.list[0]?.first ?? first.pts
    const file = this.#segments.next()
    const { segment, next } = await writeSegment(
      this.#work,
      file,
      origin,
      first,
      frames,
      this.#pipeline,
      this.#count.bind(this),
    )
    await this.#segments.add(file, segment)
    return next
  }

  #count({ flops, saved }: FrameWork): void {
    this.done++
    this.#flops += flops
    this.#saved += saved
    const { facts, settings } = this.#work
    const { onProgress } = settings
    if (!onProgress) return
    const { seconds } = this
    const framesPerSecond = (this.done - this.resumed) / seconds
    const total = facts.frames === null ? null : Math.max(facts.frames, this.done)
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
