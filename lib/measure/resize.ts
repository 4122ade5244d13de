// Bicubic resize by the convention of super-resolution: MATLAB's imresize with antialiasing.
import { invalidOption, wrapError } from '../errors.js'
import { type AlphaUse, hasAlpha } from '../images/alpha.js'
import { decodeImage } from '../images/images.js'
import { cutPixels } from '../images/pixels.js'
import { native } from '../native.js'
import { checkChoice, checkInteger, checkNumber, checkObject } from '../options.js'
import type { ImageInput, RawImage } from '../types.js'

/** Size and border rule of {@link resizeBicubic}. */
export interface ResizeOptions {
  /**
   * Factor of both sides. For 1/2, 1/3, 1/4 ... the image is first cropped at the top left to a multiple of 2, 3, 4 ...
   * pixels, as all published LR files are; any other size is rounded to whole pixels. Either this or width and height.
   */
  scale?: number
  /** Size of the result in pixels; the sides may have different factors. */
  width?: number
  height?: number
  /**
   * Pixels beyond the image: 'symmetric' (default; mirrored, as newer MATLAB, BasicSR and DIV2K do) or 'replicate' (older
   * MATLAB: the published LR files of B100, Set14 and Urban100).
   */
  border?: 'symmetric' | 'replicate'
  /** 'opacity' (default): colour is weighted by alpha. 'data': all channels alike. */
  alphaChannel?: AlphaUse
}

const maxSide = 1 << 24

/** The top left part of an image. */
function cropTo(image: RawImage, width: number, height: number): RawImage {
  if (width === image.width && height === image.height) return image
  const row = image.width * image.channels
  if (width === image.width) return { ...image, height, data: image.data.subarray(0, row * height) }
  return { ...image, width, height, data: cutPixels(image.data, image.width, image.channels, 0, 0, width, height) }
}

/**
 * Bicubic with antialiasing, bit-identical to MATLAB's `imresize(I, scale, 'bicubic')` on 8-bit images: cubic kernel
 * with a = -0.5, widened when shrinking, vertical pass first, both passes rounded half up to whole sample values (the
 * axis that shrinks more goes first when they differ). 16-bit images are rounded to 16 bits, float images are not rounded.
 * Where there is alpha, colour is weighted by it (see alphaChannel). Returns pixels of the type and channels of the input.
 *
 * @throws {WbsrError} WBSR_INVALID_OPTION for wrong options, WBSR_INVALID_IMAGE / WBSR_NOT_FOUND for unreadable images.
 */
export async function resizeBicubic(image: ImageInput, options: ResizeOptions): Promise<RawImage> {
  checkObject(options, 'options', ['scale', 'width', 'height', 'border', 'alphaChannel'])
  const border =
    options.border === undefined ? 'symmetric' : checkChoice(options.border, 'border', ['symmetric', 'replicate'])
  const alpha = checkChoice(options.alphaChannel ?? 'opacity', 'alphaChannel', ['opacity', 'data'] as const)
  const sized = options.width !== undefined || options.height !== undefined
  if (sized === (options.scale !== undefined))
    throw invalidOption('options', 'either scale or width and height', sized ? 'both' : 'neither')
  if (sized) {
    checkInteger(options.width, 'width', 1, maxSide)
    checkInteger(options.height, 'height', 1, maxSide)
  } else {
    checkNumber(options.scale, 'scale', 1 / maxSide, maxSide)
  }

  let source = await decodeImage(image, 'image')
  let width = options.width as number
  let height = options.height as number
  if (!sized) {
    const scale = options.scale as number
    const factor = Math.round(1 / scale)
    if (factor >= 2 && Math.abs(scale * factor - 1) < 1e-9) {
      width = Math.floor(source.width / factor)
      height = Math.floor(source.height / factor)
      if (width < 1 || height < 1) {
        throw invalidOption(
          'image',
          `at least ${factor} x ${factor} pixels (scale 1/${factor})`,
          `${source.width} x ${source.height}`,
        )
      }
      source = cropTo(source, width * factor, height * factor)
    } else {
      width = Math.max(1, Math.round(source.width * scale))
      height = Math.max(1, Math.round(source.height * scale))
      if (Math.max(width, height) > maxSide)
        throw invalidOption('scale', `a result of at most ${maxSide} pixels a side`, `${width} x ${height}`)
    }
  }
  const { channels } = source
  const edge = border === 'replicate' ? 1 : 0
  try {
    const data =
      alpha === 'data' && hasAlpha(channels)
        ? await resizePlanes(source, width, height, edge)
        : await native.resizeBicubic(source.data, source.width, source.height, channels, width, height, edge)
    return { data, width, height, channels }
  } catch (error) {
    throw wrapError(error)
  }
}

function resizePlanes(image: RawImage, width: number, height: number, border: 0 | 1) {
  const { data, width: from, height: rows, channels } = image
  return native.resizeBicubicRows(data, from, rows, channels, 0, rows, width, height, 0, height, border, false)
}
