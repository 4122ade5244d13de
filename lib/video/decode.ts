// Frames of a video with their exact timestamps: ffmpeg writes pixels to one pipe and a line for each frame to another.
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { WbsrError } from '../errors.js'
import { asPixels } from '../images/pixels.js'
import { type Ffmpeg, fileArgument, Running, stop } from './ffmpeg.js'
import type { FramePixels } from './frames.js'
import type { VideoFacts } from './probe.js'

export interface Frame {
  /** Interleaved RGB. */
  data: FramePixels
  /** Ticks of the video's time base. */
  pts: number
  /** Of the decoded pixels before their conversion to RGB (Adler-32, by ffmpeg). */
  checksum: number
}

/** When a frame is shown, and what its pixels are. */
export type FrameMark = Omit<Frame, 'data'>

/** Names of the scale filter for matrices of ffprobe; others cannot be converted by it. */
const MATRICES: Record<string, string> = {
  bt709: 'bt709',
  smpte170m: 'smpte170m',
  bt470bg: 'bt601',
  smpte240m: 'smpte240m',
  fcc: 'fcc',
  bt2020nc: 'bt2020',
}
/** Height from which players take a video that does not say it for bt709. */
const HD_HEIGHT = 720

export interface Matrix {
  /** Name of the scale filter. */
  filter: string
  tag: string
}

/** What players take a video of that height for which does not say it. */
const usualMatrix = (height: number) => (height >= HD_HEIGHT ? 'bt709' : 'smpte170m')

/** How Y'CbCr is read, and written again; null: the video is RGB or of another kind, which ffmpeg is to judge. */
export function matrixOf({ colours, height, pixelFormat }: VideoFacts): Matrix | null {
  if (/^(gbr|rgb|bgr|gray|pal|argb|abgr|0rgb|0bgr|x2|mono)/.test(pixelFormat)) return null
  const tag = colours.matrix ?? usualMatrix(height)
  const filter = MATRICES[tag]
  return filter === undefined ? null : { filter, tag }
}

/** How RGB becomes Y'CbCr of that height; null: it does not. */
export function matrixFromRgb(source: string, encoded: string, height: number): Matrix | null {
  if (!/^(gbr|rgb|bgr|pal|argb|abgr|0rgb|0bgr|x2)/.test(source) || !/^(yuv|nv|p0)/.test(encoded)) return null
  const tag = usualMatrix(height)
  return { filter: MATRICES[tag]!, tag }
}

function scaleFilter(facts: VideoFacts): string {
  const matrix = matrixOf(facts)
  const range = facts.colours.range === 'pc' ? 'pc' : 'tv'
  const colours = matrix ? `:in_color_matrix=${matrix.filter}:in_range=${range}` : ''
  // The size of all frames, should the source change it in the middle.
  return `scale=${facts.width}:${facts.height}:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp${colours}:out_range=pc`
}

/** Buffers of a stream, cut into pieces of `bytes`. */
async function* pieces(stream: Readable, bytes: number): AsyncGenerator<Buffer> {
  let piece = Buffer.allocUnsafe(bytes)
  let filled = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length; ) {
      const count = chunk.copy(piece, filled, at, Math.min(chunk.length, at + bytes - filled))
      filled += count
      at += count
      if (filled < bytes) continue
      yield piece
      piece = Buffer.allocUnsafe(bytes)
      filled = 0
    }
  }
  if (filled > 0) throw new Error(`${filled} bytes of a frame of ${bytes}`)
}

/** What the lines of the muxer framecrc say. */
async function* marks(stream: Readable): AsyncGenerator<FrameMark> {
  let last = -1
  for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line.startsWith('#') || line.trim() === '') continue
    const [, , pts, duration, , checksum] = line.split(',').map((cell) => Number(cell.trim()))
    // Frames without a time follow the one before.
    last = Number.isInteger(pts) ? pts! : last + (Number.isInteger(duration) && duration! > 0 ? duration! : 1)
    yield { pts: last, checksum: checksum! }
  }
}

/**
 * Decodes the frames of a video in order, upright.
 *
 * @param from seconds before which frames may be left out; the first one that comes is at or before it, or the video's first
 * @param complain is told what ffmpeg said of a file that it decoded to the end: faults that it passed over
 * @throws WbsrError WBSR_INVALID_FILE with ffmpeg's own words
 */
export async function* decodeFrames(
  tools: Ffmpeg,
  file: string,
  facts: VideoFacts,
  from: number | null,
  complain: (said: string) => void = () => {},
): AsyncGenerator<Frame> {
  const { index, width, height, bits, timeBase } = facts
  const common = ['-map', `0:${index}`, ...tools.passthrough, '-enc_time_base', timeBase.join('/')]
  const args = [
    ...['-hide_banner', '-v', 'error', '-nostdin', '-copyts'],
    ...(from === null ? [] : ['-ss', from.toFixed(6)]),
    ...['-i', fileArgument(file)],
    ...common,
    ...['-c:v', 'rawvideo', '-flush_packets', '1', '-f', 'framecrc', 'pipe:3'],
    ...common,
    ...['-vf', scaleFilter(facts), '-pix_fmt', bits === 16 ? 'rgb48le' : 'rgb24', '-f', 'rawvideo', 'pipe:1'],
  ]
  const what = `Decoding ${file}`
  const running = new Running(tools.ffmpeg, args, what, ['ignore', 'pipe', 'pipe', 'pipe'])
  const { child } = running
  try {
    const lines = marks(child.stdio[3] as Readable)
    for await (const bytes of pieces(child.stdout!, width * height * 3 * (bits / 8))) {
      const { value, done } = await lines.next()
      if (done) throw new Error('a frame without a timestamp')
      yield { data: asPixels(bytes, bits), ...(value as FrameMark) }
    }
    await running.ended
    if (running.said !== '') complain(running.said)
  } catch (error) {
    stop(child)
    if (error instanceof WbsrError) throw error
    // What ffmpeg said explains a stream that ended early.
    await running.ended
    throw new WbsrError('WBSR_INVALID_FILE', `${what} failed: ${(error as Error).message}`, { cause: error })
  } finally {
    stop(child)
  }
}

/**
 * Decodes a video for the sake of its timestamps and checksums alone, which takes much less time than its pixels.
 *
 * @returns of frames that are later than all before them, as `framesAfter` gives them
 * @throws WbsrError as decodeFrames; what `signal` was aborted with
 */
export async function listFrames(
  tools: Ffmpeg,
  file: string,
  { index, timeBase }: VideoFacts,
  signal?: AbortSignal,
): Promise<FrameMark[]> {
  const args = [
    ...['-hide_banner', '-v', 'error', '-nostdin', '-copyts', '-i', fileArgument(file), '-map', `0:${index}`],
    ...[...tools.passthrough, '-enc_time_base', timeBase.join('/')],
    ...['-c:v', 'rawvideo', '-f', 'framecrc', 'pipe:1'],
  ]
  const running = new Running(tools.ffmpeg, args, `Decoding ${file}`, ['ignore', 'pipe', 'pipe'])
  const list: FrameMark[] = []
  try {
    for await (const mark of marks(running.child.stdout!)) {
      signal?.throwIfAborted()
      if (mark.pts > (list.at(-1)?.pts ?? Number.NEGATIVE_INFINITY)) list.push(mark)
    }
    await running.ended
    return list
  } finally {
    stop(running.child)
  }
}
