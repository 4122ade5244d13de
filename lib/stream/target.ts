// The size of a result, and how often a network runs for it.
import { WbsrError } from '../errors.js'

export interface Size {
  width: number
  height: number
}

/** Most that a side is enlarged: each pass of a network multiplies the pixels of a row. */
export const MAX_FACTOR = 64

/** Factor of both sides, or a size in pixels; a side that is left out follows the picture's shape. */
export type Target = { scale: number } | { width?: number; height?: number }

/** The size of the result. @throws WbsrError WBSR_INVALID_OPTION where it is more than MAX_FACTOR times the picture's */
export function targetSize(target: Target, { width, height }: Size): Size {
  const side = (value: number) => Math.max(1, Math.round(value))
  if ('scale' in target) return { width: side(width * target.scale), height: side(height * target.scale) }
  const wanted = {
    width: target.width ?? side((width * target.height!) / height),
    height: target.height ?? side((height * target.width!) / width),
  }
  if (Math.max(wanted.width / width, wanted.height / height) > MAX_FACTOR)
    throw new WbsrError(
      'WBSR_INVALID_OPTION',
      `Expected at most ${MAX_FACTOR} times ${width}x${height} for the size of the result but it would be ${wanted.width}x${wanted.height}`,
    )
  return wanted
}

/** How often a network of that scale runs until the picture is at least as large as wanted; at least once. */
export function passesFor(wanted: Size, { width, height }: Size, scale: number): number {
  const factor = Math.max(wanted.width / width, wanted.height / height)
  let passes = 1
  for (let reached = scale; reached < factor - 1e-9; reached *= scale) passes++
  return passes
}
