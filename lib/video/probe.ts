// What is known of a video before it is decoded.
import { WbsrError } from '../errors.js'
import { type Ffmpeg, fileArgument, output } from './ffmpeg.js'

/** A stream that is not enlarged. */
export interface OtherStream {
  /** How it goes into the result: 'copy', or ffmpeg's name of an encoder; null: it does not. */
  into: string | null
  index: number
  kind: string
  codec: string
  /** Four characters, of MP4. */
  tag: string
  /** A picture that belongs to the file: the cover of an album. */
  cover: boolean
  /** What it is for, in ffmpeg's words: default, forced. */
  uses: readonly string[]
  title: string | null
}

export interface VideoFacts {
  /** Of the stream that is enlarged. */
  index: number
  /** Upright, as frames are handed out. */
  width: number
  height: number
  bits: 8 | 16
  pixelFormat: string
  timeBase: readonly [number, number]
  /** Seconds at which the file begins, which its seeks count from. */
  origin: number
  /** Seconds. */
  duration: number | null
  /** Frames of a second, as the file says or on average; 0, 0: unknown. */
  frameRate: readonly [number, number]
  /** Number of frames, exact or estimated; null: unknown. */
  frames: number | null
  /** Shape of a pixel; 0, 0: unknown. */
  aspect: readonly [number, number]
  /** Names as ffmpeg has them; undefined: not said. */
  colours: { matrix?: string; primaries?: string; transfer?: string; range?: string }
  uses: readonly string[]
  /** Names of words of the stream that are not true of another encoding of it. */
  stale: readonly string[]
  others: readonly OtherStream[]
  chapters: number
  /** What is not carried over, and what may look wrong. */
  warnings: string[]
}

interface Stream {
  index: number
  codec_type?: string
  codec_name?: string
  codec_tag_string?: string
  width?: number
  height?: number
  pix_fmt?: string
  time_base?: string
  duration?: string
  nb_frames?: string
  avg_frame_rate?: string
  sample_aspect_ratio?: string
  field_order?: string
  color_space?: string
  color_primaries?: string
  color_transfer?: string
  color_range?: string
  disposition?: Record<string, number>
  tags?: Record<string, string>
  side_data_list?: { rotation?: number; side_data_type?: string }[]
}

const ratio = (text: string | undefined): [number, number] => {
  const [, a, b] = /^(\d+)[:/](\d+)$/.exec(text ?? '') ?? []
  return a !== undefined && b !== undefined && Number(a) > 0 && Number(b) > 0 ? [Number(a), Number(b)] : [0, 0]
}

const known = (name: string | undefined) =>
  name === undefined || name === 'unknown' || name === 'reserved' ? undefined : name

/** Sizes and rates that programs write into Matroska, and whether there is an alpha channel. */
const STALE = /^(BPS|NUMBER_OF_BYTES|_STATISTICS_\w+|DURATION|SOURCE_ID|ENCODER|alpha_mode)(-\w+)?$/i

const usesOf = (disposition: Stream['disposition']): string[] =>
  Object.entries(disposition ?? {}).flatMap(([name, set]) => (set === 1 ? [name] : []))

/** Bits that frames are handed out with: formats of more than 8 bits name the order of their bytes. */
export function bitsOfFormat(format: string): 8 | 16 {
  return /(le|be)$/.test(format) && !/^(rgb|bgr)(444|555|565)/.test(format) ? 16 : 8
}

function countFrames(stream: Stream, duration: number | null): number | null {
  const told = Number(stream.nb_frames)
  if (Number.isInteger(told) && told > 0) return told
  const [a, b] = ratio(stream.avg_frame_rate)
  return duration !== null && a > 0 ? Math.max(1, Math.round((duration * a) / b)) : null
}

function warningsOf(stream: Stream, others: readonly Stream[]): string[] {
  const warnings: string[] = []
  const order = stream.field_order
  if (order && !['progressive', 'unknown'].includes(order))
    warnings.push('it is interlaced; its fields are enlarged as whole frames (deinterlace it first)')
  if (stream.color_transfer === 'smpte2084')
    warnings.push('it is HDR (PQ): the light levels of its mastering display are not carried over')
  if (/^(yuva|rgba|argb|bgra|abgr|gbrap|ya)/.test(stream.pix_fmt ?? '') || stream.tags?.['alpha_mode'] === '1')
    warnings.push('its alpha channel is not carried over')
  const videos = others.filter(
    ({ codec_type, disposition }) => codec_type === 'video' && !disposition?.['attached_pic'],
  )
  if (videos.length > 0)
    warnings.push(`it has ${videos.length + 1} video streams, of which the first is enlarged and kept`)
  return warnings
}

/**
 * Reads what a video file holds.
 *
 * @throws WbsrError WBSR_INVALID_FILE: not a video, or without a video stream
 */
export async function probe(tools: Ffmpeg, file: string): Promise<VideoFacts> {
  const args = ['-v', 'error', '-of', 'json', '-show_streams', '-show_format', '-show_chapters', fileArgument(file)]
  const text = await output(tools.ffprobe, args, `Reading ${file}`)
  const { streams, format, chapters } = JSON.parse(text) as {
    streams: Stream[]
    format: { duration?: string; start_time?: string }
    chapters: unknown[]
  }
  const stream = streams.find(({ codec_type, disposition }) => codec_type === 'video' && !disposition?.['attached_pic'])
  if (!stream?.width || !stream.height || !stream.pix_fmt)
    throw new WbsrError('WBSR_INVALID_FILE', `Expected a video but ${file} has no video stream`)
  const others = streams.filter((other) => other !== stream)
  const rotation = stream.side_data_list?.find((data) => data.rotation !== undefined)?.rotation ?? 0
  const turned = Math.abs(rotation) % 180 === 90
  const duration = Number(stream.duration ?? format.duration)
  const [num, den] = ratio(stream.sample_aspect_ratio)
  const seconds = Number.isFinite(duration) ? duration : null
  return {
    index: stream.index,
    width: turned ? stream.height : stream.width,
    height: turned ? stream.width : stream.height,
    bits: bitsOfFormat(stream.pix_fmt),
    pixelFormat: stream.pix_fmt,
    timeBase: ratio(stream.time_base),
    origin: Number(format.start_time ?? 0) || 0,
    duration: seconds,
    frameRate: ratio(stream.avg_frame_rate),
    frames: countFrames(stream, seconds),
    aspect: turned ? [den, num] : [num, den],
    colours: {
      matrix: known(stream.color_space),
      primaries: known(stream.color_primaries),
      transfer: known(stream.color_transfer),
      range: known(stream.color_range),
    },
    uses: usesOf(stream.disposition),
    stale: Object.keys(stream.tags ?? {}).filter((name) => STALE.test(name)),
    others: others.map(({ index, codec_type, codec_name, codec_tag_string, disposition, tags }) => ({
      into: null,
      index,
      kind: codec_type ?? 'data',
      codec: codec_name ?? 'unknown',
      tag: codec_tag_string ?? '',
      cover: disposition?.['attached_pic'] === 1,
      uses: usesOf(disposition),
      title: tags?.['title'] ?? null,
    })),
    chapters: chapters.length,
    warnings: warningsOf(stream, others),
  }
}
