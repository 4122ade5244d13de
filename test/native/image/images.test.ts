// The native image operations that have no public function of their own: conversion at the borders of inference,
// gradient vectors of rectangles, training batches, PNG filters, and the argument checks of all.
import t from 'tap'
import type { CropSpec } from '../../../lib/native.js'
import { native } from '../../../lib/native.js'
import type { PixelArray, RawImage } from '../../../lib/types.js'
import { gradientReference, KINDS, rgbOf, testImage, topOf } from '../../support/measure-reference.js'
import { largestDifference } from '../../support/pictures.js'

const ALL = [1, 2, 3, 4] as const
const bytesOf = { u8: 1, u16: 2, f32: 4 } as const
const isTransparent = ({ data, channels }: RawImage, i: number) =>
  channels % 2 === 0 && data[i * channels + channels - 1] === 0

t.test('toRgbFloat and toAlphaFloat equal plain loops', async (t) => {
  for (const kind of KINDS) {
    for (const channels of ALL) {
      const image = testImage(kind, 37, 11, channels, channels)
      if (channels % 2 === 0) image.data[channels * 5 - 1] = 0
      const rgb = await native.toRgbFloat(image.data, 37, 11, channels)
      const alpha = await native.toAlphaFloat(image.data, 37, 11, channels)
      const wanted = Array.from({ length: 37 * 11 }, (_, i) => rgbOf(image, i))
      t.ok(largestDifference(rgb, wanted.flat()) < 1e-6, `${kind} x ${channels}`)
      const alphas = wanted.map((_, i) =>
        channels % 2 === 0 ? image.data[(i + 1) * channels - 1]! / topOf(image.data) : 1,
      )
      t.ok(largestDifference(alpha, alphas) < 1e-6, `alpha of ${kind} x ${channels}`)
    }
  }
})

t.test('pixels -> float -> pixels gives the same pixels', async (t) => {
  for (const kind of KINDS) {
    for (const channels of ALL) {
      for (const [width, height] of [
        [1, 1],
        [1, 40],
        [613, 3],
        ...(channels > 2 ? [[700, 500] as const] : []),
      ] as const) {
        const image = testImage(kind, width, height, channels, width)
        const transparent = channels % 2 === 0 ? [0, Math.floor((width * height) / 2)] : []
        for (const i of transparent) image.data[(i + 1) * channels - 1] = 0
        const rgb = await native.toRgbFloat(image.data, width, height, channels)
        const alpha = channels % 2 === 0 ? await native.toAlphaFloat(image.data, width, height, channels) : null
        // Sums of three tiles in some places, of one in others.
        const weight = Float32Array.from({ length: width * height }, (_, i) =>
          i % 5 === 0 ? 3 : i % 7 === 0 ? 0.4 : 1,
        )
        const sum = rgb.map((v, i) => v * weight[Math.floor(i / 3)]!)
        const back = await native.finishRows(sum, weight, width, 0, height, channels, alpha, bytesOf[kind])
        t.equal(back.constructor, image.data.constructor)
        let worst = 0
        for (let i = 0; i < image.data.length; i++) {
          const pixel = Math.floor(i / channels)
          const wanted = isTransparent(image, pixel) ? 0 : image.data[i]!
          worst = Math.max(worst, Math.abs(back[i]! - wanted))
        }
        t.ok(worst <= (kind === 'f32' ? 1e-6 : 0), `${kind} x ${channels}, ${width} x ${height}: off by ${worst}`)
      }
    }
  }
})

t.test('finishRows: rows, clamping, rounding, grey, nothing known', async (t) => {
  const sum = Float32Array.of(-0.2, 1.3, 0.5, 0.2, 0.4, 0.6, NaN, 2, 0.1, 0, 0, 0)
  const weight = Float32Array.of(1, 2, 1, 0)
  const all = await native.finishRows(sum, weight, 2, 0, 2, 3, null, 1)
  t.same([...all], [0, 255, 128, 26, 51, 77, 0, 255, 26, 0, 0, 0], 'half up, clamped; NaN and weight 0 are black')
  t.same([...(await native.finishRows(sum, weight, 2, 1, 1, 3, null, 1))], [...all.subarray(6)])
  t.same([...(await native.finishRows(sum, weight, 2, 0, 1, 3, null, 2))], [0, 65535, 32768, 6554, 13107, 19661])
  const floats = await native.finishRows(sum, weight, 2, 0, 1, 3, null, 4)
  t.ok(largestDifference(floats, [0, 1, 0.5, 0.1, 0.2, 0.3]) < 1e-7)
  const grey = await native.finishRows(Float32Array.of(0.1, 0.5, 0.9), Float32Array.of(1), 1, 0, 1, 1, null, 4)
  t.ok(Math.abs(grey[0]! - (0.0299 + 0.2935 + 0.1026)) < 1e-6, 'grey is the luma')
  const rgba = await native.finishRows(
    Float32Array.of(0.25, 0.1, 0.6, 0.3, 0.3, 0.3),
    Float32Array.of(1, 1),
    2,
    0,
    1,
    4,
    Float32Array.of(0.5, 0.001),
    1,
  )
  t.same(
    [...rgba],
    [128, 51, 255, 128, 0, 0, 0, 0],
    'divided by alpha, clamped; alpha that is stored as 0 hides its colour',
  )
})

t.test('gradientVectors of rectangles equal plain loops', async (t) => {
  const rects = [
    [0, 0, 64, 40],
    [3, 5, 17, 9],
    [63, 39, 1, 1],
    [0, 0, 1, 40],
    [10, 7, 54, 1],
    [8, 8, 32, 32],
    [8, 8, 8, 8],
  ]
  for (const kind of KINDS) {
    for (const channels of ALL) {
      const image = testImage(kind, 64, 40, channels, 3)
      const vectors = await native.gradientVectors(image.data, 64, 40, channels, Int32Array.from(rects.flat()))
      rects.forEach(([x, y, w, h], i) => {
        t.ok(
          largestDifference(vectors.subarray(4 * i, 4 * i + 4), gradientReference(image, x!, y!, w!, h!)) < 1e-6,
          `${kind} x ${channels} at ${x}, ${y}: ${w} x ${h}`,
        )
      })
    }
  }
  t.equal((await native.gradientVectors(new Uint8Array(3), 1, 1, 3, new Int32Array(0))).length, 0)
  // Enough for two threads: the same as one rectangle after the other.
  const large = testImage('u8', 1400, 900, 3)
  const tiles: number[] = []
  for (let y = 0; y + 32 <= 900; y += 28) for (let x = 0; x + 32 <= 1400; x += 28) tiles.push(x, y, 32, 32)
  const together = await native.gradientVectors(large.data, 1400, 900, 3, Int32Array.from(tiles))
  for (const i of [0, 1, 700, tiles.length / 4 - 1]) {
    t.same(
      [...(await native.gradientVectors(large.data, 1400, 900, 3, Int32Array.from(tiles.slice(4 * i, 4 * i + 4))))],
      [...together.subarray(4 * i, 4 * i + 4)],
    )
  }
})

function crop({ data, width, channels }: RawImage, x: number, y: number, w: number, h: number): RawImage {
  const out = new Uint8Array(w * h * channels)
  for (let j = 0; j < h; j++)
    out.set(
      (data as Uint8Array).subarray(((y + j) * width + x) * channels, ((y + j) * width + x + w) * channels),
      j * w * channels,
    )
  return { data: out, width: w, height: h, channels }
}

/** Flips, then transposes a square RGB crop, as planes in [0, 1]. */
function placed({ data, width: size }: RawImage, { flipX, flipY, transpose }: CropSpec): number[] {
  let at = (x: number, y: number) => y * size + x
  if (transpose) {
    const inner = at
    at = (x, y) => inner(y, x)
  }
  const flipped = (x: number, y: number) => [flipX ? size - 1 - x : x, flipY ? size - 1 - y : y] as const
  const out: number[] = new Array(3 * size * size)
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++)
      for (let c = 0; c < 3; c++) {
        // The transposed place of what the flip brings to (x, y).
        const [i, j] = flipped(x, y)
        out[c * size * size + at(x, y)] = data[(j * size + i) * 3 + c]! / 255
      }
  return out
}

t.test('assembleBatch equals crop, flip, transpose and resizeBicubic done one by one', async (t) => {
  const images = [testImage('u8', 96, 72, 3, 1), testImage('u8', 48, 120, 3, 2)] as const
  const source = images.map(({ data, width, height }) => ({ data: data as Uint8Array, width, height }))
  for (const scale of [2, 3, 4]) {
    const patch = 24
    const small = patch / scale
    const crops: CropSpec[] = []
    for (let i = 0; i < 8; i++) {
      for (const image of [0, 1]) {
        const { width, height } = images[image]!
        const x = [0, scale, width - patch, 3 * scale + 1][i % 4]!,
          y = [height - patch, 2 * scale, 0, 2 * scale + 1][i % 4]!
        crops.push({ image, x, y, flipX: (i & 1) > 0, flipY: (i & 2) > 0, transpose: (i & 4) > 0 })
      }
    }
    const { lr, hr } = await native.assembleBatch({ images: source, crops, patchSize: patch, scale })
    t.equal(hr.length, crops.length * 3 * patch * patch)
    t.equal(lr.length, crops.length * 3 * small * small)
    for (const [n, spec] of crops.entries()) {
      const image = images[spec.image]!
      const label = `x${scale}, crop ${n} ${JSON.stringify(spec)}`
      t.ok(
        largestDifference(
          hr.subarray(n * 3 * patch * patch, (n + 1) * 3 * patch * patch),
          placed(crop(image, spec.x, spec.y, patch, patch), spec),
        ) < 1e-6,
        `HR ${label}`,
      )
      // A crop between the LR grid's lines: the picture is cut so that its grid goes through the crop. The cut is at
      // least two LR pixels away, further than the kernel reaches.
      const left = spec.x % scale,
        top = spec.y % scale
      const width = Math.floor((image.width - left) / scale) * scale,
        height = Math.floor((image.height - top) / scale) * scale
      const cut = crop(image, left, top, width, height)
      const data = await native.resizeBicubic(cut.data, width, height, 3, width / scale, height / scale, 0)
      const wanted = crop(
        { data, width: width / scale, height: height / scale, channels: 3 },
        (spec.x - left) / scale,
        (spec.y - top) / scale,
        small,
        small,
      )
      t.ok(
        largestDifference(lr.subarray(n * 3 * small * small, (n + 1) * 3 * small * small), placed(wanted, spec)) < 1e-6,
        `LR ${label}`,
      )
    }
    // Given LR pictures are cropped, not made.
    const lrImages = images.map(({ width, height }, i) => ({
      data: testImage('u8', Math.floor(width / scale), Math.floor(height / scale), 3, 10 + i).data as Uint8Array,
      width: Math.floor(width / scale),
      height: Math.floor(height / scale),
    }))
    const aligned = crops.filter((c) => c.x % scale === 0 && c.y % scale === 0)
    t.ok(aligned.length >= 8, `${aligned.length} crops on the LR grid`)
    const given = await native.assembleBatch({ images: source, lrImages, crops: aligned, patchSize: patch, scale })
    for (const [n, spec] of aligned.entries()) {
      const wanted = crop({ ...lrImages[spec.image]!, channels: 3 }, spec.x / scale, spec.y / scale, small, small)
      t.ok(
        largestDifference(given.lr.subarray(n * 3 * small * small, (n + 1) * 3 * small * small), placed(wanted, spec)) <
          1e-6,
        `given LR x${scale}, crop ${n}`,
      )
    }
  }
})

/** PNG's definition of unfiltering (RFC 2083, section 6). */
function unfilter(
  filtered: Uint8Array,
  rowBytes: number,
  step: number,
  previous: Uint8Array,
): { bytes: Uint8Array; types: Set<number> } {
  const rows = filtered.length / (rowBytes + 1)
  const bytes = new Uint8Array(rows * rowBytes)
  const types = new Set<number>()
  let up = previous
  for (let y = 0; y < rows; y++) {
    const row = bytes.subarray(y * rowBytes, (y + 1) * rowBytes)
    const type = filtered[y * (rowBytes + 1)]!
    types.add(type)
    for (let i = 0; i < rowBytes; i++) {
      const a = i >= step ? row[i - step]! : 0,
        b = up[i]!,
        c = i >= step ? up[i - step]! : 0
      const p = a + b - c
      const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)]
      const predicted = [0, a, b, (a + b) >> 1, pa <= pb && pa <= pc ? a : pb <= pc ? b : c][type]!
      row[i] = filtered[y * (rowBytes + 1) + 1 + i]! + predicted
    }
    up = row
  }
  return { bytes, types }
}

t.test('releasePixels frees an array of its own, and nothing else', async (t) => {
  for (const data of [new Uint8Array(8), new Uint16Array(4), new Float32Array(2), Buffer.from(new ArrayBuffer(8))]) {
    native.releasePixels(data)
    t.equal(data.length, 0)
    native.releasePixels(data)
  }
  const whole = new Uint8Array(8)
  for (const part of [whole.subarray(1), whole.subarray(0, 7)]) {
    native.releasePixels(part)
    t.equal(whole.length, 8, 'a part of a larger array stays')
  }
  t.throws(() => native.releasePixels([] as never), { code: 'WBSR_INVALID_OPTION' })
  // Held memory would grow by 2 GB.
  const before = process.memoryUsage.rss()
  for (let i = 0; i < 128; i++) native.releasePixels(new Uint8Array(16 << 20).fill(1))
  t.ok(process.memoryUsage.rss() - before < 200e6, 'the memory is free at once')
})

t.test('unfiltering undoes pngFilterRows, which chooses the filter with the smallest sum', async (t) => {
  const used = new Set<number>()
  for (const kind of ['u8', 'u16'] as const) {
    for (const channels of ALL) {
      for (const [width, height] of [
        [1, 1],
        [1, 7],
        [50, 20],
      ] as const) {
        const image = testImage(kind, width, height, channels, 4)
        const data = image.data as Uint8Array | Uint16Array
        const n = width * channels
        // Rows of several natures, so that all filters get used.
        for (let y = 0; y < height; y++)
          for (let i = 0; i < n; i++) {
            if (y % 4 === 1) data[y * n + i] = data[(y - 1) * n + i]! + 1
            if (y % 4 === 2) data[y * n + i] = (i * 3) & 0xff
            if (y % 4 === 3 && y > 0)
              data[y * n + i] = ((i >= channels ? data[y * n + i - channels]! : 0) + data[(y - 1) * n + i]!) / 2
            if (y >= 12) data[y * n + i] = (i % 23) * y
          }
        const bytes = new Uint8Array(data.length * bytesOf[kind])
        data.forEach((v, i) => {
          if (kind === 'u8') bytes[i] = v
          else {
            bytes[2 * i] = v >> 8
            bytes[2 * i + 1] = v & 255
          }
        })
        const rowBytes = n * bytesOf[kind],
          step = channels * bytesOf[kind]
        const filtered = await native.pngFilterRows(data, width, height, channels, null)
        const { bytes: back, types } = unfilter(filtered, rowBytes, step, new Uint8Array(rowBytes))
        types.forEach((type) => used.add(type))
        t.ok(Buffer.compare(back, bytes) === 0, `${kind} x ${channels}, ${width} x ${height}`)
        if (height > 1) {
          const head = await native.pngFilterRows(data.subarray(0, 3 * n), width, 3, channels, null)
          const tail = await native.pngFilterRows(
            data.subarray(3 * n),
            width,
            height - 3,
            channels,
            data.subarray(2 * n, 3 * n),
          )
          t.ok(Buffer.compare(Buffer.concat([head, tail]), filtered) === 0, 'in two calls with the row between')
        }
      }
    }
  }
  t.same([...used].sort(), [0, 1, 2, 3, 4])
  const flat = await native.pngFilterRows(Uint8Array.of(9, 9, 9, 9, 9, 9, 9, 9), 4, 2, 1, null)
  t.same([...flat], [1, 9, 0, 0, 0, 2, 0, 0, 0, 0])
})

t.test('arguments are checked before memory is read', async (t) => {
  const data = new Uint8Array(12)
  const any = (value: unknown) => value as never
  const rect = Int32Array.of(0, 0, 2, 2)
  const crop = { image: 0, x: 0, y: 0, flipX: false, flipY: false, transpose: false }
  const spec = { images: [{ data, width: 2, height: 2 }], crops: [crop], patchSize: 2, scale: 2 }
  const floats = (n: number) => new Float32Array(n)
  const calls: [RegExp, () => unknown][] = [
    [
      /^Expected a Uint8Array, Uint16Array or Float32Array for data but received an array of 12$/,
      () => native.toRgbFloat(any([...data]), 2, 2, 3),
    ],
    [/for data but received a typed array of 12$/, () => native.toRgbFloat(any(new Int16Array(12)), 2, 2, 3)],
    [/^Expected 18 samples/, () => native.toRgbFloat(data, 3, 2, 3)],
    [/for width but received 0$/, () => native.toRgbFloat(data, 0, 2, 3)],
    [/for height but received 1.5$/, () => native.toAlphaFloat(data, 2, 1.5, 3)],
    [/^Expected an integer between 1 and 4 for channels but received 5$/, () => native.toRgbFloat(data, 2, 2, 5)],
    [/for outWidth but received undefined$/, () => native.resizeBicubic(data, 2, 2, 3, any(undefined), 2, 0)],
    [/for border but received 2$/, () => native.resizeBicubic(data, 2, 2, 3, 4, 4, any(2))],
    [/for a but received/, () => native.psnr(new Uint8Array(11), data, 2, 2, 3, true, 0)],
    [/for y but received 1$/, () => native.psnr(data, data, 2, 2, 3, any(1), 0)],
    [/for shave but received 1$/, () => native.psnr(data, data, 2, 2, 3, true, 1)],
    [/^Expected 8-bit samples for b/, () => native.psnr(data, any(floats(12)), 2, 2, 3, true, 0)],
    [/^Expected 1 or 3 \(y\) for channels/, () => native.psnr(data, data, 2, 3, 2, true, 0)],
    [/^Expected an image of at least 11 x 11 pixels for b/, () => native.ssim(data, data, 2, 2, 3, true, 0)],
    [/for rects/, () => native.gradientVectors(data, 2, 2, 3, any([0, 0, 1, 1]))],
    [/^Expected 4 numbers per rectangle for rects/, () => native.gradientVectors(data, 2, 2, 3, rect.subarray(1))],
    [
      /^Expected a rectangle inside 2 x 2 for rects\[0\] but received 1, 0, 2 x 1$/,
      () => native.gradientVectors(data, 2, 2, 3, Int32Array.of(1, 0, 2, 1)),
    ],
    [/rects\[0\]/, () => native.gradientVectors(data, 2, 2, 3, Int32Array.of(2147483647, 0, 2147483647, 1))],
    [/for images but received an array of 0$/, () => native.assembleBatch({ ...spec, images: [] })],
    [/for images\[0\].data/, () => native.assembleBatch({ ...spec, images: [{ data, width: 3, height: 2 }] })],
    [/^Expected a multiple of scale for patchSize but received 2$/, () => native.assembleBatch({ ...spec, scale: 4 })],
    [/for crops\[0\].x but received 1$/, () => native.assembleBatch({ ...spec, crops: [{ ...crop, x: 1 }] })],
    [/for crops\[0\].image but received 1$/, () => native.assembleBatch({ ...spec, crops: [{ ...crop, image: 1 }] })],
    [/^Expected an image of at least patchSize/, () => native.assembleBatch({ ...spec, patchSize: 4 })],
    [
      /for crops\[0\].transpose/,
      () => native.assembleBatch({ ...spec, crops: [any({ ...crop, transpose: undefined })] }),
    ],
    [
      /^Expected one picture per image for lrImages/,
      () =>
        native.assembleBatch({
          ...spec,
          lrImages: [
            { data: data.subarray(3, 6), width: 1, height: 1 },
            { data: data.subarray(3, 6), width: 1, height: 1 },
          ],
        }),
    ],
    [/^Expected whole rows for weight/, () => native.finishRows(floats(9), floats(3), 2, 0, 1, 3, null, 1)],
    [/for sum/, () => native.finishRows(floats(11), floats(4), 2, 0, 1, 3, null, 1)],
    [/for rows but received 2$/, () => native.finishRows(floats(12), floats(4), 2, 1, 2, 3, null, 1)],
    [/for alpha but received null$/, () => native.finishRows(floats(12), floats(4), 2, 0, 2, 4, null, 1)],
    [/^Expected null .* for alpha/, () => native.finishRows(floats(12), floats(4), 2, 0, 2, 3, floats(4), 1)],
    [/for bytes but received 3$/, () => native.finishRows(floats(12), floats(4), 2, 0, 2, 3, null, any(3))],
    [/^Expected a Uint8Array or Uint16Array for data/, () => native.pngFilterRows(any(floats(12)), 2, 2, 3, null)],
    [/^Expected one row like those of data for previous/, () => native.pngFilterRows(data, 2, 2, 3, data)],
  ]
  for (const [message, call] of calls) {
    let error: unknown
    try {
      await call()
    } catch (caught) {
      error = caught
    }
    t.match(error, { code: 'WBSR_INVALID_OPTION', message }, String(message))
  }
})

t.test('SharedArrayBuffers are accepted', async (t) => {
  const shared: PixelArray = new Uint8Array(new SharedArrayBuffer(24), 12).fill(255)
  t.same([...(await native.toRgbFloat(shared, 2, 2, 3))], Array(12).fill(1))
})

t.test('squaredErrors and averageTiles', async (t) => {
  const a = Float32Array.from({ length: 4 * 3 * 3 }, (_, i) => i / 20 - 0.2)
  const b = new Float32Array(36).fill(0.5)
  const errors = await native.squaredErrors(a, b, 4, 3, Int32Array.of(0, 0, 4, 3, 1, 1, 2, 1))
  const clamp = (v: number) => Math.min(1, Math.max(0, v))
  const all = a.reduce((sum, v) => sum + (clamp(v) - 0.5) ** 2, 0)
  const part = a.subarray(15, 21).reduce((sum, v) => sum + (clamp(v) - 0.5) ** 2, 0)
  t.ok(Math.abs(errors[0]! - all) < 1e-6)
  t.ok(Math.abs(errors[1]! - part) < 1e-6)
  t.throws(() => native.squaredErrors(a, b, 4, 3, Int32Array.of(0, 0, 5, 3)), { code: 'WBSR_INVALID_OPTION' })
  t.throws(() => native.squaredErrors(a, b.subarray(1), 4, 3, Int32Array.of(0, 0, 4, 3)), {
    code: 'WBSR_INVALID_OPTION',
  })
  // two by one tiles of 3x3 at step 2: the middle column is the mean, rounded half up
  const tiles = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90)
  t.strictSame(
    [...(await native.averageTiles(tiles, 2, 1, 3, 2, 1))],
    [1, 2, 7, 20, 30, 4, 5, 23, 50, 60, 7, 8, 40, 80, 90],
  )
  t.throws(() => native.averageTiles(tiles, 2, 1, 3, 4, 1), { code: 'WBSR_INVALID_OPTION' })
})
