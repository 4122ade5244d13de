// Files that videos are written to: what each container can hold, and which encoder is taken for it.
import path from 'node:path'
import { invalidOption, WbsrError } from '../errors.js'
import { type Ffmpeg, output } from './ffmpeg.js'
import type { OtherStream, VideoFacts } from './probe.js'

export interface Container {
  /** ffmpeg's name of the muxer. */
  format: string
  encoders: readonly string[]
  /** What subtitles of text become; null: they are copied as they are. */
  text: string | null
  /** Subtitles that are pictures. */
  pictures: boolean
  attachments: boolean
  /** Pictures that belong to the file. */
  covers: boolean
  /** Timestamps in ticks of any length. */
  timescale: boolean
}

const H264 = ['libx264', 'h264_nvenc', 'libopenh264', 'mpeg4']
const MP4 = { encoders: H264, text: 'mov_text', pictures: false, attachments: false, covers: true, timescale: true }
const CONTAINERS: Record<string, Container> = {
  '.mp4': { format: 'mp4', ...MP4 },
  '.m4v': { format: 'mp4', ...MP4 },
  '.mov': { format: 'mov', ...MP4 },
  '.mkv': {
    format: 'matroska',
    encoders: H264,
    text: null,
    pictures: true,
    attachments: true,
    covers: true,
    timescale: false,
  },
  '.webm': {
    format: 'webm',
    encoders: ['libvpx-vp9', 'libaom-av1', 'libsvtav1'],
    text: 'webvtt',
    pictures: false,
    attachments: false,
    covers: false,
    timescale: false,
  },
  '.nut': {
    format: 'nut',
    encoders: H264,
    text: null,
    pictures: true,
    attachments: false,
    covers: false,
    timescale: false,
  },
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function containerOf(file: string): Container {
  const container = CONTAINERS[path.extname(file).toLowerCase()]
  if (!container) throw invalidOption('output', `a file name ending in ${Object.keys(CONTAINERS).join(', ')}`, file)
  return container
}

/** Of encoders that have one: constant quality without visible loss. */
const QUALITY: Record<string, readonly string[]> = {
  libx264: ['-crf', '16', '-preset', 'medium'],
  libx265: ['-crf', '18', '-preset', 'medium', '-x265-params', 'log-level=error'],
  'libvpx-vp9': ['-crf', '20', '-b:v', '0', '-row-mt', '1'],
  'libaom-av1': ['-crf', '20', '-b:v', '0', '-cpu-used', '6'],
  libsvtav1: ['-crf', '22'],
  mpeg4: ['-q:v', '2'],
}

/** The encoder that was asked for, or the first of the container's that this ffmpeg has. @throws WbsrError */
export async function chooseEncoder(
  tools: Ffmpeg,
  container: Container,
  wanted: string | undefined,
): Promise<{ encoder: string; arguments: readonly string[]; pixelFormats: string[] }> {
  const list = await output(
    tools.ffmpeg,
    ['-hide_banner', '-v', 'error', '-encoders'],
    'Listing the encoders of ffmpeg',
  )
  const has = (name: string) => new RegExp(`^ V\\S+ ${name.replace(/[^\w-]/g, '')} `, 'm').test(list)
  const encoder = wanted ?? container.encoders.find(has)
  if (encoder === undefined || !has(encoder))
    throw wanted === undefined
      ? new WbsrError('WBSR_NOT_FOUND', `This ffmpeg has none of the encoders ${container.encoders.join(', ')}`)
      : invalidOption('encoder', 'a video encoder that this ffmpeg has (ffmpeg -encoders)', wanted)
  const help = await output(
    tools.ffmpeg,
    ['-hide_banner', '-v', 'error', '-h', `encoder=${encoder}`],
    `Asking for ${encoder}`,
  )
  const pixelFormats = /Supported pixel formats: (.*)/.exec(help)?.[1]?.trim().split(/\s+/) ?? []
  return { encoder, arguments: QUALITY[encoder] ?? [], pixelFormats }
}

/** The format of the encoded pixels: the source's where the encoder takes it, else the nearest of the same depth that it takes. */
export function choosePixelFormat({ pixelFormat, bits }: VideoFacts, supported: readonly string[]): string {
  // yuvj: the old name of full range, which the colour tags say.
  const own = pixelFormat.replace(/^yuvj/, 'yuv')
  if (supported.length === 0 || supported.includes(own)) return own
  const deep = ['yuv420p10le', 'p010le', 'yuv422p10le', 'yuv444p10le', 'yuv420p12le']
  const plain = ['yuv420p', 'nv12', 'yuv422p', 'yuv444p']
  const full = /^(yuv444|gbr|rgb|bgr|argb|abgr)/.test(own)
  const wanted =
    bits === 16 ? [...(full ? ['yuv444p10le'] : []), ...deep, ...plain] : [...(full ? ['yuv444p'] : []), ...plain]
  return wanted.find((name) => supported.includes(name)) ?? supported[0]!
}

const TEXT = ['subrip', 'srt', 'ass', 'ssa', 'mov_text', 'webvtt', 'text']

/** Tracks that muxers make again: chapters as text, and time codes. */
const REMADE = ['text', 'tmcd']

/** How the other streams of the source go into the file: ffmpeg's arguments, with the source as its input 1. */
export function carriedStreams(
  others: readonly OtherStream[],
  container: Container,
): { args: string[]; left: string[] } {
  const args: string[] = []
  const left: string[] = []
  // The enlarged video is stream 0.
  const count = { all: 1, subtitles: 0, videos: 1 }
  for (const { index, kind, codec, tag, cover } of others) {
    // Words of a stream are named for each, as naming one turns off that ffmpeg copies them.
    const map = () => args.push('-map', `1:${index}`, `-map_metadata:s:${count.all++}`, `1:s:${index}`)
    if (kind === 'audio' || (kind === 'attachment' && container.attachments)) map()
    else if (kind === 'subtitle' && (TEXT.includes(codec) || container.pictures)) {
      map()
      // Matroska has no mov_text.
      const target = container.text ?? (codec === 'mov_text' ? 'srt' : 'copy')
      args.push(`-c:s:${count.subtitles++}`, TEXT.includes(codec) && target !== codec ? target : 'copy')
    } else if (cover && container.covers) {
      map()
      args.push(`-disposition:v:${count.videos++}`, 'attached_pic')
    } else if ((kind !== 'video' || cover) && !REMADE.includes(tag)) left.push(`${kind} (${codec})`)
  }
  return { args, left }
}
