// Crops for the steps to come, where the images do not fit into memory. A step needs a few crops of as many images, so that
// decoding them for that step alone costs more than the step itself. The sampler's draws are known beforehand: whenever an
// image is decoded, all crops of it that the next steps need are cut out and kept in its place.

import { cutPixels } from '../images/pixels.js'
import type { CropSpec } from '../native.js'
import type { RgbImage } from './decode.js'

/** A crop with the pixels around it that its LR version depends on. */
export interface CropWindow {
  high: RgbImage
  /** The same part of the LR file, if there is one. */
  low: RgbImage | null
  /** Top left of the crop inside `high`. */
  x: number
  y: number
}

export interface DecodedPair {
  high: RgbImage
  low: RgbImage | null
}

interface Planned {
  step: number
  spec: CropSpec
  window: CropWindow | null
}

export interface CropAheadOptions {
  /** The first step that is none of the run's any more. */
  end: number
  /** HR pixels. */
  patchSize: number
  scale: number
  /** LR pixels around a crop that its LR version depends on. */
  margin: number
  /** Crops of a step. */
  crops: (step: number) => CropSpec[]
  load: (image: number) => Promise<DecodedPair>
}

/** LR pixels around a crop that antialiased bicubic may see: its kernel reaches 2 LR pixels; rounded up amply. */
export const BICUBIC_MARGIN = 4

/** Planning a step takes about 0.1 ms, and the first call plans them all. */
const MOST_STEPS = 1000

/** Bytes of a crop with its surroundings. */
function windowBytes(patchSize: number, scale: number, margin: number, lrFiles: boolean): number {
  const edge = patchSize + 2 * margin * scale
  return lrFiles ? 3 * (edge ** 2 + (edge / scale) ** 2) : 3 * edge ** 2
}

/**
 * Steps whose crops fit into the budget, when keeping crops decodes less often than keeping images does; else 0.
 *
 * A kept image saves decoding it for its share of the draws. With crops of `n` steps kept, each of the images is decoded once
 * in n steps.
 */
export function stepsAhead(options: {
  budget: number
  batchSize: number
  patchSize: number
  scale: number
  /** As in CropAheadOptions. */
  margin: number
  lrFiles: boolean
  images: number
  /** Bytes of all images, decoded. */
  imageBytes: number
}): number {
  const { budget, batchSize, patchSize, scale, margin, lrFiles, images, imageBytes } = options
  if (imageBytes <= budget) return 0
  const steps = Math.floor(budget / (batchSize * windowBytes(patchSize, scale, margin, lrFiles)))
  const withImages = batchSize * (1 - budget / imageBytes)
  return steps > 1 && images / steps < withImages ? Math.min(steps, MOST_STEPS) : 0
}

export class CropAhead {
  readonly #options: CropAheadOptions
  readonly #steps: number
  /** Planned steps, and their crops by image. */
  #planned = new Map<number, Planned[]>()
  #byImage = new Map<number, Set<Planned>>()
  #next = 0
  #bytes = 0

  /** @param steps how far to look ahead */
  constructor(steps: number, options: CropAheadOptions) {
    this.#steps = steps
    this.#options = options
  }

  /** Bytes of crops held. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * The crops of a step, in the order of its specs. Steps taken in order are what it is made for; any other order works.
   *
   * @throws what `load` throws, once all images of the step are settled
   */
  async take(step: number): Promise<CropWindow[]> {
    if (!this.#planned.has(step)) this.#restart(step)
    const own = this.#planned.get(step)!
    this.#plan(step + this.#steps)
    const missing = new Set(own.filter(({ window }) => window === null).map(({ spec }) => spec.image))
    const loaded = await Promise.allSettled(
      [...missing].map(async (image) => {
        this.#cut(
          await this.#options.load(image),
          own.filter(({ spec }) => spec.image === image),
        )
      }),
    )
    for (const result of loaded) if (result.status === 'rejected') throw result.reason
    this.#forget(step)
    return own.map(({ window }) => window!)
  }

  clear(): void {
    this.#planned.clear()
    this.#byImage.clear()
    this.#bytes = 0
  }

  #restart(step: number): void {
    this.clear()
    this.#next = step
    this.#plan(step + 1)
  }

  /** Plans the steps before `end`. */
  #plan(end: number): void {
    for (; this.#next < Math.min(end, this.#options.end); this.#next++) {
      const step = this.#next
      const planned = this.#options.crops(step).map((spec) => ({ step, spec, window: null }))
      this.#planned.set(step, planned)
      for (const crop of planned) {
        const crops = this.#byImage.get(crop.spec.image) ?? new Set()
        this.#byImage.set(crop.spec.image, crops.add(crop))
      }
    }
  }

  #forget(step: number): void {
    for (const crop of this.#planned.get(step) ?? []) {
      this.#bytes -= bytesOf(crop.window)
      this.#byImage.get(crop.spec.image)?.delete(crop)
    }
    this.#planned.delete(step)
  }

  /** Cuts what is planned of an image, and `own`, which another order of steps may have dropped from the plan. */
  #cut(pair: DecodedPair, own: Planned[]): void {
    for (const crop of own)
      if (crop.window === null && !this.#isPlanned(crop)) crop.window = this.#window(pair, crop.spec)
    for (const crop of this.#byImage.get(own[0]!.spec.image) ?? []) {
      if (crop.window !== null) continue
      crop.window = this.#window(pair, crop.spec)
      this.#bytes += bytesOf(crop.window)
    }
  }

  #isPlanned(crop: Planned): boolean {
    return this.#byImage.get(crop.spec.image)?.has(crop) ?? false
  }

  #window({ high, low }: DecodedPair, { x, y }: CropSpec): CropWindow {
    const { patchSize, scale } = this.#options
    const margin = this.#options.margin * scale
    const left = Math.max(0, x - margin)
    const top = Math.max(0, y - margin)
    const width = Math.min(high.width, x + patchSize + margin) - left
    const height = Math.min(high.height, y + patchSize + margin) - top
    return {
      high: cut(high, left, top, width, height),
      low: low && cut(low, left / scale, top / scale, width / scale, height / scale),
      x: x - left,
      y: y - top,
    }
  }
}

function bytesOf(window: CropWindow | null): number {
  return window === null ? 0 : window.high.data.byteLength + (window.low?.data.byteLength ?? 0)
}

/** A copy: a view would keep the whole image alive. */
function cut({ data, width: stride }: RgbImage, x: number, y: number, width: number, height: number): RgbImage {
  return { data: cutPixels(data, stride, 3, x, y, width, height), width, height }
}
