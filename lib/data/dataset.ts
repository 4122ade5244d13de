// The training data of a run: images -> patch index -> the batch of each step. What step k gets is a function of the files,
// the options, the seed and k alone.
import { aborted, invalidOption, WbsrError } from '../errors.js'
import { type BatchSource, type CropSpec, native } from '../native.js'
import { checkInteger } from '../options.js'
import { permutation, randomFor } from '../random.js'
import { classOf } from '../routing/classes.js'
import { BICUBIC_MARGIN, CropAhead, type DecodedPair, stepsAhead } from './crop-ahead.js'
import { cropToScale, ImageCache, type RgbImage, readRgb } from './decode.js'
import { type Degradation, drawDegradation } from './degradation.js'
import { degradationMargin, degradeSource } from './degrade.js'
import type { SkippedImage } from './files.js'
import { checkGrid, type IndexedImage, PatchIndex } from './index.js'
import { checkDataOptions, type DataOptions } from './options.js'
import { cropPair, findPairs } from './pairs.js'
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
  /**
   * Steps done before this run, which it continues: its own have the numbers from `first` on. Default 0; a function is asked
   * once the images are indexed.
   */
  first?: number | ((facts: { fingerprint: string; stepsPerEpoch: number }) => number)
  /** Crops [from, to) of every batch, which alone are read and given out. Default: all. */
  share?: { from: number; to: number }
  sampler?: SamplerOptions
  /** 0 .. 2^53 - 1. */
  seed: number
  signal?: AbortSignal
  /** Called when the images are found, and after every indexed one. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/** The patches of one step, or of a share of it. */
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
  /** Steps [first, steps) are those of the run. */
  readonly first: number
  readonly steps: number
  /** Batches that hold every patch once. */
  readonly stepsPerEpoch: number
  /** Images that are left out, and why. */
  readonly skipped: readonly SkippedImage[]
  readonly #options: { seed: number; signal?: AbortSignal; degradation?: Degradation }
  readonly #share: { from: number; to: number }
  readonly #images: ImageCache
  /** In place of images, where they do not fit into memory. */
  readonly #ahead: CropAhead | null
  #closed = false

  private constructor(
    index: PatchIndex,
    sampler: Sampler,
    skipped: SkippedImage[],
    run: { first: number; steps: number },
    options: DatasetOptions & { memory: number; degradation?: Degradation },
  ) {
    const { batchSize, seed, signal, memory, degradation } = options
    this.#share = options.share ?? { from: 0, to: batchSize }
    this.index = index
    this.sampler = sampler
    this.first = run.first
    this.steps = run.steps
    this.stepsPerEpoch = Math.ceil(index.difficulties.length / batchSize)
    this.skipped = [...skipped, ...index.skipped]
    this.#options = { seed, signal, degradation }
    const { patchSize, scale, images } = index
    const lrFiles = images[0]!.lr !== null
    const pixels = images.reduce((sum, { width, height }) => sum + width * height, 0)
    // An LR file's patch needs nothing around it, unless it is degraded.
    const margin = degradation ? degradationMargin(lrFiles) : lrFiles ? 0 : BICUBIC_MARGIN
    const ahead = stepsAhead({
      budget: memory,
      batchSize: this.#share.to - this.#share.from,
      patchSize,
      scale,
      margin,
      lrFiles,
      images: images.length,
      imageBytes: 3 * (lrFiles ? pixels + pixels / scale ** 2 : pixels),
    })
    this.#images = new ImageCache(ahead > 0 ? 0 : memory)
    this.#ahead =
      ahead > 0
        ? new CropAhead(ahead, {
            end: run.steps,
            patchSize,
            scale,
            margin,
            crops: (step) => this.crops(step).crops,
            load: (image) => this.#load(images[image]!),
          })
        : null
  }

  /** Gradient classes of the patches, for the router. */
  get classes() {
    return this.sampler.classes
  }

  /** Bytes of decoded images or crops held, and images decoded so far. */
  get memory(): { bytes: number; loads: number } {
    return { bytes: this.#images.bytes + (this.#ahead?.bytes ?? 0), loads: this.#images.loads }
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
    const { signal, onProgress } = options
    const { pairs, skipped } = await findPairs(data.train, data.lr, scale, { hr: 'data.train', lr: 'data.lr' })
    onProgress?.({ done: 0, total: pairs.length })
    const index = await PatchIndex.build(pairs, {
      scale,
      ...grid,
      cache: data.cache,
      maxPixels: data.maxPixels,
      signal,
      onProgress,
    })
    const stepsPerEpoch = Math.ceil(index.difficulties.length / batchSize)
    const { first: from = 0 } = options
    const given = typeof from === 'function' ? from({ fingerprint: index.fingerprint, stepsPerEpoch }) : from
    const first = checkInteger(given, 'first', 0)
    const steps = first + (options.steps === undefined ? length * stepsPerEpoch : length)
    const sampler = new Sampler(index.difficulties, { batchSize, first, steps, seed }, options.sampler)
    return new Dataset(
      index,
      sampler,
      skipped,
      { first, steps },
      {
        ...options,
        memory: data.memory,
        degradation: data.degradation,
      },
    )
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
      const { scale } = this.index
      const low = await readRgb(lr)
      // The index knows whether HR was cropped; an LR file whose size was rounded up shows it too.
      const whole = (cut: number, lowSide: number): number => (lowSide * scale > cut ? cut + 1 : cut)
      const size = { width: whole(image.width, low.width), height: whole(image.height, low.height) }
      return cropPair({ hr, lr }, size, low, scale)
    })
  }

  /** Both. A failure is reported after all have settled, so that no read is in progress then. */
  async #load(image: IndexedImage): Promise<DecodedPair> {
    const [high, low] = await Promise.allSettled([this.#high(image), this.#low(image)])
    if (high.status === 'rejected') throw high.reason
    if (low.status === 'rejected') throw low.reason
    return { high: high.value, low: low.value }
  }

  #check(): void {
    if (this.#closed) throw new WbsrError('WBSR_DISPOSED', 'The data set was closed')
    if (this.#options.signal?.aborted) throw aborted('Reading training data', this.#options.signal)
  }

  /**
   * The crops of step k (from 0), of the share: positions shifted by up to half a grid step, mirrored and transposed at random.
   */
  crops(step: number): { patches: Uint32Array; crops: CropSpec[] } {
    const { index } = this
    const { from, to } = this.#share
    const patches = this.sampler.draw(step).subarray(from, to)
    const reach = Math.floor(index.step / 2 / index.scale)
    const crops = Array.from(patches, (patch, i) => {
      const slot = from + i
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
    const { scale, patchSize } = this.index
    const cut = this.#ahead ? await this.#windows(this.#ahead, step, crops) : await this.#whole(crops)
    const source = await this.#degraded(cut, step)
    this.#check()
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

  /** Crops of whole images, each image once. */
  async #whole(crops: CropSpec[]): Promise<BatchSource> {
    const { images } = this.index
    const numbers = [...new Set(crops.map((crop) => crop.image))]
    const loaded = await Promise.allSettled(numbers.map((number) => this.#load(images[number]!)))
    const pairs = loaded.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
    return {
      images: pairs.map((pair) => pair.high),
      lrImages: images[numbers[0]!]!.lr === null ? undefined : pairs.map((pair) => pair.low!),
      crops: crops.map((crop) => ({ ...crop, image: numbers.indexOf(crop.image) })),
    }
  }

  /** The same crops, each of an image of its own that ends a little beyond it. */
  async #windows(ahead: CropAhead, step: number, crops: CropSpec[]): Promise<BatchSource> {
    const windows = await ahead.take(step)
    return {
      images: windows.map(({ high }) => high),
      lrImages: windows[0]!.low === null ? undefined : windows.map(({ low }) => low!),
      crops: crops.map((crop, i) => ({ ...crop, image: i, x: windows[i]!.x, y: windows[i]!.y })),
    }
  }

  /** The same crops with LR as the option `degradation` has it. */
  async #degraded(source: BatchSource, step: number): Promise<BatchSource> {
    const { degradation, seed } = this.#options
    if (!degradation) return source
    const draws = source.crops.map((_, i) =>
      drawDegradation(degradation, randomFor(seed, streams.degradation, step, this.#share.from + i)),
    )
    return await degradeSource(source, draws, this.index)
  }

  /**
   * RGB pixels (count, 3) drawn uniformly from the training images, for the mixture of BDLoss. To bound the time, at most 64
   * images are decoded, chosen at random; each gives a number of pixels in proportion to its size.
   *
   * @throws WbsrError as batch does
   */
  async pixelSample(
    count: number,
    seed: number,
    onProgress?: (progress: { done: number; total: number }) => void,
  ): Promise<Uint8Array> {
    const random = randomFor(seed, streams.pixels)
    const chosen = Array.from(
      permutation(this.index.images.length, random).subarray(0, 64),
      (i) => this.index.images[i]!,
    )
    const total = chosen.reduce((sum, image) => sum + image.width * image.height, 0)
    const samples = new Uint8Array(count * 3)
    let pixels = 0
    let filled = 0
    for (const [i, image] of chosen.entries()) {
      this.#check()
      onProgress?.({ done: i, total: chosen.length })
      const { data, width, height } = await this.#high(image)
      pixels += width * height
      for (const end = Math.round((pixels / total) * count); filled < end; filled++) {
        const from = random.integer(width * height) * 3
        samples.set(data.subarray(from, from + 3), filled * 3)
      }
    }
    onProgress?.({ done: chosen.length, total: chosen.length })
    return samples
  }

  /** Frees the decoded images. Batches under way may fail with WBSR_DISPOSED. */
  close(): void {
    this.#closed = true
    this.#images.clear()
    this.#ahead?.clear()
  }
}
