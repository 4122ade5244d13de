// Pictures in: files, encoded buffers and raw pixels become RawImage (whole) or rows (a strip at a time). Pictures out
// are in encode.ts and png.ts.
import { invalidOption } from '../errors.js'
import type { ImageInput, PixelArray, RawImage } from '../types.js'
import { bitsOf, EncodedImage, type ImageHeader, openImage } from './image-input.js'

export { type EncodeOptions, encodeImage } from './encode.js'
export { checkRawImage, type ImageHeader } from './image-input.js'

/** Decoded bytes that a RowSource holds at most (more only if the rows asked for need it): enough for a whole 4K picture at 16 bits. */
const BAND_BYTES = 64 << 20

/**
 * Decodes a picture. 8-bit files give a Uint8Array, 16-bit PNG and TIFF a Uint16Array with exactly the file's values;
 * grey has 1 channel, grey + alpha 2, RGB 3, RGBA 4. Palettes and CMYK become RGB, pictures with a colour profile
 * other than sRGB are converted to sRGB, EXIF orientation is applied, of an animation the first frame is taken.
 * A RawImage is checked and returned as it is.
 *
 * @param name what the input is called in errors
 * @throws WbsrError WBSR_INVALID_IMAGE (not an image, truncated, damaged, a folder, an empty Buffer, more than four
 *   channels, floating point samples), WBSR_NOT_FOUND, WBSR_INVALID_OPTION (raw input of wrong shape), WBSR_IO
 */
export async function decodeImage(input: ImageInput, name = 'input'): Promise<RawImage> {
  const image = await openImage(input, name)
  return image instanceof EncodedImage ? image.decode() : image
}

/** Size, channels and bits of a picture, without decoding it. Throws as decodeImage does, but damage may go unseen. */
export async function imageHeader(input: ImageInput, name = 'input'): Promise<ImageHeader> {
  const image = await openImage(input, name)
  if (image instanceof EncodedImage) return image.header
  return { width: image.width, height: image.height, channels: image.channels, bits: bitsOf(image.data) }
}

/**
 * A picture read strip by strip, top to bottom, in memory that grows with its width only. Strips are cut from larger
 * bands, as a decoder starts from the top for each: a picture whose pixels fit into one band is decoded once.
 */
export class RowSource {
  readonly header: ImageHeader
  readonly #image: EncodedImage | RawImage
  readonly #bandRows: number
  #band: PixelArray
  #first = 0
  #rows = 0

  private constructor(image: EncodedImage | RawImage, header: ImageHeader, bandBytes: number) {
    this.#image = image
    this.header = header
    this.#bandRows = Math.max(1, Math.floor(bandBytes / (header.width * header.channels * (header.bits / 8))))
    this.#band = new Uint8Array(0)
    if (!(image instanceof EncodedImage)) {
      this.#band = image.data
      this.#rows = image.height
    }
  }

  /** Reads the header; throws as decodeImage does. */
  static async open(input: ImageInput, name = 'input', bandBytes = BAND_BYTES): Promise<RowSource> {
    const image = await openImage(input, name)
    const header =
      image instanceof EncodedImage
        ? image.header
        : { width: image.width, height: image.height, channels: image.channels, bits: bitsOf(image.data) }
    return new RowSource(image, header, bandBytes)
  }

  /** Rows decoded so far that are still held (for tests of what is read ahead). */
  get heldRows(): number {
    return this.#rows
  }

  /** Rows [first, first + rows), interleaved. A view that must not be changed. */
  async read(first: number, rows: number): Promise<PixelArray> {
    const { width, height, channels } = this.header
    if (!Number.isInteger(first) || !Number.isInteger(rows) || first < 0 || rows < 1 || first + rows > height)
      throw invalidOption('rows', `rows within 0..${height}`, `${first}..${first + rows}`)
    if (first < this.#first || first + rows > this.#first + this.#rows) {
      const start = height <= this.#bandRows ? 0 : first
      const count = Math.min(height - start, Math.max(rows, this.#bandRows))
      // Let go of the old band before the new one is there.
      this.#rows = 0
      this.#band = new Uint8Array(0)
      this.#band = (await (this.#image as EncodedImage).decode({ first: start, rows: count })).data
      this.#first = start
      this.#rows = count
    }
    const stride = width * channels
    return this.#band.subarray((first - this.#first) * stride, (first - this.#first + rows) * stride)
  }

  /** Lets go of the pixels. */
  close(): void {
    this.#rows = 0
    this.#band = new Uint8Array(0)
  }
}

/** One strip of a picture, decoded without the rest of it: rows [firstRow, firstRow + rows). Throws as decodeImage does. */
export async function decodeRows(input: ImageInput, firstRow: number, rows: number, name = 'input'): Promise<RawImage> {
  const source = await RowSource.open(input, name, 0)
  const { width, channels } = source.header
  return { data: await source.read(firstRow, rows), width, height: rows, channels }
}
