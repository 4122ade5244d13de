// Options of everything that reads a picture.
import { checkBoolean, checkChoice, checkInteger, checkNumber } from '../options.js'

/** How an encoded image is read. */
export interface ReadOptions {
  /** Which page of a TIFF, or frame of a GIF or WebP, from 0. Default 0; of a HEIF file its primary picture. */
  page?: number
  /** Pixels per inch that an SVG is drawn with, 1..100000. Default 72. */
  density?: number
  /**
   * What the pixels are handed out as. 'srgb' (default): converted to sRGB where an embedded colour profile says that
   * they are something else. 'input': the file's own numbers, with the profile in the metadata; CMYK becomes sRGB.
   */
  colourSpace?: 'srgb' | 'input'
  /** True: whatever a decoder warns of is an error. Default false: only a picture that is cut off or damaged is one. */
  strict?: boolean
  /** Largest width x height that is decoded. Default: no limit. */
  maxPixels?: number
}

/** ReadOptions, and options for internal use. */
export interface DecodeOptions extends ReadOptions {
  /** Nobody will look at the warnings. */
  quiet?: boolean
}

export const READ_KEYS = ['page', 'density', 'colourSpace', 'strict', 'maxPixels'] as const

/** The options of a reader out of those of a call. @throws WbsrError WBSR_INVALID_OPTION */
export function checkReadOptions(options: ReadOptions, prefix = ''): ReadOptions {
  const { page, density, colourSpace, strict, maxPixels } = options
  return {
    page: page === undefined ? undefined : checkInteger(page, `${prefix}page`, 0),
    density: density === undefined ? undefined : checkNumber(density, `${prefix}density`, 1, 100_000),
    colourSpace: checkChoice<'srgb' | 'input'>(colourSpace ?? 'srgb', `${prefix}colourSpace`, ['srgb', 'input']),
    strict: strict === undefined ? false : checkBoolean(strict, `${prefix}strict`),
    maxPixels:
      maxPixels === undefined || maxPixels === Infinity ? undefined : checkInteger(maxPixels, `${prefix}maxPixels`, 1),
  }
}
