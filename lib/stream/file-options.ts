// Options of upscaleFile: their meaning, defaults and checks.
import { invalidOption } from '../errors.js'
import { checkEncodeOptions, ENCODE_KEYS, type EncodeOptions } from '../images/encode.js'
import { type OutputFormat, outputFormat } from '../images/formats.js'
import { checkReadOptions, type ReadOptions } from '../images/read-options.js'
import { checkWrap, type Wrap } from '../images/wrap.js'
import { type AlphaChannel, checkAlphaChannel, type UpscaleProgress } from '../infer/options.js'
import type { ModelState } from '../model-state.js'
import { checkBoolean, checkChoice, checkFunction, checkInteger, checkNumber, checkObject } from '../options.js'
import { checkRouting, ROUTING_KEYS, type RoutingOptions } from '../routing/options.js'
import type { PictureFileOptions } from './picture-file.js'
import { MAX_FACTOR, type Target } from './target.js'

export interface UpscaleFileOptions extends RoutingOptions, Omit<ReadOptions, 'colourSpace'>, EncodeOptions {
  /** Any factor from 1 to 64. Default: the model's. */
  scale?: number
  /** Instead: the size of the result in pixels; a side that is left out follows the picture's shape. */
  width?: number
  height?: number
  /** As in UpscaleOptions. Default 'auto', for which a picture with alpha is read once before. */
  alphaChannel?: AlphaChannel
  /** The picture is a texture that repeats (see UpscaleOptions); only up to the model's scale. Default false. */
  wrap?: Wrap
  /** A PNG file that shows which subnet ran where, as allocationOverlay paints it over the network's (first) result. */
  map?: string
  /** As in StitchOptions. */
  metadata?: 'keep' | 'strip'
  colourSpace?: 'input' | 'srgb'
  checkSpace?: boolean
  /** Tiles of all runs of the network. Awaited. */
  onProgress?: (progress: UpscaleProgress) => unknown
}

/** Checked options with defaults. */
export interface FileSettings {
  target: Target
  read: ReadOptions
  routing: RoutingOptions
  alphaChannel: AlphaChannel
  wrap: { x: boolean; y: boolean }
  write: PictureFileOptions
  format: OutputFormat
  map: string | undefined
  onProgress: ((progress: UpscaleProgress) => unknown) | undefined
  signal: AbortSignal | undefined
}

const OWN = ['scale', 'width', 'height', 'alphaChannel', 'wrap', 'map', 'metadata', 'colourSpace', 'checkSpace']
const READ = ['page', 'density', 'strict', 'maxPixels']

function pick(options: object, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([key]) => keys.includes(key)))
}

function targetOf({ scale, width, height }: UpscaleFileOptions, ownScale: number): Target {
  if (width === undefined && height === undefined)
    return { scale: checkNumber(scale ?? ownScale, 'scale', 1, MAX_FACTOR) }
  if (scale !== undefined) throw invalidOption('options', 'either scale or width and height', 'both')
  const sides = { ...(width !== undefined && { width }), ...(height !== undefined && { height }) }
  for (const [name, side] of Object.entries(sides)) checkInteger(side, name, 1, 1 << 24)
  return sides
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkFileOptions(value: unknown, output: unknown, state: ModelState): FileSettings {
  const known = [...OWN, ...ROUTING_KEYS, ...READ, ...ENCODE_KEYS, 'onProgress']
  const options = checkObject(value, 'upscaleFile options', known) as UpscaleFileOptions
  const { metadata, colourSpace, checkSpace, map, onProgress } = options
  const routing = pick(options, ROUTING_KEYS)
  const { signal } = checkRouting(routing, state)
  if (map !== undefined && outputFormat(map, 'map') !== 'png')
    throw invalidOption('map', 'a file name ending in .png', map)
  return {
    target: targetOf(options, state.network.scale),
    read: checkReadOptions(pick(options, READ)),
    routing,
    alphaChannel: checkAlphaChannel(options.alphaChannel, 'alphaChannel'),
    wrap: checkWrap(options.wrap, 'wrap'),
    write: {
      ...checkEncodeOptions(pick(options, ENCODE_KEYS), 'options'),
      metadata: checkChoice<'keep' | 'strip'>(metadata ?? 'keep', 'metadata', ['keep', 'strip']),
      colourSpace: checkChoice<'input' | 'srgb'>(colourSpace ?? 'input', 'colourSpace', ['input', 'srgb']),
      checkSpace: checkBoolean(checkSpace ?? true, 'checkSpace'),
    },
    format: outputFormat(output, 'file'),
    map,
    onProgress: onProgress === undefined ? undefined : checkFunction(onProgress, 'onProgress'),
    signal,
  }
}
