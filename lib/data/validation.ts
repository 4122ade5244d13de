// Validation images: checked once at the start of a run, then decoded one at a time whenever they are needed.
import { createHash } from 'node:crypto'
import path from 'node:path'
import { aborted, WbsrError } from '../errors.js'
import { native } from '../native.js'
import { randomFor } from '../random.js'
import { cropToScale, type RgbImage, readRgb, Unusable, usable } from './decode.js'
import { type Degradation, drawDegradation } from './degradation.js'
import { degrade } from './degrade.js'
import type { FileSpec, SkippedImage } from './files.js'
import { checkPair, cropPair, findPairs, type ImagePair, type PairedFiles } from './pairs.js'
import { mapParallel } from './parallel.js'
import { streams } from './sampler.js'

/** An HR image, cut down (right and bottom) to a multiple of the scale, and its LR image. */
export interface ValidationImage {
  file: string
  hr: RgbImage
  lr: RgbImage
}

/** A usable pair and the LR pixels that it has. */
export interface ValidationPair extends ImagePair {
  width: number
  height: number
}

/** What a set is made of, before any of it was decoded. */
export interface ValidationFiles extends PairedFiles {
  scale: number
  /** The option, for messages. */
  name: string
}

export interface ValidationOptions {
  scale: number
  lr?: FileSpec
  signal?: AbortSignal
  name?: string
  /** Larger images are left out. */
  maxPixels?: number
  /** What happens to LR, unless its `validation` is false. */
  degradation?: Degradation
  /** Called after every image that was checked. */
  onProgress?: (progress: { done: number; total: number }) => void
}

export class ValidationSet {
  /** Usable images, in order of path. */
  readonly files: readonly ValidationPair[]
  readonly skipped: readonly SkippedImage[]
  readonly #scale: number
  readonly #degradation: Degradation | undefined

  /**
   * @param files pairs that are known to be usable
   * @param degradation as in ValidationOptions
   */
  constructor(
    files: readonly ValidationPair[],
    scale: number,
    degradation?: Degradation,
    skipped: readonly SkippedImage[] = [],
  ) {
    this.files = files
    this.skipped = skipped
    this.#scale = scale
    this.#degradation = degradation?.validation ? degradation : undefined
  }

  /** LR pixels of all images. */
  get pixels(): number {
    return this.files.reduce((sum, { width, height }) => sum + width * height, 0)
  }

  /**
   * Finds the images. @throws WbsrError WBSR_NOT_FOUND, WBSR_NO_DATA, WBSR_INVALID_OPTION, as findImages and pairImages do
   */
  static async find(
    spec: FileSpec,
    options: Pick<ValidationOptions, 'scale' | 'lr' | 'name'>,
  ): Promise<ValidationFiles> {
    const { scale, lr, name = 'data.validation' } = options
    return { ...(await findPairs(spec, lr, scale, { hr: name, lr: `${name}Lr` })), scale, name }
  }

  /**
   * Decodes each image once, so that a broken file is known before hours of training and not after. Broken ones, and those
   * smaller than one LR pixel, are left out and reported in `skipped`.
   *
   * @throws WbsrError WBSR_NO_DATA: none is usable; WBSR_INVALID_IMAGE: an LR file is not HR / scale; WBSR_ABORTED
   */
  static async check(
    found: ValidationFiles,
    options: Pick<ValidationOptions, 'signal' | 'maxPixels' | 'degradation' | 'onProgress'> = {},
  ): Promise<ValidationSet> {
    const { pairs, scale, name } = found
    const results = await mapParallel(
      pairs,
      'Reading the validation images',
      (pair) => checkFiles(pair, scale, options.maxPixels),
      {
        signal: options.signal,
        onDone: (done) => options.onProgress?.({ done, total: pairs.length }),
      },
    )
    const files: ValidationPair[] = []
    const skipped = [...found.skipped]
    for (const result of results) 'reason' in result ? skipped.push(result) : files.push(result)
    if (files.length === 0) {
      const { file, reason } = skipped[found.skipped.length]!
      throw new WbsrError(
        'WBSR_NO_DATA',
        `${name}: none of the ${pairs.length} images can be used\n- ${file}: ${reason}`,
      )
    }
    return new ValidationSet(files, scale, options.degradation, skipped)
  }

  /** find() and check() in one. */
  static async open(spec: FileSpec, options: ValidationOptions): Promise<ValidationSet> {
    if (options.signal?.aborted) throw aborted('Reading the validation images', options.signal)
    return await ValidationSet.check(await ValidationSet.find(spec, options), options)
  }

  /**
   * The images one after the other; only the current one is in memory. LR is the file's, or antialiased bicubic with
   * symmetric border (protocol.md), and degraded where that was asked for.
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
      const lr: RgbImage =
        pair.lr === null
          ? {
              data: (await native.resizeBicubic(hr.data, hr.width, hr.height, 3, width, height, 0)) as Uint8Array,
              width,
              height,
            }
          : cropPair({ hr: pair.hr, lr: pair.lr }, whole, await readRgb(pair.lr), this.#scale)
      yield { file: pair.hr, hr, lr: await this.#degraded(pair.hr, lr) }
    }
  }

  async #degraded(file: string, lr: RgbImage): Promise<RgbImage> {
    if (!this.#degradation) return lr
    return await degrade(lr, drawDegradation(this.#degradation, randomFor(0, streams.validation, numberOf(file))))
  }
}

/** A number of a file's name: its degradation does not depend on which other files there are, or on the run's seed. */
const numberOf = (file: string): number => createHash('sha256').update(path.basename(file)).digest().readUInt32BE(0)

async function checkFiles(pair: ImagePair, scale: number, maxPixels?: number): Promise<ValidationPair | SkippedImage> {
  try {
    const hr = await usable(pair.hr, readRgb(pair.hr, { maxPixels }))
    if (hr.width < scale || hr.height < scale)
      throw new Unusable(pair.hr, `smaller than one LR pixel (${hr.width}x${hr.height})`)
    if (pair.lr !== null)
      checkPair({ hr: pair.hr, lr: pair.lr }, hr, await usable(pair.lr, readRgb(pair.lr, { maxPixels })), scale)
    return { ...pair, width: Math.floor(hr.width / scale), height: Math.floor(hr.height / scale) }
  } catch (error) {
    if (error instanceof Unusable) return { file: error.file, reason: error.reason }
    throw error
  }
}
