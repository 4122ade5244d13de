// Videos: a segment is decoded, enlarged and encoded by one worker; another one puts the segments into a file.
import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { WbsrError } from '../errors.js'
import { AtomicFile, writeFileAtomic } from '../files/atomic.js'
import type { ModelState } from '../model-state.js'
import { assemble } from '../video/assemble.js'
import { containerOf } from '../video/containers.js'
import type { Frame } from '../video/decode.js'
import { type Ffmpeg, findFfmpeg } from '../video/ffmpeg.js'
import { FramePipeline } from '../video/frame-pipeline.js'
import { FramesAhead, framesAfter } from '../video/frames-after.js'
import { checkVideoOptions } from '../video/options.js'
import type { VideoWork } from '../video/prepare.js'
import { type SegmentFacts, writeSegment } from '../video/write-segment.js'
import type { LocalFiles } from './local-files.js'
import { segmentKey, type VideoManifest } from './manifest.js'
import { Refusal } from './model-cache.js'
import type { BandReport } from './run-band.js'
import type { Store } from './store.js'
import { FrameDigest } from './video-job.js'

/** What was done of a video. */
export interface SegmentReport extends BandReport {
  /** 2 x MAC that did not have to run, as nothing had changed. */
  saved: number
  warnings: string[]
}

/** The ffmpeg that the job was made with: others may decode and encode in another way. @throws Refusal */
async function toolsOf({ ffmpeg: wanted }: VideoManifest): Promise<Ffmpeg> {
  const tools = await findFfmpeg().catch(({ message }: Error) => {
    throw new Refusal(message)
  })
  if (tools.version !== wanted) throw new Refusal(`it was made with ffmpeg ${wanted}, this worker has ${tools.version}`)
  return tools
}

/** A file beside the place of an object, which is renamed at the end; where the store is no folder it is copied there. */
async function placed<T>(store: Store, key: string, write: (file: string) => Promise<T>): Promise<T> {
  const local = store.file?.(key)
  if (local === undefined) return copied(store, key, write)
  const file = await AtomicFile.open(local)
  try {
    const result = await write(file.temporary)
    await file.commit()
    return result
  } catch (error) {
    await file.discard()
    throw error
  }
}

/** A temporary file that is copied into the store at the end. */
async function copied<T>(store: Store, key: string, write: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), 'wbsr-fleet-'))
  try {
    const file = path.join(folder, path.basename(key))
    const result = await write(file)
    await store.write(key, createReadStream(file, { highWaterMark: 1 << 20 }))
    return result
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Runs a segment and writes it, unless it is there. @throws Refusal; WbsrError as upscaleVideo does */
export async function runSegment(
  state: ModelState,
  store: Store,
  files: LocalFiles,
  manifest: VideoManifest,
  index: number,
  signal: AbortSignal,
  onShare: (share: number) => void = () => {},
): Promise<SegmentReport> {
  const wanted = manifest.segments[index]
  if (!wanted) throw new WbsrError('WBSR_INVALID_FILE', `Job ${manifest.id} has no segment ${index}`)
  const start = performance.now()
  const report = { flops: 0, saved: 0, found: false, warnings: [] as string[] }
  const seconds = () => (performance.now() - start) / 1000
  const key = segmentKey(manifest.id, index)
  if ((await store.size(key)) !== null) return { ...report, seconds: seconds(), found: true }
  const { facts, encoder, options } = manifest
  const settings = checkVideoOptions({ ...options, signal }, state)
  const tools = await toolsOf(manifest)
  return files.with(manifest.source, async (source) => {
    const work: VideoWork = { tools, source, facts, settings, encoder }
    const run = new SegmentRun(state, work, manifest, index, onShare)
    await placed(store, key, async (file) => {
      for (const seek of [true, false]) {
        const { segment, same } = await run.into(file, seek)
        report.flops += segment?.flops ?? 0
        report.saved += segment?.saved ?? 0
        if (same) return
        const complete =
          segment?.frames === wanted.frames && segment.first === wanted.first && segment.last === wanted.last
        if (seek) continue
        if (!complete)
          throw new WbsrError(
            'WBSR_INVALID_FILE',
            `Decoding ${manifest.name} gives other frames than it did when the job was made: ${segment?.frames ?? 0} of the ${wanted.frames} of segment ${index}`,
          )
        // Damaged frames are filled in by chance.
        report.warnings.push(`segment ${index}: some frames are damaged, and are not decoded alike each time`)
      }
    })
    return { ...report, seconds: seconds() }
  })
}

/** One worker's go at a segment. */
class SegmentRun {
  readonly #state: ModelState
  readonly #work: VideoWork
  readonly #manifest: VideoManifest
  readonly #index: number
  readonly #onShare: (share: number) => void

  constructor(
    state: ModelState,
    work: VideoWork,
    manifest: VideoManifest,
    index: number,
    onShare: (share: number) => void,
  ) {
    this.#state = state
    this.#work = work
    this.#manifest = manifest
    this.#index = index
    this.#onShare = onShare
  }

  /**
   * @param seek decode from a place shortly before it; false: from the beginning of the video
   * @returns whether the frames are those that the submitter saw; a segment of null: there were none
   */
  async into(file: string, seek: boolean): Promise<{ segment: SegmentFacts | null; same: boolean }> {
    const { tools, source, facts, settings, encoder } = this.#work
    const { segments } = this.#manifest
    const wanted = segments[this.#index]!
    const digest = new FrameDigest()
    const after = segments[this.#index - 1]?.last ?? null
    const frames = new FramesAhead(some(framesAfter(tools, source, facts, after, seek), wanted.frames, digest))
    const pipeline = new FramePipeline(this.#state, facts, settings, encoder)
    let done = 0
    try {
      const first = await frames.take()
      if (!first) return { segment: null, same: false }
      const origin = segments[0]!.first
      const { segment } = await writeSegment(this.#work, file, origin, first, frames, pipeline, () =>
        this.#onShare(++done / wanted.frames),
      )
      return { segment, same: digest.value === wanted.digest }
    } finally {
      pipeline.release()
      await frames.close()
    }
  }
}

/** At most `count` frames; what they are goes into the digest. */
async function* some(frames: AsyncGenerator<Frame>, count: number, digest: FrameDigest): AsyncGenerator<Frame> {
  let left = count
  for await (const frame of frames) {
    digest.add(frame)
    yield frame
    if (--left === 0) return
  }
}

/** What is in the file of a video. */
export interface AssembledVideo {
  width: number
  height: number
  frames: number
  bytes: number
  /** Also of what was not carried over. */
  warnings: string[]
}

/**
 * Puts the segments of a video, which are all in the store, and the other streams of the source into one file.
 *
 * @throws Refusal; WbsrError WBSR_NOT_FOUND: a segment is missing; as upscaleVideo does
 */
export async function assembleVideo(
  store: Store,
  files: LocalFiles,
  manifest: VideoManifest,
  signal: AbortSignal,
): Promise<AssembledVideo> {
  const { id, facts, encoder, output, segments } = manifest
  const tools = await toolsOf(manifest)
  const container = containerOf(output)
  const folder = await mkdtemp(path.join(tmpdir(), 'wbsr-fleet-'))
  try {
    const list: { file: string; first: number }[] = []
    for (const [index, { first }] of segments.entries()) {
      const key = segmentKey(id, index)
      if ((await store.size(key)) === null)
        throw new WbsrError('WBSR_NOT_FOUND', `Segment ${index} of job ${id} is not in ${store.label}`)
      signal.throwIfAborted()
      list.push({ file: store.file?.(key) ?? (await copyTo(folder, store, key)), first })
    }
    await files.with(manifest.source, (source) => {
      const write = (file: string) => assemble(tools, source, file, container, facts, { folder, list }, signal)
      const local = store.file?.(output)
      return local === undefined ? copied(store, output, write) : write(local)
    })
    return {
      width: encoder.width,
      height: encoder.height,
      frames: segments.reduce((sum, { frames }) => sum + frames, 0),
      bytes: (await store.size(output)) ?? 0,
      warnings: facts.warnings,
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function copyTo(folder: string, store: Store, key: string): Promise<string> {
  const file = path.join(folder, path.basename(key))
  await writeFileAtomic(file, store.stream(key))
  return file
}
