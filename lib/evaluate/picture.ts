// One picture: what a run makes of it, and how good that is, in all and in each difficulty class.
import { cropTopLeft, type RgbImage } from '../data/decode.js'
import { cutPixels } from '../images/pixels.js'
import type { Allocation } from '../infer/result.js'
import { upscale } from '../infer/upscale.js'
import type { ModelState } from '../model-state.js'
import { native } from '../native.js'
import { classOf } from '../routing/classes.js'
import { type PictureTile, pictureTiles } from '../routing/picture-tiles.js'
import type { CheckedRun, EvaluationPlan } from './options.js'
import { type ClassQuality, type PictureResult, pool } from './results.js'
import { rivalTiles } from './rivals.js'

/** The window of SSIM. */
const SSIM_WINDOW = 11

/** A tile with its difficulty class. */
type Tile = Omit<PictureTile, 'difficulty'> & { class: number }

export interface Picture {
  lr: RgbImage
  /** Cut to what the protocol enlarges. */
  hr: RgbImage
  tiles: Tile[]
  /** Classes that tiles have. */
  classes: number
  shave: number
}

export interface Made {
  result: PictureResult
  sr: RgbImage
  /** null: bicubic. */
  allocation: Allocation | null
}

/** HR pixels to shave; pictures that are smaller keep at least one. */
export function shaveOf({ protocol }: Pick<EvaluationPlan, 'protocol'>, scale: number): number {
  return protocol === 'paper' ? 4 : scale
}

/** LR pixels of a side that the paper's tiles cover: 32 every 28. */
const covered = (length: number): number => (length < 32 ? length : Math.floor((length - 32) / 28) * 28 + 32)

/** Makes ready what all runs on a picture share. */
export async function preparePicture(
  state: ModelState,
  pair: { lr: RgbImage; hr: RgbImage },
  plan: Pick<EvaluationPlan, 'protocol'>,
): Promise<Picture> {
  const { scale } = state.network
  const { lr } = pair
  const [width, height] = plan.protocol === 'paper' ? [covered(lr.width), covered(lr.height)] : [lr.width, lr.height]
  const hr = cropTopLeft(pair.hr, width * scale, height * scale)
  const shave = Math.min(shaveOf(plan, scale), Math.floor((Math.min(hr.width, hr.height) - 1) / 2))
  const found = await pictureTiles(lr, { width, height }, hr, scale, shave)
  const tiles = found.map(({ difficulty, ...area }): Tile => ({ class: classOf(state.classes, difficulty), ...area }))
  return { lr, hr, tiles, classes: state.classes.count, shave }
}

/** Enlarges a picture by a run and measures the result. @throws WbsrError as upscale does */
export async function evaluatePicture(
  state: ModelState,
  run: CheckedRun,
  picture: Picture,
  plan: Pick<EvaluationPlan, 'ssim' | 'signal'>,
): Promise<Made> {
  const { signal } = plan
  // What the oracle needs to know is not part of its seconds.
  const tiles = run.rival && (await rivalTiles(state, picture, run.rival, run.upscale.halo, signal))
  const options = { ...run.upscale, ...(tiles && { router: { tiles } }), ...(signal && { signal }) }
  const { data, width, height, allocation, seconds, timings } = await upscale(
    state,
    { ...picture.lr, channels: 3 },
    options,
  )
  const sr = { data: data as Uint8Array, width, height }
  const { flops, flopsOfLargest, histogram } = allocation
  const { lr } = picture
  const patches = run.upscale.protocol === 'paper' ? allocation.tiles.length : (lr.width * lr.height) / 1024
  const quality = await measure(sr, picture, plan.ssim)
  const cost = { flops, flopsOfLargest, patches, seconds, networkSeconds: timings.network, histogram }
  return { sr, allocation, result: { ...quality, ...cost } }
}

/** The same by bicubic interpolation, which costs nothing. */
export async function evaluateBicubic(
  state: ModelState,
  picture: Picture,
  plan: Pick<EvaluationPlan, 'ssim'>,
): Promise<Made> {
  const { lr, hr } = picture
  const { scale } = state.network
  const [width, height] = [lr.width * scale, lr.height * scale]
  const started = performance.now()
  const data = (await native.resizeBicubic(lr.data, lr.width, lr.height, 3, width, height, 0)) as Uint8Array
  const seconds = (performance.now() - started) / 1000
  const sr = cropTopLeft({ data, width, height }, hr.width, hr.height)
  const result: PictureResult = {
    ...(await measure(sr, picture, plan.ssim)),
    flops: 0,
    flopsOfLargest: (state.engine.subnets.at(-1)!.flops * lr.width * lr.height) / 1024,
    patches: (lr.width * lr.height) / 1024,
    seconds,
    networkSeconds: 0,
    histogram: new Array<number>(state.engine.subnets.length).fill(0),
  }
  return { sr, allocation: null, result }
}

async function measure(
  sr: RgbImage,
  { hr, tiles, classes, shave }: Picture,
  withSsim: boolean,
): Promise<Pick<PictureResult, 'psnr' | 'ssim' | 'classes'>> {
  const { y, rgb, ssim } = await compare(hr, sr, shave, withSsim)
  const measured = tiles.map(async ({ x, y, width, height }): Promise<ClassQuality> => {
    const cut = (image: RgbImage): RgbImage => ({
      data: cutPixels(image.data, image.width, 3, x, y, width, height),
      width,
      height,
    })
    const quality = await compare(cut(hr), cut(sr), 0, withSsim)
    return { pixels: width * height, psnr: { y: quality.y, rgb: quality.rgb }, ssim: quality.ssim }
  })
  const parts: ClassQuality[][] = Array.from({ length: classes }, () => [])
  for (const [i, part] of (await Promise.all(measured)).entries()) parts[tiles[i]!.class - 1]!.push(part)
  return { psnr: { y, rgb }, ssim, classes: parts.map(pool) }
}

async function compare(
  { data, width, height }: RgbImage,
  sr: RgbImage,
  shave: number,
  withSsim: boolean,
): Promise<{ y: number; rgb: number; ssim: number | null }> {
  const large = Math.min(width, height) - 2 * shave >= SSIM_WINDOW
  const [y, rgb, ssim] = await Promise.all([
    native.psnr(data, sr.data, width, height, 3, true, shave),
    native.psnr(data, sr.data, width, height, 3, false, shave),
    withSsim && large ? native.ssim(data, sr.data, width, height, 3, true, shave) : null,
  ])
  // Rounding may take the similarity of equal pictures above 1.
  return { y, rgb, ssim: ssim === null ? null : Math.min(1, ssim) }
}
