// The tone curve of a grey profile (ICC.1:2022, 8.4.1 and 10.6, 10.18), computed exactly: lcms takes grey through a
// table that is up to ten levels off in the dark tones of linear profiles.
import { isRangeError } from '../realms.js'

type Curve = (device: number) => number

function s15(data: DataView, at: number): number {
  return data.getInt32(at) / 65536
}

function tableCurve(data: DataView, at: number): Curve | null {
  const count = data.getUint32(at + 8)
  if (count === 0) return (v) => v
  if (count === 1) {
    const gamma = data.getUint16(at + 12) / 256
    return (v) => v ** gamma
  }
  if (at + 12 + 2 * count > data.byteLength) return null
  return (v) => {
    const position = Math.min(1, Math.max(0, v)) * (count - 1)
    const i = Math.min(count - 2, Math.floor(position))
    const [low, high] = [data.getUint16(at + 12 + 2 * i), data.getUint16(at + 14 + 2 * i)]
    return (low + (high - low) * (position - i)) / 65535
  }
}

function parametricCurve(data: DataView, at: number): Curve | null {
  const kind = data.getUint16(at + 8)
  const count = [1, 3, 4, 5, 7][kind]
  if (count === undefined) return null
  const [g = 1, a = 1, b = 0, c = 0, d = 0, e = 0, f = 0] = Array.from({ length: count }, (_, i) =>
    s15(data, at + 12 + 4 * i),
  )
  if (kind === 0) return (v) => v ** g
  if (kind === 1) return (v) => (v >= -b / a ? (a * v + b) ** g : 0)
  if (kind === 2) return (v) => (v >= -b / a ? (a * v + b) ** g + c : c)
  if (kind === 3) return (v) => (v >= d ? (a * v + b) ** g : c * v)
  return (v) => (v >= d ? (a * v + b) ** g + e : c * v + f)
}

function srgbTone(luminance: number): number {
  const y = Math.min(1, Math.max(0, luminance))
  return y <= 0.0031308 ? 12.92 * y : 1.055 * y ** (1 / 2.4) - 0.055
}

/**
 * From device values of 16 bits to sRGB's tones of 16 bits by the kTRC tag of a GRAY profile. Null: it has none, or it
 * is damaged.
 */
export function greyToneCurve(icc: Uint8Array): Uint16Array | null {
  const data = new DataView(icc.buffer, icc.byteOffset, icc.byteLength)
  const text = (at: number) => Buffer.from(icc.buffer, icc.byteOffset + at, 4).toString('latin1')
  try {
    const count = data.getUint32(128)
    for (let i = 0; i < count; i++) {
      const entry = 132 + 12 * i
      if (text(entry) !== 'kTRC') continue
      const at = data.getUint32(entry + 4)
      const type = text(at)
      const curve = type === 'curv' ? tableCurve(data, at) : type === 'para' ? parametricCurve(data, at) : null
      if (!curve) return null
      // With Lab as connection space the curve gives lightness.
      const lightness = text(20) === 'Lab '
      const luminance = (v: number) => {
        if (!lightness) return v
        const f = (100 * v + 16) / 116
        return f > 6 / 29 ? f ** 3 : 3 * (6 / 29) ** 2 * (f - 4 / 29)
      }
      const values = Float64Array.from({ length: 65536 }, (_, v) => srgbTone(luminance(curve(v / 65535))) * 65535)
      return values.some(Number.isNaN) ? null : Uint16Array.from(values, Math.round)
    }
  } catch (error) {
    if (!isRangeError(error)) throw error
  }
  return null
}

/** The device values of sRGB's tones: the inverse of a curve of greyToneCurve, whichever way it runs. */
export function invertCurve(curve: Uint16Array): Uint16Array {
  const falls = curve[0]! > curve[65535]!
  const forward = falls ? curve.slice().reverse() : curve
  const out = new Uint16Array(65536)
  let v = 0
  for (let tone = 0; tone < 65536; tone++) {
    while (v < 65535 && forward[v]! < tone) v++
    const near = v > 0 && tone - forward[v - 1]! < forward[v]! - tone ? v - 1 : v
    out[tone] = falls ? 65535 - near : near
  }
  return out
}
