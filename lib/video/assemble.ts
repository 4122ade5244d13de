// Segments and the other streams of the source become one file.
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { AtomicFile } from '../files/atomic.js'
import { type Container, carriedStreams } from './containers.js'
import { type Ffmpeg, fileArgument, Running, stop } from './ffmpeg.js'
import type { VideoFacts } from './probe.js'
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
 * @returns what was left out
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
): Promise<string[]> {
  const { timeBase, index } = facts
  const list = path.join(segments.folder, 'segments.txt')
  await writeFile(list, concatList(segments, facts))
  const offset = (segments.list[0]!.first * timeBase[0]) / timeBase[1]
  const { args: carried, left } = carriedStreams(facts.others, container)
  const file = await AtomicFile.open(result)
  const args = [
    ...['-hide_banner', '-v', 'error', '-nostdin', '-y', '-copyts'],
    ...['-itsoffset', offset.toFixed(9), '-f', 'concat', '-safe', '0', '-i', list, '-i', fileArgument(source)],
    ...['-map', '0:v:0', '-map_metadata:s:0', `1:s:${index}`, '-c', 'copy', ...carried],
    ...['-map_chapters', '1', '-map_metadata', '1'],
    // Frames are upright.
    ...['-metadata:s:0', 'rotate='],
    ...(container.timescale ? ['-video_track_timescale', String(timeBase[1]), '-movflags', '+faststart'] : []),
    ...['-f', container.format, file.temporary],
  ]
  const running = new Running(tools.ffmpeg, args, `Writing ${result}`, ['ignore', 'ignore', 'pipe'])
  const abort = () => stop(running.child)
  signal?.addEventListener('abort', abort)
  try {
    await running.ended
  } catch (error) {
    await file.discard()
    throw error
  } finally {
    signal?.removeEventListener('abort', abort)
  }
  await file.commit()
  return left
}
