// The one place where encoded images become pixels, for everything that reads one: enlarging, tiles, measures, training
// and validation. docs/pictures.md tells what is read and how it is judged.
import type { Metadata, Region, Sharp } from 'sharp'
import { invalidOption, WbsrError } from '../errors.js'
import type { EncodedInput, PictureMetadata, RawImage } from '../types.js'
import { type Conversion, planColours } from './colour-plan.js'
import { changeExif, exifBody } from './exif.js'
import { changeXmp } from './metadata.js'
import { asPixels } from './pixels.js'
import { pngFrames } from './png-frames.js'
import { applyCurve } from './profile.js'
import type { DecodeOptions } from './read-options.js'
import { TolerantReader } from './reading.js'
import { dropSharpCache } from './sharp.js'
import { ImageSource } from './source.js'

/** What is known of a picture without decoding it; width and height are those after EXIF orientation. */
export interface ImageHeader {
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  /** Per channel: 8 (Uint8Array), 16 (Uint16Array) or 32 (Float32Array; raw input only). */
  bits: 8 | 16 | 32
  /** 'png', 'jpeg', 'webp', 'tiff', 'heif', 'gif', 'svg'; null: decoded pixels. */
  format: string | null
  /** Pages or frames of the file, and which of them this is (from 0). */
  pages: number
  page: number
  /** What is odd about the file and did no harm, and what of it is not read. */
  warnings: readonly string[]
  /** What came with the pixels; null: nothing, as with decoded pixels. */
  metadata: PictureMetadata | null
}

/** A rectangle of whole rows in the upright picture. */
export interface RowRange {
  first: number
  rows: number
}

type Layout = Pick<ImageHeader, 'width' | 'height' | 'channels'> & { bits: 8 | 16 }

/** An encoded image, its header read. Close it after use. */
export class EncodedImage {
  readonly #source: ImageSource
  readonly #reader: TolerantReader
  readonly #metadata: Metadata
  readonly #layout: Layout
  readonly #conversion: Conversion
  readonly #options: DecodeOptions
  readonly #kept: PictureMetadata
  #checkedDepth = false

  private constructor(
    source: ImageSource,
    reader: TolerantReader,
    metadata: Metadata,
    layout: Layout,
    conversion: Conversion,
    kept: PictureMetadata,
    options: DecodeOptions,
  ) {
    this.#source = source
    this.#reader = reader
    this.#metadata = metadata
    this.#layout = layout
    this.#conversion = conversion
    this.#kept = kept
    this.#options = options
  }

  /**
   * Reads the header.
   *
   * @param name what the input is called in errors, where it has no file name
   * @throws WbsrError WBSR_INVALID_IMAGE, WBSR_NOT_FOUND, WBSR_IO, WBSR_INVALID_OPTION, naming the file
   */
  static async open(
    input: EncodedInput,
    name: string,
    options: DecodeOptions = {},
    inMemory?: number,
  ): Promise<EncodedImage> {
    const source = await ImageSource.open(input, name, inMemory)
    try {
      const reader = new TolerantReader(source, options.strict ?? false, options.quiet !== true)
      const { density } = options
      const first = await reader.read((open) => open({ density }).metadata())
      const page = options.page ?? first.pagePrimary ?? 0
      const pages = first.pages ?? 1
      if (page >= pages)
        throw invalidOption(
          'page',
          pages === 1 ? `0 (${source.label} has one page)` : `a page of ${source.label}, 0..${pages - 1}`,
          page,
        )
      // Of another page everything may differ.
      const metadata =
        page === (first.pagePrimary ?? 0) ? first : await reader.read((open) => open({ density, page }).metadata())
      const layout = layoutOf(metadata, source.label)
      const { maxPixels } = options
      if (maxPixels !== undefined && layout.width * layout.height > maxPixels)
        throw new WbsrError(
          'WBSR_INVALID_IMAGE',
          `Cannot use ${source.label}: expected at most ${maxPixels} pixels (maxPixels) but it has ${layout.width} x ${layout.height}`,
        )
      const { conversion, icc } = await planColours(metadata, layout, options.colourSpace ?? 'srgb', reader)
      const kept = keepMetadata(metadata, layout, icc, options.colourSpace ?? 'srgb', reader)
      await warnOfPages(source, reader, first, page, options.page !== undefined)
      return new EncodedImage(source, reader, { ...metadata, pages }, layout, conversion, kept, { ...options, page })
    } catch (error) {
      await source.close()
      throw error
    }
  }

  /** Its `warnings` grow as pixels are decoded. */
  get header(): ImageHeader & { bits: 8 | 16 } {
    return {
      ...this.#layout,
      format: this.#metadata.format,
      pages: this.#metadata.pages!,
      page: this.#options.page!,
      warnings: this.#reader.warnings,
      metadata: this.#kept,
    }
  }

  /**
   * Decodes the whole picture, or only some of its rows. What is not asked for is skipped by the decoder where the
   * format allows it and is never held as pixels (progressive JPEG, interlaced PNG and WebP keep the whole picture).
   */
  async decode(range?: RowRange): Promise<RawImage> {
    const { width, height, channels, bits } = this.#layout
    const { orientation, format } = this.#metadata
    const { label } = this.#source
    const { page, density } = this.#options
    const conversion = this.#conversion
    const grey = channels < 3
    // sharp drops the alpha channel of 8-bit grey; at 16 bits it keeps it, each value v as 257 v.
    const asDeep = bits === 16 || channels === 2
    await this.#source.checkUnchanged()
    const { data, info } = await this.#reader.read((open) => {
      // page only where it is not the first: other formats than those with pages do not take it.
      const paged = page! > 0 || format === 'heif' ? { page } : {}
      let pipeline: Sharp = open({ ...paged, density, ignoreIcc: conversion.kind !== 'other' })
      if (range) pipeline = pipeline.extract(storedRectangle(range, width, height, orientation ?? 1))
      pipeline = pipeline.autoOrient().toColourspace(asDeep ? (grey ? 'grey16' : 'rgb16') : grey ? 'b-w' : 'srgb')
      // Without ignoreIcc sharp would convert 16-bit pictures to Display P3; so the picture's own profile is taken here.
      if (conversion.kind === 'profile') pipeline = pipeline.withIccProfile('srgb')
      return pipeline.raw({ depth: asDeep ? 'ushort' : 'uchar' }).toBuffer({ resolveWithObject: true })
    })
    if (range && this.#source.isFile) dropSharpCache()
    await this.#source.checkUnchanged()
    const rows = range ? range.rows : height
    if (info.width !== width || info.height !== rows || info.channels !== channels) {
      throw new WbsrError(
        'WBSR_INVALID_IMAGE',
        `Cannot use ${label}: expected ${width} x ${rows} pixels of ${channels} channels but found ${info.width} x ${info.height} of ${info.channels}`,
      )
    }
    let pixels = asPixels(data, asDeep ? 16 : 8)
    // Narrowing a typed array takes the low byte, which is v again.
    if (asDeep && bits === 8) pixels = new Uint8Array(pixels)
    if (conversion.kind === 'curve') applyCurve(pixels, channels, conversion.curve)
    if (bits === 16) this.#checkDepth(pixels as Uint16Array, range)
    return { data: pixels, width, height: rows, channels }
  }

  /** 12 bits in samples of 16 look black if the file does not declare them; only a whole picture shows it. */
  #checkDepth(pixels: Uint16Array, range: RowRange | undefined): void {
    if (this.#checkedDepth || (range && range.rows < this.#layout.height)) return
    this.#checkedDepth = true
    const most = largestColour(pixels, this.#layout.channels)
    if (most > 0 && most <= DARK_DEPTH) this.#reader.warn(darkWarning(most))
  }

  async close(): Promise<void> {
    await this.#source.close()
  }
}

/** The largest sample of a camera or microscope of 12 bits. */
export const DARK_DEPTH = 4095

/** The warning about 16-bit samples that use 12 bits or less. */
export function darkWarning(most: number): string {
  return `its 16-bit samples reach ${most} of 65535 only: samples of 12 bits or less are to be scaled before`
}

/** The largest sample that is not alpha. */
export function largestColour(pixels: Uint16Array, channels: number): number {
  const colours = channels < 3 ? 1 : 3
  let largest = 0
  for (let i = 0; i < pixels.length && largest <= DARK_DEPTH; i += channels)
    for (let c = 0; c < colours; c++) if (pixels[i + c]! > largest) largest = pixels[i + c]!
  return largest
}

/** Where rows of the upright picture lie in the stored one, by EXIF orientation 1..8. */
function storedRectangle({ first, rows }: RowRange, width: number, height: number, orientation: number): Region {
  const fromEnd = height - first - rows
  if (orientation >= 7) return { left: fromEnd, top: 0, width: rows, height: width }
  if (orientation >= 5) return { left: first, top: 0, width: rows, height: width }
  return { left: 0, top: orientation >= 3 ? fromEnd : first, width, height: rows }
}

/** @throws WbsrError WBSR_INVALID_IMAGE: samples that cannot be turned into colours without guessing */
function layoutOf(metadata: Metadata, label: string): Layout {
  const { depth, hasAlpha, channels } = metadata
  const space = String(metadata.space)
  const refuse = (expected: string, found: string) =>
    new WbsrError('WBSR_INVALID_IMAGE', `Cannot use ${label}: expected ${expected} but it has ${found}`)
  const lab = space === 'labs' && depth === 'short'
  if (depth !== 'uchar' && depth !== 'ushort' && !lab)
    throw refuse('8 or 16 bits per channel', `${depth === 'short' ? 'signed 16-bit' : depth} samples`)
  const colours = { 'b-w': 1, grey16: 1, srgb: 3, rgb16: 3, rgb: 3, cmyk: 4, labs: 3 }[space]
  if (colours === undefined || channels !== colours + (hasAlpha ? 1 : 0))
    throw refuse('1 to 4 channels of grey or colour', `${channels} of ${space}`)
  return {
    ...metadata.autoOrient,
    channels: ((colours === 1 ? 1 : 3) + (hasAlpha ? 1 : 0)) as ImageHeader['channels'],
    bits: space === 'rgb16' || space === 'grey16' || lab ? 16 : 8,
  }
}

function keepMetadata(
  { exif, xmp, density }: Metadata,
  { width, height }: Layout,
  icc: Buffer | undefined,
  colourSpace: 'srgb' | 'input',
  reader: TolerantReader,
): PictureMetadata {
  const same = { width, height, scale: 1 }
  // Pixels are handed out upright.
  const upright = exif && changeExif(exifBody(exif), same)
  if (exif && !upright) reader.warn('its EXIF block is damaged and not kept')
  return {
    ...(icc && { icc }),
    ...(upright && { exif: upright }),
    ...(xmp && { xmp: changeXmp(xmp, same) }),
    ...(density && { density }),
    colourSpace,
  }
}

/** Nothing of a file is left out in silence. */
async function warnOfPages(
  source: ImageSource,
  reader: TolerantReader,
  first: Metadata,
  page: number,
  chosen: boolean,
): Promise<void> {
  const { pages = 1, format, width } = first
  if (format === 'png') {
    const frames = pngFrames(await source.start(1 << 16))
    if (frames > 1) reader.warn(`it is an animated PNG of ${frames} frames, of which only the first can be read`)
  }
  if (first.gainMap) reader.warn('its HDR gain map is not read')
  if (chosen || pages < 2) return
  if (format === 'tiff') {
    // Reduced copies of the first page, as pyramids have them, are nothing that gets lost.
    const second = await reader.read((open) => open({ page: 1 }).metadata())
    const same = first.width * second.height === first.height * second.width
    const near =
      Math.abs(first.width * second.height - first.height * second.width) <= 2 * Math.max(first.width, first.height)
    if (second.width < width && (same || near)) return
  }
  reader.warn(`it has ${pages} pages or frames, of which page ${page} is read (see the option page)`)
}
