// The patch index: every crop position of the training images with its difficulty. Measured once, then read from a cache.
import { createHash, webcrypto } from 'node:crypto'
import { invalidOption, WbsrError } from '../errors.js'
import { native } from '../native.js'
import { checkInteger } from '../options.js'
import { difficultyOf } from '../routing/classes.js'
import { cropToScale, decodeRgb, readBytes, Unusable, usable } from './decode.js'
import type { SkippedImage } from './files.js'
import { type CachedImage, defaultCacheDirectory, readCached, writeCached } from './index-cache.js'
import { cropPair, type ImagePair } from './pairs.js'
import { mapParallel } from './parallel.js'

/** Goes into the cache key: raise it whenever the same pixels would get other difficulties or positions. */
const definitionVersion = 3

export interface IndexOptions {
  scale: number
  /** HR pixels, a multiple of the scale. */
  patchSize: number
  /** Distance of crop positions in HR pixels, a multiple of the scale; default: half a patch. */
  step?: number
  /** Folder for difficulties between runs; default `$XDG_CACHE_HOME/wbsr` or `~/.cache/wbsr`; false: none. */
  cache?: string | false
  /** Larger images are left out. */
  maxPixels?: number
  signal?: AbortSignal
  /** Called after every image. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/** One training image. Sizes in pixels, HR cut down to a multiple of the scale. */
export interface IndexedImage extends ImagePair {
  width: number
  height: number
  /** Number of its first patch; its others follow, row by row. */
  firstPatch: number
}

/** What is known of one file. */
interface Measured extends CachedImage {
  /** Names content and settings. */
  key: string
  cached: boolean
}

/**
 * Crop positions along one side: 0, step, 2 step, ..., and the last possible one when random shifts by half a step would not
 * reach it from there. Empty when the side is shorter than a patch.
 *
 * @param length side of the image, a multiple of the scale as patchSize and step are
 */
export function gridPositions(length: number, patchSize: number, step: number): number[] {
  const last = length - patchSize
  if (last < 0) return []
  const positions = Array.from({ length: Math.floor(last / step) + 1 }, (_, i) => i * step)
  if (last - positions.at(-1)! > step / 2) positions.push(last)
  return positions
}

/** Checks patchSize and step; names as in the options of trainSupernet. @throws WbsrError WBSR_INVALID_OPTION */
export function checkGrid(options: { scale: number; patchSize: number; step?: number }): {
  patchSize: number
  step: number
} {
  const { scale } = options
  const patchSize = checkInteger(options.patchSize, 'patchSize', scale)
  if (patchSize % scale !== 0) throw invalidOption('patchSize', `a multiple of the scale ${scale}`, patchSize)
  const step =
    options.step === undefined
      ? Math.max(1, Math.floor(patchSize / 2 / scale)) * scale
      : checkInteger(options.step, 'data.step', scale)
  if (step % scale !== 0) throw invalidOption('data.step', `a multiple of the scale ${scale}`, step)
  return { patchSize, step }
}

/** All crop positions of all usable images, with difficulties. */
export class PatchIndex {
  readonly scale: number
  readonly patchSize: number
  readonly step: number
  readonly images: readonly IndexedImage[]
  readonly skipped: readonly SkippedImage[]
  /** ||g||2 of every patch's LR pixels (method.md section 2). */
  readonly difficulties: Float64Array
  /** Changes with the content of any image and with the settings: two runs with the same one see the same data. */
  readonly fingerprint: string
  /** Images whose difficulties came from the cache, and those that were measured. */
  readonly cache: { hits: number; misses: number }
  readonly #imageOf: Uint32Array

  private constructor(
    grid: { scale: number; patchSize: number; step: number },
    measured: (ImagePair & Measured)[],
    skipped: SkippedImage[],
  ) {
    this.scale = grid.scale
    this.patchSize = grid.patchSize
    this.step = grid.step
    this.skipped = skipped
    const total = measured.reduce((sum, image) => sum + image.difficulties.length, 0)
    this.difficulties = new Float64Array(total)
    this.#imageOf = new Uint32Array(total)
    const hits = measured.filter((image) => image.cached).length
    this.cache = { hits, misses: measured.length - hits }
    const hash = createHash('sha256')
    let firstPatch = 0
    this.images = measured.map(({ hr, lr, width, height, difficulties, key }, i) => {
      const image = { hr, lr, width, height, firstPatch }
      this.difficulties.set(difficulties, firstPatch)
      this.#imageOf.fill(i, firstPatch, firstPatch + difficulties.length)
      firstPatch += difficulties.length
      hash.update(key)
      return image
    })
    this.fingerprint = hash.digest('hex')
  }

  /** Image number and top left in HR pixels of a patch. */
  position(patch: number): { image: number; x: number; y: number } {
    const number = this.#imageOf[patch]!
    const { width, height, firstPatch } = this.images[number]!
    const columns = gridPositions(width, this.patchSize, this.step)
    const rows = gridPositions(height, this.patchSize, this.step)
    const inside = patch - firstPatch
    return { image: number, x: columns[inside % columns.length]!, y: rows[Math.floor(inside / columns.length)]! }
  }

  /**
   * Indexes the images. Those that cannot be read or decoded, and those smaller than a patch, are left out and reported in
   * `skipped`.
   *
   * @throws WbsrError WBSR_NO_DATA: none is left; WBSR_INVALID_IMAGE: an LR file is not HR / scale; WBSR_INVALID_OPTION:
   *   patchSize or step; WBSR_ABORTED
   */
  static async build(pairs: readonly ImagePair[], options: IndexOptions): Promise<PatchIndex> {
    const grid = { scale: options.scale, ...checkGrid(options) }
    const directory = options.cache === false ? null : (options.cache ?? defaultCacheDirectory())
    const found = await mapParallel(
      pairs,
      'Indexing the training images',
      (pair) => measure(pair, grid, directory, options.maxPixels),
      {
        signal: options.signal,
        onDone: (done) => options.onProgress?.({ done, total: pairs.length }),
      },
    )
    const measured: (ImagePair & Measured)[] = []
    const skipped: SkippedImage[] = []
    found.forEach((result, i) => {
      'reason' in result ? skipped.push(result) : measured.push({ ...pairs[i]!, ...result })
    })
    if (measured.length === 0) {
      const shown = skipped
        .slice(0, 5)
        .map(({ file, reason }) => `\n- ${file}: ${reason}`)
        .join('')
      throw new WbsrError(
        'WBSR_NO_DATA',
        `None of the ${pairs.length} training images can be used${shown}${skipped.length > 5 ? `\n- and ${skipped.length - 5} more` : ''}`,
      )
    }
    return new PatchIndex(grid, measured, skipped)
  }
}

/** Difficulties of one image, or why it is of no use. */
async function measure(
  pair: ImagePair,
  grid: { scale: number; patchSize: number; step: number },
  directory: string | null,
  maxPixels: number | undefined,
): Promise<Measured | SkippedImage> {
  const { scale, patchSize, step } = grid
  try {
    const bytes = await usable(pair.hr, readBytes(pair.hr))
    const lrBytes = pair.lr === null ? null : await usable(pair.lr, readBytes(pair.lr))
    const content = [await sha256(bytes), lrBytes && (await sha256(lrBytes))]
    const key = createHash('sha256')
      .update(JSON.stringify({ definitionVersion, scale, patchSize, step, content }))
      .digest('hex')
    const patches = (width: number, height: number): number =>
      gridPositions(width, patchSize, step).length * gridPositions(height, patchSize, step).length
    const known = directory === null ? null : await readCached(directory, key, patches)
    const result = {
      key,
      cached: known !== null,
      ...(known ?? (await measurePixels(pair, bytes, lrBytes, grid, maxPixels))),
    }
    if (directory !== null && !known) await writeCached(directory, key, result)
    // Only the size is used of an entry of the cache.
    if (known && maxPixels !== undefined && known.width * known.height > maxPixels)
      throw new Unusable(pair.hr, `larger than maxPixels ${maxPixels} (${known.width}x${known.height})`)
    if (result.difficulties.length === 0)
      throw new Unusable(
        pair.hr,
        `smaller than a patch of ${patchSize}x${patchSize} (${result.width}x${result.height} in whole LR pixels)`,
      )
    return result
  } catch (error) {
    if (error instanceof Unusable) return { file: error.file, reason: error.reason }
    throw error
  }
}

async function measurePixels(
  pair: ImagePair,
  bytes: Buffer,
  lrBytes: Buffer | null,
  grid: { scale: number; patchSize: number; step: number },
  maxPixels: number | undefined,
): Promise<CachedImage> {
  const { scale, patchSize, step } = grid
  const whole = await usable(pair.hr, decodeRgb(bytes, pair.hr, { maxPixels }))
  const hr = cropToScale(whole, scale)
  const width = hr.width / scale
  const height = hr.height / scale
  let lr: Uint8Array | null = null
  if (lrBytes) {
    const decoded = await usable(pair.lr!, decodeRgb(lrBytes, pair.lr!, { maxPixels }))
    lr = cropPair({ hr: pair.hr, lr: pair.lr! }, whole, decoded, scale).data
  }
  const rects: number[] = []
  for (const y of gridPositions(hr.height, patchSize, step)) {
    for (const x of gridPositions(hr.width, patchSize, step))
      rects.push(x / scale, y / scale, patchSize / scale, patchSize / scale)
  }
  const difficulties = new Float64Array(rects.length / 4)
  if (rects.length > 0) {
    lr ??= (await native.resizeBicubic(hr.data, hr.width, hr.height, 3, width, height, 0)) as Uint8Array
    const vectors = await native.gradientVectors(lr, width, height, 3, Int32Array.from(rects))
    for (let i = 0; i < difficulties.length; i++) difficulties[i] = difficultyOf(vectors, i)
  }
  return { width: hr.width, height: hr.height, difficulties }
}

/** Size and hash of a file's bytes, computed off the event loop. */
async function sha256(bytes: Buffer): Promise<string> {
  return `${bytes.length} ${Buffer.from(await webcrypto.subtle.digest('SHA-256', bytes)).toString('hex')}`
}
