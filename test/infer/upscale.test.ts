// Routing, merging, blending and conversion without a network (support/fake-engine.ts).
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { UpscaleOptions } from '../../lib/infer/options.js'
import { upscale } from '../../lib/infer/upscale.js'
import { native } from '../../lib/native.js'
import { fakeState, fakeTable } from '../support/fake-engine.js'
import { nearest, picture } from '../support/infer-pictures.js'
import { largestDifference } from '../support/pictures.js'

const routers: UpscaleOptions[] = [
  { router: 'projection' },
  { router: 'projection-budget', budget: 0.5 },
  { router: 'calibrated', budget: 0.6 },
  { router: { subnet: 1 } },
  { router: 'projection', tile: 'image' },
  { router: 'projection', halo: 0 },
  { router: 'projection', halo: 40, tile: 16, groupRows: 1 },
]

t.test('with equal subnets, any size and any router give plain nearest upscaling', async (t) => {
  for (const [width, height] of [
    [1, 1],
    [1, 90],
    [90, 1],
    [2, 3],
    [65, 63],
    [64, 64],
    [200, 130],
    [33, 301],
  ] as const) {
    const image = picture(width, height)
    const expected = nearest(image, 2)
    for (const options of routers) {
      const result = await upscale(fakeState(), image, { tile: 32, groupRows: 2, ...options })
      if (result.width !== 2 * width || result.height !== 2 * height || result.channels !== 3) t.fail('wrong size')
      t.equal(largestDifference(result.data, expected), 0, `${width}x${height} ${JSON.stringify(options)}`)
    }
  }
  const image = picture(70, 50)
  t.equal(largestDifference((await upscale(fakeState({ scale: 3 }), image, { tile: 16 })).data, nearest(image, 3)), 0)
})

t.test('subnets that the caller has chosen, tile by tile', async (t) => {
  const state = fakeState({ offset: (subnet) => 0.1 * subnet })
  const image = picture(100, 70, 3, 'float')
  const options = { tile: 32, halo: 0 }
  const tiles = [0, 1, 2, 0, 2, 2, 1, 1, 0, 0, 1, 2]
  const { allocation, data } = await upscale(state, image, { ...options, router: { tiles } })
  t.same(
    allocation.tiles.map(({ subnet }) => subnet),
    tiles,
  )
  t.same([allocation.histogram, allocation.expected, allocation.expectedOverall], [[4, 4, 4], null, null])
  // In the middle of a tile only its own subnet counts.
  const plain = nearest(image, 2)
  for (const [i, { x, y, width, height }] of allocation.tiles.entries()) {
    const at = 3 * (2 * (y + (height >> 1)) * 200 + 2 * (x + (width >> 1)))
    t.ok(Math.abs(data[at]! - plain[at]! - 0.1 * tiles[i]!) < 1e-5, `tile ${i}`)
  }
  const one = await upscale(state, image, { ...options, router: { subnet: 1 } })
  const same = await upscale(state, image, { ...options, router: { tiles: new Uint8Array(12).fill(1) } })
  t.equal(largestDifference(one.data, same.data), 0)
  const refuse = (options: object, message: RegExp) =>
    t.rejects(upscale(state, image, options), { code: 'WBSR_INVALID_OPTION', message })
  await refuse({ tile: 32, router: { tiles: [0, 1] } }, /4 x 3 subnets, as many as the picture has tiles of 32/)
  await refuse({ router: { tiles: [] } }, /a subnet of 0 to 2 for every tile for router\.tiles/)
  await refuse({ router: { tiles: [0, 3] } }, /router\.tiles but received 3/)
  await refuse({ router: { tiles: [0, 0.5] } }, /router\.tiles/)
  await refuse({ router: { tiles: [0], subnet: 1 } }, /router/)
  await refuse({ router: { tiles: [0] }, budget: 0.5 }, /nothing with router \{ tiles \} for budget/)
  await refuse({ router: { tiles: [0] }, loss: 0.5 }, /for loss/)
  await refuse({ router: { tiles: [0] }, protocol: 'paper' }, /'full' with router/)
})

t.test('every pixel type, grey, and alpha', async (t) => {
  for (const type of ['uint8', 'uint16', 'float'] as const) {
    for (const channels of [1, 2, 3, 4] as const) {
      const image = picture(75, 100, channels, type)
      const { data } = await upscale(fakeState(), image, { tile: 16, groupRows: 2 })
      t.equal(data.constructor, image.data.constructor, `${type} ${channels}: same type`)
      const expected = nearest(image, 2)
      const hasAlpha = channels === 2 || channels === 4
      if (!hasAlpha) {
        t.ok(largestDifference(data, expected) <= (type === 'float' ? 1e-6 : 0), 'colour')
        continue
      }
      const alpha = (values: typeof data) =>
        Float32Array.from({ length: 150 * 200 }, (_, i) => values[i * channels + channels - 1]!)
      const whole = await native.resizeBicubic(
        alpha(image.data)
          .slice(0, 75 * 100)
          .map(
            (_, i) =>
              image.data[i * channels + channels - 1]! / (type === 'uint8' ? 255 : type === 'uint16' ? 65535 : 1),
          ),
        75,
        100,
        1,
        150,
        200,
        0,
      )
      const max = type === 'uint8' ? 255 : type === 'uint16' ? 65535 : 1
      const difference = largestDifference(
        alpha(data),
        whole.map((a) => Math.min(1, Math.max(0, a)) * max),
      )
      t.ok(
        difference <= (type === 'float' ? 1e-6 : 0.5001),
        `${type} ${channels}: alpha is that of the whole picture (${difference})`,
      )
    }
  }
})

t.test('where subnets differ, each tile comes from its own subnet and edges are blended without a gap', async (t) => {
  const image = { data: new Float32Array(200 * 150 * 3).fill(0.25), width: 200, height: 150, channels: 3 as const }
  const noisy = picture(200, 150, 3, 'float')
  for (let i = 0; i < image.data.length; i++)
    if ((i / 3) % 200 > 90 && i > 70 * 600) image.data[i] = 0.7 * noisy.data[i]!
  const state = fakeState({ offset: (subnet) => subnet * 0.1 })
  const { data, allocation } = await upscale(state, image, { tile: 16, groupRows: 2, router: 'projection' })
  t.ok(new Set(allocation.tiles.map((tile) => tile.subnet)).size > 1, 'more than one subnet runs')
  const plain = nearest(image, 2)
  let wrong = 0
  let outside = 0
  for (const tile of allocation.tiles) {
    for (let y = 2 * tile.y; y < 2 * (tile.y + tile.height); y++) {
      for (let x = 2 * tile.x; x < 2 * (tile.x + tile.width); x++) {
        const inner =
          x >= 2 * tile.x + 4 &&
          x < 2 * (tile.x + tile.width) - 4 &&
          y >= 2 * tile.y + 4 &&
          y < 2 * (tile.y + tile.height) - 4
        const added = data[(y * 400 + x) * 3]! - plain[(y * 400 + x) * 3]!
        if (inner && Math.abs(added - tile.subnet * 0.1) > 1e-6) wrong++
        if (!(added > -1e-6 && added < 0.2 + 1e-6)) outside++
      }
    }
  }
  t.equal(wrong, 0, "away from edges it is the tile's own subnet")
  t.equal(outside, 0, 'at edges it lies between the subnets')
})

t.test('halo: with the receptive field the result is that of the whole picture, without it is not', async (t) => {
  const image = picture(150, 140, 3, 'float')
  const state = fakeState({ blur: 3 })
  const whole = await upscale(state, image, { router: { subnet: 2 }, tile: 'image' })
  const tiled = await upscale(state, image, {
    router: { subnet: 2 },
    tile: 16,
    halo: 3,
    groupRows: 2,
    regionPixels: 1024,
  })
  t.ok(largestDifference(whole.data, tiled.data) < 1e-6)
  const bare = await upscale(state, image, {
    router: { subnet: 2 },
    tile: 16,
    halo: 0,
    groupRows: 2,
    regionPixels: 1024,
  })
  t.ok(largestDifference(whole.data, bare.data) > 0.05)
})

t.test('the budget holds, halo included, and is used', async (t) => {
  const costs = [0.2, 0.3, 0.45, 0.7, 1]
  const image = picture(400, 300)
  for (const router of ['calibrated', 'projection-budget'] as const) {
    for (const budget of [0.3, 0.45, 0.6, 0.8, 0.95]) {
      const thresholds = [0.01, 0.03, 0.06, 0.1, 0.14, 0.2]
      const state = fakeState({ costs, thresholds, receptiveField: 20, router: fakeTable(7, 5) })
      const { allocation } = await upscale(state, image, { router, budget, tile: 32 })
      const share = allocation.flops / allocation.flopsOfLargest
      t.ok(share <= budget, `${router}: ${share.toFixed(3)} of ${budget}`)
      if (router === 'calibrated') t.ok(share > 0.6 * budget, 'and most of it')
      let sum = 0
      for (const call of state.calls)
        for (const r of call.regions)
          sum += costs[r.subnet]! * (600 * r.width * r.height + 400 * r.keepWidth * r.keepHeight)
      t.ok(Math.abs(sum / allocation.flops - 1) < 1e-9, 'FLOPs are those of the regions that ran')
    }
  }
  const state = fakeState()
  const cheapest = await upscale(state, image, { router: 'calibrated', budget: 0.01 })
  t.strictSame(
    cheapest.allocation.histogram,
    [cheapest.allocation.tiles.length, 0, 0],
    'an impossible budget: all smallest',
  )
  const best = await upscale(state, image, { router: 'calibrated', budget: 1 })
  t.strictSame(best.allocation.histogram, [0, 0, best.allocation.tiles.length], 'budget 1: no limit')
})

t.test('allocation', async (t) => {
  const image = picture(100, 70)
  const state = fakeState()
  const { allocation, timings, seconds } = await upscale(state, image, { router: 'projection', tile: 64 })
  t.strictSame(
    allocation.tiles.map(({ x, y, width, height }) => [x, y, width, height]),
    [
      [0, 0, 64, 64],
      [64, 0, 36, 64],
      [0, 64, 64, 6],
      [64, 64, 36, 6],
    ],
  )
  const vectors = await native.gradientVectors(
    image.data,
    100,
    70,
    3,
    Int32Array.from(allocation.tiles.flatMap(({ x, y, width, height }) => [x, y, width, height])),
  )
  allocation.tiles.forEach((tile, i) => {
    t.ok(Math.abs(tile.difficulty / Math.hypot(...vectors.subarray(4 * i, 4 * i + 4)) - 1) < 1e-15)
    t.equal(tile.class, 1 + state.classes.thresholds.filter((threshold) => threshold < tile.difficulty).length)
    t.equal(tile.subnet, Math.ceil((tile.class * 3) / 4) - 1)
  })
  t.equal(
    allocation.histogram.reduce((a, b) => a + b),
    4,
  )
  t.equal(allocation.flopsOfLargest, 100 * 70 * 1000)
  t.ok(Math.abs(timings.network + timings.other - seconds) < 1e-9)
})

t.test('protocol paper', async (t) => {
  const image = picture(100, 70)
  const state = fakeState({ offset: (subnet) => subnet * 0.01 })
  const result = await upscale(state, image, { protocol: 'paper', router: 'projection' })
  t.equal(result.width, 2 * (2 * 28 + 32))
  t.equal(result.height, 2 * (28 + 32))
  t.equal(result.allocation.tiles.length, 6)
  t.strictSame(
    result.allocation.tiles.map(({ x, y }) => [x, y]),
    [
      [0, 0],
      [28, 0],
      [56, 0],
      [0, 28],
      [28, 28],
      [56, 28],
    ],
  )
  t.equal(
    result.allocation.flops,
    result.allocation.tiles.reduce((sum, tile) => sum + state.engine.subnets[tile.subnet]!.flops, 0),
  )
  t.equal(result.allocation.flopsOfLargest, 6 * 1024 * 1000)
  let wrong = 0
  for (let y = 0; y < result.height; y++) {
    for (let x = 0; x < result.width; x++) {
      const cover = result.allocation.tiles.filter(
        (tile) => x >= 2 * tile.x && x < 2 * tile.x + 64 && y >= 2 * tile.y && y < 2 * tile.y + 64,
      )
      const value = image.data[((y >> 1) * 100 + (x >> 1)) * 3]!
      const mean =
        cover.reduce(
          (sum, tile) => sum + Math.min(255, Math.floor(Math.fround(value / 255 + tile.subnet * 0.01) * 255 + 0.5)),
          0,
        ) / cover.length
      if (Math.abs(result.data[(y * result.width + x) * 3]! - mean) > 0.5) wrong++
    }
  }
  t.equal(wrong, 0, 'each tile rounded, overlaps averaged')
  const grey = await upscale(fakeState(), picture(40, 40, 1), { protocol: 'paper' })
  t.equal(grey.data.length, 64 * 64)
  await t.rejects(upscale(state, picture(31, 40), { protocol: 'paper' }), { code: 'WBSR_INVALID_IMAGE' })
  await t.rejects(upscale(state, picture(40, 40, 4), { protocol: 'paper' }), { code: 'WBSR_INVALID_IMAGE' })
  await t.rejects(upscale(state, picture(40, 40, 3, 'uint16'), { protocol: 'paper' }), { code: 'WBSR_INVALID_IMAGE' })
  await t.rejects(upscale(state, image, { protocol: 'paper', tile: 64 }), {
    code: 'WBSR_INVALID_OPTION',
    message: /for tile/,
  })
})

t.test('progress and abort', async (t) => {
  const image = picture(64, 400)
  const seen: number[] = []
  const state = fakeState()
  await upscale(state, image, {
    tile: 32,
    groupRows: 2,
    onProgress: ({ done, total, seconds }) => {
      seen.push(done)
      t.equal(total, 26)
      t.ok(seconds >= 0)
    },
  })
  t.strictSame(seen, [4, 8, 12, 16, 20, 24, 26])

  const before = AbortSignal.abort(new Error('no'))
  await t.rejects(upscale(state, image, { signal: before }), { code: 'WBSR_ABORTED', cause: { message: 'no' } })
  const controller = new AbortController()
  const interrupted = fakeState({
    onInfer: () => {
      if (interrupted.calls.length === 2) controller.abort()
    },
  })
  await t.rejects(upscale(interrupted, image, { tile: 32, groupRows: 2, signal: controller.signal }), {
    code: 'WBSR_ABORTED',
  })
  t.equal(interrupted.calls.length, 2, 'nothing more is run')
  const mine = new TypeError('mine')
  const throwing = upscale(state, image, {
    onProgress: () => {
      throw mine
    },
  })
  t.equal(await throwing.catch((error: unknown) => error), mine, 'what a callback throws comes as it is')
  for (const at of [1, 2, 3]) {
    let calls = 0
    const later = upscale(state, image, {
      tile: 32,
      groupRows: 2,
      onProgress: async () => {
        if (++calls === at) throw mine
      },
    })
    t.equal(await later.catch((error: unknown) => error), mine, `also from an asynchronous one, call ${at}`)
    t.equal(calls, at, 'which is not called again')
  }
})

t.test('groups that fail while an earlier one runs', async (t) => {
  // upscale() rejects with the first failure, after all jobs have settled. An unhandled rejection would fail this test.
  for (const failing of [[3, 4], [4], [2, 3]]) {
    let underway = 0
    const state = fakeState({
      onInfer: async () => {
        const call = state.calls.length
        underway++
        await delay(call === 2 ? 20 : 1)
        underway--
        if (failing.includes(call)) throw Object.assign(new Error(`call ${call}`), { code: 'WBSR_DEVICE_FAILED' })
      },
    })
    const work = upscale(state, picture(64, 400), { tile: 32, groupRows: 2 })
    await t.rejects(work, { name: 'WbsrError', code: 'WBSR_DEVICE_FAILED', message: `call ${failing[0]}` })
    t.equal(underway, 0)
  }
})

t.test('a model that is disposed in the middle', async (t) => {
  for (const at of [1, 2, 3]) {
    const state = fakeState()
    let calls = 0
    await t.rejects(
      upscale(state, picture(64, 400), {
        tile: 32,
        groupRows: 2,
        onProgress: () => {
          if (++calls === at) state.disposed = true
        },
      }),
      { code: 'WBSR_DISPOSED' },
    )
  }
})

t.test('options are checked', async (t) => {
  const image = picture(8, 8)
  const bad: [unknown, RegExp][] = [
    [{ roter: 'projection' }, /no other keys .* but received "roter"/],
    [{ router: 'best' }, /for router but received "best"/],
    [{ router: { subnet: 3 } }, /between 0 and 2 for router.subnet but received 3/],
    [{ router: { subnet: 1, x: 1 } }, /for router but received "x"/],
    [{ budget: 0 }, /for budget/],
    [{ budget: 1.1 }, /for budget/],
    [{ budget: '0.5' }, /for budget/],
    [{ budget: NaN }, /for budget/],
    [{ alpha: 0 }, /for alpha/],
    [{ tile: 15 }, /for tile/],
    [{ tile: 'whole' }, /for tile/],
    [{ tile: 64.5 }, /for tile/],
    [{ halo: -1 }, /for halo/],
    [{ halo: 'none' }, /for halo/],
    [{ protocol: 'fast' }, /for protocol/],
    [{ budgetScope: 'all' }, /for budgetScope/],
    [{ signal: {} }, /an AbortSignal for signal/],
    [{ onProgress: 1 }, /a function for onProgress/],
    [{ groupRows: 0 }, /for groupRows/],
    [{ regionPixels: 1 }, /for regionPixels/],
    [null, /an object for upscale options/],
  ]
  for (const [options, message] of bad)
    await t.rejects(upscale(fakeState(), image, options as UpscaleOptions), { code: 'WBSR_INVALID_OPTION', message })
  await t.rejects(upscale(fakeState({ router: null }), image, { router: 'calibrated' }), {
    code: 'WBSR_INVALID_OPTION',
    message: /no router table/,
  })
  t.ok(await upscale(fakeState({ router: null }), image), 'without a table the default is projection')
  await t.rejects(upscale(Object.assign(fakeState(), { disposed: true }), image), { code: 'WBSR_DISPOSED' })
  await t.rejects(upscale(fakeState(), { ...image, width: 9 }), { code: 'WBSR_INVALID_OPTION' })
  await t.rejects(upscale(fakeState(), '/nowhere.png'), { code: 'WBSR_NOT_FOUND' })
})
