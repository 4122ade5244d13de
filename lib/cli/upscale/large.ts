// Pictures whose result is too large to be held: read, enlarged and written by bands.
import type { ImageHeader } from '../../images/images.js'
import type { EncodedInput, SupernetModel } from '../../index.js'
import { passesFor, type Size } from '../../stream/target.js'
import type { Job } from './jobs.js'
import type { Finished, PictureSettings } from './types.js'

/** Whether a picture's result is made in bands: it is larger than the limit, or what the network gives before the resize is. */
export function isLarge(
  model: SupernetModel,
  { width, height, channels, bits }: ImageHeader,
  wanted: Size,
  { largest, upscale }: PictureSettings,
): boolean {
  const passes = passesFor(wanted, { width, height }, model.scale)
  const made = width * height * model.scale ** (2 * passes)
  const pixels = Math.max(made, wanted.width * wanted.height)
  // A texture's second run begins with rows of the first run's end.
  const repeats = upscale.wrap !== undefined && upscale.wrap !== false && passes > 1
  return pixels * channels * (bits / 8) > largest && !repeats
}

/** What became of the picture. */
export type LargeResult = Pick<Finished, 'result' | 'share' | 'tilesPerSubnet' | 'passes' | 'header'>

export async function upscaleLarge(
  model: SupernetModel,
  input: EncodedInput,
  header: ImageHeader,
  file: string,
  job: Job,
  settings: PictureSettings,
): Promise<LargeResult> {
  const { upscale, read, encode, metadata, signal, target, onProgress } = settings
  const { width, height, channels, passes, flops, flopsOfLargest, histogram, warnings } = await model.upscaleFile(
    input,
    file,
    {
      ...upscale,
      ...(read.page !== undefined && { page: read.page }),
      ...encode,
      ...target,
      metadata,
      ...(job.map !== null && { map: job.map }),
      signal,
      onProgress: ({ done, total }) => onProgress(job, done / total),
    },
  )
  return {
    header: { ...header, warnings },
    result: { data: new Uint8Array(0), width, height, channels },
    share: flops / flopsOfLargest,
    tilesPerSubnet: histogram,
    passes,
  }
}
