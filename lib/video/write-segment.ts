// Frames into one segment: enlarged and encoded at the same time.
import { rm } from 'node:fs/promises'
import { aborted } from '../errors.js'
import { markHandled } from '../promises.js'
import type { Frame } from './decode.js'
import { SegmentEncoder } from './encode.js'
import type { FramePipeline } from './frame-pipeline.js'
import type { FrameWork } from './frames.js'
import type { FramesAhead } from './frames-after.js'
import type { VideoWork } from './prepare.js'
import type { Segment } from './segments.js'

/** What a segment holds. */
export type SegmentFacts = Omit<Segment, 'file'>

/**
 * Makes the segment that begins with a frame; what fails leaves no file.
 *
 * @param origin timestamp of the video's first frame
 * @returns the segment, and the first frame of the next one; null: that was the last
 * @throws WbsrError as upscaleVideo does
 */
export async function writeSegment(
  { tools, facts, encoder: encoding, settings }: VideoWork,
  file: string,
  origin: number,
  first: Frame,
  frames: FramesAhead,
  pipeline: FramePipeline,
  onFrame: (work: FrameWork) => void,
): Promise<{ segment: SegmentFacts; next: Frame | null }> {
  const { signal, threshold } = settings.frames
  const encoder = new SegmentEncoder(tools, file, facts, encoding, origin)
  const segment: SegmentFacts = { frames: 0, first: first.pts, last: first.pts, flops: 0, saved: 0 }
  // With a threshold a result depends on the frames before: so that it is the same wherever a run goes on, not on those of
  // another segment.
  if (threshold > 0) pipeline.forget()
  try {
    let writing: Promise<void> = Promise.resolve()
    let frame: Frame | null = first
    while (frame && segment.frames < settings.segmentFrames) {
      if (signal?.aborted) throw aborted('upscaling video', signal)
      const work = await pipeline.next(frame.data)
      await writing
      writing = markHandled(encoder.frame(work.data, frame.pts))
      segment.frames++
      segment.last = frame.pts
      segment.flops += work.flops
      segment.saved += work.saved
      onFrame(work)
      frame = await frames.take()
    }
    await writing
    await encoder.end()
    return { segment, next: frame }
  } catch (error) {
    await encoder.destroy()
    await rm(file, { force: true })
    throw error
  }
}
