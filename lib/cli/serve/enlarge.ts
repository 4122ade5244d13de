// One picture of a client: the file that came, enlarged as wbsr upscale does it, and what the page shows of it.
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { OutputFormat } from '../../images/formats.js'
import { imageHeader } from '../../images/images.js'
import { resizeBicubic } from '../../index.js'
import { type PageAllocation, pageAllocation } from '../../pages/allocation.js'
import { encodeForPage } from '../../pages/pictures.js'
import { passesFor, targetSize } from '../../stream/target.js'
import type { Job } from '../upscale/jobs.js'
import { decodePicture, discardPicture, encodePicture, runPicture } from '../upscale/picture.js'
import type { PictureSettings } from '../upscale/types.js'
import { HttpError } from './http.js'
import type { ModelPool } from './model-pool.js'
import { QUALITIES, type Wanted } from './request.js'
import type { Result, ResultFile } from './results.js'

export interface PixelLimits {
  /** Pixels of an input. */
  pixels: number
  /** Pixels of a result. */
  resultPixels: number
}

/** Of WebP, in which pictures are shown. */
const MOST_SIDE = 16383
/** Of what is shown; the download has the quality of wbsr upscale. */
const SHOWN_QUALITY = 90
/** A pass of the network may make so many times the pixels of the result, before they are resized. */
const PASS_FACTOR = 4

const EXTENSIONS: Record<OutputFormat, string> = { png: 'png', jpeg: 'jpg', webp: 'webp', tiff: 'tif', avif: 'avif' }
const TYPES: Record<OutputFormat, string> = {
  png: 'image/png',
  jpeg: 'image/jpeg',
  webp: 'image/webp',
  tiff: 'image/tiff',
  avif: 'image/avif',
}
/** What browsers do not show is shown as WebP. */
const SHOWN: readonly OutputFormat[] = ['png', 'jpeg', 'webp', 'avif']

export interface Enlarged {
  result: Result
  facts: {
    name: string
    model: string
    inputSize: [number, number]
    size: [number, number]
    bytes: number
    seconds: number
    /** Of the largest subnet's work. */
    share: number
    allocation: PageAllocation | null
    warnings: readonly string[]
  }
}

/** The format of the result of a file. */
function formatFor(wanted: Wanted['format'], input: string | null): OutputFormat {
  if (wanted !== 'same') return wanted
  return input === 'jpeg' || input === 'webp' || input === 'tiff' ? input : 'png'
}

/** @throws HttpError 413 before anything is decoded; WbsrError of a picture that cannot be read */
async function plan(file: string, wanted: Wanted, pool: ModelPool, limits: PixelLimits) {
  const { pixels, resultPixels } = limits
  const header = await imageHeader(file, wanted.name, { maxPixels: pixels })
  const size = targetSize(wanted.target, header)
  const [largest, most] = [Math.max(size.width, size.height), size.width * size.height]
  if (most > resultPixels || largest > MOST_SIDE)
    throw new HttpError(
      413,
      'WBSR_TOO_LARGE',
      `Expected a result of at most ${(resultPixels / 1e6).toFixed(0)} million pixels and ${MOST_SIDE} a side but it would have ${size.width} x ${size.height}`,
    )
  const factor = Math.max(size.width / header.width, size.height / header.height)
  const { model, name } = await pool.for(wanted.model, file, factor)
  const reached = model.scale ** passesFor(size, header, model.scale)
  if (header.width * header.height * reached ** 2 > Math.max(PASS_FACTOR * most, resultPixels))
    throw new HttpError(
      413,
      'WBSR_TOO_LARGE',
      `Expected a size that ×${model.scale} leads to, as ${header.width * reached} x ${header.height * reached} pixels would be made on the way`,
    )
  return { header, model, name }
}

/**
 * Enlarges a file into its folder.
 *
 * @throws HttpError 413; WbsrError as wbsr upscale reports it, WBSR_ABORTED among them
 */
export async function enlarge(
  input: string,
  folder: string,
  wanted: Wanted,
  pool: ModelPool,
  limits: PixelLimits,
  signal: AbortSignal,
  onProgress: (share: number) => void,
): Promise<Enlarged> {
  const { header, model, name } = await plan(input, wanted, pool, limits)
  signal.throwIfAborted()
  const format = formatFor(wanted.format, header.format)
  const output = path.join(folder, `result.${EXTENSIONS[format]}`)
  const job: Job = { input, output, format, map: null }
  const loss = QUALITIES[wanted.quality]
  const settings: PictureSettings = {
    models: { for: async () => model },
    target: wanted.target,
    // A model without a router table has no expected loss: its own router decides.
    upscale: loss === null ? { router: { subnet: model.subnets.length - 1 } } : model.router === null ? {} : { loss },
    read: { maxPixels: limits.pixels },
    encode: { quality: 95, compressionLevel: 6 },
    // All of it is in memory: its size is bounded.
    largest: Number.POSITIVE_INFINITY,
    metadata: 'keep',
    signal,
    onProgress: (_job, share) => onProgress(share),
  }
  const decoded = await decodePicture(job, settings)
  const finished = await runPicture(decoded, job, settings).catch(async (error) => {
    await discardPicture(decoded)
    throw error
  })
  await encodePicture(finished, job, settings)
  const { image, result, allocation } = finished
  const size = { width: result.width, height: result.height }
  const shown = async (kind: string, of: () => Promise<Buffer>): Promise<ResultFile> => {
    signal.throwIfAborted()
    const file = path.join(folder, `${kind}.webp`)
    await writeFile(file, await of(), { mode: 0o600 })
    return { file, type: 'image/webp' }
  }
  const download: ResultFile = { file: output, type: TYPES[format] }
  const before = await shown('before', async () => encodeForPage(await resizeBicubic(image, size), SHOWN_QUALITY, 'it'))
  const after = SHOWN.includes(format)
    ? download
    : await shown('after', () => encodeForPage(result, SHOWN_QUALITY, 'it'))
  const file = `${path.parse(wanted.name).name}-${size.width}x${size.height}.${EXTENSIONS[format]}`
  return {
    result: { name: file, files: { result: download, before, after } },
    facts: {
      name: file,
      model: name,
      inputSize: [image.width, image.height],
      size: [size.width, size.height],
      bytes: 0,
      seconds: finished.seconds,
      share: finished.share,
      allocation: allocation && pageAllocation(allocation, model.subnets),
      warnings: finished.header.warnings,
    },
  }
}
