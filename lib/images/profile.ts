// What a colour profile does. A profile is judged by the colours that it makes of numbers, computed by the same
// engine (lcms, in libvips) that converts the pictures, and never by its name.

import { createHash } from 'node:crypto'
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { isUint16Array } from 'node:util/types'
import { greyToneCurve, invertCurve } from './icc-curve.js'
import { asPixels } from './pixels.js'
import { loadSharp } from './sharp.js'
import { descriptorName } from './source.js'
import { wrapTiff } from './tiff-wrap.js'

/** Colour spaces of profiles that pictures of wbsr can have, as the profile's header names them. */
export type ProfileSpace = 'RGB ' | 'GRAY' | 'CMYK'

/** Of a profile's header; null: not a profile, or one of another space. */
export function profileSpace(icc: Uint8Array): ProfileSpace | null {
  const header = Buffer.from(icc.buffer, icc.byteOffset, Math.min(icc.length, 128))
  if (header.length < 128 || header.toString('latin1', 36, 40) !== 'acsp') return null
  const space = header.toString('latin1', 16, 20)
  return space === 'RGB ' || space === 'GRAY' || space === 'CMYK' ? space : null
}

/** Levels of 8 bits by which the numbers of a profile may differ from sRGB's and still be taken for them. */
const SAME_LEVELS = 1
const MOST_KEPT = 64

/** Results by profile, the oldest dropped first. */
class Remembered<T> {
  readonly #values = new Map<string, Promise<T>>()

  get(icc: Uint8Array, make: () => Promise<T>): Promise<T> {
    const key = createHash('sha256').update(icc).digest('base64')
    let value = this.#values.get(key)
    if (!value) {
      value = make()
      this.#values.set(key, value)
      value.catch(() => this.#values.delete(key))
      if (this.#values.size > MOST_KEPT) this.#values.delete(this.#values.keys().next().value!)
    }
    return value
  }
}

/** Pixels with this profile as sRGB, 3 channels. A profile that cannot be used: as if they were sRGB, or P3 at 16 bits. */
async function toSrgb(
  data: Uint8Array | Uint16Array,
  channels: 1 | 3,
  icc: Uint8Array,
): Promise<Uint8Array | Uint16Array> {
  const deep = isUint16Array(data)
  const tiff = wrapTiff({ data, width: data.length / channels, height: 1, channels, icc })
  const space = channels === 1 ? (deep ? 'grey16' : 'b-w') : deep ? 'rgb16' : 'srgb'
  // ignoreIcc: sharp would go by way of another space than withIccProfile, which takes the picture's profile itself.
  const { data: bytes, info } = await loadSharp()(tiff, { ignoreIcc: true })
    .toColourspace(space)
    .withIccProfile('srgb')
    .raw({ depth: deep ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true })
  const pixels = asPixels(bytes, deep ? 16 : 8)
  if (info.channels === 3) return pixels
  const out = deep ? new Uint16Array(pixels.length * 3) : new Uint8Array(pixels.length * 3)
  pixels.forEach((value, i) => out.fill(value, 3 * i, 3 * i + 3))
  return out
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!))
  return largest
}

/** 'srgb': its numbers are sRGB's, within a level; 'other': they are not; 'unusable': lcms does not take it. */
export type ProfileKind = 'srgb' | 'other' | 'unusable'

const kinds = new Remembered<ProfileKind>()

/** What the numbers of an RGB profile are. */
export function rgbProfileKind(icc: Uint8Array): Promise<ProfileKind> {
  return kinds.get(icc, async () => {
    if (profileSpace(icc) !== 'RGB ') return 'unusable'
    const colours = new Uint8Array(9 ** 3 * 3)
    for (let i = 0; i < 9 ** 3; i++)
      colours.set(
        [i % 9, Math.floor(i / 9) % 9, Math.floor(i / 81)].map((v) => Math.min(255, v * 32)),
        3 * i,
      )
    if (largestDifference(await toSrgb(colours, 3, icc), colours) > SAME_LEVELS) return 'other'
    // A profile that cannot be used leaves 8 bits as they are, and 16 bits are taken for Display P3.
    const deep = Uint16Array.from(colours, (v) => v * 257)
    return largestDifference(await toSrgb(deep, 3, icc), deep) > 257 * (SAME_LEVELS + 1) ? 'unusable' : 'srgb'
  })
}

const curves = new Remembered<Uint16Array | null>()

/**
 * What a grey value of 16 bits means in sRGB's tones, by a GRAY profile or, for grey pictures that have one, by the
 * neutral axis of an RGB profile; null: the same, or the profile cannot be used.
 */
export function greyCurve(icc: Uint8Array): Promise<Uint16Array | null> {
  return curves.get(icc, async () => {
    const ramp = Uint16Array.from({ length: 65536 }, (_, i) => i)
    const space = profileSpace(icc)
    if (space !== 'GRAY' && (space !== 'RGB ' || (await rgbProfileKind(icc)) !== 'other')) return null
    const curve = (space === 'GRAY' && greyToneCurve(icc)) || (await neutralCurve(ramp, space, icc))
    return largestDifference(curve, ramp) > 257 * SAME_LEVELS ? curve : null
  })
}

/** The curve as lcms has it: for RGB profiles, and grey ones that have tables instead of a curve. */
async function neutralCurve(ramp: Uint16Array, space: ProfileSpace, icc: Uint8Array): Promise<Uint16Array> {
  const rgb = space === 'GRAY' ? await toSrgb(ramp, 1, icc) : await toSrgb(spread(ramp), 3, icc)
  return Uint16Array.from({ length: 65536 }, (_, i) => rgb[3 * i + 1]!)
}

function spread(grey: Uint16Array): Uint16Array {
  const out = new Uint16Array(grey.length * 3)
  grey.forEach((value, i) => out.fill(value, 3 * i, 3 * i + 3))
  return out
}

/** A curve over 16 bits applied to the first of `channels` samples of each pixel, in place. */
export function applyCurve(data: Uint8Array | Uint16Array, channels: number, curve: Uint16Array): void {
  const table = isUint16Array(data)
    ? curve
    : Uint8Array.from({ length: 256 }, (_, i) => Math.round(curve[i * 257]! / 257))
  for (let i = 0; i < data.length; i += channels) data[i] = table[data[i]!]!
}

let srgb: Promise<Buffer> | null = null

/** A profile of sRGB: libvips' own. */
export function srgbProfile(): Promise<Buffer> {
  srgb ??= loadSharp()({ create: { width: 1, height: 1, channels: 3, background: '#000' } })
    .withIccProfile('srgb')
    .png()
    .toBuffer()
    .then((png) => loadSharp()(png).metadata())
    .then(({ icc }) => icc!)
  return srgb
}

/** Converts sRGB pixels into the numbers of a profile. `close` it after use. */
export interface ProfileWriter {
  /** Whole rows of `width` pixels in the profile's numbers; the pixels given may be changed. */
  rows(data: Uint8Array | Uint16Array, width: number): Promise<Uint8Array | Uint16Array>
  close(): Promise<void>
}

/** Null: the profile's numbers are sRGB's already, or it cannot be used for these channels. */
export async function profileWriter(icc: Uint8Array, channels: 1 | 2 | 3 | 4): Promise<ProfileWriter | null> {
  const space = profileSpace(icc)
  if (channels === 3 || channels === 4) {
    if ((await rgbProfileKind(icc)) !== 'other') return null
    return rgbWriter(icc, channels)
  }
  const curve = space === 'GRAY' ? await greyCurve(icc) : null
  if (!curve) return null
  const inverse = invertCurve(curve)
  return {
    async rows(data) {
      applyCurve(data, channels, inverse)
      return data
    },
    async close() {},
  }
}

async function rgbWriter(icc: Uint8Array, channels: 3 | 4): Promise<ProfileWriter> {
  const srgb = await srgbProfile()
  // lcms reads profiles from files only; this one loses its name at once, so that nothing is ever left of it.
  const folder = await mkdtemp(path.join(tmpdir(), 'wbsr-'))
  let handle: FileHandle | undefined
  try {
    handle = await open(path.join(folder, 'profile.icc'), 'wx+')
    await handle.writeFile(icc)
  } catch (error) {
    await handle?.close()
    throw error
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  const { fd } = handle
  return {
    async rows(data, width) {
      const deep = isUint16Array(data)
      const tiff = wrapTiff({ data, width, height: data.length / channels / width, channels, icc: srgb })
      const bytes = await loadSharp()(tiff, { ignoreIcc: true, limitInputPixels: false })
        .toColourspace(deep ? 'rgb16' : 'srgb')
        .withIccProfile(descriptorName(fd))
        .raw({ depth: deep ? 'ushort' : 'uchar' })
        .toBuffer()
      return asPixels(bytes, deep ? 16 : 8)
    },
    close: () => handle.close(),
  }
}
