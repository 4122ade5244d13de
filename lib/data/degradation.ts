// The `data.degradation` option: what photographs went through before they are enlarged, besides being small. Options and
// draws; degrade.ts does it to pixels.
import { invalidOption } from '../errors.js'
import { checkBoolean, checkNumber, checkObject } from '../options.js'
import type { RandomStream } from '../random.js'

/** From, to. */
export type Range = readonly [number, number]

/**
 * How LR pictures are made worse after the reduction: blur, then noise, then JPEG. A part that is left out does not
 * happen.
 */
export interface DegradationOptions {
  /** Gaussian blur of LR. `sigma`: a range in LR pixels within 0 .. 2, drawn uniformly. */
  blur?: { probability: number; sigma: Range }
  /** White noise, added to LR. `sigma`: a range of its deviation within 0 .. 50, of 255, drawn uniformly. */
  noise?: { probability: number; sigma: Range }
  /**
   * JPEG, after blur and noise. `quality`: a range within 1 .. 100, drawn uniformly from its whole numbers. `subsampling`:
   * how often chroma has half the resolution (4:2:0; else 4:4:4), 0 .. 1, default 0.5.
   */
  jpeg?: { probability: number; quality: Range; subsampling?: number }
  /**
   * Whether validation images, and with them the images on which the router is calibrated, are degraded too: each always in
   * the same way. Default true.
   */
  validation?: boolean
}

/** Every value of the parts that are there filled in. */
export interface Degradation extends DegradationOptions {
  jpeg?: { probability: number; quality: Range; subsampling: number }
  validation: boolean
}

/** What happens to one picture. 0 and null: nothing. */
export interface DegradationDraw {
  /** LR pixels. */
  blur: number
  /** Of 255. */
  noise: number
  noiseSeed: number
  jpeg: { quality: number; chromaSubsampling: '4:2:0' | '4:4:4' } | null
  /** Where the 16x16 blocks of JPEG begin: LR pixels left of and above the patch, 4 .. 19. */
  left: number
  above: number
}

/** Mild, as in photographs that cameras and web pages made: most are JPEG, some are soft, some have noise. */
const PHOTO: Degradation = {
  blur: { probability: 0.3, sigma: [0.2, 0.8] },
  noise: { probability: 0.25, sigma: [0.5, 3] },
  jpeg: { probability: 0.85, quality: [50, 95], subsampling: 0.5 },
  validation: true,
}

/** Fills in the defaults. @throws WbsrError WBSR_INVALID_OPTION */
export function checkDegradation(value: unknown, name = 'data.degradation'): Degradation {
  if (value === 'photo') return PHOTO
  if (typeof value === 'string') throw invalidOption(name, `'photo' or an object`, value)
  const given = checkObject(value, name, ['blur', 'noise', 'jpeg', 'validation'])
  const { blur, noise, jpeg, validation } = given
  if (blur === undefined && noise === undefined && jpeg === undefined)
    throw invalidOption(name, 'one of blur, noise and jpeg', value)
  return {
    ...(blur !== undefined && { blur: checkSigma(blur, `${name}.blur`, 2) }),
    ...(noise !== undefined && { noise: checkSigma(noise, `${name}.noise`, 50) }),
    ...(jpeg !== undefined && { jpeg: checkJpeg(jpeg, `${name}.jpeg`) }),
    validation: validation === undefined ? true : checkBoolean(validation, `${name}.validation`),
  }
}

function checkSigma(value: unknown, name: string, max: number): { probability: number; sigma: Range } {
  const given = checkObject(value, name, ['probability', 'sigma'])
  return {
    probability: checkNumber(given['probability'], `${name}.probability`, 0, 1),
    sigma: checkRange(given['sigma'], `${name}.sigma`, 0, max),
  }
}

function checkJpeg(value: unknown, name: string): Required<Degradation>['jpeg'] {
  const given = checkObject(value, name, ['probability', 'quality', 'subsampling'])
  const quality = checkRange(given['quality'], `${name}.quality`, 1, 100)
  if (!quality.every(Number.isInteger)) throw invalidOption(`${name}.quality`, 'two integers', quality)
  return {
    probability: checkNumber(given['probability'], `${name}.probability`, 0, 1),
    quality,
    subsampling: checkNumber(given['subsampling'] ?? 0.5, `${name}.subsampling`, 0, 1),
  }
}

function checkRange(value: unknown, name: string, min: number, max: number): Range {
  const expected = `[from, to] with ${min} <= from <= to <= ${max}`
  if (!Array.isArray(value) || value.length !== 2) throw invalidOption(name, expected, value)
  const [from, to] = value as [unknown, unknown]
  if (typeof from !== 'number' || typeof to !== 'number' || !(min <= from && from <= to && to <= max))
    throw invalidOption(name, expected, value)
  return [from, to]
}

/** Draws what happens to one picture. The same count of numbers whatever the options are, so that one does not shift another. */
export function drawDegradation({ blur, noise, jpeg }: Degradation, random: RandomStream): DegradationDraw {
  const part = (options: { probability: number; sigma: Range } | undefined): number => {
    const [happens, at] = [random.next(), random.next()]
    if (!options || happens >= options.probability) return 0
    const [from, to] = options.sigma
    return from + at * (to - from)
  }
  const [blurSigma, noiseSigma] = [part(blur), part(noise)]
  const [happens, at, subsampled] = [random.next(), random.next(), random.next()]
  const [from, to] = jpeg?.quality ?? [0, 0]
  return {
    blur: blurSigma,
    noise: noiseSigma,
    noiseSeed: random.integer(2 ** 32),
    jpeg:
      jpeg && happens < jpeg.probability
        ? {
            quality: from + Math.floor(at * (to - from + 1)),
            chromaSubsampling: subsampled < jpeg.subsampling ? '4:2:0' : '4:4:4',
          }
        : null,
    left: 4 + random.integer(16),
    above: 4 + random.integer(16),
  }
}
