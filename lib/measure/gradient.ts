// Gradient vector of an image: the measure of difficulty that sampler and routers use.
import { wrapError } from '../errors.js'
import { decodeImage } from '../images/images.js'
import { native } from '../native.js'
import { difficultyOf } from '../routing/classes.js'
import type { ImageInput } from '../types.js'

/** What {@link gradientVector} measures. */
export interface GradientVector {
  /** mean |Gx|, std |Gx|, mean |Gy|, std |Gy|; samples in [0, 1], so each is at most 0.5. */
  vector: [number, number, number, number]
  /** Euclidean length of the vector. */
  difficulty: number
}

/**
 * Gradient vector of a whole image (WBSR, gradient projection): mean and population standard deviation of the horizontal and
 * vertical Sobel gradient (kernel / 8, edges replicated) of luma 0.299 R + 0.587 G + 0.114 B in [0, 1]. Where there is alpha,
 * colour is premultiplied.
 *
 * @throws {WbsrError} WBSR_INVALID_OPTION, WBSR_INVALID_IMAGE or WBSR_NOT_FOUND for what is not an image.
 */
export async function gradientVector(image: ImageInput): Promise<GradientVector> {
  const { data, width, height, channels } = await decodeImage(image, 'image')
  try {
    const vector = [
      ...(await native.gradientVectors(data, width, height, channels, Int32Array.of(0, 0, width, height))),
    ]
    return { vector: vector as GradientVector['vector'], difficulty: difficultyOf(vector, 0) }
  } catch (error) {
    throw wrapError(error)
  }
}
