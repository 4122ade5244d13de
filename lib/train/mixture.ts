// The Gaussian mixture that models p_train(y) for BDLoss: fitted to a sample of training pixels, stored in the
// checkpoint (method.md section 4). The fit itself is native (EM, native/core/mixture.h).
import { invalidOption, wrapError } from '../errors.js'
import type { Mixture } from '../model-state.js'
import { type NativeLoss, native } from '../native.js'

export interface MixtureFitOptions {
  /** 1: single channel values, from a histogram of all samples. 3: RGB, full covariances. */
  dimension: 1 | 3
  /** K, 1 to 32. */
  components: number
  /** Floor of every component's standard deviation along every axis, in [0, 1] units. */
  minStd: number
  /** Of the k-means++ start. One seed, one result, on any machine and thread count. */
  seed: number
  /** Upper bound of EM steps; it stops earlier when the mean log-likelihood gains less than 1e-8. Default 200. */
  iterations?: number
  /** For dimension 3: at most so many pixels, evenly spread over the sample. Default 20000. */
  maxSamples?: number
}

/**
 * Fits a mixture to training pixels.
 *
 * @param pixels interleaved RGB bytes (pixels, 3) of the training HR images, in any order: a random sample of a million
 *   values is plenty.
 * @returns the mixture on values in [0, 1]. With fewer distinct values than components the rest have weight 0.
 * @throws WbsrError WBSR_INVALID_OPTION for an empty sample, one that is no multiple of 3, or options out of range.
 */
export async function fitPixelMixture(pixels: Uint8Array, options: MixtureFitOptions): Promise<Mixture> {
  if (pixels.length === 0 || pixels.length % 3 !== 0)
    throw invalidOption('pixels', 'RGB bytes of at least one pixel', pixels.length)
  const { dimension, components, minStd, seed, iterations = 200, maxSamples = 20000 } = options
  const { samples, weights } =
    dimension === 1 ? histogram(pixels) : { samples: spread(pixels, maxSamples), weights: null }
  try {
    const fit = await native.fitMixture(samples, weights, dimension, components, iterations, minStd, seed)
    return fromNativeMixture(fit, dimension)
  } catch (error) {
    throw wrapError(error)
  }
}

/** All 256 values with their counts: EM then costs the same for any number of pixels. */
function histogram(bytes: Uint8Array): { samples: Float32Array; weights: Float32Array } {
  const counts = new Float64Array(256) // exact where float32 counts would stop at 2^24
  for (const value of bytes) counts[value]! += 1
  return {
    samples: Float32Array.from({ length: 256 }, (_, value) => value / 255),
    weights: Float32Array.from(counts, (count) => count / bytes.length),
  }
}

function spread(pixels: Uint8Array, maxSamples: number): Float32Array {
  const available = pixels.length / 3
  const count = Math.min(available, maxSamples)
  const samples = new Float32Array(count * 3)
  for (let n = 0; n < count; n++) {
    const pixel = Math.floor((n * available) / count)
    for (let d = 0; d < 3; d++) samples[n * 3 + d] = pixels[pixel * 3 + d]! / 255
  }
  return samples
}

/** Flat arrays (K), (K, D), (K, D, D) -> nested ones, which JSON can hold. */
export function fromNativeMixture(flat: NonNullable<NativeLoss['mixture']>, dimension: 1 | 3): Mixture {
  const rows = (values: Float64Array, length: number) =>
    Array.from({ length: values.length / length }, (_, row) =>
      Array.from(values.subarray(row * length, (row + 1) * length)),
    )
  const matrices = rows(flat.covariances, dimension * dimension).map((matrix) =>
    rows(Float64Array.from(matrix), dimension),
  )
  return { dimension, weights: Array.from(flat.weights), means: rows(flat.means, dimension), covariances: matrices }
}

/** The reverse of {@link fromNativeMixture}. */
export function toNativeMixture(mixture: Mixture): NonNullable<NativeLoss['mixture']> {
  return {
    weights: Float64Array.from(mixture.weights),
    means: Float64Array.from(mixture.means.flat()),
    covariances: Float64Array.from(mixture.covariances.flat(2)),
  }
}
