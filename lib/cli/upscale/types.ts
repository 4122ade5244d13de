// What pictures are on their way through the stages of wbsr upscale.

import type { EncodeSettings } from '../../images/encode.js'
import type { ImageHeader } from '../../images/images.js'
import type { ReadOptions } from '../../images/read-options.js'
import type {
  Allocation,
  EncodedInput,
  PictureMetadata,
  RawImage,
  Router,
  SupernetModel,
  UpscaleOptions,
} from '../../index.js'
import type { PictureFile } from '../../stream/picture-file.js'
import type { Target } from '../../stream/target.js'
import type { Models } from '../model.js'
import type { Job } from './jobs.js'

export interface PictureSettings {
  models: Pick<Models, 'for'>
  target: Target
  upscale: Omit<UpscaleOptions, 'router' | 'signal' | 'onProgress' | keyof ReadOptions> & { router?: Router }
  read: ReadOptions
  encode: EncodeSettings
  /** Bytes of a result above which it is made in bands. */
  largest: number
  metadata: 'keep' | 'strip'
  signal: AbortSignal
  /** Share of a picture that has run, 0 .. 1. */
  onProgress(job: Job, share: number): void
}

/** A decoded picture and the file that its result goes to, open already: a folder without permission is known by now. */
export interface Decoded {
  model: SupernetModel
  image: RawImage
  header: ImageHeader
  /** null: the result is made in bands, and so is its file. */
  file: PictureFile | null
  input: EncodedInput
  /** Of the temporary folder that standard output is written from. */
  remove: (() => Promise<void>) | null
  name: string
}

export interface Finished extends Decoded {
  result: RawImage
  metadata: PictureMetadata | null
  /** Of the largest subnet's work, and tiles of each subnet, in the first pass. */
  share: number
  tilesPerSubnet: number[]
  /** Of the first pass; null: the result was made in bands. */
  allocation: Allocation | null
  overlay: RawImage | null
  seconds: number
  passes: number
}
