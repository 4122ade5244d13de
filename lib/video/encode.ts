// Frames into a segment: a file of encoded video alone, with exact timestamps (the container NUT).
import { once } from 'node:events'
import { WbsrError } from '../errors.js'
import { matrixFromRgb, matrixOf } from './decode.js'
import { type Ffmpeg, Running, stop } from './ffmpeg.js'
import type { FramePixels } from './frames.js'
import { nutFrame, nutHeader } from './nut.js'
import type { VideoFacts } from './probe.js'

export interface EncoderSettings {
  /** ffmpeg's name: libx264. */
  encoder: string
  /** ffmpeg's options of the encoder: ['-crf', '16']. */
  arguments: readonly string[]
  pixelFormat: string
  width: number
  height: number
}

/** Options that tell, and make, the colours of the encoded video those of the source. */
function colourArguments(facts: VideoFacts, { pixelFormat, height }: EncoderSettings): string[] {
  const { primaries, transfer, range } = facts.colours
  const fromRgb = matrixFromRgb(facts.pixelFormat, pixelFormat, height)
  const matrix = fromRgb ?? matrixOf(facts)
  const full = range === 'pc' && !fromRgb
  const filter = `scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp${
    matrix ? `:out_color_matrix=${matrix.filter}:out_range=${full ? 'pc' : 'tv'}` : ''
  }`
  return [
    ...['-vf', filter],
    ...(matrix ? ['-colorspace', matrix.tag, '-color_range', full ? 'pc' : 'tv'] : []),
    ...(primaries ? ['-color_primaries', primaries] : []),
    ...(transfer ? ['-color_trc', transfer] : []),
  ]
}

/** One segment in the making. Calls must not overlap: await each before the next. */
export class SegmentEncoder {
  readonly #running: Running
  readonly #first: number

  /** @param first timestamp of the video's first frame: those of the segment count from there, as NUT has none below 0 */
  constructor(tools: Ffmpeg, file: string, facts: VideoFacts, settings: EncoderSettings, first: number) {
    this.#first = first
    const { timeBase, bits, aspect, frameRate } = facts
    const args = [
      ...['-hide_banner', '-v', 'error', '-nostdin', '-y', '-f', 'nut', '-i', 'pipe:0', '-map', '0:v', '-copyts'],
      ...[...tools.passthrough, '-enc_time_base', timeBase.join('/'), ...colourArguments(facts, settings)],
      ...['-c:v', settings.encoder, ...settings.arguments, '-pix_fmt', settings.pixelFormat],
      ...['-f', 'nut', file],
    ]
    this.#running = new Running(tools.ffmpeg, args, `Encoding with ${settings.encoder}`, ['pipe', 'ignore', 'pipe'])
    // What ffmpeg said is told by `ended`.
    this.#stdin.on('error', () => {})
    const { width, height } = settings
    this.#stdin.write(nutHeader({ width, height, bits, timeBase, aspect, frameRate }))
  }

  get #stdin() {
    return this.#running.child.stdin!
  }

  /** @throws WbsrError as `end` */
  async frame(data: FramePixels, pts: number): Promise<void> {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    this.#stdin.write(nutFrame(pts - this.#first, bytes.length))
    if (this.#stdin.write(bytes)) return
    // Whatever comes first: room, or the end of ffmpeg.
    const closed = this.#running.ended.then(() => {
      throw new WbsrError('WBSR_INTERNAL', 'The encoder ended before its frames')
    })
    closed.catch(() => {})
    await Promise.race([once(this.#stdin, 'drain').catch(() => closed), closed])
  }

  /** Completes the file. @throws WbsrError WBSR_INVALID_FILE with ffmpeg's words, WBSR_IO: the disk is full */
  async end(): Promise<void> {
    this.#stdin.end()
    await this.#running.ended
  }

  async destroy(): Promise<void> {
    stop(this.#running.child)
    await this.#running.ended.catch(() => {})
  }
}
