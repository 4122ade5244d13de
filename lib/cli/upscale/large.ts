// Pictures whose result is too large to be held: read, enlarged and written by bands, through the stream of tiles.
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ImageHeader } from '../../images/images.js'
import { type EncodedInput, stitchTo, tilesOf, type UpscaledTile } from '../../index.js'
import { type SupernetModel, stateOf } from '../../models/model.js'
import { isGlobal, overlapOf } from '../../tiling/overlap.js'
import type { Job } from './jobs.js'
import type { Finished, PictureSettings } from './picture.js'

const TILE = 64
/** Context that tilesOf reads by default. */
const READ_HALO = 16

/** Whether a picture's result is made in bands: it is larger than the limit, and neither a map nor a resize is wanted. */
export function isLarge(
  model: SupernetModel,
  { width, height, channels, bits }: ImageHeader,
  wanted: { width: number; height: number },
  limit: number,
  map: boolean,
): boolean {
  const state = stateOf(model)
  const { minimumSize = 1, sizeMultiple = 1 } = state.engine
  return (
    wanted.width * wanted.height * channels * (bits / 8) > limit &&
    wanted.width === width * model.scale &&
    wanted.height === height * model.scale &&
    !map &&
    // Such networks need the picture continued or whole.
    sizeMultiple === 1 &&
    Math.min(width, height) >= minimumSize &&
    !isGlobal(state.engine)
  )
}

/** What became of the tiles. */
export type LargeResult = Pick<Finished, 'result' | 'share' | 'tilesPerSubnet'>

export async function upscaleLarge(
  model: SupernetModel,
  input: EncodedInput,
  header: ImageHeader,
  file: string,
  job: Job,
  settings: PictureSettings,
): Promise<LargeResult> {
  const { upscale, read, encode, metadata, signal, onProgress } = settings
  const { alphaChannel, wrap, ...routing } = upscale
  const { engine, source } = stateOf(model)
  const { margin } = overlapOf('auto', engine, source !== undefined)
  const total = Math.ceil(header.width / TILE) * Math.ceil(header.height / TILE)
  const tilesPerSubnet = new Array<number>(model.subnets.length).fill(0)
  let done = 0
  let cost = 0
  let area = 0
  const count = new Transform({
    objectMode: true,
    transform(tile: UpscaledTile, _encoding, next) {
      const pixels = tile.width * tile.height
      tilesPerSubnet[tile.subnet]!++
      cost += pixels * model.subnets[tile.subnet]!.flops
      area += pixels
      onProgress(job, Math.min(1, ++done / total))
      next(null, tile)
    },
  })
  const reading = { ...read, ...(alphaChannel && { alphaChannel }), ...(wrap !== undefined && { wrap }) }
  await pipeline(
    tilesOf(input, { size: TILE, halo: Math.max(READ_HALO, margin), ...reading, signal }),
    model.inferStream({ ...routing, signal }),
    count,
    stitchTo(file, { ...encode, metadata, signal }),
  )
  const { width, height, channels } = header
  return {
    result: { data: new Uint8Array(0), width: width * model.scale, height: height * model.scale, channels },
    // Halo is not counted here.
    share: cost / (area * model.subnets.at(-1)!.flops),
    tilesPerSubnet,
  }
}
