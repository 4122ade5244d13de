// What a container takes is found out with one black frame before hours are spent on the others.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { aborted, WbsrError } from '../errors.js'
import { mux } from './assemble.js'
import { type Container, waysInto } from './containers.js'
import { type EncoderSettings, SegmentEncoder } from './encode.js'
import type { Ffmpeg } from './ffmpeg.js'
import type { FramePixels } from './frames.js'
import type { OtherStream, VideoFacts } from './probe.js'

/** So much of the source is read: enough for the heads of all streams. */
const LIMITS = ['-t', '0.1']

async function blackSegment(tools: Ffmpeg, file: string, facts: VideoFacts, encoder: EncoderSettings): Promise<void> {
  const segment = new SegmentEncoder(tools, file, facts, encoder, 0)
  const samples = encoder.width * encoder.height * 3
  const black: FramePixels = facts.bits === 16 ? new Uint16Array(samples) : new Uint8Array(samples)
  try {
    await segment.frame(black, 0)
    await segment.end()
  } catch (error) {
    await segment.destroy()
    throw error
  }
}

/**
 * How each of the other streams of a source goes into the file.
 *
 * @throws WbsrError WBSR_INVALID_FILE: the encoder or the container does not take the video, with ffmpeg's words; WBSR_IO,
 *   WBSR_ABORTED
 */
export async function chooseWays(
  tools: Ffmpeg,
  source: string,
  container: Container,
  facts: VideoFacts,
  encoder: EncoderSettings,
  signal: AbortSignal | undefined,
): Promise<OtherStream[]> {
  const folder = await mkdtemp(path.join(tmpdir(), 'wbsr-video-'))
  try {
    const segments = { folder, list: [{ file: 'black.nut', first: 0 }] }
    await blackSegment(tools, path.join(folder, 'black.nut'), facts, encoder)
    const file = path.join(folder, 'rehearsal')
    const attempt = (others: readonly OtherStream[]) =>
      mux(tools, source, file, container, { ...facts, others }, segments, LIMITS, signal)
    const taken = (others: readonly OtherStream[]) =>
      attempt(others).then(
        () => true,
        () => {
          if (signal?.aborted) throw aborted('upscaling video', signal)
          return false
        },
      )
    const ways = facts.others.map((other) => ({ other, ways: waysInto(other, container) }))
    const best = ways.map(({ other, ways: [into = null] }) => ({ ...other, into }))
    if (await taken(best)) return best
    await attempt([])
    const chosen: OtherStream[] = []
    for (const { other, ways: list } of ways) {
      let into: string | null = null
      for (const way of list) {
        if (!(await taken([{ ...other, into: way }]))) continue
        into = way
        break
      }
      chosen.push({ ...other, into })
    }
    return chosen
  } catch (error) {
    if (error instanceof WbsrError) throw error
    throw new WbsrError('WBSR_IO', `Cannot write into ${tmpdir()}: ${(error as Error).message}`, { cause: error })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
