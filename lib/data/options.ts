// The `data` option of trainSupernet: where images come from and how they are kept.
import { invalidOption } from '../errors.js'
import { checkReadOptions } from '../images/read-options.js'
import { checkInteger, checkNumber, checkObject, checkString } from '../options.js'
import { checkDegradation, type Degradation, type DegradationOptions } from './degradation.js'
import type { FileSpec } from './files.js'

/** What a training run reads, and how much of it is kept in memory. */
export interface DataOptions {
  /** HR images to train on: a folder (with subfolders), a pattern (`*`, `?`, `**`, `{a,b}`, `{01..99}`), a file, or a list of these. */
  train: FileSpec
  /** HR images to validate on. */
  validation?: FileSpec
  /**
   * LR files of `train`: of the same names, with x2, x3, x4 behind, or told apart by marks such as _HR and _LR4 (see
   * pairImages); default: made by antialiased bicubic. HR images without LR file are left out.
   */
  lr?: FileSpec
  /** LR files of `validation`. */
  validationLr?: FileSpec
  /** Distance of crop positions in HR pixels, a multiple of the scale; default half a patch. */
  step?: number
  /** Folder that keeps difficulties between runs; default `$XDG_CACHE_HOME/wbsr` or `~/.cache/wbsr`; false: none. */
  cache?: string | false
  /**
   * Bytes of decoded images to keep, default 1.5e9. Photographs take 3 bytes a pixel. Where not all fit, crops of the steps
   * to come are kept in their place.
   */
  memory?: number
  /**
   * What happens to LR besides the reduction, drawn for each patch: 'photo' (mild blur, noise and JPEG of quality 50 to 95, see
   * docs/training.md) or ranges of your own. Applied to LR files too. Default: nothing.
   */
  degradation?: 'photo' | DegradationOptions
  /** Largest width x height of an image, as in ReadOptions; larger ones are left out. Default: no limit. */
  maxPixels?: number
}

/** Options with every default filled in. */
export interface DataPlan extends Omit<DataOptions, 'degradation'> {
  memory: number
  degradation?: Degradation
}

/** Fills in the defaults (file patterns are checked when they are searched). @throws WbsrError WBSR_INVALID_OPTION */
export function checkDataOptions(options: unknown, name = 'data'): DataPlan {
  const given = checkObject(options, name, [
    'train',
    'validation',
    'lr',
    'validationLr',
    'step',
    'cache',
    'memory',
    'degradation',
    'maxPixels',
  ]) as unknown as DataOptions
  const files = (key: 'train' | 'validation' | 'lr' | 'validationLr'): FileSpec | undefined => {
    const value: unknown = given[key]
    if (value === undefined && key !== 'train') return undefined
    const list: unknown[] = Array.isArray(value) ? value : [value]
    if (list.length === 0 || !list.every((item) => typeof item === 'string' && item !== '')) {
      throw invalidOption(`${name}.${key}`, 'a folder, a pattern or a list of image files', value)
    }
    return value as FileSpec
  }
  if (given.validationLr !== undefined && given.validation === undefined)
    throw invalidOption(`${name}.validationLr`, `nothing without ${name}.validation`, given.validationLr)
  return {
    train: files('train')!,
    validation: files('validation'),
    lr: files('lr'),
    validationLr: files('validationLr'),
    step: given.step === undefined ? undefined : checkInteger(given.step, `${name}.step`, 1),
    cache: given.cache === undefined || given.cache === false ? given.cache : checkString(given.cache, `${name}.cache`),
    memory: checkNumber(given.memory ?? 1.5e9, `${name}.memory`, 0),
    ...(given.degradation !== undefined && {
      degradation: checkDegradation(given.degradation, `${name}.degradation`),
    }),
    maxPixels: checkReadOptions({ maxPixels: given.maxPixels }, `${name}.`).maxPixels,
  }
}
