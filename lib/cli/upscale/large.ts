// Pictures whose result is too large to be held: read, enlarged and written by bands, through the stream of tiles.
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ImageHeader } from '../../images/images.js'
import { type EncodedInput, stitchTo, tilesOf, type UpscaledTile } from '../../index.js'
import { type SupernetModel, stateOf } from '../../models/model.js'
import type { Job } from './jobs.js'
import type { Finished, PictureSettings } from './types.js'

const TILE = 64
/** LR pixels of context that are read around tiles: at least what `halo: 'auto'` uses of them, of models of wbsr and of others. */
const READ_HALO = { own: 16, other: 52 }

/** LR pixels of tile rows that are in memory together: wide pictures have fewer rows at a time, and compute more halo. */
const GROUP_PIXELS = 1.3e6
/** As many as upscale() takes where they fit. */
const GROUP_ROWS = 4

/** Whether a picture's result is made in bands: it is larger than the limit, and neither a map nor a resize is wanted. */
export function isLarge(
  model: SupernetModel,
  { width, height, channels, bits }: ImageHeader,
  wanted: { width: number; height: number },
  limit: number,
  map: boolean,
): boolean {
  const { minimumSize = 1, sizeMultiple = 1 } = stateOf(model).engine
  return (
    wanted.width * wanted.height * channels * (bits / 8) > limit &&
    wanted.width === width * model.scale &&
    wanted.height === height * model.scale &&
    !map &&
    // Such networks need the picture continued or whole.
    sizeMultiple === 1 &&
    Math.min(width, height) >= minimumSize &&
    !model.architecture.global
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
  const halo = model.architecture.format === 'wbsr' ? READ_HALO.own : READ_HALO.other
  const total = Math.ceil(header.width / TILE) * Math.ceil(header.height / TILE)
  const tilesPerSubnet = new Array<number>(model.subnets.length).fill(0)
  const groupRows = Math.max(1, Math.min(GROUP_ROWS, Math.floor(GROUP_PIXELS / (header.width * TILE))))
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
    tilesOf(input, { size: TILE, halo, ...reading, signal }),
    model.inferStream({ ...routing, groupRows, signal }),
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
