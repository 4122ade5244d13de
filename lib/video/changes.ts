// What has to be computed of a frame: a region whose pixels and whose place are those of the last frame gives the same
// result, so only the others run. Pure functions.
import type { InferRegion } from '../native.js'
import type { PixelArray } from '../types.js'

/** A region of a frame; `top` is the LR row that its y counts from. */
export interface PlacedRegion {
  group: number
  top: number
  region: InferRegion
}

/** Place, subnet and blending of a region: with equal pixels an equal key means an equal result. */
export function keyOf({ top, region }: PlacedRegion): string {
  const { subnet, x, y, width, height, keepX, keepY, keepWidth, keepHeight } = region
  const { rampLeft, rampTop, rampRight, rampBottom } = region
  return [
    subnet,
    x,
    y + top,
    width,
    height,
    keepX,
    keepY + top,
    keepWidth,
    keepHeight,
    rampLeft,
    rampTop,
    rampRight,
    rampBottom,
  ].join(' ')
}

/** Whether two pictures of one width differ by more than `threshold` anywhere in a rectangle. */
export function differs(
  a: PixelArray,
  b: PixelArray,
  stride: number,
  channels: number,
  { x, y, width, height }: { x: number; y: number; width: number; height: number },
  threshold: number,
): boolean {
  for (let row = y; row < y + height; row++) {
    const start = row * stride + x * channels
    const end = start + width * channels
    if (threshold === 0) {
      if (Buffer.compare(bytes(a, start, end), bytes(b, start, end)) !== 0) return true
    } else for (let i = start; i < end; i++) if (Math.abs(a[i]! - b[i]!) > threshold) return true
  }
  return false
}

const bytes = (data: PixelArray, start: number, end: number): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset + start * data.BYTES_PER_ELEMENT, (end - start) * data.BYTES_PER_ELEMENT)

/** The kept part of a region in the frame, in LR pixels. */
export const keptOf = ({ top, region }: PlacedRegion) => ({
  x: region.keepX,
  y: region.keepY + top,
  width: region.keepWidth,
  height: region.keepHeight,
})

type Rectangle = ReturnType<typeof keptOf>

const overlap = (a: Rectangle, b: Rectangle): boolean =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height

/**
 * What has to run so that the kept parts of `changed` are right: these, and those of the others that are blended with them.
 */
export function blendedWith(changed: readonly PlacedRegion[], all: readonly PlacedRegion[]): PlacedRegion[] {
  const wanted = new Set(changed)
  const rectangles = changed.map(keptOf)
  return all.filter((placed) => wanted.has(placed) || rectangles.some((other) => overlap(keptOf(placed), other)))
}
