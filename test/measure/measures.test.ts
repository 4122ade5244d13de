// The public measures against plain loops, and invalid input.

import sharp from 'sharp'
import t from 'tap'
import { gradientVector, psnr, resizeBicubic, ssim, WbsrError } from '../../lib/index.js'
import type { RawImage } from '../../lib/types.js'
import {
  gradientReference,
  KINDS,
  newArray,
  psnrReference,
  resizeReference,
  ssimReference,
  testImage,
} from '../support/measure-reference.js'
import { largestDifference } from '../support/pictures.js'

const tolerance = (image: RawImage) => (image.data instanceof Float32Array ? 1e-6 : 0)

t.test("resizeBicubic has protocol.md's phase weights", async (t) => {
  const tables: [number, number[]][] = [
    [2, [-0.01171875, -0.03515625, 0.11328125, 0.43359375, 0.43359375, 0.11328125, -0.03515625, -0.01171875]],
    [
      3,
      [
        -0.012345679, -0.024691358, 0, 0.111111111, 0.259259259, 0.333333333, 0.259259259, 0.111111111, 0, -0.024691358,
        -0.012345679,
      ],
    ],
    [4, [-0.001708984, -0.010986328, -0.018310547, -0.011962891, 0.022705078, 0.097412109, 0.181884766, 0.240966797]],
  ]
  for (const [scale, half] of tables) {
    const wanted = scale === 4 ? [...half, ...[...half].reverse()] : half
    // One impulse per row: a column of the narrowed picture is the weights of one output sample.
    const size = 24 * scale
    const data = new Float32Array(size * size)
    for (let i = 0; i < size; i++) data[i * size + i] = 1
    for (const axis of ['x', 'y'] as const) {
      const out = await resizeBicubic(
        { data, width: size, height: size, channels: 1 },
        axis === 'x' ? { width: 24, height: size } : { width: size, height: 24 },
      )
      for (const o of [9, 14]) {
        const column = Array.from({ length: size }, (_, i) =>
          axis === 'x' ? out.data[i * 24 + o]! : out.data[o * size + i]!,
        )
        const first = Math.round((o + 0.5) * scale - wanted.length / 2)
        t.ok(
          largestDifference(column.slice(first, first + wanted.length), wanted) < 1e-7,
          `x${scale} along ${axis}, sample ${o}`,
        )
        t.equal(
          column.filter((v, i) => v !== 0 && (i < first || i >= first + wanted.length)).length,
          0,
          'and nothing beyond',
        )
      }
    }
  }
})

t.test('resizeBicubic equals plain loops for every type, size and border', async (t) => {
  const sizes = [
    [23, 17, 9, 5],
    [16, 12, 8, 6],
    [24, 18, 6, 6],
    [10, 30, 20, 10],
    [7, 5, 21, 15],
    [30, 10, 7, 20],
    [1, 1, 5, 3],
    [1, 9, 2, 3],
    [40, 1, 10, 1],
    [3, 3, 1, 1],
    [13, 13, 13, 13],
  ] as const
  for (const kind of KINDS) {
    for (const channels of [1, 3] as const) {
      for (const [width, height, outWidth, outHeight] of sizes) {
        for (const border of ['symmetric', 'replicate'] as const) {
          const image = testImage(kind, width, height, channels, width * 100 + height)
          const out = await resizeBicubic(image, { width: outWidth, height: outHeight, border })
          const wanted = resizeReference(image, outWidth, outHeight, border === 'replicate' ? 1 : 0)
          t.equal(out.data.constructor, image.data.constructor)
          t.ok(
            largestDifference(out.data, wanted) <= tolerance(image),
            `${kind} x ${channels}: ${width} x ${height} -> ${outWidth} x ${outHeight}, ${border}`,
          )
        }
      }
    }
  }
})

t.test('resizeBicubic with two threads equals plain loops on parts of the picture', async (t) => {
  const image = testImage('u8', 640, 400, 3)
  const out = await resizeBicubic(image, { scale: 4 })
  // Pixels near a corner depend on pixels near that corner only.
  const corner = new Uint8Array(60 * 50 * 3)
  for (let y = 0; y < 50; y++) corner.set(image.data.subarray((y + 350) * 1920 + 580 * 3, (y + 351) * 1920), y * 180)
  const wanted = resizeReference({ data: corner, width: 60, height: 50, channels: 3 }, 240, 200, 0)
  let different = 0
  for (let y = 16; y < 200; y++)
    for (let x = 16 * 3; x < 720; x++)
      if (out.data[(1400 + y) * 7680 + 580 * 12 + x] !== wanted[y * 720 + x]) different++
  t.equal(different, 0)
})

t.test('resizeBicubic weighs colour by alpha', async (t) => {
  for (const kind of KINDS) {
    const top = kind === 'u8' ? 255 : kind === 'u16' ? 65535 : 1
    for (const channels of [2, 4] as const) {
      const colours = (channels - 1) as 1 | 3
      const opaque = testImage(kind, 21, 14, channels)
      const plain = newArray(kind, 21 * 14 * colours)
      for (let i = 0; i < 21 * 14; i++) {
        opaque.data[i * channels + colours] = top
        for (let c = 0; c < colours; c++) plain[i * colours + c] = opaque.data[i * channels + c]!
      }
      const a = await resizeBicubic(opaque, { width: 10, height: 9 })
      const b = await resizeBicubic({ data: plain, width: 21, height: 14, channels: colours }, { width: 10, height: 9 })
      const colour = a.data.filter((_: number, i: number) => i % channels !== colours)
      t.ok(
        largestDifference(colour, b.data) <= tolerance(opaque),
        `${kind} x ${channels}: opaque gives what the colour alone gives`,
      )
      t.ok(
        a.data.every((v: number, i: number) => i % channels !== colours || Math.abs(v - top) <= 1e-6),
        'and stays opaque',
      )

      // White under alpha 0 on the right, a dark colour on the left: no white may bleed into the edge.
      const edge = newArray(kind, 16 * 4 * channels)
      for (let i = 0; i < 64; i++) {
        const left = i % 16 < 8
        for (let c = 0; c < colours; c++) edge[i * channels + c] = left ? top / 5 : top
        edge[i * channels + colours] = left ? top : 0
      }
      for (const size of [
        { width: 5, height: 4 },
        { width: 37, height: 9 },
      ]) {
        const out = await resizeBicubic({ data: edge, width: 16, height: 4, channels }, size)
        let visible = 0
        let furthest = 0
        for (let i = 0; i < size.width * size.height; i++) {
          if (out.data[i * channels + colours]! < top * 0.1) continue
          visible++
          for (let c = 0; c < colours; c++)
            furthest = Math.max(furthest, Math.abs(out.data[i * channels + c]! - top / 5))
        }
        t.ok(furthest <= top * 0.02, `the edge keeps its colour (off by ${furthest} of ${top})`)
        t.ok(
          visible >= size.width * size.height * 0.4 && visible < size.width * size.height,
          `${visible} visible pixels`,
        )
      }
    }
  }
})

t.test('resizeBicubic sizes: scale crops to a multiple, rounds otherwise', async (t) => {
  const image = testImage('u8', 23, 18, 3)
  const quarter = await resizeBicubic(image, { scale: 1 / 4 })
  t.same([quarter.width, quarter.height], [5, 4])
  const cropped = new Uint8Array(20 * 16 * 3)
  for (let y = 0; y < 16; y++) cropped.set(image.data.subarray(y * 69, y * 69 + 60), y * 60)
  t.equal(
    largestDifference(quarter.data, resizeReference({ data: cropped, width: 20, height: 16, channels: 3 }, 5, 4, 0)),
    0,
  )
  const third = await resizeBicubic(image, { scale: 1 / 3 })
  t.same([third.width, third.height], [7, 6])
  const other = await resizeBicubic(image, { scale: 0.4 })
  t.same([other.width, other.height], [9, 7])
  const file = await sharp(image.data, { raw: { width: 23, height: 18, channels: 3 } })
    .png()
    .toBuffer()
  const decoded = await resizeBicubic(file, { scale: 2 })
  t.equal(
    largestDifference(decoded.data, (await resizeBicubic(image, { scale: 2 })).data),
    0,
    'an encoded picture is decoded',
  )
  const clamped = { ...image, data: new Uint8ClampedArray(image.data) }
  t.ok((await resizeBicubic(clamped, { scale: 2 })).data instanceof Uint8ClampedArray)
})

t.test('psnr and ssim equal plain loops', async (t) => {
  for (const channels of [1, 3] as const) {
    const a = testImage('u8', 37, 29, channels, 5)
    const b = { ...a, data: Uint8Array.from(a.data, (v, i) => Math.min(255, Math.max(0, v + ((i * 7919) % 23) - 11))) }
    for (const channel of ['y', 'rgb'] as const) {
      for (const shave of [0, 1, 4]) {
        const label = `${channels} channels, ${channel}, shave ${shave}`
        t.ok(
          Math.abs((await psnr(a, b, { channel, shave })) - psnrReference(a, b, channel === 'y', shave)) < 1e-9,
          `psnr ${label}`,
        )
        t.ok(
          Math.abs((await ssim(a, b, { channel, shave })) - ssimReference(a, b, channel === 'y', shave)) < 1e-9,
          `ssim ${label}`,
        )
      }
      t.equal(await psnr(a, a, { channel }), Infinity)
      t.ok(Math.abs((await ssim(a, a, { channel })) - 1) < 1e-12)
    }
  }
  const black = testImage('u8', 300, 200, 3)
  black.data.fill(0)
  const white = { ...black, data: new Uint8Array(black.data.length).fill(255) }
  t.equal(await psnr(black, white, { channel: 'rgb' }), 0, 'the largest difference of all: 0 dB, no overflow')
  t.ok(Math.abs((await psnr(black, white)) - 20 * Math.log10(255 / 219)) < 1e-9, 'y is the default: 16 .. 235')
  t.equal(await psnr({ ...black, data: new Uint8ClampedArray(black.data) }, black), Infinity)
  const large = [testImage('u8', 500, 400, 3, 1), testImage('u8', 500, 400, 3, 2)] as const
  const value = await ssim(...large)
  for (let i = 0; i < 3; i++) t.equal(await ssim(...large), value, 'the same every time, whatever the threads do')
})

t.test('gradientVector equals plain loops', async (t) => {
  const shapes = [
    [1, 1],
    [1, 9],
    [9, 1],
    [2, 2],
    [3, 1],
    [33, 20],
    [64, 40],
  ] as const
  for (const kind of KINDS) {
    for (const channels of [1, 2, 3, 4] as const) {
      for (const [width, height] of shapes) {
        const image = testImage(kind, width, height, channels, width + height)
        const { vector, difficulty } = await gradientVector(image)
        const wanted = gradientReference(image, 0, 0, width, height)
        t.ok(
          largestDifference(vector, wanted) < 1e-6,
          `${kind} x ${channels}, ${width} x ${height}: ${vector} / ${wanted}`,
        )
        t.ok(Math.abs(difficulty - Math.hypot(...wanted)) < 1e-6)
      }
    }
  }
  t.same(await gradientVector(testImage('u8', 1, 1, 3)), { vector: [0, 0, 0, 0], difficulty: 0 })
  const steps = {
    data: Uint8Array.from({ length: 64 }, (_, i) => (i % 8 < 4 ? 0 : 255)),
    width: 8,
    height: 8,
    channels: 1 as const,
  }
  const { vector } = await gradientVector(steps)
  t.ok(
    largestDifference(vector, [0.125, Math.sqrt(0.0625 - 0.015625), 0, 0]) < 1e-7,
    'a vertical edge: two of eight columns at 1/2',
  )
})

t.test('invalid options and images', async (t) => {
  const image = testImage('u8', 20, 20, 3)
  const refuses = async (promise: Promise<unknown>, message: RegExp, code = 'WBSR_INVALID_OPTION') => {
    const error = await promise.then(
      () => undefined,
      (e: unknown) => e,
    )
    t.ok(
      error instanceof WbsrError && error.code === code && message.test(error.message),
      `${message}: ${String(error)}`,
    )
  }
  const any = (value: unknown) => value as never
  await refuses(resizeBicubic(image, any(undefined)), /^Expected an object for options but received undefined/)
  await refuses(resizeBicubic(image, {}), /^Expected either scale or width and height for options/)
  await refuses(
    resizeBicubic(image, { scale: 2, width: 4, height: 4 }),
    /^Expected either scale or width and height for options/,
  )
  await refuses(resizeBicubic(image, { width: 4 }), /^Expected an integer .* for height but received undefined/)
  await refuses(resizeBicubic(image, { width: 4, height: 0 }), /for height but received 0/)
  await refuses(resizeBicubic(image, { scale: 0 }), /for scale but received 0/)
  await refuses(resizeBicubic(image, { scale: NaN }), /for scale but received NaN/)
  await refuses(resizeBicubic(image, { scale: 1 / 32 }), /^Expected at least 32 x 32 pixels \(scale 1\/32\) for image/)
  await refuses(resizeBicubic(image, any({ scale: 2, border: 'mirror' })), /for border but received "mirror"/)
  await refuses(
    resizeBicubic(image, any({ scale: 2, antialias: true })),
    /^Expected no other keys .* received "antialias"/,
  )
  await refuses(resizeBicubic({ ...image, width: 21 }, { scale: 2 }), /^Expected 1260 values .* for image.data/)
  await refuses(resizeBicubic('/no/such/file.png', { scale: 2 }), /no\/such\/file/, 'WBSR_NOT_FOUND')
  await refuses(psnr(image, testImage('u8', 20, 21, 3)), /^Expected 20 x 20 x 3 .* for b/)
  await refuses(psnr(image, testImage('u8', 20, 20, 1)), /^Expected 20 x 20 x 3 .* for b/)
  await refuses(psnr(testImage('u16', 20, 20, 3), image), /^Expected 8-bit pixels for a/)
  await refuses(psnr(image, testImage('u8', 20, 20, 4)), /^Expected an image without alpha channel for b/)
  await refuses(psnr(image, image, { shave: 10 }), /^Expected at least 1 x 1 pixels after shaving 10/)
  await refuses(psnr(image, image, { shave: -1 }), /for shave but received -1/)
  await refuses(psnr(image, image, any({ channel: 'l' })), /for channel but received "l"/)
  await refuses(psnr(image, image, any({ crop: 4 })), /^Expected no other keys .* received "crop"/)
  await refuses(ssim(image, image, { shave: 5 }), /^Expected at least 11 x 11 pixels after shaving 5/)
  await refuses(gradientVector(any(3)), /for image/)
})
