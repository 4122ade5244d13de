// The training data of a run: images -> patch index -> the batch of each step. What step k gets is a function of the files,
// the options, the seed and k alone.
import { aborted, invalidOption, WbsrError } from '../errors.js'
import { type BatchSource, type CropSpec, native } from '../native.js'
import { checkInteger } from '../options.js'
import { classOf } from '../routing/classes.js'
import { cropToScale, ImageCache, type RgbImage, readRgb } from './decode.js'
import { checkPair, findImages, pairImages } from './files.js'
import { checkGrid, type IndexedImage, PatchIndex, type SkippedImage } from './index.js'
import { checkDataOptions, type DataOptions } from './options.js'
import { permutation, randomFor } from './random.js'
import { Sampler, type SamplerOptions, streams } from './sampler.js'

export interface DatasetOptions {
  data: DataOptions
  scale: number
  /** HR pixels, a multiple of the scale. */
  patchSize: number
  batchSize: number
  /** Length of the run: steps, or epochs of as many batches as hold every patch once. Exactly one of them. */
  steps?: number
  epochs?: number
  sampler?: SamplerOptions
  /** 0 .. 2^53 - 1. */
  seed: number
  signal?: AbortSignal
  /** Called after every indexed image. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/** The patches of one step. */
export interface BatchFacts {
  step: number
  batchSize: number
  lrSize: number
  hrSize: number
  /** Whether patches or classes were drawn. */
  level: 'sample' | 'class'
  /** Numbers of the patches in the index, and their classes 1 .. K. */
  patches: Uint32Array
  classes: number[]
}

/** Patches as planes: lr (batchSize, 3, lrSize, lrSize) and hr (batchSize, 3, hrSize, hrSize) in [0, 1]. */
export interface BatchPlanes {
  lr: Float32Array
  hr: Float32Array
}

/** Patches as the images and crops to make the planes of. */
export interface BatchCrops {
  source: BatchSource
}

export type Batch = BatchFacts & (BatchPlanes | BatchCrops)

export class Dataset {
  readonly index: PatchIndex
  readonly sampler: Sampler
  /** Length of the run. */
  readonly steps: number
  /** Batches that hold every patch once. */
  readonly stepsPerEpoch: number
  readonly #options: { batchSize: number; seed: number; signal?: AbortSignal }
  readonly #images: ImageCache
  #closed = false

  private constructor(index: PatchIndex, sampler: Sampler, steps: number, options: DatasetOptions, memory: number) {
    this.index = index
    this.sampler = sampler
    this.steps = steps
    this.stepsPerEpoch = Math.ceil(index.difficulties.length / options.batchSize)
    this.#options = { batchSize: options.batchSize, seed: options.seed, signal: options.signal }
    this.#images = new ImageCache(memory)
  }

  /** Images that are left out, and why. */
  get skipped(): readonly SkippedImage[] {
    return this.index.skipped
  }

  /** Gradient classes of the patches, for the router. */
  get classes() {
    return this.sampler.classes
  }

  /** Decoded images held and decoded so far. */
  get memory(): { bytes: number; loads: number } {
    return { bytes: this.#images.bytes, loads: this.#images.loads }
  }

  /**
   * Finds the images, indexes their patches and prepares the sampler.
   *
   * @throws WbsrError WBSR_INVALID_OPTION; WBSR_NOT_FOUND, WBSR_NO_DATA: no (usable) image; WBSR_INVALID_IMAGE: an LR file is
   *   not HR / scale; WBSR_ABORTED
   */
  static async open(options: DatasetOptions): Promise<Dataset> {
    const data = checkDataOptions(options.data)
    const scale = checkInteger(options.scale, 'scale', 1)
    const grid = checkGrid({ scale, patchSize: options.patchSize, step: data.step })
    const batchSize = checkInteger(options.batchSize, 'batchSize', 1)
    const seed = checkInteger(options.seed, 'seed', 0)
    if ((options.steps === undefined) === (options.epochs === undefined))
      throw invalidOption('steps', 'exactly one of steps and epochs', options.steps)
    const length =
      options.steps === undefined ? checkInteger(options.epochs, 'epochs', 1) : checkInteger(options.steps, 'steps', 1)
    const files = await findImages(data.train, 'data.train')
    const pairs =
      data.lr === undefined ? files.map((hr) => ({ hr, lr: null })) : await pairImages(files, data.lr, scale, 'data.lr')
    const { signal, onProgress } = options
    const index = await PatchIndex.build(pairs, { scale, ...grid, cache: data.cache, signal, onProgress })
    const steps = options.steps === undefined ? length * Math.ceil(index.difficulties.length / batchSize) : length
    const sampler = new Sampler(index.difficulties, { batchSize, steps, seed }, options.sampler)
    return new Dataset(index, sampler, steps, options, data.memory)
  }

  /**
   * The HR pixels of an image, cut down to a multiple of the scale.
   *
   * @throws WbsrError naming the file that is not what was indexed any more
   */
  async #high({ hr, width, height }: IndexedImage): Promise<RgbImage> {
    return await this.#images.get(`hr ${hr}`, async () => {
      const image = cropToScale(await readRgb(hr), this.index.scale)
      if (image.width === width && image.height === height) return image
      throw new WbsrError(
        'WBSR_INVALID_IMAGE',
        `${hr}: changed during the run: expected ${width}x${height} but it is ${image.width}x${image.height}`,
      )
    })
  }

  /** The pixels of its LR file, if there is one. Throws as #high does. */
  async #low(image: IndexedImage): Promise<RgbImage | null> {
    const { hr, lr } = image
    if (lr === null) return null
    return await this.#images.get(`lr ${lr}`, async () => {
      const low = await readRgb(lr)
      checkPair({ hr, lr }, image, low, this.index.scale)
      return low
    })
  }

  #check(): void {
    if (this.#closed) throw new WbsrError('WBSR_DISPOSED', 'The data set was closed')
    if (this.#options.signal?.aborted) throw aborted('Reading training data', this.#options.signal)
  }

  /** Which crops step k (from 0) sees: positions shifted by up to half a grid step, mirrored and transposed at random. */
  crops(step: number): { patches: Uint32Array; crops: CropSpec[] } {
    const { index } = this
    const patches = this.sampler.draw(step)
    const reach = Math.floor(index.step / 2 / index.scale)
    const crops = Array.from(patches, (patch, slot) => {
      const { image, x, y } = index.position(patch)
      const { width, height } = index.images[image]!
      const random = randomFor(this.#options.seed, streams.crop, step, slot)
      // Whole LR pixels, so that an LR file can be cropped at the same place.
      const shift = (position: number, last: number): number => {
        const moved = position + (random.integer(2 * reach + 1) - reach) * index.scale
        return Math.min(Math.max(moved, 0), last)
      }
      return {
        image,
        x: shift(x, width - index.patchSize),
        y: shift(y, height - index.patchSize),
        flipX: random.integer(2) === 1,
        flipY: random.integer(2) === 1,
        transpose: random.integer(2) === 1,
      }
    })
    return { patches, crops }
  }

  /**
   * The batch of step k (from 0), decoded and cropped off the event loop.
   *
   * @throws WbsrError naming the file that became unreadable since it was indexed; WBSR_ABORTED; WBSR_DISPOSED: closed
   */
  async batch(step: number): Promise<BatchFacts & BatchPlanes> {
    const { source, ...facts } = await this.source(step)
    const { scale, patchSize } = this.index
    return { ...facts, ...(await native.assembleBatch({ ...source, patchSize, scale })) }
  }

  /** The same as images and crops, for a device that makes the batch itself. Throws as batch() does. */
  async source(step: number): Promise<BatchFacts & BatchCrops> {
    this.#check()
    const { patches, crops } = this.crops(step)
    const { scale, patchSize, images } = this.index
    const numbers = [...new Set(crops.map((crop) => crop.image))]
    // All settle before one fails: nothing goes on reading once the caller knows of the error.
    const loaded = await Promise.allSettled(
      numbers.map(async (number) => {
        const [high, low] = await Promise.allSettled([this.#high(images[number]!), this.#low(images[number]!)])
        if (high.status === 'rejected') throw high.reason
        if (low.status === 'rejected') throw low.reason
        return { high: high.value, low: low.value }
      }),
    )
    const pairs = loaded.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
    this.#check()
    const source: BatchSource = {
      images: pairs.map((pair) => pair.high),
      lrImages: images[numbers[0]!]!.lr === null ? undefined : pairs.map((pair) => pair.low!),
      crops: crops.map((crop) => ({ ...crop, image: numbers.indexOf(crop.image) })),
    }
    return {
      step,
      source,
      batchSize: patches.length,
      lrSize: patchSize / scale,
      hrSize: patchSize,
      level: this.sampler.level(step),
      patches,
      classes: Array.from(patches, (patch) => classOf(this.classes, this.index.difficulties[patch]!)),
    }
  }

  /**
   * RGB pixels (count, 3) drawn uniformly from the training images, for the mixture of BDLoss. To bound the time, at most 64
   * images are decoded, chosen at random; each gives as many pixels as its size asks for.
   *
   * @throws WbsrError as batch does
   */
  async pixelSample(count: number, seed: number): Promise<Uint8Array> {
    const random = randomFor(seed, streams.pixels)
    const chosen = Array.from(
      permutation(this.index.images.length, random).subarray(0, 64),
      (i) => this.index.images[i]!,
    )
    const total = chosen.reduce((sum, image) => sum + image.width * image.height, 0)
    const samples = new Uint8Array(count * 3)
    let pixels = 0
    let filled = 0
    for (const image of chosen) {
      this.#check()
      const { data, width, height } = await this.#high(image)
      pixels += width * height
      for (const end = Math.round((pixels / total) * count); filled < end; filled++) {
        const from = random.integer(width * height) * 3
        samples.set(data.subarray(from, from + 3), filled * 3)
      }
    }
    return samples
  }

  /** Frees the decoded images. Batches under way may fail with WBSR_DISPOSED. */
  close(): void {
    this.#closed = true
    this.#images.clear()
  }
}
