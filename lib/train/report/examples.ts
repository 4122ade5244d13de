// The examples of a report: crops of a few photographs, LR, bicubic, SR and HR, their errors, and which subnet ran where.
import path from 'node:path'
import type { RgbImage } from '../../data/decode.js'
import type { ValidationSet } from '../../data/validation.js'
import { cutPixels } from '../../images/pixels.js'
import { errorMap } from '../../infer/overlay.js'
import { upscale } from '../../infer/upscale.js'
import type { ModelState } from '../../model-state.js'
import { native } from '../../native.js'
import { pageAllocation } from '../../pages/allocation.js'
import { pictureUrl } from '../../pages/pictures.js'
import { difficultyOf } from '../../routing/classes.js'
import type { ExampleRecord } from './record.js'

/** Side of a crop in LR pixels at most, and in HR pixels. */
const MOST_LR = 96
const MOST_HR = 256
/** LR pixels: small, so that a crop has several. */
const TILE = 16
/** Places of a picture among which a crop is chosen, in each direction. */
const PLACES = 6

interface Crop {
  lr: RgbImage
  hr: RgbImage
  bicubic: RgbImage
  record: ExampleRecord
}

const url = (image: RgbImage): Promise<string> => pictureUrl({ ...image, channels: 3 }, 'lossless', 'an example')

export class Examples {
  readonly #images: ValidationSet
  readonly #scale: number
  #crops: Crop[] | null = null

  /** @param images few: all of them are shown */
  constructor(images: ValidationSet, scale: number) {
    this.#images = images
    this.#scale = scale
  }

  /** What the model makes of the crops now. @throws WbsrError as upscale does; naming a file that became unreadable */
  async make(state: ModelState, signal: AbortSignal | undefined): Promise<ExampleRecord[]> {
    this.#crops ??= await this.#cut(signal)
    const records: ExampleRecord[] = []
    for (const crop of this.#crops) records.push(await this.#one(state, crop, signal))
    return records
  }

  async #one(state: ModelState, { lr, hr, bicubic, record }: Crop, signal?: AbortSignal): Promise<ExampleRecord> {
    const { data, allocation } = await upscale(state, { ...lr, channels: 3 }, { tile: TILE, signal })
    const sr = { ...hr, data: data as Uint8Array }
    const pictures = [...record.pictures]
    pictures[1] = {
      ...pictures[1]!,
      src: await url(sr),
      allocation: pageAllocation(allocation, state.engine.subnets),
    }
    pictures[5] = { ...pictures[5]!, src: await url(errorMap(sr, hr)) }
    const [before, after] = [await psnr(bicubic, hr), await psnr(sr, hr)]
    const gain = after - before
    const text = `PSNR on Y: bicubic ${decibels(before)}, SR ${decibels(after)}${
      Number.isFinite(gain) ? ` (${gain < 0 ? '' : '+'}${gain.toFixed(2)})` : ''
    }; ${(100 * allocation.spent).toFixed(0)} % of the largest subnet's work`
    const pairs = pictures.flatMap((_, a) => pictures.slice(a + 1).map((__, i) => ({ a, b: a + 1 + i, text })))
    return { ...record, pictures, figures: pairs }
  }

  /** The hardest part of the first photograph, easier ones of the others. */
  async #cut(signal?: AbortSignal): Promise<Crop[]> {
    const crops: Crop[] = []
    const scale = this.#scale
    const count = this.#images.files.length
    for await (const { file, hr, lr } of this.#images.images(signal)) {
      const most = Math.min(MOST_LR, Math.floor(MOST_HR / scale))
      const [width, height] = [Math.min(most, lr.width), Math.min(most, lr.height)]
      const places = Array.from({ length: PLACES ** 2 }, (_, i) => [
        Math.round(((i % PLACES) / (PLACES - 1)) * (lr.width - width)),
        Math.round((Math.floor(i / PLACES) / (PLACES - 1)) * (lr.height - height)),
      ]) as [number, number][]
      const rects = Int32Array.from(places.flatMap(([x, y]) => [x, y, width, height]))
      const vectors = await native.gradientVectors(lr.data, lr.width, lr.height, 3, rects)
      const byDifficulty = places.map((_, i) => i).sort((a, b) => difficultyOf(vectors, b) - difficultyOf(vectors, a))
      const [x, y] = places[byDifficulty[Math.floor((crops.length / count) * places.length)]!]!
      const low = cut(lr, x, y, width, height)
      const high = cut(hr, x * scale, y * scale, width * scale, height * scale)
      const data = await native.resizeBicubic(low.data, width, height, 3, high.width, high.height, 0)
      const bicubic = { ...high, data: data as Uint8Array }
      const later = { src: '' }
      crops.push({
        lr: low,
        hr: high,
        bicubic,
        record: {
          file: path.basename(file),
          x: x * scale,
          y: y * scale,
          width: high.width,
          height: high.height,
          pictures: [
            { label: 'bicubic', src: await url(bicubic) },
            { label: 'SR', ...later },
            { label: 'HR', src: await url(high) },
            { label: 'LR', src: await url(low), sharp: true },
            { label: 'error of bicubic', src: await url(errorMap(bicubic, high)) },
            { label: 'error of SR', ...later },
          ],
          figures: [],
        },
      })
    }
    return crops
  }
}

function cut(image: RgbImage, x: number, y: number, width: number, height: number): RgbImage {
  return { data: cutPixels(image.data, image.width, 3, x, y, width, height) as Uint8Array, width, height }
}

const psnr = (sr: RgbImage, hr: RgbImage): Promise<number> =>
  native.psnr(hr.data, sr.data, hr.width, hr.height, 3, true, 0)

const decibels = (value: number): string => (Number.isFinite(value) ? `${value.toFixed(2)} dB` : 'equal')
