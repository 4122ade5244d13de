// Pictures inside of pages: 8 bits, as WebP, which all browsers of today show.
import { isFloat32Array, isUint8Array, isUint8ClampedArray } from 'node:util/types'
import { WbsrError } from '../errors.js'
import { loadSharp } from '../images/sharp.js'
import { ownArray } from '../realms.js'
import type { RawImage } from '../types.js'

/** Of WebP. */
const MOST_SIDE = 16383

/** A picture of 8 bits: 16-bit and float samples rounded, channels kept. */
export function toBytes({ data, width, height, channels }: RawImage): RawImage & { data: Uint8Array } {
  if (isUint8Array(data)) return { data: ownArray(data), width, height, channels }
  if (isUint8ClampedArray(data))
    return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), width, height, channels }
  const factor = isFloat32Array(data) ? 255 : 1 / 257
  const out = new Uint8Array(data.length)
  for (let i = 0; i < out.length; i++) out[i] = Math.min(255, Math.max(0, data[i]! * factor)) + 0.5
  return { data: out, width, height, channels }
}

/** Opaque RGB, or grey where the picture is grey: transparent parts lie on white. */
export function opaque(image: RawImage & { data: Uint8Array }): RawImage & { data: Uint8Array } {
  const { data, width, height, channels } = image
  if (channels === 1 || channels === 3) return image
  const colours = channels - 1
  const out = new Uint8Array(width * height * colours)
  for (let i = 0; i < width * height; i++) {
    const alpha = data[i * channels + colours]! / 255
    for (let c = 0; c < colours; c++) out[i * colours + c] = data[i * channels + c]! * alpha + 255 * (1 - alpha) + 0.5
  }
  return { data: out, width, height, channels: colours as 1 | 3 }
}

/** WebP: without loss, or with a quality of 1..100. */
export type PageQuality = 'lossless' | number

/** @throws WbsrError WBSR_INVALID_IMAGE: a side is too long for WebP */
export async function encodeForPage(image: RawImage, quality: PageQuality, label: string): Promise<Buffer> {
  const { data, width, height, channels } = toBytes(image)
  if (Math.max(width, height) > MOST_SIDE)
    throw new WbsrError(
      'WBSR_INVALID_IMAGE',
      `Cannot show ${label}: expected at most ${MOST_SIDE} pixels a side but it has ${width} x ${height}`,
    )
  const pipeline = loadSharp()(data, { raw: { width, height, channels }, limitInputPixels: false })
  const options = quality === 'lossless' ? { lossless: true, effort: 1 } : { quality, effort: 1, smartSubsample: true }
  return pipeline.toColourspace('srgb').webp(options).toBuffer()
}

/** The same as the address of an <img>. */
export async function pictureUrl(image: RawImage, quality: PageQuality, label: string): Promise<string> {
  return `data:image/webp;base64,${(await encodeForPage(image, quality, label)).toString('base64')}`
}
