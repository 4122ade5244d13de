// Options of video: their meaning, defaults and checks.
import { invalidOption } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { checkBoolean, checkFunction, checkInteger, checkNumber, checkObject, checkString } from '../options.js'
import { checkRouting, ROUTING_KEYS, type RoutingOptions } from '../routing/options.js'
import type { FrameSettings } from './frames.js'

export interface VideoStreamOptions extends RoutingOptions {
  /** Of the frames that come, in pixels. */
  width: number
  height: number
  /** 8 (default): Uint8Array; 16: Uint16Array. */
  bits?: 8 | 16
  /**
   * Largest difference, in levels of 8 bits, of pixels that count as unchanged since a tile was computed. Default 0: exactly
   * equal, and the result is that of computing everything.
   */
  threshold?: number
}

/** How far a video is. */
export interface VideoProgress {
  /** Frames done, those of an earlier process included. */
  done: number
  /** Exact or estimated; null: unknown. */
  total: number | null
  /** Since this process began. */
  seconds: number
  /** Of this process. */
  framesPerSecond: number
  /** Seconds to go; null: unknown. */
  eta: number | null
  /** Share of the work that did not have to be done, as nothing had changed there. */
  saved: number
}

export interface VideoOptions extends RoutingOptions {
  /** Factor of both sides; default: that of the model. Sides are rounded to even numbers. */
  scale?: number
  /** Size of the result, even numbers; one of them alone keeps the shape. In place of scale. */
  width?: number
  height?: number
  /** As in VideoStreamOptions. */
  threshold?: number
  /** ffmpeg's name of a video encoder. Default: the first that ffmpeg has of libx264, h264_nvenc, libopenh264, mpeg4; for WebM libvpx-vp9. */
  encoder?: string
  /** Its options, as ffmpeg takes them: ['-crf', '20']. Default: constant quality without visible loss. */
  encoderArguments?: readonly string[]
  /** Frames of a segment, after which a run that is killed goes on. Default 96. */
  segmentFrames?: number
  /** Go on where an earlier run of the same source, model and options was stopped. Default true. */
  resume?: boolean
  /** After every frame. */
  onProgress?: (progress: VideoProgress) => unknown
}

export interface VideoSettings {
  frames: FrameSettings
  target: { scale: number } | { width?: number; height?: number }
  encoder: string | undefined
  encoderArguments: readonly string[] | undefined
  segmentFrames: number
  resume: boolean
  onProgress: ((progress: VideoProgress) => unknown) | undefined
}

const threshold = (value: unknown): number => checkNumber(value ?? 0, 'threshold', 0, 255)

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkVideoStreamOptions(value: unknown, state: ModelState) {
  const options = checkObject(value, 'video stream options', [...ROUTING_KEYS, 'width', 'height', 'bits', 'threshold'])
  const bits = options['bits'] ?? 8
  if (bits !== 8 && bits !== 16) throw invalidOption('bits', '8 or 16', bits)
  return {
    shape: {
      width: checkInteger(options['width'], 'width', 1, 1 << 16),
      height: checkInteger(options['height'], 'height', 1, 1 << 16),
      bits: bits as 8 | 16,
    },
    settings: { ...checkRouting(options, state), threshold: threshold(options['threshold']) } as FrameSettings,
  }
}

const side = (value: unknown, name: string): number | undefined => {
  if (value === undefined) return undefined
  const pixels = checkInteger(value, name, 2, 1 << 16)
  if (pixels % 2 !== 0) throw invalidOption(name, 'an even number, as video formats need it', pixels)
  return pixels
}

/** Keys of {@link VideoOptions}. */
export const VIDEO_KEYS = [
  ...ROUTING_KEYS,
  'scale',
  'width',
  'height',
  'threshold',
  'encoder',
  'encoderArguments',
  'segmentFrames',
  'resume',
  'onProgress',
]

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkVideoOptions(value: unknown, state: ModelState): VideoSettings {
  const options = checkObject(value, 'video options', VIDEO_KEYS)
  const width = side(options['width'], 'width')
  const height = side(options['height'], 'height')
  const sized = width !== undefined || height !== undefined
  if (sized && options['scale'] !== undefined)
    throw invalidOption('scale', 'no value together with width or height', options['scale'])
  const list = options['encoderArguments']
  if (list !== undefined && !(Array.isArray(list) && list.every((text) => typeof text === 'string')))
    throw invalidOption('encoderArguments', 'a list of strings', list)
  return {
    frames: { ...checkRouting(options, state), threshold: threshold(options['threshold']) },
    target: sized
      ? { ...(width !== undefined && { width }), ...(height !== undefined && { height }) }
      : { scale: checkNumber(options['scale'] ?? state.network.scale, 'scale', 1, 64) },
    encoder: options['encoder'] === undefined ? undefined : checkString(options['encoder'], 'encoder'),
    encoderArguments: list as readonly string[] | undefined,
    segmentFrames: checkInteger(options['segmentFrames'] ?? 96, 'segmentFrames', 1, 1 << 20),
    resume: checkBoolean(options['resume'] ?? true, 'resume'),
    onProgress: options['onProgress'] === undefined ? undefined : checkFunction(options['onProgress'], 'onProgress'),
  }
}
