// Options of comparePictures: their meaning, defaults and checks.
import { invalidOption } from '../errors.js'
import type { UpscaleOptions } from '../infer/options.js'
import type { Allocation } from '../infer/result.js'
import type { SupernetModel } from '../models/model.js'
import { checkInteger, checkObject, checkSignal, checkString } from '../options.js'
import type { ImageInput, RawImage } from '../types.js'

/** A picture of a comparison with what is to be shown of it. */
export interface ComparedPicture {
  image: ImageInput
  /** Its name in the page. Default: the file's name. */
  label?: string
  /** What upscale returned with it: which subnet ran where. */
  allocation?: Allocation
  /** Subnets of the model that made it (model.subnets), for the legend. */
  subnets?: readonly { width: number; depth: number }[]
  /** A picture of the allocation in its place, as `wbsr upscale --map` writes. */
  map?: ImageInput
}

/** What {@link comparePictures} puts on the page, and where it writes it. */
export interface CompareOptions {
  /** The page. Appears whole or not at all; an older file of that name is replaced. */
  out: string
  /** Enlarges the first picture: it is shown enlarged by bicubic interpolation and by this model, which others can be compared with. */
  model?: SupernetModel
  /** Of model.upscale: router, loss, budget and so on. */
  upscale?: Omit<UpscaleOptions, 'signal' | 'onProgress' | 'protocol'>
  /** Heading of the page. Default: the labels. */
  title?: string
  /**
   * Pictures are stored in the page without loss up to this many pixels in all (default 40 million), beyond that as WebP of
   * quality 90. Figures are of the pixels themselves in any case.
   */
  losslessPixels?: number
  signal?: AbortSignal
}

/** How alike two pictures are. PSNR in dB, Infinity where they are equal. */
export interface CompareFigures {
  /** Indices into `pictures`. */
  a: number
  b: number
  psnr: { y: number; rgb: number }
  /** On Y; null: smaller than 11 x 11 pixels. */
  ssim: number | null
}

/** The page that {@link comparePictures} wrote, and its figures. */
export interface Comparison {
  file: string
  /** Bytes of the page. */
  bytes: number
  /** resized: by antialiased bicubic interpolation to the size of the largest picture; it has no figures, unless `model` made it. */
  pictures: { label: string; width: number; height: number; resized: boolean }[]
  /** Of every two pictures that have the size of the largest one. */
  figures: CompareFigures[]
}

/** Most pictures of a page. */
export const MOST_PICTURES = 12

export interface ComparePlan extends Omit<CompareOptions, 'losslessPixels'> {
  pictures: ComparedPicture[]
  losslessPixels: number
}

const isPicture = (value: unknown): value is ComparedPicture =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, 'image')

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkCompare(pictures: unknown, options: unknown): ComparePlan {
  const given = checkObject(options, 'compare options', [
    'out',
    'model',
    'upscale',
    'title',
    'losslessPixels',
    'signal',
  ]) as Partial<CompareOptions>
  const { model, upscale } = given
  if (model !== undefined && typeof (model as Partial<SupernetModel>).upscale !== 'function')
    throw invalidOption('model', 'a SupernetModel', model)
  if (upscale !== undefined) {
    if (!model) throw invalidOption('upscale', 'nothing without a model', upscale)
    const named = upscale as UpscaleOptions
    for (const key of ['signal', 'onProgress', 'protocol'] as const)
      if (named[key] !== undefined) throw invalidOption(`upscale.${key}`, 'nothing', named[key])
  }
  const least = model ? 1 : 2
  if (!Array.isArray(pictures) || pictures.length < least || pictures.length > MOST_PICTURES)
    throw invalidOption(
      'pictures',
      model ? `1 to ${MOST_PICTURES} pictures` : `2 to ${MOST_PICTURES} pictures (or 1 and a model)`,
      Array.isArray(pictures) ? `${pictures.length} of them` : pictures,
    )
  return {
    ...given,
    out: checkString(given.out, 'out'),
    pictures: pictures.map((value: unknown, i) => checkPicture(value, `pictures[${i}]`)),
    ...(given.title !== undefined && { title: checkString(given.title, 'title') }),
    losslessPixels: given.losslessPixels === undefined ? 40e6 : checkInteger(given.losslessPixels, 'losslessPixels', 0),
    ...(given.signal !== undefined && { signal: checkSignal(given.signal, 'signal') }),
  }
}

function checkPicture(value: unknown, name: string): ComparedPicture {
  if (!isPicture(value)) return { image: value as ImageInput | RawImage }
  const { label, allocation, subnets } = checkObject(value, name, [
    'image',
    'label',
    'allocation',
    'subnets',
    'map',
  ]) as Partial<ComparedPicture>
  if (label !== undefined) checkString(label, `${name}.label`)
  if (allocation !== undefined && !Array.isArray(allocation.tiles))
    throw invalidOption(`${name}.allocation`, 'the allocation that upscale returned', allocation)
  if (subnets !== undefined && !Array.isArray(subnets)) throw invalidOption(`${name}.subnets`, 'model.subnets', subnets)
  return value
}
