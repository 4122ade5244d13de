// Options of fleet jobs: their meaning, defaults and checks.
import { invalidOption } from '../errors.js'
import { checkEncodeOptions, ENCODE_KEYS, type EncodeOptions, type EncodeSettings } from '../images/encode.js'
import { READ_KEYS, type ReadOptions } from '../images/read-options.js'
import { checkUpscaleOptions, type UpscaleOptions, type UpscaleSettings } from '../infer/options.js'
import type { ModelState } from '../model-state.js'
import { checkChoice, checkInteger, checkNumber, checkObject, checkSignal } from '../options.js'
import { ROUTING_KEYS } from '../routing/options.js'

/** What decides the pixels of a result: those of {@link UpscaleOptions} that a fleet has. */
export type FleetUpscaleOptions = Omit<UpscaleOptions, 'onProgress' | 'wrap' | 'protocol' | 'tile' | 'signal'> & {
  /** Edge of a tile in LR pixels, 16 .. 4096. Default 64. */
  tile?: number
}

/** How a job is cut and what its price is reckoned with. */
export interface CutOptions {
  /** Predicted seconds of a band on one worker. Default 20: bands then cost little more than the picture as a whole. */
  bandSeconds?: number
  /** Instead: how many bands, at most as many as the picture has groups of tile rows. */
  bands?: number
  /** 2 x MAC that one worker does in a second. Default: measured on this machine. */
  rate?: number
}

export interface PictureOptions extends FleetUpscaleOptions, CutOptions, EncodeOptions {
  /** Colour profile, EXIF, XMP and resolution: 'keep' (default) or 'strip'. */
  metadata?: 'keep' | 'strip'
  /** Attempts for a band that fails before the job does, 1 .. 20. Default 3. */
  attempts?: number
  signal?: AbortSignal
}

/** Checked options with defaults. */
export interface PictureSettings {
  upscale: UpscaleSettings
  read: ReadOptions
  encode: EncodeSettings
  metadata: 'keep' | 'strip'
  cut: { bandSeconds: number; bands: number | undefined; rate: number | undefined }
  attempts: number
  signal: AbortSignal | undefined
}

const UPSCALE_KEYS = [...ROUTING_KEYS, ...READ_KEYS, 'alphaChannel', 'tile', 'budgetScope']

/** What does not belong to upscale. */
export const OWN_KEYS = [...ENCODE_KEYS, 'metadata', 'bandSeconds', 'bands', 'rate', 'attempts']

const given = (options: Record<string, unknown>, keys: readonly string[]) =>
  Object.fromEntries(Object.entries(options).filter(([key, value]) => keys.includes(key) && value !== undefined))

/** 2 x MAC in a second. @throws WbsrError WBSR_INVALID_OPTION */
export function checkRate(value: unknown): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !(value > 0 && value < Infinity))
    throw invalidOption('rate', 'a number above 0', value)
  return value
}

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkPictureOptions(value: unknown, state: ModelState): PictureSettings {
  const options = checkObject(value, 'fleet options', [...UPSCALE_KEYS, ...OWN_KEYS])
  const { bandSeconds, bands, rate, metadata, attempts, signal } = options as PictureOptions
  if (options['tile'] !== undefined && typeof options['tile'] !== 'number')
    throw invalidOption('tile', 'an integer between 16 and 4096 (a fleet cuts pictures)', options['tile'])
  const upscale = checkUpscaleOptions(given(options, UPSCALE_KEYS), state)
  return {
    upscale,
    read: upscale.read,
    encode: checkEncodeOptions(given(options, ENCODE_KEYS), 'options'),
    metadata: checkChoice<'keep' | 'strip'>(metadata ?? 'keep', 'metadata', ['keep', 'strip']),
    cut: {
      bandSeconds: checkNumber(bandSeconds ?? 20, 'bandSeconds', 0.01, 86_400),
      bands: bands === undefined ? undefined : checkInteger(bands, 'bands', 1, 100_000),
      rate: checkRate(rate),
    },
    attempts: checkInteger(attempts ?? 3, 'attempts', 1, 20),
    signal: signal === undefined ? undefined : checkSignal(signal, 'signal'),
  }
}
