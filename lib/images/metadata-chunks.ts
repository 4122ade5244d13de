// A picture's metadata as chunks of a PNG file, from which libvips puts them into the other formats, too.
import { deflateSync } from 'node:zlib'
import type { PictureMetadata } from '../types.js'
import { profileSpace, srgbProfile } from './profile.js'

export interface PngChunk {
  type: 'iCCP' | 'pHYs' | 'eXIf' | 'iTXt'
  data: Buffer
}

const METRES_PER_INCH = 0.0254

/** @param colourSpace 'srgb': a picture that had another profile is marked as sRGB, which it is then */
export async function metadataChunks(
  { icc, exif, xmp, density, colourSpace: pixels }: PictureMetadata,
  channels: 1 | 2 | 3 | 4,
  colourSpace: 'input' | 'srgb',
): Promise<PngChunk[]> {
  const chunks: PngChunk[] = []
  const converted = colourSpace === 'srgb' && pixels === 'srgb'
  // PNG takes grey profiles for grey pictures only; grey without one has sRGB's tones.
  const profile = icc && converted ? (channels < 3 ? undefined : await srgbProfile()) : icc
  if (profile && profileSpace(profile) === (channels < 3 ? 'GRAY' : 'RGB '))
    chunks.push({ type: 'iCCP', data: Buffer.concat([Buffer.from('profile\0\0', 'latin1'), deflateSync(profile)]) })
  if (density !== undefined) {
    const perMetre = Math.min(2 ** 31 - 1, Math.round(density / METRES_PER_INCH))
    const data = Buffer.alloc(9)
    data.writeUInt32BE(perMetre, 0)
    data.writeUInt32BE(perMetre, 4)
    data[8] = 1
    chunks.push({ type: 'pHYs', data })
  }
  if (exif) chunks.push({ type: 'eXIf', data: Buffer.from(exif) })
  if (xmp)
    chunks.push({ type: 'iTXt', data: Buffer.concat([Buffer.from('XML:com.adobe.xmp\0\0\0\0\0', 'latin1'), xmp]) })
  return chunks
}
