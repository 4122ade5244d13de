// A video and what is to become of it, before a frame is decoded.
import { stat } from 'node:fs/promises'
import { WbsrError } from '../errors.js'
import { type Container, carriedWarnings, chooseEncoder, choosePixelFormat } from './containers.js'
import type { EncoderSettings } from './encode.js'
import { type Ffmpeg, findFfmpeg } from './ffmpeg.js'
import type { FrameSize } from './frame-pipeline.js'
import type { VideoSettings } from './options.js'
import { probe, type VideoFacts } from './probe.js'
import { chooseWays } from './rehearse.js'

/** What decoding, enlarging and encoding need to know. */
export interface VideoWork {
  tools: Ffmpeg
  source: string
  facts: VideoFacts
  settings: VideoSettings
  encoder: EncoderSettings
}

const even = (value: number) => Math.max(2, 2 * Math.round(value / 2))

function sizeOf(target: VideoSettings['target'], { width, height }: VideoFacts): FrameSize {
  if ('scale' in target) return { width: even(width * target.scale), height: even(height * target.scale) }
  return {
    width: target.width ?? even((width * target.height!) / height),
    height: target.height ?? even((height * target.width!) / width),
  }
}

/** @throws WbsrError WBSR_NOT_FOUND: no ffmpeg, no encoder, no source; WBSR_INVALID_FILE; WBSR_INVALID_OPTION */
export async function prepareVideo(source: string, container: Container, settings: VideoSettings): Promise<VideoWork> {
  if (!(await stat(source).catch(() => null))) throw new WbsrError('WBSR_NOT_FOUND', `Video ${source} does not exist`)
  const tools = await findFfmpeg()
  const probed = await probe(tools, source)
  const { pixelFormats, ...chosen } = await chooseEncoder(tools, container, settings.encoder)
  const encoder: EncoderSettings = {
    encoder: chosen.encoder,
    arguments: settings.encoderArguments ?? chosen.arguments,
    pixelFormat: choosePixelFormat(probed, pixelFormats),
    ...sizeOf(settings.target, probed),
  }
  const others = await chooseWays(tools, source, container, probed, encoder, settings.frames.signal)
  const facts = { ...probed, others, warnings: [...probed.warnings, ...carriedWarnings(others, container)] }
  return { tools, source, facts, settings, encoder }
}
