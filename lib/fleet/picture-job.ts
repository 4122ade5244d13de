// From a picture to its job: how it is done, what it costs, and what workers must know.

import { createReadStream } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { invalidOption } from '../errors.js'
import { outputFormat } from '../images/formats.js'
import { isEncodedInput } from '../images/source.js'
import type { ModelState } from '../model-state.js'
import { isURL } from '../realms.js'
import { pictureFlops } from '../tiling/flops.js'
import { overlapOf } from '../tiling/overlap.js'
import type { EncodedInput, ImageInput } from '../types.js'
import type { Speeds } from './assumed.js'
import type { Band } from './bands.js'
import { modelKey, numericsOf, probeOf } from './identity.js'
import { type BandsManifest, identify, type PictureManifest, storedMetadata } from './manifest.js'
import type { PictureSettings } from './options.js'
import { type Cut, cutPicture, gridOf, whyWhole } from './prepare.js'
import { measureRate } from './rate.js'
import { contentHash, DecodedRows, type RowShape, rowBytes, StoredRows, storeRows } from './rows.js'
import { hashOf, type Store } from './store.js'

/** Halo and seams cost at most about this much on top of the picture's own pixels, before a picture is looked at. */
export const MOST_OVER = 1.25

/** What a job will cost. */
export interface Price {
  name: string
  /** How it is done: in bands, as a whole by one worker, or in segments of frames. */
  kind: 'bands' | 'picture' | 'video'
  /** Pixels of the picture and of the result. */
  input: { width: number; height: number }
  output: { width: number; height: number }
  /** Of a video its segments, with the numbers of their frames. */
  bands: Band[]
  /** 2 x MAC; of a whole picture and of a video an upper bound, as their tiles are not routed yet. */
  flops: number
  /** Share of it that is computed twice because the picture is cut. */
  overhead: number
  /** 2 x MAC that one worker does in a second. */
  rate: number
  /** What the job costs beside the network here, where it was planned and not submitted. */
  speeds?: Speeds
  /** Of a video: seconds in which this machine decoded it, as the submitter does. */
  splitting?: number
  /**
   * Bytes in the store: the rows that are read, the bands, and the pixels of the result before they are compressed. Of a video
   * only its file is known.
   */
  bytes: { input: number; bands: number; result: number }
}

export interface PictureJob {
  manifest: BandsManifest | PictureManifest
  price: Price
}

/** What a source is called in reports. */
export function nameOf(input: ImageInput): string {
  if (typeof input === 'string') return input
  return isURL(input) ? fileURLToPath(input) : 'picture'
}

const sizeOf = ({ width, height }: RowShape, scale: number) => ({ width: width * scale, height: height * scale })

/** Whether one worker does the picture as a whole: it takes no longer than a band should, or the network needs that. */
function isWhole(state: ModelState, input: ImageInput, shape: RowShape, settings: PictureSettings, rate: number) {
  const { bands, bandSeconds } = settings.cut
  const why = whyWhole(state, shape)
  if (why !== null) {
    if (bands !== undefined && bands > 1) throw invalidOption('bands', `1, as ${why}`, bands)
    return true
  }
  if (bands !== undefined || !isEncodedInput(input)) return false
  return (pictureFlops(state.engine.subnets.at(-1)!, shape.width, shape.height) * MOST_OVER) / rate <= bandSeconds
}

/**
 * Plans the job of a picture and, where there is a store, puts what workers read into it.
 *
 * @param given options of upscale as they were given, for pictures that are done as a whole
 * @throws WbsrError as upscale does, and of the store
 */
export async function pictureJob(
  state: ModelState,
  input: ImageInput,
  output: string,
  settings: PictureSettings,
  given: Record<string, unknown>,
  store: Store | null,
): Promise<PictureJob> {
  const rate = settings.cut.rate ?? (await measureRate(state))
  const decoded = await DecodedRows.open(input, settings.read)
  try {
    const { shape } = decoded
    const common = {
      format: 1 as const,
      name: nameOf(input),
      model: await modelKey(state),
      probe: await probeOf(state),
      numerics: numericsOf(state.engine),
      output,
      outputFormat: outputFormat(output, 'output'),
      encode: settings.encode,
      metadata: settings.metadata,
      rate,
    }
    if (isWhole(state, input, shape, settings, rate)) {
      const flops = pictureFlops(state.engine.subnets.at(-1)!, shape.width, shape.height) * MOST_OVER
      const source = await storeSource(input as EncodedInput, store)
      const { groupRows } = gridOf(settings, shape)
      const upscale = { ...given, ...(whyWhole(state, shape) === null && { groupRows }) }
      const manifest = { ...common, kind: 'picture' as const, source, read: settings.read, upscale, flops }
      return {
        manifest: identify<PictureManifest>(manifest),
        price: priceOf(state, common.name, shape, null, flops, rate),
      }
    }
    const content = hashOf(await contentHash(input), JSON.stringify(settings.read), JSON.stringify(shape))
    const key = `inputs/${content}.rows`
    if (store) await storeRows(store, key, decoded, settings.signal)
    const rows = store ? new StoredRows(store, key, shape) : decoded
    const cut = await cutPicture(state, rows, settings, rate)
    const { metadata } = decoded.header
    const manifest = {
      ...common,
      kind: 'bands' as const,
      scale: state.network.scale,
      rows: key,
      shape,
      alpha: cut.alpha ?? null,
      tile: cut.grid.tile,
      groupRows: cut.grid.groupRows,
      overlap: overlapOf(settings.upscale.halo, state.engine, state.source !== undefined),
      regionPixels: settings.upscale.regionPixels,
      subnets: Buffer.from(cut.subnets).toString('base64'),
      bands: cut.bands,
      kept: metadata && settings.metadata === 'keep' ? storedMetadata(metadata) : null,
      flops: cut.flops,
    }
    return {
      manifest: identify<BandsManifest>(manifest),
      price: priceOf(state, common.name, shape, cut, cut.flops, rate),
    }
  } finally {
    await decoded.close()
  }
}

/** Puts the file of a picture or video into the store, under the hash of its bytes; its ending is kept for readers that look at it. */
export async function storeSource(input: EncodedInput, store: Store | null): Promise<string> {
  const ending = path.extname(nameOf(input)).toLowerCase()
  const key = `inputs/${await contentHash(input)}${/^\.\w{1,8}$/.test(ending) ? ending : ''}`
  if (!store || (await store.size(key)) !== null) return key
  if (typeof input === 'string' || isURL(input)) await store.write(key, createReadStream(input))
  else await store.write(key, new Uint8Array(await new Blob([input as ArrayBuffer]).arrayBuffer()))
  return key
}

function priceOf(
  state: ModelState,
  name: string,
  shape: RowShape,
  cut: Cut | null,
  flops: number,
  rate: number,
): Price {
  const { scale } = state.network
  const input = rowBytes(shape) * shape.height
  const result = input * scale ** 2
  return {
    name,
    kind: cut ? 'bands' : 'picture',
    input: { width: shape.width, height: shape.height },
    output: sizeOf(shape, scale),
    bands: cut?.bands ?? [{ first: 0, end: 1, flops }],
    flops,
    overhead: cut ? cut.flops / cut.whole - 1 : 0,
    rate,
    bytes: cut ? { input, bands: result, result } : { input: 0, bands: 0, result },
  }
}
