// Colour profiles are judged by what they do: every reader, at every depth, against the reference in test/support/icc.ts.
import t from 'tap'
import { decodeRgb } from '../../lib/data/decode.js'
import { decodeImage, imageHeader } from '../../lib/images/images.js'
import type { RawImage } from '../../lib/types.js'
import { bytesOf, iccChunk, makePng, makeTiff } from '../support/encoded.js'
import { ADOBE_PRIMARIES, makeIcc, P3_PRIMARIES, type ProfileOptions, referenceSrgb } from '../support/icc.js'

const COLOURS = [
  [55, 55, 55],
  [60, 200, 60],
  [200, 30, 90],
  [12, 130, 240],
  [255, 255, 255],
  [0, 0, 0],
  [128, 64, 32],
]

function flat(colours: readonly (readonly number[])[], bits: 8 | 16): RawImage {
  const values = colours.flat().map((v) => (bits === 8 ? v : v * 257))
  const channels = colours[0]!.length as RawImage['channels']
  const data = bits === 8 ? Uint8Array.from(values) : Uint16Array.from(values)
  return { data, width: colours.length, height: 1, channels }
}

function farthest(data: ArrayLike<number>, expected: readonly number[], most: number): number {
  return Math.max(...expected.map((v, i) => Math.abs(data[i]! / most - v))) * 255
}

const dotGain = Array.from({ length: 64 }, (_, i) => (i / 63) ** 1.75 * 0.98 + (0.02 * i) / 63)

const PROFILES: [string, ProfileOptions][] = [
  ['linear light', { space: 'RGB ', curve: { gamma: 1 } }],
  ['linear light named sRGB', { space: 'RGB ', curve: { gamma: 1 }, name: 'GIMP built-in Linear sRGB' }],
  [
    'gamma 1.8 named sRGB IEC61966-2.1',
    { space: 'RGB ', curve: { gamma: 1.8 }, name: 'sRGB IEC61966-2.1', version: 4 },
  ],
  ['Adobe RGB', { space: 'RGB ', curve: { gamma: 2.199 }, primaries: ADOBE_PRIMARIES }],
  ['Display P3, version 4', { space: 'RGB ', curve: { srgb: true }, primaries: P3_PRIMARIES, version: 4 }],
  ['P3 primaries named sRGB', { space: 'RGB ', curve: { srgb: true }, primaries: P3_PRIMARIES, name: 'sRGB' }],
  ['a table', { space: 'RGB ', curve: { table: dotGain } }],
]

t.test('RGB pictures are read by their profile, 8 and 16 bits alike, by every reader', async (t) => {
  for (const [name, profile] of PROFILES) {
    const icc = makeIcc(profile)
    const expected = COLOURS.flatMap((colour) =>
      referenceSrgb(
        profile,
        colour.map((v) => v / 255),
      ),
    )
    for (const bits of [8, 16] as const) {
      const png = makePng(flat(COLOURS, bits), [iccChunk(icc)])
      const { data } = await decodeImage(png)
      // lcms' tables are up to two levels off in the darkest tones.
      const limit = 2
      const off = farthest(data, expected, bits === 8 ? 255 : 65535)
      t.ok(off < limit, `${name}, ${bits} bits: ${off.toFixed(2)} levels`)
      const rgb = await decodeRgb(png, 'a.png')
      t.ok(farthest(rgb.data, expected, 255) < 1.6, `${name}, ${bits} bits, for training`)
      t.same((await decodeImage(tiffOf(flat(COLOURS, bits), icc))).data, data, `${name}, ${bits} bits, as TIFF`)
      const alpha = flat(
        COLOURS.map((colour, i) => [...colour, 30 * i]),
        bits,
      )
      const withAlpha = await decodeImage(makePng(alpha, [iccChunk(icc)]))
      t.ok(
        COLOURS.every((_, i) => withAlpha.data[4 * i + 3] === 30 * i * (bits === 8 ? 1 : 257)),
        `${name}, ${bits} bits: alpha is kept`,
      )
      t.ok(
        COLOURS.every((_, i) => [0, 1, 2].every((c) => withAlpha.data[4 * i + c] === data[3 * i + c])),
        `${name}, ${bits} bits: the same colours with alpha`,
      )
      const input = await decodeImage(png, 'input', { colourSpace: 'input' })
      t.same(input.data, flat(COLOURS, bits).data, `${name}, ${bits} bits: colourSpace 'input' keeps the numbers`)
    }
  }
})

t.test('grey pictures are read by their profile', async (t) => {
  const values = Array.from({ length: 256 }, (_, i) => [i])
  for (const [name, profile] of [
    ['linear', { space: 'GRAY', curve: { gamma: 1 } }],
    ['gamma 2.2', { space: 'GRAY', curve: { gamma: 2.2 } }],
    ['gamma 1.8, version 4', { space: 'GRAY', curve: { gamma: 1.8 }, version: 4 }],
    ['dot gain', { space: 'GRAY', curve: { table: dotGain }, name: 'Dot Gain 20% sRGB' }],
    ['an RGB profile', { space: 'RGB ', curve: { gamma: 1 } }],
  ] as [string, ProfileOptions][]) {
    const expected = values.map(([v]) =>
      profile.space === 'GRAY'
        ? referenceSrgb(profile, [v! / 255])[0]!
        : referenceSrgb(profile, [v! / 255, v! / 255, v! / 255])[1]!,
    )
    for (const bits of [8, 16] as const) {
      const icc = makeIcc(profile)
      // PNG has no RGB profiles for grey pictures, TIFF takes any.
      const png = makePng(flat(values, bits), profile.space === 'GRAY' ? [iccChunk(icc)] : [])
      const encoded = profile.space === 'GRAY' ? png : tiffOf(flat(values, bits), icc)
      const image = await decodeImage(encoded)
      t.equal(image.channels, 1, `${name}, ${bits} bits: grey stays grey`)
      const off = farthest(image.data, expected, bits === 8 ? 255 : 65535)
      t.ok(off < 0.6, `${name}, ${bits} bits: ${off.toFixed(2)} levels`)
      const rgb = await decodeRgb(encoded, 'a.png')
      t.ok(
        values.every((_, i) => [0, 1, 2].every((c) => Math.abs(rgb.data[3 * i + c]! - expected[i]! * 255) < 1.1)),
        `${name}, ${bits} bits, for training`,
      )
    }
  }
  const alpha = flat(
    [
      [55, 10],
      [200, 255],
    ],
    8,
  )
  const { data } = await decodeImage(makePng(alpha, [iccChunk(makeIcc({ space: 'GRAY', curve: { gamma: 1 } }))]))
  t.same([data[1], data[3]], [10, 255], 'alpha of grey is kept')
  t.equal(data[0], 128, 'and its tones are right')
})

function tiffOf({ data, width, height, channels }: RawImage, icc: Buffer): Buffer {
  return makeTiff({
    width,
    height,
    bits: data.BYTES_PER_ELEMENT * 8,
    channels,
    photometric: channels === 1 ? 1 : 2,
    data: bytesOf(data),
    more: [[34675, 7, icc]],
  })
}

t.test('what is sRGB keeps its numbers, whatever it is called', async (t) => {
  for (const [name, profile] of [
    ['parametric', { space: 'RGB ', curve: { srgb: true }, version: 4, name: 'c2' }],
    [
      'a table of 1024',
      {
        space: 'RGB ',
        curve: {
          table: Array.from({ length: 1024 }, (_, i) =>
            i / 1023 <= 0.04045 ? i / 1023 / 12.92 : ((i / 1023 + 0.055) / 1.055) ** 2.4,
          ),
        },
        name: 'x',
      },
    ],
  ] as [string, ProfileOptions][]) {
    for (const bits of [8, 16] as const) {
      const image = flat(COLOURS, bits)
      const png = makePng(image, [iccChunk(makeIcc(profile))])
      t.same((await decodeImage(png)).data, image.data, `${name}, ${bits} bits`)
      t.same((await imageHeader(png)).warnings, [], 'no warning')
    }
  }
})

t.test('profiles that cannot be used are passed over, and reported', async (t) => {
  const grey = makeIcc({ space: 'GRAY', curve: { gamma: 1 } })
  const broken = makeIcc({ space: 'RGB ', curve: { gamma: 1 } })
  broken.fill(0xff, 132, 300)
  for (const bits of [8, 16] as const) {
    const image = flat(COLOURS, bits)
    for (const [name, icc] of [
      ['of grey', grey],
      ['broken', broken],
    ] as const) {
      const encoded = tiffOf(image, icc)
      t.same((await decodeImage(encoded)).data, image.data, `${name}, ${bits} bits: numbers are kept`)
      t.match(
        (await imageHeader(encoded)).warnings,
        [/colour profile cannot be used/],
        `${name}, ${bits} bits: reported`,
      )
    }
  }
})
