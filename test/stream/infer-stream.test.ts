// The infer stream against upscale() and against itself: order, batching, backpressure (support/fake-engine.ts).
import { createHash } from 'node:crypto'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import t from 'tap'
import { cutPixels } from '../../lib/images/pixels.js'
import { upscale } from '../../lib/infer/upscale.js'
import { createInferStream } from '../../lib/stream/infer-stream.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import type { RawImage, Tile, UpscaledTile } from '../../lib/types.js'
import { type FakeState, fakeState } from '../support/fake-engine.js'
import { nearest, picture, tilesFrom } from '../support/infer-pictures.js'
import { largestDifference } from '../support/pictures.js'
import { random, shuffle } from '../support/random.js'

async function run(state: FakeState, tiles: Iterable<unknown>, options: StreamOptions = {}): Promise<UpscaledTile[]> {
  const out: UpscaledTile[] = []
  await pipeline(
    Readable.from(tiles),
    createInferStream(state, options),
    async (source: AsyncIterable<UpscaledTile>) => {
      for await (const tile of source) out.push(tile)
    },
  )
  return out
}

/** All properties of tiles, with a digest instead of the pixels (comparing pixels one by one is slow). */
function digest(tiles: UpscaledTile[]): unknown[] {
  return tiles.map(({ data, ...rest }) => ({ ...rest, data: createHash('sha1').update(data).digest('hex') }))
}

/** Puts upscaled tiles together. */
function stitch(tiles: UpscaledTile[]): RawImage {
  const { picture: p, channels, data } = tiles[0]!
  const image = new (data.constructor as new (n: number) => Uint8Array)(p!.width * p!.height * channels)
  for (const tile of tiles) {
    for (let row = 0; row < tile.height; row++) {
      image.set(
        tile.data.subarray(row * tile.width * channels, (row + 1) * tile.width * channels),
        ((tile.y + row) * p!.width + tile.x) * channels,
      )
    }
  }
  return { data: image, width: p!.width, height: p!.height, channels }
}

t.test('the stream equals upscale, pixel by pixel and tile by tile', async (t) => {
  const cases: [RawImage, number, StreamOptions][] = [
    [picture(150, 170), 32, { router: 'calibrated', budget: 0.6, groupRows: 2 }],
    [picture(150, 170), 16, { router: 'projection', groupRows: 3, halo: 3 }],
    [picture(70, 90, 4), 16, { router: 'projection', groupRows: 1 }],
    [picture(70, 90, 2, 'uint16'), 16, { router: { subnet: 1 }, groupRows: 2 }],
    [picture(70, 90, 1, 'float'), 32, { router: 'projection-budget', budget: 0.5 }],
    [picture(1, 200), 64, {}],
    [picture(1, 1), 64, {}],
    [picture(65, 129), 64, { groupRows: 1 }],
  ]
  for (const [image, tile, options] of cases) {
    const make = () => fakeState({ blur: 1, offset: (subnet) => 0.02 * subnet })
    const expected = await upscale(make(), image, { tile, budgetScope: 'dataset', ...options })
    const tiles = await run(make(), tilesFrom(image, tile), options)
    const stitched = stitch(tiles)
    t.strictSame([stitched.width, stitched.height], [expected.width, expected.height])
    t.equal(
      largestDifference(stitched.data, expected.data),
      0,
      `${image.width}x${image.height}x${image.channels} ${JSON.stringify(options)}`,
    )
    t.strictSame(
      tiles.map(({ x, y, width, height, difficulty, class: k, subnet }) => ({
        x: x / 2,
        y: y / 2,
        width: width / 2,
        height: height / 2,
        difficulty,
        class: k,
        subnet,
      })),
      expected.allocation.tiles,
    )
  }
})

t.test('order of arrival, highWaterMark and reading speed change nothing', async (t) => {
  const image = picture(140, 200)
  const options = { router: 'projection' as const, groupRows: 2 }
  const make = () => fakeState({ blur: 1, offset: (subnet) => 0.02 * subnet })
  const tiles = tilesFrom(image, 32)
  const expected = digest(await run(make(), tiles, options))
  t.equal(expected.length, tiles.length)
  const next = random(5)
  for (let i = 0; i < 4; i++)
    t.strictSame(digest(await run(make(), shuffle(next, tiles), options)), expected, 'shuffled')
  for (const highWaterMark of [1, 64])
    t.strictSame(
      digest(await run(make(), tiles, { ...options, highWaterMark })),
      expected,
      `highWaterMark ${highWaterMark}`,
    )
  const slow: UpscaledTile[] = []
  await pipeline(
    Readable.from(tiles),
    createInferStream(make(), { ...options, highWaterMark: 2 }),
    new Writable({
      objectMode: true,
      highWaterMark: 1,
      write(tile, _, done) {
        slow.push(tile)
        setTimeout(done, 1)
      },
    }),
  )
  t.strictSame(digest(slow), expected, 'slow reader')
})

t.test('several pictures one after another, also of the same size', async (t) => {
  const images = [picture(70, 70, 3, 'uint8', 1), picture(70, 70, 3, 'uint8', 2), picture(40, 90, 1, 'uint16', 3)]
  const tiles = images.flatMap((image) => tilesFrom(image, 32))
  const out = await run(fakeState(), tiles, { groupRows: 2 })
  t.equal(out.length, tiles.length)
  let at = 0
  for (const image of images) {
    const count = tilesFrom(image, 32).length
    t.equal(largestDifference(stitch(out.slice(at, at + count)).data, nearest(image, 2)), 0)
    at += count
  }
})

t.test('a picture that ends early gives the tiles that came', async (t) => {
  const image = picture(128, 200)
  const all = tilesFrom(image, 32)
  const expected = nearest(image, 2)
  const check = (tile: UpscaledTile) =>
    largestDifference(tile.data, cutPixels(expected, 256, 3, tile.x, tile.y, tile.width, tile.height))
  const next = random(9)
  for (const halo of [0, 3, 8]) {
    for (let i = 0; i < 5; i++) {
      const some = tilesFrom(image, 32, halo).filter(() => next() < 0.6)
      const out = await run(fakeState({ receptiveField: 5 }), [...some, ...tilesFrom(picture(20, 20), 32)], {
        groupRows: 2,
      })
      t.strictSame(
        out.slice(0, -1).map(({ x, y }) => [x / 2, y / 2]),
        some.map(({ x, y }) => [x, y]),
      )
      t.equal(Math.max(0, ...out.slice(0, -1).map(check)), 0, `${some.length} of ${all.length} tiles, halo ${halo}`)
    }
  }
  const middle = all.filter((tile) => tile.y < 64 || tile.y >= 128)
  t.equal((await run(fakeState(), middle, { groupRows: 1 })).length, middle.length, 'whole groups missing')
})

t.test('the halo stands in for a missing neighbour', async (t) => {
  const image = picture(96, 96, 3, 'float')
  const state = () => fakeState({ blur: 3 })
  const centre = tilesFrom(image, 32).filter((tile) => tile.x === 32 && tile.y === 32)
  const whole = await upscale(state(), image, { tile: 'image' })
  const [tile] = await run(state(), centre)
  t.ok(largestDifference(tile!.data, cutPixels(whole.data, 192, 3, 64, 64, 64, 64)) < 1e-6)
})

t.test('tiles without picture are pictures of their own', async (t) => {
  const image = picture(128, 96, 4)
  const tiles = tilesFrom(image, 32).map(({ picture: _, ...tile }) => tile)
  const out = await run(fakeState(), tiles, { batchTiles: 5 })
  t.strictSame(
    out.map(({ x, y, picture: p }) => [x / 2, y / 2, p]),
    tiles.map(({ x, y }) => [x, y, undefined]),
    'in order',
  )
  const whole = await upscale(fakeState(), image)
  for (const tile of out)
    t.equal(largestDifference(tile.data, cutPixels(whole.data, 256, 4, tile.x, tile.y, tile.width, tile.height)), 0)
  const mixed = [
    tiles[0],
    ...tilesFrom(picture(40, 40), 32),
    tiles[1],
    { x: 0, y: 0, width: 2, height: 3, data: new Uint8Array(6), channels: 1 },
  ]
  const sizes = (await run(fakeState(), mixed)).map((tile) => `${tile.width}x${tile.height}x${tile.channels}`)
  t.strictSame(sizes, ['64x64x4', '64x64x3', '16x64x3', '64x16x3', '16x16x3', '64x64x4', '4x6x1'])
  const exact = await run(fakeState({ blur: 3 }), tiles, { router: { subnet: 1 } })
  const blurred = await upscale(fakeState({ blur: 3 }), image, { tile: 'image' })
  t.equal(
    Math.max(
      ...exact.map((tile) =>
        largestDifference(tile.data, cutPixels(blurred.data, 256, 4, tile.x, tile.y, tile.width, tile.height)),
      ),
    ),
    0,
    'their halo is context',
  )
})

t.test('a writer that waits for each tile gets each result', async (t) => {
  const stream = createInferStream(fakeState())
  const [{ picture: _, ...tile }] = tilesFrom(picture(16, 16), 16) as [Tile]
  for (let i = 0; i < 3; i++) {
    stream.write(tile)
    const { value: out } = (await stream.iterator({ destroyOnReturn: false }).next()) as { value: UpscaledTile }
    t.equal(out.width, 32)
  }
  stream.destroy()
})

t.test('backpressure: a reader that stops stops the input soon', async (t) => {
  let read = 0
  const image = picture(64, 32 * 60)
  const tiles = tilesFrom(image, 32) // 2 in a row, 120 in all
  function* source() {
    for (const tile of tiles) {
      read++
      yield tile
    }
  }
  const state = fakeState()
  const stream = Readable.from(source(), { highWaterMark: 1 }).pipe(
    createInferStream(state, { groupRows: 2, highWaterMark: 1 }),
  )
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.ok(read <= 20, `${read} of 120 tiles read`)
  t.ok(state.calls.length <= 3, `${state.calls.length} groups run`)
  let got = 0
  for await (const tile of stream) {
    got++
    if (got === 40) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      t.ok(read <= 40 + 24, `${read} tiles read when 40 were taken`)
    }
    t.ok((tile as UpscaledTile).subnet >= 0)
  }
  t.equal(got, 120)
})

t.test('the next group is read while the device works', async (t) => {
  let read = 0
  let readAtEnd = 0
  const tiles = tilesFrom(picture(64, 32 * 8), 32)
  function* source() {
    for (const tile of tiles) {
      read++
      yield tile
    }
  }
  const state = fakeState({
    onInfer: async () => {
      if (state.calls.length > 1) return
      // As long as it takes to read the next group, and a little to see that no more is read.
      for (let wait = 0; wait < 500 && read < 7; wait++) await new Promise((resolve) => setTimeout(resolve, 10))
      await new Promise((resolve) => setTimeout(resolve, 50))
      readAtEnd = read
    },
  })
  await run(state, source(), { groupRows: 2 })
  t.ok(readAtEnd >= 7 && readAtEnd <= 12, `${readAtEnd} tiles read during the first group of 4`)
})

t.test('abort, destroy, errors', async (t) => {
  const tiles = tilesFrom(picture(64, 320), 32)
  const controller = new AbortController()
  const state = fakeState({
    onInfer: () => {
      if (state.calls.length === 2) controller.abort(new Error('enough'))
    },
  })
  await t.rejects(run(state, tiles, { groupRows: 2, signal: controller.signal }), { code: 'WBSR_ABORTED' })
  t.ok(state.calls.length <= 3)
  await t.rejects(run(fakeState(), tiles, { signal: AbortSignal.abort() }), { code: 'WBSR_ABORTED' })

  const broken = fakeState({
    onInfer: () => {
      throw Object.assign(new Error('no memory'), { code: 'WBSR_OUT_OF_MEMORY' })
    },
  })
  await t.rejects(run(broken, tiles), { code: 'WBSR_OUT_OF_MEMORY', message: /no memory/ })

  const stream = createInferStream(fakeState(), { groupRows: 1, highWaterMark: 1 })
  for (const tile of tiles.slice(0, 6)) stream.write(tile)
  await new Promise((resolve) => setTimeout(resolve, 50))
  stream.destroy()
  await new Promise((resolve) => stream.once('close', resolve))
  t.ok(stream.destroyed)

  t.throws(() => createInferStream(fakeState(), { tile: 64 } as StreamOptions), {
    code: 'WBSR_INVALID_OPTION',
    message: /"tile"/,
  })
  t.throws(() => createInferStream(fakeState(), { batchTiles: 0 }), {
    code: 'WBSR_INVALID_OPTION',
    message: /batchTiles/,
  })
  t.throws(() => createInferStream(Object.assign(fakeState(), { disposed: true })), { code: 'WBSR_DISPOSED' })
})

t.test('tiles are checked', async (t) => {
  const [tile] = tilesFrom(picture(80, 80), 32, 4) as [Tile]
  const plain = { x: 0, y: 0, width: 4, height: 4, data: new Uint8Array(48), channels: 3 }
  const bad: [unknown, RegExp][] = [
    ['tile', /for tile but received "tile"/],
    [{}, /for tile/],
    [{ ...plain, data: [1] }, /for tile.data/],
    [{ ...plain, data: new Uint8Array(47) }, /48 values .* for tile.data but received 47/],
    [{ ...plain, channels: 5 }, /for tile.channels/],
    [{ ...plain, x: -1 }, /for tile.x/],
    [{ ...plain, width: 0 }, /for tile.width/],
    [{ ...plain, halo: { left: 1 } }, /for tile.halo.top/],
    [{ ...plain, halo: 4 }, /for tile.halo/],
    [{ ...plain, picture: 4 }, /for tile.picture/],
    [{ ...plain, picture: { width: 8, height: 8, tileSize: 0 } }, /for tile.picture.tileSize/],
    [{ ...tile, x: 5 }, /a multiple of the tile size 32 below 80 for tile.x but received 5/],
    [{ ...tile, x: 96 }, /for tile.x but received 96/],
    [{ ...tile, x: 64 }, /16 \(tile size 32, .* for tile.width but received 32/],
    [{ ...tile, halo: { left: 4, top: 0, right: 0, bottom: 4 } }, /context inside the picture for tile.halo/],
  ]
  for (const [value, message] of bad)
    await t.rejects(run(fakeState(), [value]), { code: 'WBSR_INVALID_OPTION', message })
  const tiles = tilesFrom(picture(80, 80), 32)
  await t.rejects(run(fakeState(), [tiles[0], tiles[1], tiles[0]]), { message: /a second one at 0, 0/ })
  await t.rejects(run(fakeState(), [tiles[0], tilesFrom(picture(80, 80, 1), 32)[1]]), {
    message: /3 as in the picture's first tile for tile.channels/,
  })
  await t.rejects(run(fakeState(), [tiles[0], tilesFrom(picture(80, 80, 3, 'float'), 32)[1]]), {
    message: /a Uint8Array as in/,
  })
})
