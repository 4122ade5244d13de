// What becomes of a picture's numbers: how they are turned into sRGB, and which profile is kept.
import type { Metadata } from 'sharp'
import { greyCurve, profileSpace, rgbProfileKind } from './profile.js'
import type { TolerantReader } from './reading.js'

/** How numbers become sRGB: kept; by an RGB profile; by a curve for grey; by sharp's way for CMYK and Lab. */
export type Conversion = { kind: 'none' | 'profile' | 'other' } | { kind: 'curve'; curve: Uint16Array }

/** How the numbers become sRGB, and the profile that is worth keeping. */
export async function planColours(
  { space, icc }: Metadata,
  { channels }: { channels: number },
  wanted: 'srgb' | 'input',
  reader: TolerantReader,
): Promise<{ conversion: Conversion; icc?: Buffer }> {
  // CMYK without a profile has libvips' own; a profile of another space than the picture's is passed over there, too.
  if (space === 'cmyk' || String(space) === 'labs') return { conversion: { kind: 'other' } }
  const none = { conversion: { kind: 'none' } as const }
  if (!icc) return none
  const own = profileSpace(icc)
  if (channels < 3 && (own === 'GRAY' || own === 'RGB ')) {
    const curve = await greyCurve(icc)
    // PNG and others require grey profiles for grey pictures, so an RGB profile is applied and not kept.
    if (own === 'RGB ') return curve ? { conversion: { kind: 'curve', curve } } : none
    return { conversion: curve && wanted === 'srgb' ? { kind: 'curve', curve } : none.conversion, icc }
  }
  const kind = channels < 3 ? 'unusable' : await rgbProfileKind(icc)
  if (kind === 'unusable') {
    reader.warn('its colour profile cannot be used and is passed over')
    return none
  }
  return { conversion: { kind: kind === 'other' && wanted === 'srgb' ? 'profile' : 'none' }, icc }
}
