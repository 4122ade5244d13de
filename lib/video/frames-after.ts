// Decoded frames from any place of a video on, of which one is ready before it is asked for.
import { markHandled } from '../promises.js'
import { decodeFrames, type Frame } from './decode.js'
import type { Ffmpeg } from './ffmpeg.js'
import type { VideoFacts } from './probe.js'

/** Seconds before the first frame that is wanted at which decoding begins. */
const OVERLAP = 2

/**
 * Frames after one, each later than the one before.
 *
 * @param last timestamp of that frame; null: from the first one on
 * @param seek false: decodes from the beginning of the file, whatever is wanted
 * @param complain as of decodeFrames
 */
export async function* framesAfter(
  tools: Ffmpeg,
  source: string,
  facts: VideoFacts,
  last: number | null,
  seek = true,
  complain: (said: string) => void = () => {},
): AsyncGenerator<Frame> {
  const { timeBase, origin } = facts
  const from = last === null || !seek ? 0 : (last * timeBase[0]) / timeBase[1] - origin - OVERLAP
  let latest = last ?? Number.NEGATIVE_INFINITY
  let known = from <= 0
  for await (const frame of decodeFrames(tools, source, facts, from <= 0 ? null : from, complain)) {
    if (!known && frame.pts > latest) {
      // The file cannot be entered at that time: from its beginning.
      for await (const other of decodeFrames(tools, source, facts, null, complain)) {
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
export class FramesAhead {
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
