// Jobs of pictures and videos, to be submitted or only to be priced.
import { aborted, wrapError } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { type SupernetModel, stateOf } from '../models/model.js'
import type { ImageInput } from '../types.js'
import { checkPictureOptions, OWN_KEYS, type PictureOptions } from './options.js'
import { type PictureJob, type Price, pictureJob } from './picture-job.js'
import { measureSpeeds } from './speeds.js'
import type { Store } from './store.js'
import { checkFleetVideoOptions, type FleetVideoOptions, videoJob } from './video-job.js'

/** Options of upscale that a whole picture's worker gets: what is plain data. */
function plainOptions({ signal: _signal, ...options }: PictureOptions): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options).filter(([key, value]) => !OWN_KEYS.includes(key) && value !== undefined),
  )
}

/**
 * The price of a picture's job, without a store, a database or a worker: bands, work, bytes, and how fast this machine is.
 * `predict` makes seconds of it.
 *
 * @throws WbsrError WBSR_INVALID_OPTION, WBSR_INVALID_IMAGE, WBSR_NOT_FOUND, WBSR_ABORTED
 */
export async function planPicture(
  model: SupernetModel,
  input: ImageInput,
  options: PictureOptions = {},
): Promise<Price> {
  const state = stateOf(model)
  const { price } = await jobOf(state, input, 'plan.png', options, null)
  return price.kind === 'bands'
    ? { ...price, speeds: await measureSpeeds(state, checkPictureOptions(options, state)) }
    : price
}

export async function jobOf(
  state: ModelState,
  input: ImageInput,
  output: string,
  options: PictureOptions,
  store: Store | null,
): Promise<PictureJob> {
  const settings = checkPictureOptions(options, state)
  const { signal } = settings
  try {
    return await pictureJob(state, input, output, settings, plainOptions(options), store)
  } catch (error) {
    throw signal?.aborted ? aborted('planning a job', signal) : wrapError(error)
  }
}

/**
 * The price of a video's job: segments and at most how much work. It is decoded, as it is when it is submitted.
 *
 * @param input a file
 * @throws WbsrError as upscaleVideo does, before it has decoded
 */
export async function planVideo(model: SupernetModel, input: string, options: FleetVideoOptions = {}): Promise<Price> {
  return (await videoJobOf(stateOf(model), input, 'plan.mkv', options, null)).price
}

export async function videoJobOf(
  state: ModelState,
  input: string,
  output: string,
  options: FleetVideoOptions,
  store: Store | null,
) {
  const settings = checkFleetVideoOptions(options, state)
  const { signal } = settings.video.frames
  try {
    return await videoJob(state, input, output, settings, store)
  } catch (error) {
    throw signal?.aborted ? aborted('planning a job', signal) : wrapError(error)
  }
}
