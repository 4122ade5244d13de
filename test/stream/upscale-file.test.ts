// Files into larger files by bands of rows: the pixels of upscale() and resizeBicubic, whatever the picture is.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import sharp from 'sharp'
import t from 'tap'
import { judgeAlpha } from '../../lib/images/alpha.js'
import { decodeImage, encodeImage } from '../../lib/images/images.js'
import {
  allocationOverlay,
  type ResizeStreamOptions,
  resizeBicubic,
  resizeStream,
  type UpscaleFileOptions,
} from '../../lib/index.js'
import { SupernetModel } from '../../lib/models/model.js'
import { rrdb } from '../../lib/networks/rrdb.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import type { RawImage } from '../../lib/types.js'
import { makePng } from '../support/encoded.js'
import { picture } from '../support/infer-pictures.js'
import { peakMemory } from '../support/peak-memory.js'
import { samePicture } from '../support/pictures.js'
import { realState } from '../support/real-state.js'

const model = new SupernetModel(realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })))
t.teardown(() => model.dispose())

const plain = ({ data, width, height, channels }: RawImage): RawImage => ({ data, width, height, channels })
const bytesOf = ({ data }: Pick<RawImage, 'data'>) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)

/** What the file should hold, with whole pictures in memory. */
async function whole(net: SupernetModel, image: RawImage, passes: number, options: UpscaleFileOptions) {
  const { width, height, alphaChannel = 'auto', wrap, groupRows, router } = options
  const alpha = alphaChannel === 'auto' ? judgeAlpha(image.data, image.channels) : alphaChannel
  let current = image
  for (let pass = 0; pass < passes; pass++) {
    const given = { budgetScope: 'dataset', alphaChannel: alpha, wrap, groupRows, router } as const
    current = plain(await net.upscale(current, given))
  }
  return width === undefined ? current : resizeBicubic(current, { width, height, alphaChannel: alpha })
}

t.test('resizeStream gives the bytes of resizeBicubic', async (t) => {
  const through = ({ data }: RawImage, options: ResizeStreamOptions, piece = 1111) => {
    const bytes = bytesOf({ data })
    const pieces = function* () {
      for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece)
    }
    const stream = resizeStream(options)
    Readable.from(pieces(), { objectMode: false }).pipe(stream)
    return buffer(stream)
  }
  for (const [type, depth] of [
    ['uint8', 8],
    ['uint16', 16],
    ['float', 32],
  ] as const)
    for (const channels of [1, 2, 3, 4] as const)
      for (const [width, height, outWidth, outHeight] of [
        [40, 300, 77, 611],
        [60, 40, 77, 13],
        [50, 200, 33, 20],
        [7, 5, 3, 2],
        [9, 9, 50, 1],
        [1, 1, 5, 5],
        [3, 700, 2, 699],
      ] as const)
        for (const [border, alphaChannel] of [
          ['symmetric', 'opacity'],
          ['replicate', 'data'],
        ] as const) {
          const image = picture(width, height, channels, type)
          const options = { width, height, outWidth, outHeight, channels, depth, border, alphaChannel }
          const wanted = await resizeBicubic(image, { width: outWidth, height: outHeight, border, alphaChannel })
          const same = (await through(image, options)).equals(bytesOf(wanted))
          if (!same) t.fail(`${type}, ${channels} channels, ${width}x${height} to ${outWidth}x${outHeight}, ${border}`)
        }
  // Several pieces of output, with rows that mirror.
  const wide = picture(3000, 900)
  const size = { width: 2900, height: 870 }
  const out = await through(wide, { width: 3000, height: 900, outWidth: 2900, outHeight: 870 }, 1 << 20)
  t.ok(out.equals(bytesOf(await resizeBicubic(wide, size))))
  const opaque = picture(50, 40, 4)
  for (let i = 3; i < opaque.data.length; i += 4) opaque.data[i] = 255
  const full = { width: 50, height: 40, outWidth: 33, outHeight: 21, channels: 4, opaque: true } as const
  t.ok((await through(opaque, full)).equals(bytesOf(await resizeBicubic(opaque, { width: 33, height: 21 }))))

  const small = { width: 20, height: 10, outWidth: 9, outHeight: 1 }
  await t.rejects(through(picture(20, 9), small), { code: 'WBSR_INVALID_IMAGE', message: /but fewer came$/ })
  await t.rejects(through(picture(20, 11), small), { code: 'WBSR_INVALID_IMAGE', message: /but more came$/ })
  for (const [options, said] of [
    [{ ...small, outWidth: 0 }, /for outWidth/],
    [{ ...small, depth: 12 }, /8, 16 or 32 for depth/],
    [{ ...small, border: 'x' }, /for border/],
    [{ ...small, scale: 2 }, /no other keys/],
  ] as const)
    t.throws(() => resizeStream(options as unknown as ResizeStreamOptions), {
      code: 'WBSR_INVALID_OPTION',
      message: said,
    })
})

t.test('every kind of picture, any size', async (t) => {
  const dir = t.testdir({})
  for (const [channels, type, options, passes] of [
    [3, 'uint8', {}, 1],
    [3, 'uint8', { width: 211, height: 777 }, 1],
    [1, 'uint16', { width: 400, height: 1300 }, 2],
    [3, 'uint16', { width: 190, height: 800 }, 1],
    [4, 'uint8', { width: 211, height: 777, alphaChannel: 'data' }, 1],
    [4, 'uint16', { width: 400, height: 1200, alphaChannel: 'opacity' }, 2],
    [2, 'uint8', { width: 211, height: 777 }, 1],
    [3, 'uint8', { width: 211, height: 777, wrap: true }, 1],
    [4, 'uint8', { wrap: 'x' }, 1],
  ] as const) {
    const image = picture(120, 420, channels, type)
    const file = path.join(dir, 'out.png')
    const name = `${channels} channels, ${type}, ${JSON.stringify(options)}`
    const result = await model.upscaleFile(makePng(image), file, options as UpscaleFileOptions)
    const wanted = await whole(model, image, passes, { groupRows: 4, ...options } as UpscaleFileOptions)
    t.ok(samePicture(await decodeImage(file), wanted), name)
    t.match(result, { file, width: wanted.width, height: wanted.height, channels, passes, warnings: [] })
  }
  // Full alpha: colours as without it.
  const opaque = picture(60, 50, 4)
  for (let i = 3; i < opaque.data.length; i += 4) opaque.data[i] = 255
  const file = path.join(dir, 'opaque.tif')
  await model.upscaleFile(makePng(opaque), file, { scale: 1.3 })
  t.ok(samePicture(await decodeImage(file), await whole(model, opaque, 1, { width: 78, height: 65 })))
  // Decoded pixels, floats too, and networks that need their sides padded.
  const float = picture(30, 20, 3, 'float')
  await model.upscaleFile(float, file)
  t.equal((await sharp(file).metadata()).depth, 'ushort')
  await using padded = new SupernetModel(realState(rrdb({ scale: 2, widths: [8], depths: [1], growth: 4 })))
  const odd = picture(75, 81)
  const png = path.join(dir, 'odd.png')
  const router = { subnet: 0 }
  await padded.upscaleFile(odd, png, { width: 270, height: 250, router })
  t.ok(samePicture(await decodeImage(png), await whole(padded, odd, 2, { width: 270, height: 250, router })))
  t.same(readdirSync(dir).sort(), ['odd.png', 'opaque.tif', 'out.png'])
})

t.test('progress, the account of the work, and the map', async (t) => {
  const dir = t.testdir({})
  const at = (name: string) => path.join(dir, name)
  const image = picture(150, 700)
  const seen: number[] = []
  const result = await model.upscaleFile(image, at('out.jpg'), {
    width: 451,
    map: at('map.png'),
    onProgress: ({ done, total }) => seen.push(done / total),
  })
  t.ok(seen.length > 2 && seen.at(-1) === 1 && seen.every((share, i) => i === 0 || share >= seen[i - 1]!), `${seen}`)
  const first = await model.upscale(image, { budgetScope: 'dataset' })
  t.same(result.histogram, first.allocation.histogram)
  t.equal(result.flopsOfLargest, first.allocation.flopsOfLargest)
  t.ok(result.flops > 0.5 * first.allocation.flops && result.flops < 1.5 * first.allocation.flops)
  t.ok(samePicture(await decodeImage(at('map.png')), allocationOverlay(plain(first), first.allocation)))
  t.same([result.width, result.height, result.passes], [451, Math.round((451 * 700) / 150), 2])

  const texture = picture(100, 90)
  await model.upscaleFile(texture, at('wrapped.png'), { map: at('map.png'), wrap: true })
  const { width, height } = await sharp(at('map.png')).metadata()
  t.same([width, height], [200, 180])
})

/** A number out of the first directory of a little-endian TIFF. */
function tagOf(bytes: Buffer, tag: number): number | null {
  const big = bytes.readUInt16LE(2) === 43
  const at = big ? Number(bytes.readBigUInt64LE(8)) : bytes.readUInt32LE(4)
  const [head, size] = big ? [8, 20] : [2, 12]
  const count = big ? Number(bytes.readBigUInt64LE(at)) : bytes.readUInt16LE(at)
  for (let i = 0; i < count; i++) {
    const entry = at + head + i * size
    if (bytes.readUInt16LE(entry) === tag) return bytes.readUInt16LE(entry + size - (big ? 8 : 4))
  }
  return null
}

t.test('tiled and big TIFF in and out, with metadata', async (t) => {
  const dir = t.testdir({})
  const image = picture(300, 260, 3, 'uint16')
  for (const bigTiff of [true, false]) {
    const source = path.join(dir, 'in.tif')
    const pixels = new Uint16Array(image.data)
    await sharp(pixels, { raw: { width: 300, height: 260, channels: 3 } })
      .toColourspace('rgb16')
      .tiff({
        compression: 'deflate',
        tile: true,
        tileWidth: 64,
        tileHeight: 64,
        bigtiff: bigTiff,
        xres: 100 / 25.4,
        yres: 100 / 25.4,
      })
      .toFile(source)
    t.equal(readFileSync(source).readUInt16LE(2), bigTiff ? 43 : 42)
    const file = path.join(dir, 'out.tif')
    await model.upscaleFile(source, file, { scale: 1.5, tileSize: 128, bigTiff })
    t.equal(readFileSync(file).readUInt16LE(2), bigTiff ? 43 : 42, 'offsets of 64 bits')
    t.ok(samePicture(await decodeImage(file), await whole(model, image, 1, { width: 450, height: 390 })))
    const { density } = await sharp(file).metadata()
    t.equal(density, 150)
    t.equal(tagOf(readFileSync(file), 322), 128, 'the width of its tiles')
  }
  // EXIF in a BigTIFF.
  const photo = path.join(dir, 'photo.jpg')
  await sharp({ create: { width: 40, height: 30, channels: 3, background: '#385' } })
    .withExif({ IFD0: { Make: 'Maker of it', Artist: 'Somebody' }, IFD2: { UserComment: 'a long comment of it' } })
    .toFile(photo)
  const file = path.join(dir, 'exif.tif')
  for (const bigTiff of [true, false]) {
    await model.upscaleFile(photo, file, { bigTiff })
    const text = readFileSync(file, 'latin1')
    t.match(text, /Maker of it[\s\S]*Somebody/, `big: ${bigTiff}`)
    t.same([(await decodeImage(file)).width, (await decodeImage(file, 'file', { strict: true })).height], [80, 60])
  }
})

t.test('memory does not grow with the height', async (t) => {
  const dir = t.testdir({})
  const file = path.join(dir, 'in.tif')
  const peak = async (height: number) => {
    await encodeImage(picture(256, height), file, { tileSize: 64 })
    return peakMemory('file', file, path.join(dir, 'out.tif'))
  }
  const [low, high] = [await peak(512), await peak(4096)]
  t.comment(`peak ${low} MiB, at eight times the height ${high} MiB`)
  // Held in memory, the higher picture would need some 230 MiB more: 42 of the second run's bytes, 168 of its float sums, and
  // 20 of the result.
  t.ok(high - low < 80, `${high} MiB against ${low} MiB`)
})

t.test('what is refused, and that nothing is left', async (t) => {
  const dir = t.testdir({})
  const at = (name: string) => path.join(dir, name)
  const image = picture(60, 40)
  const refused = (options: unknown, message: RegExp, file = at('out.png')) =>
    t.rejects(model.upscaleFile(image, file, options as UpscaleFileOptions), { code: 'WBSR_INVALID_OPTION', message })
  await refused({ scale: 0.5 }, /between 1 and 64 for scale/)
  await refused({ scale: 2, width: 9 }, /either scale or width and height/)
  await refused({ width: 10_000 }, /at most 64 times 60x40/)
  await refused({ scale: 3, wrap: true }, /at most 2 times the picture with wrap/)
  await refused({ tileSize: 100 }, /a multiple of 16/)
  await refused({ bigTiff: 1 }, /a boolean for options.bigTiff/)
  await refused({ map: at('map.jpg') }, /ending in .png for map/)
  await refused({ tile: 64 }, /no other keys/)
  await refused({}, /a file name ending in/, at('out.bmp'))
  await t.rejects(model.upscaleFile(at('none.png'), at('out.png')), { code: 'WBSR_NOT_FOUND' })
  await t.rejects(model.upscaleFile(picture(300, 300), at('out.webp'), { scale: 60 }), { code: 'WBSR_INVALID_IMAGE' })
  writeFileSync(at('cut.png'), makePng(picture(200, 300)).subarray(0, 20_000))
  await t.rejects(model.upscaleFile(at('cut.png'), at('out.png')), { code: 'WBSR_INVALID_IMAGE', message: /cut\.png/ })
  writeFileSync(at('file'), '')
  await t.rejects(model.upscaleFile(image, at('file/out.png')), { code: 'WBSR_IO', message: /file\/out\.png/ })
  const abort = new AbortController()
  const running = model.upscaleFile(picture(64, 3000), at('out.png'), {
    signal: abort.signal,
    onProgress: () => abort.abort(),
  })
  await t.rejects(running, { code: 'WBSR_ABORTED' })
  const thrown = new Error('of the caller')
  await t.rejects(
    model.upscaleFile(image, at('out.png'), {
      map: at('map.png'),
      onProgress: () => {
        throw thrown
      },
    }),
  )
  t.notOk(existsSync(at('out.png')))
  t.same(readdirSync(dir).sort(), ['cut.png', 'file'])
  // The engine serves the next one.
  await model.upscaleFile(image, at('out.png'))
  t.ok(existsSync(at('out.png')))
})
