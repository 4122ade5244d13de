// From a video to its job: decoded once for timestamps and checksums, cut into segments that workers decode on their own.
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { WbsrError } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { checkInteger, checkObject } from '../options.js'
import { pictureFlops } from '../tiling/flops.js'
import { containerOf } from '../video/containers.js'
import { type FrameMark, listFrames } from '../video/decode.js'
import { passSizes } from '../video/frame-pipeline.js'
import { checkVideoOptions, VIDEO_KEYS, type VideoOptions, type VideoSettings } from '../video/options.js'
import { prepareVideo } from '../video/prepare.js'
import { modelKey, numericsOf, probeOf } from './identity.js'
import { identify, type VideoManifest, type VideoSegment } from './manifest.js'
import { type CutOptions, checkRate } from './options.js'
import { MOST_OVER, type Price, storeSource } from './picture-job.js'
import { measureRate } from './rate.js'
import type { Store } from './store.js'

/** Options of {@link Fleet.submitVideo}: those of upscaleVideo, of which the fleet itself has progress and resuming. */
export interface FleetVideoOptions extends Omit<VideoOptions, 'onProgress' | 'resume'>, Pick<CutOptions, 'rate'> {
  /** Attempts for a segment that fails before the job does, 1 .. 20. Default 3. */
  attempts?: number
}

/** Checked options with defaults. */
export interface FleetVideoSettings {
  video: VideoSettings
  /** Options of upscaleVideo as they were given: plain data. */
  given: Record<string, unknown>
  attempts: number
  rate: number | undefined
}

const OWN_KEYS = ['rate', 'attempts']
const OF_ONE_MACHINE = ['onProgress', 'resume']

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkFleetVideoOptions(value: unknown, state: ModelState): FleetVideoSettings {
  const keys = VIDEO_KEYS.filter((key) => !OF_ONE_MACHINE.includes(key))
  const { rate, attempts, ...options } = checkObject(value, 'fleet video options', [...keys, ...OWN_KEYS])
  const { signal: _signal, ...given } = options
  return {
    video: checkVideoOptions(options, state),
    given: JSON.parse(JSON.stringify(given)) as Record<string, unknown>,
    attempts: checkInteger(attempts ?? 3, 'attempts', 1, 20),
    rate: checkRate(rate),
  }
}

/** Of the timestamps and pixels of frames, so that a worker knows that it decoded what the submitter did. */
export class FrameDigest {
  readonly #hash = createHash('sha256')

  add({ pts, checksum }: FrameMark): void {
    this.#hash.update(`${pts} ${checksum}\n`)
  }

  get value(): string {
    return this.#hash.digest('hex')
  }
}

/** Cuts frames as upscaleVideo does. flops: 2 x MAC of a frame. */
export function cutSegments(frames: readonly FrameMark[], length: number, flops: number): VideoSegment[] {
  const segments: VideoSegment[] = []
  for (let start = 0; start < frames.length; start += length) {
    const part = frames.slice(start, start + length)
    const digest = new FrameDigest()
    for (const frame of part) digest.add(frame)
    // A frame with the pixels of the one before it costs nothing.
    const costly = part.filter(({ checksum }, i) => checksum !== part[i - 1]?.checksum).length
    const [first, last] = [part[0]!.pts, part.at(-1)!.pts]
    segments.push({ frames: part.length, first, last, digest: digest.value, flops: costly * flops })
  }
  return segments
}

/**
 * Plans the job of a video and, where there is a store, puts its file into it.
 *
 * @throws WbsrError as upscaleVideo does, and of the store
 */
export async function videoJob(
  state: ModelState,
  input: string,
  output: string,
  settings: FleetVideoSettings,
  store: Store | null,
): Promise<{ manifest: VideoManifest; price: Price }> {
  const { video, given } = settings
  const { signal } = video.frames
  const rate = settings.rate ?? (await measureRate(state))
  const { tools, facts, encoder } = await prepareVideo(input, containerOf(output), video)
  const begun = performance.now()
  const frames = await listFrames(tools, input, facts, signal)
  const splitting = (performance.now() - begun) / 1000
  if (frames.length === 0) throw new WbsrError('WBSR_INVALID_FILE', `${input} has no frame that can be decoded`)
  const largest = state.engine.subnets.at(-1)!
  const passes = passSizes(facts, encoder, state.network.scale)
  const each = passes.reduce((sum, { width, height }) => sum + pictureFlops(largest, width, height) * MOST_OVER, 0)
  const segments = cutSegments(frames, video.segmentFrames, each)
  const flops = segments.reduce((sum, segment) => sum + segment.flops, 0)
  const source = await storeSource(input, store)
  const manifest = identify<VideoManifest>({
    format: 1,
    kind: 'video',
    name: input,
    model: await modelKey(state),
    probe: await probeOf(state),
    numerics: numericsOf(state.engine),
    output,
    source,
    ffmpeg: tools.version,
    facts,
    encoder,
    options: given,
    segments,
    flops,
    rate,
  })
  const { width, height } = facts
  let first = 0
  const bands = segments.map((segment) => {
    const band = { first, end: first + segment.frames, flops: segment.flops }
    first = band.end
    return band
  })
  return {
    manifest,
    price: {
      name: input,
      kind: 'video',
      input: { width, height },
      output: { width: encoder.width, height: encoder.height },
      bands,
      flops,
      overhead: 0,
      rate,
      splitting,
      bytes: { input: (await stat(input)).size, bands: 0, result: 0 },
    },
  }
}
