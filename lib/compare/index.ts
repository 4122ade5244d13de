// comparePictures: pictures in, one page out. What it needs is loaded when it is called.
import type { ImageInput } from '../types.js'
import { type ComparedPicture, type CompareOptions, type Comparison, checkCompare } from './options.js'

/**
 * Writes a page that compares pictures: a slider, zoom, difference, which subnet ran where, and PSNR and SSIM. The page is one
 * HTML file that works from the disk and loads nothing.
 *
 * @param pictures 2 to 12, or 1 and a model. Smaller ones of the same shape are enlarged to the largest by antialiased bicubic
 *   interpolation.
 * @throws WbsrError WBSR_INVALID_OPTION (also for pictures of another shape than the largest), WBSR_INVALID_IMAGE,
 *   WBSR_NOT_FOUND, WBSR_IO, WBSR_ABORTED, WBSR_DISPOSED
 */
export async function comparePictures(
  pictures: readonly (ImageInput | ComparedPicture)[],
  options: CompareOptions,
): Promise<Comparison> {
  const plan = checkCompare(pictures, options)
  const { compare } = await import('./compare.js')
  return compare(plan)
}
