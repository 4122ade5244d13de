// Files that videos are written to: what each container can hold, and which encoder is taken for it.
import path from 'node:path'
import { invalidOption, WbsrError } from '../errors.js'
import { type Ffmpeg, output } from './ffmpeg.js'
import type { OtherStream, VideoFacts } from './probe.js'

export interface Container {
  /** ffmpeg's name of the muxer. */
  format: string
  encoders: readonly string[]
  /** Encoders for sound that it does not take as it is. */
  sound: readonly string[]
  /** What subtitles of text become; null: they are copied as they are. */
  text: string | null
  /** Subtitles that are pictures. */
  pictures: boolean
  attachments: boolean
  /** How it has pictures that belong to the file; null: not at all. */
  covers: 'stream' | 'file' | null
  /** Timestamps in ticks of any length. */
  timescale: boolean
}

const H264 = ['libx264', 'h264_nvenc', 'libopenh264', 'mpeg4']
const MP4 = {
  encoders: H264,
  sound: ['aac'],
  text: 'mov_text',
  pictures: false,
  attachments: false,
  covers: 'stream' as const,
  timescale: true,
}
const CONTAINERS: Record<string, Container> = {
  '.mp4': { format: 'mp4', ...MP4 },
  '.m4v': { format: 'mp4', ...MP4 },
  '.mov': { format: 'mov', ...MP4 },
  '.mkv': {
    format: 'matroska',
    encoders: H264,
    sound: ['flac'],
    text: null,
    pictures: true,
    attachments: true,
    covers: 'file',
    timescale: false,
  },
  '.webm': {
    format: 'webm',
    encoders: ['libvpx-vp9', 'libaom-av1', 'libsvtav1'],
    sound: ['libopus', 'libvorbis'],
    text: 'webvtt',
    pictures: false,
    attachments: false,
    covers: null,
    timescale: false,
  },
  '.nut': {
    format: 'nut',
    encoders: H264,
    sound: ['flac'],
    text: null,
    pictures: true,
    attachments: false,
    covers: null,
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

/** Subtitles that say how they look. */
const STYLED = ['ass', 'ssa']
const TEXT = ['subrip', 'srt', 'ass', 'ssa', 'mov_text', 'webvtt', 'text']

/** Tracks that muxers make again: chapters as text, and time codes. */
const REMADE = ['text', 'tmcd']

/** Covers that are files in Matroska, by codec. */
export const COVER_FILES: Record<string, { name: string; type: string }> = {
  mjpeg: { name: 'cover.jpg', type: 'image/jpeg' },
  png: { name: 'cover.png', type: 'image/png' },
}

/** Whether a stream becomes a file that is attached. */
const isFile = ({ cover }: OtherStream, { covers }: Container): boolean => cover && covers === 'file'

/** Covers that are to be attached as files. */
export const coverFiles = (others: readonly OtherStream[], container: Container): OtherStream[] =>
  others.filter((other) => other.into !== null && isFile(other, container))

/** Ways of a stream into the file, the best one first: 'copy', or the name of an encoder. The muxer may know better. */
export function waysInto({ kind, codec, cover }: OtherStream, container: Container): string[] {
  if (kind === 'audio') return ['copy', ...container.sound]
  if (kind === 'attachment') return container.attachments ? ['copy'] : []
  if (kind === 'video')
    return cover && (container.covers === 'stream' || COVER_FILES[codec]) && container.covers ? ['copy'] : []
  if (kind !== 'subtitle') return []
  if (!TEXT.includes(codec)) return container.pictures ? ['copy'] : []
  // Matroska has no mov_text, NUT no SubRip.
  if (container.text === null) return codec === 'mov_text' ? ['srt', 'ass'] : ['copy', 'srt', 'ass']
  return [container.text === codec ? 'copy' : container.text]
}

/** Of sound that is encoded again. */
const SOUND_BITS = '256k'

/** All are said, as ffmpeg makes the first stream of a kind the default where it finds none. */
export const usesArgument = (uses: readonly string[]): string => uses.join('+') || '0'

/** ffmpeg's arguments for the other streams of the source, which is its input 1. */
export function carriedArguments(others: readonly OtherStream[], container: Container): string[] {
  const args: string[] = []
  // The enlarged video is stream 0.
  let all = 1
  const count: Record<string, number> = { video: 1, audio: 0, subtitle: 0, attachment: 0 }
  for (const other of others) {
    const { index, kind, into, uses, title } = other
    if (into === null || isFile(other, container)) continue
    const letter = kind === 'attachment' ? 't' : kind[0]!
    const number = count[kind]!++
    // Words of a stream are named for each, as naming one turns off that ffmpeg copies them.
    args.push('-map', `1:${index}`, `-map_metadata:s:${all}`, `1:s:${index}`, `-c:${letter}:${number}`, into)
    if (kind === 'audio' && into !== 'copy') args.push(`-b:a:${number}`, SOUND_BITS)
    // ffmpeg's own words, of what the stream was before.
    if (into !== 'copy') args.push(`-metadata:s:${all}`, 'encoder=')
    // MP4 has no titles of streams, but names of who handles them, which players show.
    if (container.timescale && title !== null) args.push(`-metadata:s:${all}`, `handler_name=${title}`)
    args.push(`-disposition:${letter}:${number}`, usesArgument(uses))
    all++
  }
  return args
}

/** What is not kept as it is, in words. */
export function carriedWarnings(others: readonly OtherStream[], { format, text }: Container): string[] {
  const left = others.filter(
    ({ into, kind, cover, tag }) => into === null && (kind !== 'video' || cover) && !REMADE.includes(tag),
  )
  const names = left.map(({ kind, codec }) => `${kind} (${codec})`)
  const changed = others.filter(({ into, kind }) => kind === 'audio' && into !== null && into !== 'copy')
  const lost = others.filter(({ codec, into }) => STYLED.includes(codec) && into !== null && into !== 'copy')
  return [
    ...(left.length > 0 ? [`not carried over, as ${format} does not take it: ${names.join(', ')}`] : []),
    ...changed.map(
      ({ codec, into }) => `its sound (${codec}) is encoded again with ${into}, as ${format} does not take it`,
    ),
    ...lost.map(({ codec }) => `its subtitles (${codec}) become ${text}, which keeps little of their looks`),
  ]
}
