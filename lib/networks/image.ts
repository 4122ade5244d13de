// Input and output conventions of networks. The engine's pictures are RGB in [0, 1]; published networks may expect
// 0..255, a mean subtracted first, or luma alone.
import type { GraphBuilder, Value } from './network.js'

/** The values that a network's first layer expects. */
export interface ImageConvention {
  /** 1: values in 0..1, 255: values in 0..255. */
  range: number
  /** Subtracted from R, G and B in 0..1. */
  mean: readonly number[]
  /**
   * 3: RGB. 1: luma; colour differences are then interpolated bicubically. In a grey picture they are 0, so that the
   * result is the network's output alone.
   */
  channels: 1 | 3
  /** Luma of ITU-R BT.601: 'full' 0..1, or 'video' 16/255..235/255 as in MATLAB's rgb2ycbcr and papers that use Y. */
  luma: 'full' | 'video'
}

/** The mean of DIV2K that EDSR and its followers subtract. */
export const DIV2K_MEAN: readonly number[] = [0.4488, 0.4371, 0.404]

export const PLAIN: ImageConvention = { range: 1, mean: [0, 0, 0], channels: 3, luma: 'full' }

const LUMA_FULL = { weights: [0.299, 0.587, 0.114], offset: 0, gain: 1 }
const LUMA_VIDEO = { weights: [65.481 / 255, 128.553 / 255, 24.966 / 255], offset: 16 / 255, gain: 255 / 219 }

/**
 * The initialisation of PyTorch's convolutions (uniform, variance 1 / (3 fan-in)) as a factor of Kaiming normal's
 * deviation.
 */
export const TORCH_INIT = { initGain: 0.41 }

const isZero = (mean: readonly number[]) => mean.every((m) => m === 0)

/** Converts the picture to the values that the network's first layer expects. */
export function toNetwork(g: GraphBuilder, image: Value, convention: ImageConvention): Value {
  const { range, mean, channels } = convention
  const x = channels === 1 ? lumaOf(g, image, convention) : image
  if (range === 1 && isZero(mean)) return x
  return g.affine(x, {
    ...(range !== 1 && { scale: [range] }),
    ...(!isZero(mean) && { offset: mean.slice(0, channels).map((m) => -m * range) }),
  })
}

/** Converts the network's output to RGB in [0, 1]. mean: whether to add the mean again. */
export function fromNetwork(
  g: GraphBuilder,
  output: Value,
  image: Value,
  convention: ImageConvention,
  addMean: boolean,
): Value {
  const { range, mean, channels } = convention
  const shift = addMean && !isZero(mean)
  let y = output
  if (range !== 1 || shift)
    y = g.affine(y, {
      ...(range !== 1 && { scale: [1 / range] }),
      ...(shift && { offset: mean.slice(0, channels) }),
    })
  if (channels === 3) return y
  const { gain } = convention.luma === 'full' ? LUMA_FULL : LUMA_VIDEO
  const enlarged = (x: Value) => (g.scale === 1 ? x : g.upsample(x, { mode: 'bicubic' }))
  const difference = g.multiplyConstant(g.subtract(y, enlarged(lumaOf(g, image, convention))), gain)
  return g.add(enlarged(image), g.concat([difference, difference, difference]))
}

function lumaOf(g: GraphBuilder, image: Value, { luma }: ImageConvention): Value {
  const { weights, offset } = luma === 'full' ? LUMA_FULL : LUMA_VIDEO
  const [red, green, blue] = weights.map((weight, c) =>
    g.affine(g.slice(image, c, 1), { scale: [weight], ...(c === 0 && offset !== 0 && { offset: [offset] }) }),
  )
  return g.add(g.add(red!, green!), blue!)
}
