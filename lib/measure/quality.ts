// PSNR and SSIM by the conventions of the super-resolution literature.
import { isUint8Array, isUint8ClampedArray } from 'node:util/types'
import { invalidOption, wrapError } from '../errors.js'
import { decodeImage } from '../images/images.js'
import { native } from '../native.js'
import { checkChoice, checkInteger, checkObject } from '../options.js'
import type { ImageInput, RawImage } from '../types.js'

/** Which channels and pixels {@link psnr} and {@link ssim} compare. */
export interface MeasureOptions {
  /**
   * 'y' (default): Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255, not rounded; a grey image's values are taken as Y
   * themselves, as the published Set14 figures do. 'rgb': over all channels.
   */
  channel?: 'y' | 'rgb'
  /** Pixels ignored at each side (default 0; papers use the scale, or 4 with the 32/28 protocol). */
  shave?: number
}

function bytesOf(image: RawImage, name: string): Uint8Array {
  const { data } = image
  if (image.channels === 2 || image.channels === 4)
    throw invalidOption(name, 'an image without alpha channel', `${image.channels} channels`)
  if (isUint8Array(data)) return data
  if (isUint8ClampedArray(data)) return new Uint8Array(data.buffer, data.byteOffset, data.length)
  throw invalidOption(name, '8-bit pixels', data)
}

async function measure(
  kind: 'psnr' | 'ssim',
  a: ImageInput,
  b: ImageInput,
  options: MeasureOptions,
  smallest: number,
): Promise<number> {
  checkObject(options, 'options', ['channel', 'shave'])
  const channel = options.channel === undefined ? 'y' : checkChoice(options.channel, 'channel', ['y', 'rgb'])
  const shave = options.shave === undefined ? 0 : checkInteger(options.shave, 'shave', 0)
  const [first, second] = await Promise.all([decodeImage(a, 'a'), decodeImage(b, 'b')])
  const size = ({ width, height, channels }: RawImage) => `${width} x ${height} x ${channels}`
  const bytesA = bytesOf(first, 'a')
  const bytesB = bytesOf(second, 'b')
  if (size(first) !== size(second))
    throw invalidOption('b', `${size(first)} samples (width x height x channels), as a has,`, size(second))
  const { width, height, channels } = first
  if (Math.min(width, height) - 2 * shave < smallest) {
    throw invalidOption(
      'a',
      `at least ${smallest} x ${smallest} pixels after shaving ${shave} on each side`,
      `${width} x ${height}`,
    )
  }
  try {
    const value = await native[kind](bytesA, bytesB, width, height, channels, channel === 'y', shave)
    // Rounding may take the similarity of equal images above 1.
    return kind === 'ssim' ? Math.min(1, value) : value
  } catch (error) {
    throw wrapError(error)
  }
}

/**
 * Peak signal-to-noise ratio of two 8-bit images of one size: 20 log10(255 / sqrt(MSE)) in dB, Infinity when they are equal.
 *
 * @throws {WbsrError} WBSR_INVALID_OPTION for wrong options or images that cannot be compared (sizes, channels, alpha,
 * 16-bit), WBSR_INVALID_IMAGE / WBSR_NOT_FOUND for unreadable images.
 */
export async function psnr(a: ImageInput, b: ImageInput, options: MeasureOptions = {}): Promise<number> {
  return measure('psnr', a, b, options, 1)
}

/**
 * Structural similarity of two 8-bit images of one size (Wang et al. 2004): Gaussian window 11 x 11 with sigma 1.5, valid
 * region only, C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2; mean over pixels and, with 'rgb', over channels. -1 .. 1, 1 when equal.
 *
 * @throws {WbsrError} as {@link psnr}; also for images of less than 11 x 11 pixels after shaving.
 */
export async function ssim(a: ImageInput, b: ImageInput, options: MeasureOptions = {}): Promise<number> {
  return measure('ssim', a, b, options, 11)
}
