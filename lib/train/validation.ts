// How good a model is on the validation images, measured while it trains.
import type { RgbImage } from '../data/decode.js'
import type { ValidationSet } from '../data/validation.js'
import { upscale } from '../infer/upscale.js'
import type { ModelState } from '../model-state.js'
import { type NativeEngine, native } from '../native.js'
import type { ClassQuality } from './report/class-quality.js'
import type { Psnr } from './reports.js'

export interface Scores {
  images: number
  bicubic: Psnr
  smallest: Psnr
  largest: Psnr
}

/**
 * Mean PSNR of bicubic, of the smallest and of the largest subnet, as users get them (protocol `full`).
 *
 * @param classes gets the results, for the PSNR of each difficulty class
 * @throws WbsrError WBSR_ABORTED
 */
export async function measure(
  state: ModelState,
  images: ValidationSet,
  signal: AbortSignal | undefined,
  onImage: (done: number) => void = () => {},
  classes: ClassQuality | null = null,
): Promise<Scores> {
  const { scale } = state.network
  const sums = { bicubic: { y: 0, rgb: 0 }, smallest: { y: 0, rgb: 0 }, largest: { y: 0, rgb: 0 } }
  let count = 0
  for await (const { hr, lr } of images.images(signal)) {
    const sr = async (subnet: number) =>
      (await upscale(state, { ...lr, channels: 3 }, { router: { subnet }, signal })).data as Uint8Array
    const bicubic = (await native.resizeBicubic(lr.data, lr.width, lr.height, 3, hr.width, hr.height, 0)) as Uint8Array
    await add(sums.bicubic, bicubic, hr, scale)
    const smallest = await sr(0)
    await add(sums.smallest, smallest, hr, scale)
    const largest = await sr(state.engine.subnets.length - 1)
    await add(sums.largest, largest, hr, scale)
    await classes?.add({ lr, hr }, { bicubic, smallest, largest }, scale, shaveOf(hr, scale))
    onImage(++count)
  }
  const mean = ({ y, rgb }: Psnr): Psnr => ({ y: y / count, rgb: rgb / count })
  return { images: count, bicubic: mean(sums.bicubic), smallest: mean(sums.smallest), largest: mean(sums.largest) }
}

/** Tiny images keep at least one pixel. */
const shaveOf = ({ width, height }: RgbImage, scale: number): number =>
  Math.min(scale, Math.floor((Math.min(width, height) - 1) / 2))

async function add(sum: Psnr, result: Uint8Array, hr: RgbImage, scale: number): Promise<void> {
  const { data, width, height } = hr
  const shave = shaveOf(hr, scale)
  sum.y += await native.psnr(data, result, width, height, 3, true, shave)
  sum.rgb += await native.psnr(data, result, width, height, 3, false, shave)
}

/** Runs `work` on the moving average of the weights and puts the weights back exactly as they were. */
export async function onAverage<T>(engine: NativeEngine, ema: boolean, work: () => Promise<T>): Promise<T> {
  if (!ema) return work()
  const weights = engine.getArena('weights')
  engine.setArena('weights', engine.getArena('ema'))
  try {
    return await work()
  } finally {
    engine.setArena('weights', weights)
  }
}
