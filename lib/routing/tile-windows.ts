// Tiles cut out of their pictures with their halo, and the squared errors of bicubic and of every subnet on them.
import type { Cancellation } from '../cancellation.js'
import { cutPixels } from '../images/pixels.js'
import type { ModelState } from '../model-state.js'
import { type InferRegion, native } from '../native.js'
import type { tileArea } from '../tiling/grid.js'
import { AUTO_HALO, BLEND } from '../tiling/overlap.js'
import type { RawImage } from '../types.js'
import { lossOf, psnrOf } from './tile-loss.js'

/** Context beyond a tile's edge, as upscaling has it. */
const HALO = AUTO_HALO + BLEND

/** A tile and the pixels around it. All windows of a size are one batch, and one shape for devices that compile shapes. */
export interface TileWindow {
  /** LR pixels of the window. */
  width: number
  height: number
  lr: RawImage
  hr: RawImage
  /** The tile inside the window, in LR pixels. */
  x: number
  y: number
  tileWidth: number
  tileHeight: number
}

/** Sums over the tiles of each class, and what every tile loses. */
export class ErrorSums {
  readonly error: number[][]
  readonly bicubic: number[]
  readonly samples: number[]
  /** [class - 1][tile][subnet]: dB against the largest subnet. */
  readonly tileLosses: number[][][]
  /** [class - 1][subnet]: sums over tiles of PSNR, dB. */
  readonly psnr: number[][]

  constructor(classes: number, subnets: number) {
    this.error = Array.from({ length: classes }, () => new Array<number>(subnets).fill(0))
    this.bicubic = new Array<number>(classes).fill(0)
    this.samples = new Array<number>(classes).fill(0)
    this.tileLosses = Array.from({ length: classes }, () => [])
    this.psnr = Array.from({ length: classes }, () => new Array<number>(subnets).fill(0))
  }
}

/**
 * The tile with its halo, in a window whose sides the network accepts. Windows are shifted inwards at borders: one
 * size.
 */
export function cutWindow(
  lr: RawImage,
  hr: RawImage,
  scale: number,
  area: ReturnType<typeof tileArea>,
  sizes: { tile: number; multiple: number },
): TileWindow {
  const span = Math.ceil((sizes.tile + 2 * HALO) / sizes.multiple) * sizes.multiple
  const width = Math.min(span, lr.width)
  const height = Math.min(span, lr.height)
  const left = Math.max(0, Math.min(area.x - HALO, lr.width - width))
  const top = Math.max(0, Math.min(area.y - HALO, lr.height - height))
  const cut = (image: RawImage, factor: number): RawImage => ({
    ...image,
    width: width * factor,
    height: height * factor,
    data: cutPixels(
      image.data,
      image.width,
      image.channels,
      left * factor,
      top * factor,
      width * factor,
      height * factor,
    ),
  })
  return {
    width,
    height,
    lr: cut(lr, 1),
    hr: cut(hr, scale),
    x: area.x - left,
    y: area.y - top,
    tileWidth: area.width,
    tileHeight: area.height,
  }
}

/** What a subnet made of a window, beside what it should be: interleaved RGB of the window's SR pixels. */
export interface MadeWindow {
  prediction: Float32Array
  target: Float32Array
  /** x, y, width, height of the tile in SR pixels. */
  rect: Int32Array
}

/** Runs every subnet on windows of one size. @param each called for every tile and subnet, in the order of the subnets */
export async function runWindows(
  state: ModelState,
  tiles: readonly TileWindow[],
  cancellation: Cancellation,
  onSubnet: () => void,
  each: (tile: number, subnet: number, made: MadeWindow) => Promise<void> | void,
): Promise<void> {
  const { engine, network } = state
  const { scale } = network
  const { width, height } = tiles[0]!
  const [srWidth, srHeight] = [width * scale, height * scale]
  const inputs = await Promise.all(tiles.map(({ lr }) => native.toRgbFloat(lr.data, width, height, lr.channels)))
  const targets = await Promise.all(tiles.map(({ hr }) => native.toRgbFloat(hr.data, srWidth, srHeight, hr.channels)))
  for (const { index } of engine.subnets) {
    const outputs = tiles.map(() => ({
      sum: new Float32Array(3 * srWidth * srHeight),
      weight: new Float32Array(srWidth * srHeight),
    }))
    const regions = tiles.map(
      ({ x, y, tileWidth, tileHeight }, picture): InferRegion => ({
        picture,
        subnet: index,
        x: 0,
        y: 0,
        width,
        height,
        keepX: x,
        keepY: y,
        keepWidth: tileWidth,
        keepHeight: tileHeight,
        rampLeft: 0,
        rampTop: 0,
        rampRight: 0,
        rampBottom: 0,
      }),
    )
    await engine.infer({
      inputs: inputs.map((data) => ({ data, width, height })),
      // Regions do not overlap here, so the weighted sum is the prediction.
      outputs,
      regions,
      maxBatchPixels: tiles.length * width * height,
      cancel: cancellation.flag,
    })
    cancellation.check()
    for (const [i, { x, y, tileWidth, tileHeight }] of tiles.entries()) {
      const rect = Int32Array.of(x, y, tileWidth, tileHeight).map((n) => n * scale)
      await each(i, index, { prediction: outputs[i]!.sum, target: targets[i]!, rect })
    }
    onSubnet()
  }
}

/** RGB samples of a tile in SR. */
const samplesOf = ({ tileWidth, tileHeight }: TileWindow, scale: number): number =>
  3 * tileWidth * tileHeight * scale ** 2

/** Windows of one size: the squared errors of bicubic and of every subnet on their tiles. */
export async function measureWindows(
  state: ModelState,
  tiles: readonly { class: number; tile: TileWindow }[],
  sums: ErrorSums,
  cancellation: Cancellation,
  onSubnet: () => void,
): Promise<void> {
  const { engine, network } = state
  const { scale } = network
  const { width, height } = tiles[0]!.tile
  const [srWidth, srHeight] = [width * scale, height * scale]
  const errorOf = async ({ prediction, target, rect }: MadeWindow): Promise<number> =>
    (await native.squaredErrors(prediction, target, srWidth, srHeight, rect))[0]!
  const errors = tiles.map(() => new Array<number>(engine.subnets.length).fill(0))
  const windows = tiles.map(({ tile }) => tile)
  await runWindows(state, windows, cancellation, onSubnet, async (i, subnet, made) => {
    const { class: k, tile } = tiles[i]!
    if (subnet === 0) {
      const input = await native.toRgbFloat(tile.lr.data, width, height, tile.lr.channels)
      const bicubic = (await native.resizeBicubic(input, width, height, 3, srWidth, srHeight, 0)) as Float32Array
      sums.bicubic[k - 1]! += await errorOf({ ...made, prediction: bicubic })
      sums.samples[k - 1]! += samplesOf(tile, scale)
    }
    errors[i]![subnet] = await errorOf(made)
    sums.error[k - 1]![subnet]! += errors[i]![subnet]!
  })
  for (const [i, { class: k, tile }] of tiles.entries()) {
    const means = errors[i]!.map((error) => error / samplesOf(tile, scale))
    sums.tileLosses[k - 1]!.push(means.map((error) => lossOf(error, means.at(-1)!)))
    means.forEach((error, m) => {
      sums.psnr[k - 1]![m]! += psnrOf(error)
    })
  }
}

/** Tiles of one window size, few enough to run together. */
export function chunksOf<T extends { tile: TileWindow }>(tiles: readonly T[], regionPixels: number): T[][] {
  const bySize = new Map<string, T[]>()
  for (const entry of tiles) {
    const key = `${entry.tile.width}x${entry.tile.height}`
    const same = bySize.get(key)
    if (same) same.push(entry)
    else bySize.set(key, [entry])
  }
  return [...bySize.values()].flatMap((same) => {
    const { width, height } = same[0]!.tile
    const size = Math.max(1, Math.floor(regionPixels / (width * height)))
    return Array.from({ length: Math.ceil(same.length / size) }, (_, i) => same.slice(i * size, (i + 1) * size))
  })
}
