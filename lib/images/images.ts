// Pictures in: files, encoded buffers and raw pixels become RawImage (whole) or rows (a strip at a time). Pictures out
// are in encode.ts and png.ts.
import { invalidOption, WbsrError } from '../errors.js'
import { native } from '../native.js'
import type { ImageInput, PixelArray, RawImage } from '../types.js'
import { EncodedImage, type ImageHeader } from './decoder.js'
import { bitsOf, checkRawImage } from './raw-image.js'
import type { DecodeOptions, ReadOptions } from './read-options.js'
import { isEncodedInput } from './source.js'

export type { ImageHeader } from './decoder.js'
export { type EncodeOptions, encodeImage } from './encode.js'
export { checkRawImage } from './raw-image.js'
export type { ReadOptions } from './read-options.js'

/**
 * Most decoded bytes of a RowSource (more only if the requested rows need it): enough for a whole 4K picture at 16
 * bits.
 */
const BAND_BYTES = 64 << 20

function rawHeader({ data, width, height, channels }: RawImage): ImageHeader {
  return { width, height, channels, bits: bitsOf(data), format: null, pages: 1, page: 0, warnings: [], metadata: null }
}

/** Opens any image input: encoded images get their header read, raw ones are checked. */
export async function openImage(
  input: ImageInput,
  name: string,
  options: DecodeOptions = {},
): Promise<EncodedImage | RawImage> {
  if (isEncodedInput(input)) return EncodedImage.open(input, name, options)
  if (typeof input !== 'object' || input === null || !('data' in input))
    throw invalidOption(
      name,
      'a file path, an encoded image in a Buffer or { data, width, height, channels } (or a file: URL, Blob, ArrayBuffer)',
      input,
    )
  if (options.page) throw invalidOption('page', '0 with decoded pixels', options.page)
  const image = checkRawImage(input, name)
  if (options.maxPixels !== undefined && image.width * image.height > options.maxPixels)
    throw new WbsrError(
      'WBSR_INVALID_IMAGE',
      `Cannot use ${name}: expected at most ${options.maxPixels} pixels (maxPixels) but it has ${image.width} x ${image.height}`,
    )
  return image
}

/** Pixels and header of a picture, whole. Throws as decodeImage does. */
export async function readImage(
  input: ImageInput,
  name = 'input',
  options: DecodeOptions = {},
): Promise<{ image: RawImage; header: ImageHeader }> {
  const opened = await openImage(input, name, options)
  if (!(opened instanceof EncodedImage)) return { image: opened, header: rawHeader(opened) }
  try {
    return { image: await opened.decode(), header: opened.header }
  } finally {
    await opened.close()
  }
}

/**
 * Decodes a picture. 8-bit files give a Uint8Array, 16-bit PNG, TIFF and AVIF a Uint16Array with exactly the file's
 * values; grey has 1 channel, grey + alpha 2, RGB 3, RGBA 4. Palettes and CMYK become RGB, pictures with a colour
 * profile other than sRGB are converted to sRGB, EXIF orientation is applied, of several pages the first is taken. A
 * RawImage is checked and returned as it is. See docs/pictures.md.
 *
 * @param name what the input is called in errors
 * @throws WbsrError WBSR_INVALID_IMAGE (not an image, truncated, damaged, a folder, an empty Buffer, more than four
 *   channels, samples of other than 8 or 16 bits), WBSR_NOT_FOUND, WBSR_INVALID_OPTION (raw input of wrong shape, a
 *   page that the file does not have), WBSR_IO
 */
export async function decodeImage(input: ImageInput, name = 'input', options: ReadOptions = {}): Promise<RawImage> {
  return (await readImage(input, name, options)).image
}

/** What is known of a picture without decoding it. Throws as decodeImage does, but damage may go unseen. */
export async function imageHeader(input: ImageInput, name = 'input', options: ReadOptions = {}): Promise<ImageHeader> {
  const image = await openImage(input, name, options)
  if (!(image instanceof EncodedImage)) return rawHeader(image)
  try {
    return image.header
  } finally {
    await image.close()
  }
}

/** One page or frame of a file. */
export interface PageInfo {
  /** From 0, for the option `page`. */
  page: number
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  bits: 8 | 16 | 32
}

/**
 * The pages of a TIFF or frames of a GIF or WebP, in order; one entry for everything else. Only headers are read.
 *
 * @throws WbsrError as decodeImage does
 */
export async function pagesOf(input: ImageInput, options: Omit<ReadOptions, 'page'> = {}): Promise<PageInfo[]> {
  const first = await imageHeader(input, 'input', options)
  const list: PageInfo[] = []
  for (let page = 0; page < first.pages; page++) {
    const { width, height, channels, bits } =
      page === first.page ? first : await imageHeader(input, 'input', { ...options, page })
    list.push({ page, width, height, channels, bits })
  }
  return list
}

/**
 * A picture read strip by strip, top to bottom, in memory that grows with its width only. Strips are cut from larger
 * bands, as a decoder starts from the top for each: a picture whose pixels fit into one band is decoded once.
 */
export class RowSource {
  readonly #image: EncodedImage | RawImage
  readonly #header: ImageHeader
  readonly #bandRows: number
  readonly #release: boolean
  #band: PixelArray
  #first = 0
  #rows = 0

  private constructor(image: EncodedImage | RawImage, bandBytes: number, release: boolean) {
    this.#image = image
    this.#release = release && image instanceof EncodedImage
    this.#header = image instanceof EncodedImage ? image.header : rawHeader(image)
    const { width, channels, bits } = this.#header
    this.#bandRows = Math.max(1, Math.floor(bandBytes / (width * channels * (bits / 8))))
    this.#band = new Uint8Array(0)
    if (!(image instanceof EncodedImage)) {
      this.#band = image.data
      this.#rows = image.height
    }
  }

  /**
   * Reads the header; throws as decodeImage does.
   *
   * @param release rows that read() returned are not used after the next call; their memory is freed at once then
   */
  static async open(
    input: ImageInput,
    name = 'input',
    bandBytes = BAND_BYTES,
    options: ReadOptions = {},
    release = false,
  ): Promise<RowSource> {
    return new RowSource(await openImage(input, name, options), bandBytes, release)
  }

  /** Its warnings grow as rows are read. */
  get header(): ImageHeader {
    return this.#image instanceof EncodedImage ? this.#image.header : this.#header
  }

  /** Rows that are decoded at a time. */
  get bandRows(): number {
    return Math.min(this.#bandRows, this.#header.height)
  }

  /** Rows decoded so far that are still held (for tests of what is read ahead). */
  get heldRows(): number {
    return this.#rows
  }

  /** Rows [first, first + rows), interleaved. A view that must not be changed. */
  async read(first: number, rows: number): Promise<PixelArray> {
    const { width, height, channels } = this.#header
    if (!Number.isInteger(first) || !Number.isInteger(rows) || first < 0 || rows < 1 || first + rows > height)
      throw invalidOption('rows', `rows within 0..${height}`, `${first}..${first + rows}`)
    if (first < this.#first || first + rows > this.#first + this.#rows) {
      const start = height <= this.#bandRows ? 0 : first
      const count = Math.min(height - start, Math.max(rows, this.#bandRows))
      // Let go of the old band before the new one is there.
      this.#drop()
      this.#band = (await (this.#image as EncodedImage).decode({ first: start, rows: count })).data
      this.#first = start
      this.#rows = count
    }
    const stride = width * channels
    return this.#band.subarray((first - this.#first) * stride, (first - this.#first + rows) * stride)
  }

  #drop(): void {
    this.#rows = 0
    if (this.#release) native.releasePixels(this.#band)
    this.#band = new Uint8Array(0)
  }

  /** Lets go of the pixels and of the file. */
  async close(): Promise<void> {
    this.#drop()
    if (this.#image instanceof EncodedImage) await this.#image.close()
  }
}
