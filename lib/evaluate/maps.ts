// Pictures of a result, for the eye: what was made, how far it is from HR, and which subnet ran where. Plain pixel loops: these
// pictures are made once and are no part of a measurement.
import { access } from 'node:fs/promises'
import path from 'node:path'
import type { RgbImage } from '../data/decode.js'
import { encodeImage } from '../images/encode.js'
import { allocationOverlay, errorMap } from '../infer/overlay.js'
import type { RawImage } from '../types.js'
import type { EvaluationPicture } from './options.js'
import type { Made } from './picture.js'
import { fileNameOf } from './store.js'

/** SET/PICTURE/RUN.KIND.png in the directory. */
function mapFile(directory: string, set: string, picture: string, run: string, kind: EvaluationPicture): string {
  return path.join(directory, fileNameOf(set), fileNameOf(picture), `${fileNameOf(run)}.${kind}.png`)
}

/** Kinds that a run has: bicubic has no allocation. */
const kindsOf = (kinds: readonly EvaluationPicture[], run: string): EvaluationPicture[] =>
  kinds.filter((kind) => kind !== 'allocation' || run !== 'bicubic')

/** Whether all of them were written before. */
export async function haveMaps(
  directory: string,
  set: string,
  picture: string,
  run: string,
  kinds: readonly EvaluationPicture[],
): Promise<boolean> {
  const files = kindsOf(kinds, run).map((kind) => mapFile(directory, set, picture, run, kind))
  const found = await Promise.allSettled(files.map((file) => access(file)))
  return found.every(({ status }) => status === 'fulfilled')
}

/** @throws WbsrError WBSR_IO */
export async function writeMaps(
  directory: string,
  set: string,
  picture: string,
  run: string,
  kinds: readonly EvaluationPicture[],
  { sr, allocation }: Pick<Made, 'sr' | 'allocation'>,
  hr: RgbImage,
): Promise<void> {
  for (const kind of kindsOf(kinds, run)) {
    const raw: RawImage = { ...sr, channels: 3 }
    const image = kind === 'sr' ? raw : kind === 'error' ? errorMap(sr, hr) : allocationOverlay(raw, allocation!)
    await encodeImage({ ...image, channels: 3 }, mapFile(directory, set, picture, run, kind))
  }
}
