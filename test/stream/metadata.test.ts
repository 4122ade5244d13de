// From file to file: what came with a picture goes with it, alpha as data is kept, textures stay seamless, pages are
// walked, and what cannot be written is refused before the first tile.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import sharp from 'sharp'
import t from 'tap'
import { changeExif } from '../../lib/images/exif.js'
import { decodeImage, readImage } from '../../lib/images/images.js'
import { changeXmp } from '../../lib/images/metadata.js'
import { upscale } from '../../lib/infer/upscale.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { createInferStream } from '../../lib/stream/infer-stream.js'
import { stitchTo } from '../../lib/stream/stitch.js'
import { tilesOf } from '../../lib/stream/tile-reader.js'
import type { RawImage, Tile } from '../../lib/types.js'
import { iccChunk, joinTiffs, makePng, makeTiff, pngChunk } from '../support/encoded.js'
import { ADOBE_PRIMARIES, makeIcc } from '../support/icc.js'
import { picture } from '../support/infer-pictures.js'
import { largestDifference } from '../support/pictures.js'
import { realState } from '../support/real-state.js'
import { onSmallDisk } from '../support/small-disk.js'

const state = realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] }))
t.teardown(() => state.engine.dispose())

/** EXIF: Make, orientation 6, 300 dpi, a maker note, the sizes, a thumbnail. */
function exifBlock(big = false): Buffer {
  const out = Buffer.alloc(230)
  const u16 = (v: number, at: number) => (big ? out.writeUInt16BE(v, at) : out.writeUInt16LE(v, at))
  const u32 = (v: number, at: number) => (big ? out.writeUInt32BE(v, at) : out.writeUInt32LE(v, at))
  out.write(big ? 'MM' : 'II', 'latin1')
  u16(42, 2)
  u32(8, 4)
  const directory = (at: number, entries: [number, number, number, number][], next: number) => {
    u16(entries.length, at)
    entries.forEach(([tag, type, count, value], i) => {
      u16(tag, at + 2 + 12 * i)
      u16(type, at + 4 + 12 * i)
      u32(count, at + 6 + 12 * i)
      type === 3 ? u16(value, at + 10 + 12 * i) : u32(value, at + 10 + 12 * i)
    })
    u32(next, at + 2 + 12 * entries.length)
  }
  directory(
    8,
    [
      [0x10f, 2, 6, 90],
      [0x112, 3, 1, 6],
      [0x11a, 5, 1, 100],
      [0x11b, 5, 1, 108],
      [0x8769, 4, 1, 120],
    ],
    180,
  )
  out.write('Maker\0', 90, 'latin1')
  u32(300, 100)
  u32(1, 104)
  u32(300, 108)
  u32(1, 112)
  directory(
    120,
    [
      [0x927c, 7, 8, 162],
      [0xa002, 4, 1, 40],
      [0xa003, 4, 1, 30],
    ],
    0,
  )
  out.write('the note', 170, 'latin1')
  u32(170, 120 + 2 + 8)
  directory(
    180,
    [
      [0x201, 4, 1, 214],
      [0x202, 4, 1, 16],
    ],
    0,
  )
  out.fill(0xee, 214)
  return out
}

const XMP =
  '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" tiff:Orientation="6" exif:PixelXDimension="40" dc:title="kept"><tiff:ImageLength>30</tiff:ImageLength><xmp:Thumbnails><a/></xmp:Thumbnails></rdf:Description></rdf:RDF></x:xmpmeta>'

t.test('EXIF and XMP of an enlarged picture', async (t) => {
  for (const big of [false, true]) {
    const changed = changeExif(exifBlock(big), { width: 60, height: 80, scale: 2 })!
    t.equal(changed.length, 214, 'the thumbnail is gone')
    const png = makePng(picture(5, 5), [pngChunk('eXIf', changed)])
    const { orientation, exif } = await sharp(png).metadata()
    t.equal(orientation, 1)
    t.ok(exif!.includes('the note') && exif!.includes('Maker'), 'the rest is kept')
    const u32 = (at: number) => (big ? changed.readUInt32BE(at) : changed.readUInt32LE(at))
    t.same([u32(100), u32(108), u32(120 + 2 + 12 + 8), u32(120 + 2 + 24 + 8)], [600, 600, 60, 80])
  }
  for (const damaged of [Buffer.alloc(3), Buffer.from('nothing at all'), exifBlock().subarray(0, 60)])
    t.equal(changeExif(damaged, { width: 1, height: 1, scale: 2 }), null)
  const xmp = Buffer.from(changeXmp(Buffer.from(XMP), { width: 60, height: 80, scale: 2 })).toString()
  t.match(xmp, /tiff:Orientation="1".*PixelXDimension="60".*dc:title="kept".*<tiff:ImageLength>80</)
  t.notMatch(xmp, /Thumbnails/)
})

t.test('metadata goes into every format that can hold it', async (t) => {
  const dir = t.testdir({})
  const adobe = makeIcc({ space: 'RGB ', curve: { gamma: 2.199 }, primaries: ADOBE_PRIMARIES })
  const density = Buffer.alloc(9)
  density.writeUInt32BE(11811)
  density.writeUInt32BE(11811, 4)
  density[8] = 1
  const xmp = Buffer.concat([Buffer.from('XML:com.adobe.xmp\0\0\0\0\0', 'latin1'), Buffer.from(XMP)])
  const flat: RawImage = { data: new Uint8Array(40 * 30 * 3), width: 40, height: 30, channels: 3 }
  for (let i = 0; i < flat.data.length; i++) flat.data[i] = [90, 160, 70][i % 3]!
  const source = path.join(dir, 'in.png')
  writeFileSync(
    source,
    makePng(flat, [iccChunk(adobe), pngChunk('pHYs', density), pngChunk('eXIf', exifBlock()), pngChunk('iTXt', xmp)]),
  )
  const srgb = (await decodeImage(source)).data.slice(0, 3)
  for (const format of ['png', 'jpg', 'webp', 'tif', 'avif']) {
    const file = path.join(dir, `out.${format}`)
    await pipeline(tilesOf(source, { size: 16 }), tilesAsTheyAre(), stitchTo(file, { quality: 100 }))
    const { icc, exif, xmp, density, orientation, width } = await sharp(readFileSync(file)).metadata()
    t.equal(width, 30, `${format}: upright`)
    t.ok(icc?.equals(adobe), `${format}: the profile`)
    t.match(xmp?.toString(), /Orientation="1".*PixelXDimension="30".*title="kept"/, `${format}: XMP`)
    t.ok(orientation === undefined || orientation === 1, `${format}: orientation`)
    if (format !== 'webp' && format !== 'avif') t.ok(Math.abs(density! - 300) <= 1, `${format}: ${density} dpi`)
    if (format === 'tif') {
      t.match(readFileSync(file, 'latin1'), /Maker\0[\s\S]*the note/, 'tif: EXIF')
    } else t.ok(exif?.includes('the note') && exif.includes('Maker'), `${format}: EXIF`)
    const stored = await sharp(readFileSync(file), { ignoreIcc: true }).raw().toBuffer()
    const off = Math.max(...[90, 160, 70].map((v, c) => Math.abs(stored[3 * 500 + c]! - v)))
    t.ok(off <= (format === 'avif' || format === 'webp' ? 5 : 2), `${format}: back in the profile's numbers, ${off}`)
    const again = (await decodeImage(file)).data
    t.ok(
      [0, 1, 2].every((c) => Math.abs(again[1500 + c]! - srgb[c]!) <= 9),
      `${format}: the same colours`,
    )

    await pipeline(tilesOf(source), tilesAsTheyAre(), stitchTo(file, { metadata: 'strip', quality: 100 }))
    const bare = await sharp(readFileSync(file)).metadata()
    t.same([bare.icc, bare.exif, bare.xmp], [undefined, undefined, undefined], `${format}: stripped`)
    const plain = await sharp(readFileSync(file)).raw().toBuffer()
    t.ok(
      [0, 1, 2].every((c) => Math.abs(plain[1500 + c]! - srgb[c]!) <= 9),
      `${format}: stripped, in sRGB`,
    )

    await pipeline(tilesOf(source), tilesAsTheyAre(), stitchTo(file, { colourSpace: 'srgb', quality: 100 }))
    const tagged = await sharp(readFileSync(file)).metadata()
    t.ok(tagged.icc && !tagged.icc.equals(adobe), `${format}: tagged as sRGB`)
    t.ok(
      (await readImage(file)).header.warnings.length === 0 &&
        Math.abs((await decodeImage(file)).data[1500]! - srgb[0]!) <= 9,
    )

    await pipeline(tilesOf(source, { colourSpace: 'input' }), tilesAsTheyAre(), stitchTo(file, { quality: 100 }))
    const kept = await sharp(readFileSync(file), { ignoreIcc: true }).raw().toBuffer()
    t.ok(
      [90, 160, 70].every((v, c) => Math.abs(kept[1500 + c]! - v) <= 5),
      `${format}: never converted`,
    )
  }
  const result = await upscale(state, source)
  t.same([result.pages, result.page, result.warnings], [1, 0, []])
  t.equal(Math.round(result.metadata!.density!), 600, 'resolution grows with the picture')
  const file = path.join(dir, 'whole.png')
  const writer = stitchTo(file)
  writer.end({ x: 0, y: 0, ...result })
  await new Promise((resolve, reject) => writer.on('finish', resolve).on('error', reject))
  const written = await sharp(readFileSync(file)).metadata()
  t.ok(written.icc?.equals(adobe) && Math.abs(written.density! - 600) <= 1 && written.exif!.includes('the note'))

  for (const bits of [8, 16] as const) {
    const grey = makeIcc({ space: 'GRAY', curve: { gamma: 1 } })
    const data = (bits === 8 ? new Uint8Array(100) : new Uint16Array(100)).map((_, i) => i * (bits === 8 ? 2 : 514))
    const image = makePng({ data, width: 10, height: 10, channels: 1 } as RawImage, [iccChunk(grey)])
    await pipeline(tilesOf(image), tilesAsTheyAre(), stitchTo(file))
    const back = await decodeImage(file, 'file', { colourSpace: 'input' })
    t.ok(
      largestDifference(back.data, data) <= (bits === 8 ? 1 : 40),
      `grey, ${bits} bits: there and back ${largestDifference(back.data, data)}`,
    )
    t.ok((await sharp(readFileSync(file)).metadata()).icc!.equals(grey))
  }
  const deep = makePng({ data: Uint16Array.from(flat.data, (v) => v * 257), width: 40, height: 30, channels: 3 }, [
    iccChunk(adobe),
  ])
  await pipeline(tilesOf(deep), tilesAsTheyAre(), stitchTo(file))
  const back = await decodeImage(file, 'file', { colourSpace: 'input' })
  t.ok(
    [90, 160, 70].every((v, c) => Math.abs(back.data[c]! / 257 - v) < 1.5),
    `16 bits there and back: ${[...back.data.slice(0, 3)].map((v) => v / 257)}`,
  )
})

/** Tiles without halo: a picture that is written as it was read. */
function tilesAsTheyAre() {
  return async function* (tiles: AsyncIterable<Tile>) {
    for await (const tile of tiles) yield tile
  }
}

/** RGBA: a smooth picture whose alpha is a mask of blocks, 0 or low in half of them. */
function gloss(low: number): RawImage {
  const { data, width, height } = picture(64, 48, 3)
  const out = new Uint8Array(width * height * 4)
  for (let i = 0; i < width * height; i++) {
    out.set(data.subarray(3 * i, 3 * i + 3), 4 * i)
    out[4 * i + 3] = ((i >> 3) + ((i / width) >> 3)) % 2 ? 255 : low
  }
  return { data: out, width, height, channels: 4 }
}

t.test('alpha as data keeps the colours under it', async (t) => {
  const router = { subnet: 0 } as const
  for (const low of [0, 4]) {
    const image = gloss(low)
    const rgb = await upscale(state, { ...picture(64, 48, 3) }, { router })
    for (const alphaChannel of ['data', 'auto'] as const) {
      const result = await upscale(state, image, { router, alphaChannel })
      const colours = result.data.filter((_, i) => i % 4 !== 3)
      t.equal(
        largestDifference(colours, rgb.data),
        0,
        `alpha ${low}, ${alphaChannel}: the colours of the picture without alpha`,
      )
      const tiles: Tile[] = []
      for await (const tile of Readable.from(tilesOf(image, { size: 16, alphaChannel })).pipe(
        createInferStream(state, { router }),
      ))
        tiles.push(tile as Tile)
      t.equal(tiles[0]!.alpha, 'data', 'the stream says so')
      const whole = new Uint8Array(result.data.length)
      for (const { x, y, width, height, data } of tiles)
        for (let row = 0; row < height; row++)
          whole.set(
            data.subarray(row * width * 4, (row + 1) * width * 4) as Uint8Array,
            ((y + row) * result.width + x) * 4,
          )
      t.ok(largestDifference(whole, result.data) <= 1, `alpha ${low}, ${alphaChannel}: the stream gives the same`)
    }
    const opaque = await upscale(state, image, { router, alphaChannel: 'opacity' })
    t.ok(largestDifference(opaque.data, (await upscale(state, image, { router })).data) > 20, 'which opacity destroys')
  }
  // A cut-out: transparent pixels have one colour. As before, by opacity.
  const cut = gloss(0)
  for (let i = 0; i < cut.data.length; i += 4) if (cut.data[i + 3] === 0) cut.data.fill(0, i, i + 3)
  const judged = await upscale(state, cut, { router })
  const opacity = await upscale(state, cut, { router, alphaChannel: 'opacity' })
  t.equal(largestDifference(judged.data, opacity.data), 0, 'a cut-out is opacity')
  const grey: RawImage = {
    data: new Uint16Array(2 * 400).map((_, i) => (i % 2 ? 0 : i * 80)),
    width: 20,
    height: 20,
    channels: 2,
  }
  const single = createInferStream(state, { router })
  single.end({ x: 0, y: 0, ...grey, alpha: 'data' })
  const [tile] = (await single.toArray()) as [Tile]
  t.ok(
    tile.data.some((v, i) => i % 2 === 0 && v > 20000),
    'grey + alpha, a single tile',
  )
  await t.rejects(upscale(state, cut, { alphaChannel: 'none' as never }), {
    code: 'WBSR_INVALID_OPTION',
    message: /alphaChannel/,
  })
})

/** A picture repeated. */
function repeat({ data, width, height, channels }: RawImage, columns: number, rows: number): RawImage {
  const out = new Uint8Array(data.length * columns * rows)
  const stride = width * channels
  for (let y = 0; y < height * rows; y++)
    for (let x = 0; x < columns; x++)
      out.set(
        data.subarray((y % height) * stride, ((y % height) + 1) * stride) as Uint8Array,
        (y * columns + x) * stride,
      )
  return { data: out, width: width * columns, height: height * rows, channels }
}

t.test('a texture repeats without a seam', async (t) => {
  const dir = t.testdir({})
  const texture = picture(45, 37, 3)
  // The whole receptive field in sight: then wrapping is what the repeated picture has in its middle.
  const options = { router: { subnet: 1 }, halo: 32 } as const
  const nine = await upscale(state, repeat(texture, 3, 3), options)
  const middle = new Uint8Array(90 * 74 * 3)
  for (let y = 0; y < 74; y++)
    middle.set(nine.data.subarray(((y + 74) * 270 + 90) * 3, ((y + 74) * 270 + 180) * 3) as Uint8Array, y * 270)
  const wrapped = await upscale(state, texture, { ...options, wrap: true })
  t.same([wrapped.width, wrapped.height], [90, 74])
  t.ok(largestDifference(wrapped.data, middle) <= 1, `whole: ${largestDifference(wrapped.data, middle)}`)
  t.ok(largestDifference((await upscale(state, texture, options)).data, middle) > 3, 'without wrapping there is a seam')
  t.equal(
    wrapped.allocation.tiles.reduce((sum, { width, height }) => sum + width * height, 0),
    45 * 37,
    'tiles cover the texture once',
  )

  const file = path.join(dir, 'out.png')
  await pipeline(
    tilesOf(texture, { size: 16, halo: 40, wrap: 'both' }),
    createInferStream(state, options),
    stitchTo(file),
  )
  const streamed = await decodeImage(file)
  t.same([streamed.width, streamed.height], [90, 74])
  t.ok(largestDifference(streamed.data, middle) <= 1, `streamed: ${largestDifference(streamed.data, middle)}`)

  const three = await upscale(state, repeat(texture, 3, 1), options)
  const column = await upscale(state, texture, { ...options, wrap: 'x' })
  const part = new Uint8Array(90 * 74 * 3)
  for (let y = 0; y < 74; y++)
    part.set(three.data.subarray((y * 270 + 90) * 3, (y * 270 + 180) * 3) as Uint8Array, y * 270)
  t.ok(largestDifference(column.data, part) <= 1, 'in x only')

  // Different subnets meet at the edge: the step over it is no larger than steps inside are.
  const routed = await upscale(state, texture, { router: 'projection', wrap: true, tile: 16 })
  const step = (x0: number, x1: number) => {
    let sum = 0
    for (let y = 0; y < 74; y++)
      for (let c = 0; c < 3; c++)
        sum += Math.abs(routed.data[(y * 90 + x0) * 3 + c]! - routed.data[(y * 90 + x1) * 3 + c]!)
    return sum
  }
  const source = (x0: number, x1: number) => {
    let sum = 0
    for (let y = 0; y < 37; y++)
      for (let c = 0; c < 3; c++)
        sum += Math.abs(texture.data[(y * 45 + x0) * 3 + c]! - texture.data[(y * 45 + x1) * 3 + c]!)
    return sum
  }
  t.ok(
    step(89, 0) <= 2 * source(44, 0) + 74 * 3 * 4,
    `step over the edge ${step(89, 0)}, in the source ${source(44, 0)}`,
  )
  const tiny = await upscale(
    state,
    { data: Uint8Array.of(9, 8, 7, 200, 100, 50), width: 2, height: 1, channels: 3 },
    { wrap: true },
  )
  t.same([tiny.width, tiny.height], [4, 2], 'smaller than what is looked at')
})

t.test('pages are walked', async (t) => {
  const dir = t.testdir({})
  const page = (v: number, width: number) =>
    makeTiff({ width, height: 10, bits: 8, channels: 1, photometric: 1, data: new Uint8Array(width * 10).fill(v) })
  const file = path.join(dir, 'in.tif')
  writeFileSync(file, joinTiffs([page(30, 20), page(120, 33), page(220, 20)]))
  const read = () => tilesOf(file, { size: 16, page: 'all' })
  const headers: number[] = []
  const tiles = read().on('header', ({ page }) => headers.push(page))
  const writer = stitchTo(path.join(dir, 'out-{page}.png'))
  await pipeline(tiles, createInferStream(state, { router: { subnet: 0 } }), writer)
  t.same(headers, [0, 1, 2])
  t.same(
    writer.results.map(({ width }) => width),
    [40, 66, 40],
  )
  t.same(readdirSync(dir).sort(), ['in.tif', 'out-0.png', 'out-1.png', 'out-2.png'])
  await t.rejects(pipeline(read(), stitchTo(path.join(dir, 'one.png'))), {
    code: 'WBSR_INVALID_OPTION',
    message: /\{page\}/,
  })
  t.notOk(readdirSync(dir).includes('one.png'))
  await pipeline(tilesOf(file, { page: 1 }), stitchTo(path.join(dir, 'one.png')))
  t.same((await decodeImage(path.join(dir, 'one.png'))).data[0], 120)
  const first = await upscale(state, file, { page: 2 })
  t.same([first.pages, first.page, first.warnings], [3, 2, []])
  t.match((await upscale(state, file)).warnings, [/3 pages/])
})

t.test('what cannot be written is refused before the first tile', async (t) => {
  const dir = t.testdir({})
  let taken = 0
  const large = (width: number, height = 4) =>
    Readable.from(
      (async function* (): AsyncGenerator<Tile> {
        for (let x = 0; x < width; x += 4096) {
          taken++
          await new Promise((resolve) => setTimeout(resolve, 30))
          const w = Math.min(4096, width - x)
          yield {
            x,
            y: 0,
            width: w,
            height: 4,
            channels: 1,
            data: new Uint8Array(w * 4),
            picture: { width, height, tileSize: 4096 },
          }
        }
      })(),
      { objectMode: true, highWaterMark: 1 },
    )
  for (const [format, width] of [
    ['webp', 16384],
    ['jpg', 65501],
    ['avif', 16385],
  ] as const) {
    taken = 0
    await t.rejects(pipeline(large(width), stitchTo(path.join(dir, `a.${format}`))), {
      code: 'WBSR_INVALID_IMAGE',
      message: new RegExp(`${width} x 4 pixels are too large for`),
    })
    t.ok(taken < Math.ceil(width / 4096), `${format}: after ${taken} tiles of ${Math.ceil(width / 4096)}`)
  }
  t.same(readdirSync(dir), [])
  const disk = path.join(dir, 'disk')
  mkdirSync(disk)
  await onSmallDisk(t, disk, '512k', async () => {
    taken = 0
    await t.rejects(pipeline(large(40960, 1000), stitchTo(path.join(disk, 'a.png'))), {
      code: 'WBSR_IO',
      message: /a\.png: it takes about 10\.2 MB or more, and 0\.5\d+ MB are free/,
    })
    t.ok(taken < 10, `after ${taken} tiles`)
    t.same(readdirSync(disk), [])
    await pipeline(large(4096), stitchTo(path.join(disk, 'a.png')))
  })
  await t.rejects(
    pipeline(large(64), stitchTo('/proc/none/a.png')),
    { code: 'WBSR_IO' },
    'a folder that cannot be written',
  )
})
