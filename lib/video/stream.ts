// Frames in, frames out: for programs that decode and encode themselves.
import { Transform, type TransformCallback } from 'node:stream'
import { isUint8Array, isUint16Array } from 'node:util/types'
import { aborted, invalidOption, wrapError } from '../errors.js'
import { type SupernetModel, stateOf } from '../models/model.js'
import { ownArray } from '../realms.js'
import { type FramePixels, FrameUpscaler } from './frames.js'
import { checkVideoStreamOptions, type VideoStreamOptions } from './options.js'

/** A frame as videoStream takes it: interleaved RGB. Other properties (a timestamp) are handed through. */
export interface VideoFrame {
  data: Uint8Array | Uint16Array
  [property: string]: unknown
}

/** A frame as videoStream gives it. */
export interface UpscaledFrame extends VideoFrame {
  width: number
  height: number
  /** 2 x MAC that ran for it, and that did not have to, as nothing had changed there. */
  flops: number
  saved: number
}

/**
 * A Transform of {@link VideoFrame} into {@link UpscaledFrame}, in order. Tiles that are equal to those of the frame before
 * (or within `threshold`) are not computed again. The budget is met for the difficulties that the router table was measured
 * on, as in a stream of tiles.
 *
 * @throws WbsrError WBSR_INVALID_OPTION, WBSR_DISPOSED; the stream ends with these, for frames of wrong type or size, and with
 *   WBSR_ABORTED
 */
export function videoStream(model: SupernetModel, options: VideoStreamOptions): Transform {
  const state = stateOf(model)
  const { shape, settings } = checkVideoStreamOptions(options, state)
  const upscaler = new FrameUpscaler(state, shape, settings)
  const [isWanted, type] = shape.bits === 16 ? [isUint16Array, 'Uint16Array'] : [isUint8Array, 'Uint8Array']
  const length = shape.width * shape.height * 3
  const next = async (frame: VideoFrame): Promise<UpscaledFrame> => {
    if (!isWanted(frame?.data) || frame.data.length !== length)
      throw invalidOption(
        'frame.data',
        `a ${type} of ${length} samples (${shape.width} x ${shape.height} RGB)`,
        frame?.data,
      )
    // A copy, as the last frame is kept to compare the next one with.
    const work = await upscaler.next(ownArray(frame.data).slice() as FramePixels)
    return { ...frame, ...work, width: upscaler.width, height: upscaler.height }
  }
  const { signal } = settings
  const abort = () => stream.destroy(aborted('videoStream', signal!))
  const stream = new Transform({
    objectMode: true,
    readableHighWaterMark: 2,
    writableHighWaterMark: 2,
    transform(frame: VideoFrame, _encoding: BufferEncoding, done: TransformCallback) {
      next(frame).then(
        (out) => done(null, out),
        (error: unknown) => done(wrapError(error)),
      )
    },
    destroy(error: Error | null, done: (error?: Error | null) => void) {
      signal?.removeEventListener('abort', abort)
      upscaler.release()
      done(error)
    },
  })
  signal?.addEventListener('abort', abort)
  if (signal?.aborted) abort()
  return stream
}
