// Degrades LR pixels as drawn: blur, noise, JPEG. Sizes and positions stay, so LR remains aligned with HR.

import { cutPixels } from '../images/pixels.js'
import { loadSharp } from '../images/sharp.js'
import { type BatchSource, native } from '../native.js'
import { randomFor } from '../random.js'
import type { RgbImage } from './decode.js'
import type { DegradationDraw } from './degradation.js'

/** LR pixels that are degraded on the left and above a patch at most, and right of it and below it. */
const AROUND = 20

/** LR pixels that the bicubic reduction of those sees beyond them: its kernel reaches 2; rounded up. */
const KERNEL = 4

/** LR pixels around a patch on which its degraded version depends, where they are reduced from HR or come from a file. */
export const degradationMargin = (lrFiles: boolean): number => (lrFiles ? AROUND : AROUND + KERNEL)

/** A degraded LR image of the same size. The draw's `left` and `above` count for patches only. */
export async function degrade(image: RgbImage, draw: DegradationDraw): Promise<RgbImage> {
  const { width, height } = image
  let { data } = image
  if (draw.blur > 0 || draw.noise > 0) {
    const values = new Float32Array(data)
    if (draw.blur > 0) blur(values, width, height, draw.blur)
    if (draw.noise > 0) addNoise(values, draw.noise, draw.noiseSeed)
    // Rounds halves to even and clamps.
    data = new Uint8Array(new Uint8ClampedArray(values).buffer)
  }
  if (draw.jpeg) {
    const raw = { width, height, channels: 3 as const }
    // Huffman tables of its own change the size of the file only.
    const file = await loadSharp()(data, { raw })
      .jpeg({ ...draw.jpeg, optimiseCoding: false })
      .toBuffer()
    const decoded = await loadSharp()(file).raw().toBuffer()
    data = new Uint8Array(decoded.buffer, decoded.byteOffset, decoded.byteLength)
  }
  return { data, width, height }
}

/**
 * The same crops with degraded LR. Of each, a larger LR area is degraded, which begins 4 to 19 LR pixels left of and above the
 * patch, as drawn: the blocks of JPEG lie anywhere on a patch then. At the edges of the image the area ends.
 *
 * @param source with images that reach degradationMargin beyond each crop, or to the edge of the picture
 */
export async function degradeSource(
  { images, lrImages, crops }: BatchSource,
  draws: readonly DegradationDraw[],
  { patchSize, scale }: { patchSize: number; scale: number },
): Promise<BatchSource> {
  const edge = patchSize / scale
  const low = await Promise.all(
    crops.map(async ({ image, x, y }, i) => {
      const [px, py] = [x / scale, y / scale]
      const { left, above } = draws[i]!
      const from = { x: Math.max(0, px - left), y: Math.max(0, py - above) }
      const to = { x: px + edge + AROUND, y: py + edge + AROUND }
      const area = lrImages ? cut(lrImages[image]!, from, to) : await reduced(images[image]!, from, to, scale)
      const degraded = await degrade(area, draws[i]!)
      return cut(degraded, { x: px - from.x, y: py - from.y }, { x: px - from.x + edge, y: py - from.y + edge })
    }),
  )
  const high = crops.map(({ image, x, y }) => cut(images[image]!, { x, y }, { x: x + patchSize, y: y + patchSize }))
  return { images: high, lrImages: low, crops: crops.map((crop, i) => ({ ...crop, image: i, x: 0, y: 0 })) }
}

interface Point {
  x: number
  y: number
}

/** An area of LR by antialiased bicubic, the pixels that the reduction of the whole image has there. */
async function reduced(high: RgbImage, from: Point, to: Point, scale: number): Promise<RgbImage> {
  const outer = { x: Math.max(0, from.x - KERNEL), y: Math.max(0, from.y - KERNEL) }
  const area = cut(
    high,
    { x: outer.x * scale, y: outer.y * scale },
    { x: (to.x + KERNEL) * scale, y: (to.y + KERNEL) * scale },
  )
  const [width, height] = [area.width / scale, area.height / scale]
  const data = (await native.resizeBicubic(area.data, area.width, area.height, 3, width, height, 0)) as Uint8Array
  return cut(
    { data, width, height },
    { x: from.x - outer.x, y: from.y - outer.y },
    { x: to.x - outer.x, y: to.y - outer.y },
  )
}

/** A copy of [from, to), as far as the image goes. */
function cut({ data, width, height }: RgbImage, from: Point, to: Point): RgbImage {
  const size = { width: Math.min(to.x, width) - from.x, height: Math.min(to.y, height) - from.y }
  return { data: cutPixels(data, width, 3, from.x, from.y, size.width, size.height), ...size }
}

/** Gaussian over 2.5 deviations to both sides, edges replicated, in place. */
function blur(values: Float32Array, width: number, height: number, sigma: number): void {
  const reach = Math.ceil(2.5 * sigma)
  const weights = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma ** 2)))
  const sum = weights.reduce((a, b) => a + b, 0)
  const pass = (lines: number, length: number, lineStep: number, step: number): void => {
    const line = new Float32Array(length)
    for (let l = 0; l < lines; l++) {
      for (let c = 0; c < 3; c++) {
        const base = l * lineStep + c
        for (let i = 0; i < length; i++) line[i] = values[base + i * step]!
        for (let i = 0; i < length; i++) {
          let value = 0
          for (let k = -reach; k <= reach; k++)
            value += weights[k + reach]! * line[Math.min(Math.max(i + k, 0), length - 1)]!
          values[base + i * step] = value / sum
        }
      }
    }
  }
  pass(height, width, 3 * width, 3)
  pass(width, height, 3, 3 * width)
}

/** Normal deviates by Box and Muller, two at a time. */
function addNoise(values: Float32Array, sigma: number, seed: number): void {
  const random = randomFor(seed)
  for (let i = 0; i < values.length; i += 2) {
    const radius = sigma * Math.sqrt(-2 * Math.log(1 - random.next()))
    const angle = 2 * Math.PI * random.next()
    values[i]! += radius * Math.cos(angle)
    if (i + 1 < values.length) values[i + 1]! += radius * Math.sin(angle)
  }
}
