// A video file into a larger one: decoded, enlarged and encoded at the same time, frame by frame through pipes.
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { aborted, invalidOption, wrapError } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { type SupernetModel, stateOf } from '../models/model.js'
import { checkString } from '../options.js'
import { MERGED_TILES, mapForDataset } from '../routing/class-map.js'
import { overlapOf } from '../tiling/overlap.js'
import { assemble } from './assemble.js'
import { containerOf } from './containers.js'
import { FramePipeline } from './frame-pipeline.js'
import { TILE } from './frames.js'
import { checkVideoOptions, type VideoOptions } from './options.js'
import { prepareVideo, type VideoWork } from './prepare.js'
import { VideoRun } from './run.js'
import { Segments } from './segments.js'

/** What {@link upscaleVideo} wrote. */
export interface VideoResult {
  file: string
  width: number
  height: number
  frames: number
  /** Of this process. */
  seconds: number
  /** Share of the work that did not have to be done, as nothing had changed there: 0 .. 1. */
  saved: number
  /** Frames that an earlier process had done. */
  resumed: number
  encoder: string
  pixelFormat: string
  warnings: string[]
}

/** Whether two names mean one file, also by links. */
async function sameFile(a: string, b: string): Promise<boolean> {
  if (path.resolve(a) === path.resolve(b)) return true
  const [one, other] = await Promise.all([a, b].map((file) => stat(file).catch(() => undefined)))
  return one !== undefined && other !== undefined && one.dev === other.dev && one.ino === other.ino
}

/** What segments depend on. */
async function madeOf(state: ModelState, { source, facts, settings, encoder }: VideoWork) {
  const { size, mtimeMs } = await stat(source)
  const weights = await state.engine.readWeights()
  const { signal: _signal, router: _router, ...frames } = settings.frames
  const hash = createHash('sha256')
    .update(JSON.stringify(state.network))
    .update(JSON.stringify([state.router, state.arm]))
    .update(new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength))
  // The router is a function; what counts is its map.
  const overlap = overlapOf(frames.halo, state.engine, state.source !== undefined)
  const map = mapForDataset(state, settings.frames, MERGED_TILES * TILE, overlap)
  const segmentFrames = settings.segmentFrames
  return JSON.parse(
    JSON.stringify({
      source: path.resolve(source),
      size,
      mtimeMs,
      index: facts.index,
      model: hash.digest('hex'),
      map,
      frames,
      encoder,
      segmentFrames,
    }),
  ) as unknown
}

/**
 * Enlarges a video with the user's ffmpeg, which decodes and encodes through pipes. Audio, subtitles, chapters, attachments
 * and metadata are copied, timestamps are those of the source, 10 bits stay 10 bits, colour tags are kept; rotated videos come
 * out upright. Tiles that did not change are not computed again. The result appears whole or not at all; while it is made a
 * folder beside it (its name and .wbsr) holds what is done, and a run that was stopped or killed goes on from there.
 *
 * @param output .mp4, .mov, .m4v, .mkv, .webm or .nut
 * @throws WbsrError WBSR_NOT_FOUND: no ffmpeg, no encoder, no source; WBSR_INVALID_FILE with ffmpeg's words;
 *   WBSR_INVALID_OPTION, WBSR_IO, WBSR_ABORTED, WBSR_DISPOSED
 */
export async function upscaleVideo(
  model: SupernetModel,
  input: string,
  output: string,
  options: VideoOptions = {},
): Promise<VideoResult> {
  const state = stateOf(model)
  const source = checkString(input, 'input')
  const container = containerOf(checkString(output, 'output'))
  const settings = checkVideoOptions(options, state)
  const { signal } = settings.frames
  if (await sameFile(source, output)) throw invalidOption('output', 'another file than the input', output)
  const work = await prepareVideo(source, container, settings)
  const { tools, facts, encoder } = work
  const size = { width: encoder.width, height: encoder.height }
  const segments = await Segments.open(output, await madeOf(state, work), settings.resume)
  const warnings = [...facts.warnings, ...(segments.discarded ? [segments.discarded] : [])]
  const pipeline = new FramePipeline(state, facts, settings, size)
  try {
    const run = new VideoRun(work, segments, pipeline)
    await run.all()
    warnings.push(...run.warnings)
    if (signal?.aborted) throw aborted('upscaling video', signal)
    await assemble(tools, source, output, container, facts, segments, signal)
    await segments.remove()
    return {
      file: output,
      ...size,
      frames: run.done,
      seconds: run.seconds,
      saved: run.saved,
      resumed: run.resumed,
      encoder: encoder.encoder,
      pixelFormat: encoder.pixelFormat,
      warnings,
    }
  } catch (error) {
    throw signal?.aborted ? aborted('upscaling video', signal) : wrapError(error)
  } finally {
    pipeline.release()
    await segments.release()
  }
}
