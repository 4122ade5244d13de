// Validation images: checked once at the start of a run, then decoded one at a time whenever they are needed.
import { aborted, WbsrError } from '../errors.js'
import { native } from '../native.js'
import { cropToScale, type RgbImage, readRgb, Unusable, usable } from './decode.js'
import { checkPair, type FileSpec, findImages, type ImagePair, pairImages } from './files.js'
import type { SkippedImage } from './index.js'

/** An HR image, cut down (right and bottom) to a multiple of the scale, and its LR image. */
export interface ValidationImage {
  file: string
  hr: RgbImage
  lr: RgbImage
}

export class ValidationSet {
  /** Usable images, in order of path. */
  readonly files: readonly ImagePair[]
  readonly skipped: readonly SkippedImage[]
  readonly #scale: number

  private constructor(files: ImagePair[], skipped: SkippedImage[], scale: number) {
    this.files = files
    this.skipped = skipped
    this.#scale = scale
  }

  /**
   * Finds the images and decodes each once, so that a broken file is known before hours of training and not after. Broken
   * ones, and those smaller than one LR pixel, are left out and reported in `skipped`.
   *
   * @throws WbsrError WBSR_NOT_FOUND, WBSR_NO_DATA: none is usable; WBSR_INVALID_IMAGE: an LR file is not HR / scale;
   *   WBSR_INVALID_OPTION; WBSR_ABORTED
   */
  static async open(
    spec: FileSpec,
    options: { scale: number; lr?: FileSpec; signal?: AbortSignal; name?: string },
  ): Promise<ValidationSet> {
    const { scale, signal, name = 'data.validation' } = options
    const found = await findImages(spec, name)
    const pairs: ImagePair[] =
      options.lr === undefined
        ? found.map((hr) => ({ hr, lr: null }))
        : await pairImages(found, options.lr, scale, `${name}Lr`)
    const skipped: SkippedImage[] = []
    const files: ImagePair[] = []
    for (const pair of pairs) {
      if (signal?.aborted) throw aborted('Reading the validation images', signal)
      try {
        const hr = await usable(pair.hr, readRgb(pair.hr))
        if (hr.width < scale || hr.height < scale)
          throw new Unusable(pair.hr, `smaller than one LR pixel (${hr.width}x${hr.height})`)
        if (pair.lr !== null)
          checkPair({ hr: pair.hr, lr: pair.lr }, hr, await usable(pair.lr, readRgb(pair.lr)), scale)
        files.push(pair)
      } catch (error) {
        if (!(error instanceof Unusable)) throw error
        skipped.push({ file: error.file, reason: error.reason })
      }
    }
    if (files.length === 0)
      throw new WbsrError(
        'WBSR_NO_DATA',
        `${name}: none of the ${pairs.length} images can be used\n- ${skipped[0]!.file}: ${skipped[0]!.reason}`,
      )
    return new ValidationSet(files, skipped, scale)
  }

  /**
   * The images one after the other; only the current one is in memory. LR is the file's, or antialiased bicubic with
   * symmetric border (protocol.md).
   *
   * @throws WbsrError naming a file that became unreadable; WBSR_ABORTED
   */
  async *images(signal?: AbortSignal): AsyncGenerator<ValidationImage, void> {
    for (const pair of this.files) {
      if (signal?.aborted) throw aborted('Reading the validation images', signal)
      const whole = await readRgb(pair.hr)
      const hr = cropToScale(whole, this.#scale)
      const width = hr.width / this.#scale
      const height = hr.height / this.#scale
      let lr: RgbImage
      if (pair.lr === null) {
        lr = {
          data: (await native.resizeBicubic(hr.data, hr.width, hr.height, 3, width, height, 0)) as Uint8Array,
          width,
          height,
        }
      } else {
        lr = await readRgb(pair.lr)
        checkPair({ hr: pair.hr, lr: pair.lr }, whole, lr, this.#scale)
      }
      yield { file: pair.hr, hr, lr }
    }
  }
}
