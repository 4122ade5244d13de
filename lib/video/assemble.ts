// Segments and the other streams of the source become one file.
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { AtomicFile } from '../files/atomic.js'
import { COVER_FILES, type Container, carriedArguments, coverFiles, usesArgument } from './containers.js'
import { type Ffmpeg, fileArgument, output, Running, stop } from './ffmpeg.js'
import type { OtherStream, VideoFacts } from './probe.js'
import type { Segment } from './segments.js'

/** Segments of a whole video, in order, and a folder for notes; their files are names in it or paths. */
export interface SegmentFiles {
  folder: string
  list: readonly Pick<Segment, 'file' | 'first'>[]
}

/** The list that ffmpeg's concat demuxer reads: each segment lasts until the next one begins. */
function concatList({ list }: SegmentFiles, { timeBase }: VideoFacts): string {
  const lines = ['ffconcat version 1.0']
  for (const [i, { file, first }] of list.entries()) {
    lines.push(`file '${file.replaceAll("'", "'\\''")}'`)
    const next = list[i + 1]
    if (next) lines.push(`duration ${(((next.first - first) * timeBase[0]) / timeBase[1]).toFixed(9)}`)
  }
  return `${lines.join('\n')}\n`
}

/**
 * Writes the result: the segments' video, and what else the source holds and the container takes. The file appears whole or
 * not at all.
 *
 * @throws WbsrError WBSR_INVALID_FILE with ffmpeg's words, WBSR_IO
 */
export async function assemble(
  tools: Ffmpeg,
  source: string,
  result: string,
  container: Container,
  facts: VideoFacts,
  segments: SegmentFiles,
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = await AtomicFile.open(result)
  try {
    await mux(tools, source, file.temporary, container, facts, segments, [], signal)
  } catch (error) {
    await file.discard()
    throw error
  }
  await file.commit()
}

/** Writes covers as files, and returns the arguments that attach them. */
async function extractCovers(
  tools: Ffmpeg,
  source: string,
  folder: string,
  others: readonly OtherStream[],
  container: Container,
): Promise<string[]> {
  const args: string[] = []
  let attached = others.filter(({ kind, into }) => kind === 'attachment' && into !== null).length
  for (const { index, codec } of coverFiles(others, container)) {
    const { name, type } = COVER_FILES[codec]!
    const file = path.join(folder, `${index}-${name}`)
    const take = ['-map', `0:${index}`, '-c', 'copy', '-frames:v', '1', '-f', 'image2pipe', file]
    const quiet = ['-hide_banner', '-v', 'error', '-nostdin', '-y']
    await output(tools.ffmpeg, [...quiet, '-i', fileArgument(source), ...take], `Reading the cover of ${source}`)
    const words = `-metadata:s:t:${attached++}`
    args.push('-attach', file, words, `mimetype=${type}`, words, `filename=${name}`)
  }
  return args
}

/**
 * Writes a file in place.
 *
 * @param limits further arguments for what is written
 * @throws WbsrError as `assemble`
 */
export async function mux(
  tools: Ffmpeg,
  source: string,
  file: string,
  container: Container,
  facts: VideoFacts,
  segments: SegmentFiles,
  limits: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const { timeBase, index, uses, others, stale } = facts
  const list = path.join(segments.folder, 'segments.txt')
  await writeFile(list, concatList(segments, facts))
  const offset = (segments.list[0]!.first * timeBase[0]) / timeBase[1]
  const covers = await extractCovers(tools, source, segments.folder, facts.others, container)
  const args = [
    ...['-hide_banner', '-v', 'error', '-nostdin', '-y', '-copyts'],
    ...['-itsoffset', offset.toFixed(9), '-f', 'concat', '-safe', '0', '-i', list, '-i', fileArgument(source)],
    ...[
      '-map',
      '0:v:0',
      '-map_metadata:s:0',
      `1:s:${index}`,
      '-c:v:0',
      'copy',
      '-disposition:v:0',
      usesArgument(uses),
      ...carriedArguments(others, container),
    ],
    ...covers,
    ...['-map_chapters', '1', '-map_metadata', '1'],
    // Frames are upright.
    ...['rotate', ...stale].flatMap((name) => ['-metadata:s:0', `${name}=`]),
    ...(container.timescale ? ['-video_track_timescale', String(timeBase[1]), '-movflags', '+faststart'] : []),
    // FLAC in MP4, before ffmpeg 6.
    ...['-strict', 'experimental', ...limits, '-f', container.format, file],
  ]
  const running = new Running(tools.ffmpeg, args, `Writing ${container.format}`, ['ignore', 'ignore', 'pipe'])
  const abort = () => stop(running.child)
  signal?.addEventListener('abort', abort)
  try {
    await running.ended
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}
