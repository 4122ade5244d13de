// Colour profiles written byte by byte, and their meaning computed from their numbers alone (ICC.1: matrix/TRC and grey
// profiles; IEC 61966-2-1 for sRGB). The reference for what lcms makes of them.

export type Curve = { gamma: number } | { table: readonly number[] } | { srgb: true }

export interface ProfileOptions {
  space: 'RGB ' | 'GRAY'
  curve: Curve
  name?: string
  /** Columns XYZ of red, green, blue, D50. Default: sRGB's. */
  primaries?: readonly (readonly [number, number, number])[]
  /** Default 2. */
  version?: 2 | 4
}

export const SRGB_PRIMARIES = [
  [0.43607, 0.22249, 0.01392],
  [0.38515, 0.71687, 0.09708],
  [0.14307, 0.06061, 0.7141],
] as const
export const ADOBE_PRIMARIES = [
  [0.60974, 0.31111, 0.01947],
  [0.20528, 0.62567, 0.06087],
  [0.14919, 0.06322, 0.74457],
] as const
export const P3_PRIMARIES = [
  [0.51512, 0.2412, -0.00105],
  [0.29198, 0.69225, 0.04189],
  [0.1571, 0.06657, 0.78407],
] as const
const WHITE = [0.9642, 1, 0.8249] as const

function s15(...values: number[]): Buffer {
  const out = Buffer.alloc(4 * values.length)
  values.forEach((v, i) => out.writeInt32BE(Math.round(v * 65536), 4 * i))
  return out
}

const xyz = (values: readonly number[]) => Buffer.concat([Buffer.from('XYZ \0\0\0\0', 'latin1'), s15(...values)])

function curveTag(curve: Curve, version: number): Buffer {
  if ('srgb' in curve) {
    const head = Buffer.alloc(12)
    head.write('para')
    head.writeUInt16BE(3, 8)
    return Buffer.concat([head, s15(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)])
  }
  if ('table' in curve) {
    const out = Buffer.alloc(12 + 2 * curve.table.length)
    out.write('curv')
    out.writeUInt32BE(curve.table.length, 8)
    curve.table.forEach((v, i) => out.writeUInt16BE(Math.round(v * 65535), 12 + 2 * i))
    return out
  }
  if (version === 4) {
    const head = Buffer.alloc(12)
    head.write('para')
    return Buffer.concat([head, s15(curve.gamma)])
  }
  const out = Buffer.alloc(14)
  out.write('curv')
  out.writeUInt32BE(1, 8)
  out.writeUInt16BE(Math.round(curve.gamma * 256), 12)
  return out
}

function textTag(name: string, version: number): Buffer {
  if (version === 4) {
    const out = Buffer.alloc(28 + 2 * name.length)
    out.write('mluc')
    out.writeUInt32BE(1, 8)
    out.writeUInt32BE(12, 12)
    out.write('enUS', 16)
    out.writeUInt32BE(2 * name.length, 20)
    out.writeUInt32BE(28, 24)
    for (let i = 0; i < name.length; i++) out.writeUInt16BE(name.charCodeAt(i), 28 + 2 * i)
    return out
  }
  const out = Buffer.alloc(12 + name.length + 1 + 78)
  out.write('desc')
  out.writeUInt32BE(name.length + 1, 8)
  out.write(name, 12)
  return out
}

/** A profile as bytes. */
export function makeIcc({
  space,
  curve,
  name = 'test',
  primaries = SRGB_PRIMARIES,
  version = 2,
}: ProfileOptions): Buffer {
  const trc = curveTag(curve, version)
  const tags: [string, Buffer][] = [
    ['desc', textTag(name, version)],
    ['cprt', version === 4 ? textTag('none', 4) : Buffer.from('text\0\0\0\0none\0', 'latin1')],
    ['wtpt', xyz(WHITE)],
    ...(space === 'GRAY'
      ? ([['kTRC', trc]] as [string, Buffer][])
      : ([
          ['rXYZ', xyz(primaries[0]!)],
          ['gXYZ', xyz(primaries[1]!)],
          ['bXYZ', xyz(primaries[2]!)],
          ['rTRC', trc],
          ['gTRC', trc],
          ['bTRC', trc],
        ] as [string, Buffer][])),
  ]
  const table = Buffer.alloc(4 + 12 * tags.length)
  table.writeUInt32BE(tags.length)
  let at = 128 + table.length
  const blobs = tags.map(([tag, blob], i) => {
    table.write(tag, 4 + 12 * i, 'latin1')
    table.writeUInt32BE(at, 8 + 12 * i)
    table.writeUInt32BE(blob.length, 12 + 12 * i)
    const padded = Buffer.concat([blob, Buffer.alloc((4 - (blob.length % 4)) % 4)])
    at += padded.length
    return padded
  })
  const head = Buffer.alloc(128)
  head.writeUInt32BE(at)
  head.writeUInt32BE(version === 4 ? 0x04200000 : 0x02400000, 8)
  head.write(`mntr${space}XYZ `, 12, 'latin1')
  head.write('acsp', 36)
  s15(...WHITE).copy(head, 68)
  return Buffer.concat([head, table, ...blobs])
}

function toLinear(curve: Curve, v: number): number {
  if ('srgb' in curve) return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  if ('gamma' in curve) return v ** curve.gamma
  const at = v * (curve.table.length - 1)
  const i = Math.min(curve.table.length - 2, Math.floor(at))
  return curve.table[i]! + (curve.table[i + 1]! - curve.table[i]!) * (at - i)
}

function srgbCode(linear: number): number {
  const v = Math.min(1, Math.max(0, linear))
  return v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055
}

type Row = [number, number, number]

function inverse(columns: readonly (readonly [number, number, number])[]): [Row, Row, Row] {
  const [[a, d, g], [b, e, h], [c, f, i]] = columns as unknown as [Row, Row, Row]
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
  return [
    [(e * i - f * h) / det, (c * h - b * i) / det, (b * f - c * e) / det],
    [(f * g - d * i) / det, (a * i - c * g) / det, (c * d - a * f) / det],
    [(d * h - e * g) / det, (b * g - a * h) / det, (a * e - b * d) / det],
  ]
}

/** sRGB values 0..1 of a colour (1 or 3 values 0..1) in the numbers of a profile. */
export function referenceSrgb(
  { space, curve, primaries = SRGB_PRIMARIES }: ProfileOptions,
  colour: readonly number[],
): number[] {
  const linear = colour.map((v) => toLinear(curve, v))
  if (space === 'GRAY') return [srgbCode(linear[0]!)]
  const pcs = [0, 1, 2].map((row) => primaries.reduce((sum, column, i) => sum + column[row]! * linear[i]!, 0))
  return inverse(SRGB_PRIMARIES).map((row) => srgbCode(row.reduce((sum, v, i) => sum + v * pcs[i]!, 0)))
}
