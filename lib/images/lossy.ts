// Whether a picture was stored with loss, from its first bytes.
import type { ImageInput } from '../types.js'
import { ImageSource, isEncodedInput } from './source.js'

/** Colour profile and EXIF may lie in front of a WebP's pixels. */
const START = 1 << 20

/**
 * 'JPEG', 'WebP' (VP8), 'HEIF' or 'AVIF'; null: another format, lossless WebP, or decoded pixels. HEIF and AVIF count as lossy
 * (lossless ones are rare and look the same), TIFF as lossless.
 *
 * @throws WbsrError WBSR_NOT_FOUND, WBSR_IO, WBSR_INVALID_IMAGE (a folder, an empty file), WBSR_INVALID_OPTION
 */
export async function lossyFormat(input: ImageInput, name = 'image'): Promise<string | null> {
  if (!isEncodedInput(input)) return null
  const source = await ImageSource.open(input, name)
  try {
    return lossyFormatOf(await source.start(START))
  } finally {
    await source.close()
  }
}

function lossyFormatOf(bytes: Buffer): string | null {
  if (bytes.length > 2 && bytes.readUIntBE(0, 3) === 0xffd8ff) return 'JPEG'
  const ascii = (from: number, to: number): string => bytes.toString('latin1', from, to)
  if (ascii(4, 8) === 'ftyp') {
    const brand = ascii(8, 12)
    if (/^avi[fs]$/.test(brand)) return 'AVIF'
    return /^(hei[cxms]|hev[cxms]|mif1|msf1)$/.test(brand) ? 'HEIF' : null
  }
  if (ascii(0, 4) === 'RIFF' && ascii(8, 12) === 'WEBP') return isLossyWebp(bytes) ? 'WebP' : null
  return null
}

/** Chunks: VP8 is lossy, VP8L is lossless; in an animation they lie inside of ANMF, behind 16 bytes. */
function isLossyWebp(bytes: Buffer): boolean {
  for (let at = 12; at + 8 <= bytes.length; ) {
    const kind = bytes.toString('latin1', at, at + 4)
    if (kind === 'VP8 ') return true
    if (kind === 'VP8L') return false
    const size = bytes.readUInt32LE(at + 4)
    at += kind === 'ANMF' ? 8 + 16 : 8 + size + (size % 2)
  }
  return false
}
