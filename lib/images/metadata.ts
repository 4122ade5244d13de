// The metadata of a file, and the part of it that applies to the enlarged picture.
import { isUint8Array } from 'node:util/types'
import { invalidOption } from '../errors.js'
import type { PictureMetadata } from '../types.js'
import { changeExif } from './exif.js'

const XMP_SIZES = ['tiff:ImageWidth', 'exif:PixelXDimension', 'tiff:ImageLength', 'exif:PixelYDimension']

/** Sets a simple property of an XMP packet where it has it, as attribute or element. */
function setXmp(text: string, property: string, value: (old: string) => string): string {
  return text
    .replace(
      new RegExp(`(\\b${property}\\s*=\\s*)(["'])([^"']*)\\2`, 'g'),
      (_, name, quote, old) => name + quote + value(old) + quote,
    )
    .replace(
      new RegExp(`(<${property}>)([^<]*)(</${property}>)`, 'g'),
      (_, open, old, close) => open + value(old) + close,
    )
}

/** A packet with orientation 1, the sizes and the resolution of the enlarged picture, and without thumbnails. */
export function changeXmp(
  xmp: Uint8Array,
  { width, height, scale }: { width: number; height: number; scale: number },
): Uint8Array {
  const bytes = Buffer.from(xmp)
  let text = bytes.toString('utf8')
  // Other encodings are kept as they are.
  if (!Buffer.from(text).equals(bytes)) return xmp
  text = setXmp(text, 'tiff:Orientation', () => '1')
  for (const [i, property] of XMP_SIZES.entries()) text = setXmp(text, property, () => String(i < 2 ? width : height))
  for (const property of ['tiff:XResolution', 'tiff:YResolution'])
    text = setXmp(text, property, (old) => {
      const parts = /^(\d+)(?:\/(\d+))?$/.exec(old)
      return parts ? `${Math.round(Number(parts[1]) * scale)}/${parts[2] ?? 1}` : old
    })
  text = text.replace(/<xmp:Thumbnails>[\s\S]*?<\/xmp:Thumbnails>/g, '')
  return Buffer.from(text)
}

const scaled = new WeakMap<PictureMetadata, Map<string, PictureMetadata>>()

/** The metadata of the picture `scale` times as large, which is width x height pixels then. The same object for the same question. */
export function scaleMetadata(
  metadata: PictureMetadata,
  scale: number,
  width: number,
  height: number,
): PictureMetadata {
  const key = `${scale} ${width} ${height}`
  let sizes = scaled.get(metadata)
  if (!sizes) scaled.set(metadata, (sizes = new Map()))
  let result = sizes.get(key)
  if (!result) {
    const { icc, exif, xmp, density, colourSpace } = metadata
    const change = { width, height, scale }
    const changed = exif && changeExif(exif, change)
    result = {
      ...(icc && { icc }),
      ...(changed && { exif: changed }),
      ...(xmp && { xmp: changeXmp(xmp, change) }),
      ...(density !== undefined && { density: density * scale }),
      colourSpace,
    }
    sizes.set(key, result)
  }
  return result
}

/** @throws WbsrError WBSR_INVALID_OPTION naming the property */
export function checkMetadata(value: unknown, name: string): PictureMetadata {
  if (typeof value !== 'object' || value === null) throw invalidOption(name, 'the metadata of a picture', value)
  const { icc, exif, xmp, density, colourSpace } = value as PictureMetadata
  for (const [key, part] of Object.entries({ icc, exif, xmp }))
    if (part !== undefined && !isUint8Array(part)) throw invalidOption(`${name}.${key}`, 'a Uint8Array', part)
  if (density !== undefined && !(typeof density === 'number' && density > 0 && Number.isFinite(density)))
    throw invalidOption(`${name}.density`, 'a number above 0', density)
  if (colourSpace !== 'srgb' && colourSpace !== 'input')
    throw invalidOption(`${name}.colourSpace`, "'srgb' or 'input'", colourSpace)
  return value as PictureMetadata
}
