// Inference with the real engine: cases that the fake engine cannot show.
import t from 'tap'
import { cutPixels } from '../../lib/images/pixels.js'
import type { UpscaleOptions } from '../../lib/infer/options.js'
import { upscale } from '../../lib/infer/upscale.js'
import type { InferRegion } from '../../lib/native.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { createInferStream } from '../../lib/stream/infer-stream.js'
import { regionFlops } from '../../lib/tiling/flops.js'
import type { UpscaledTile } from '../../lib/types.js'
import { picture, tilesFrom } from '../support/infer-pictures.js'
import { largestDifference } from '../support/pictures.js'
import { random, shuffle } from '../support/random.js'
import { realState as sharedState } from '../support/real-state.js'

const realState = (scale: 2 | 3 | 4 = 2, threads = 2) =>
  sharedState(srresnet({ scale, widths: [8, 16], depths: [2, 3] }), { threads, gain: 3 })

t.test('tiles equal the whole picture when the halo covers the receptive field', async (t) => {
  for (const scale of [2, 3, 4] as const) {
    const state = realState(scale)
    for (const { index, receptiveField } of state.engine.subnets) {
      if (scale !== 2 && index !== 3) continue
      for (const type of ['float', 'uint8'] as const) {
        const image = picture(101, 83, 3, type)
        const router = { subnet: index }
        const whole = await upscale(state, image, { router, tile: 'image' })
        const tiled = await upscale(state, image, {
          router,
          tile: 16,
          halo: receptiveField,
          groupRows: 2,
          regionPixels: 2048,
        })
        const difference = largestDifference(whole.data, tiled.data)
        t.ok(
          difference <= (type === 'float' ? 2e-5 : 1),
          `x${scale}, subnet ${index}, halo ${receptiveField}, ${type}: ${difference}`,
        )
      }
    }
    const image = picture(101, 83, 3, 'float')
    const whole = await upscale(state, image, { router: { subnet: 3 }, tile: 'image' })
    const bare = await upscale(state, image, { router: { subnet: 3 }, tile: 16, halo: 0, regionPixels: 2048 })
    t.ok(largestDifference(whole.data, bare.data) > 1e-3, 'without halo it is not')
    state.engine.dispose()
  }
})

t.test('one pixel, one column, one row: every type and number of channels', async (t) => {
  const state = realState(3)
  for (const [width, height] of [
    [1, 1],
    [1, 70],
    [70, 1],
  ] as const) {
    for (const channels of [1, 2, 3, 4] as const) {
      const float = await upscale(state, picture(width, height, channels, 'float'), { router: { subnet: 3 } })
      t.strictSame(
        [float.width, float.height, float.channels, float.data.length],
        [3 * width, 3 * height, channels, 9 * width * height * channels],
      )
      t.ok(
        (float.data as Float32Array).every((v) => v >= 0 && v <= 1),
        `${width}x${height}, ${channels} channels`,
      )
      for (const [type, max] of [
        ['uint8', 255],
        ['uint16', 65535],
      ] as const) {
        const whole = picture(width, height, channels, type)
        const exact = await upscale(
          state,
          { ...whole, data: Float32Array.from(whole.data, (v) => v / max) },
          { router: { subnet: 3 } },
        )
        const rounded = await upscale(state, whole, { router: { subnet: 3 } })
        t.equal(rounded.data.constructor, whole.data.constructor)
        const largest = largestDifference(
          Float64Array.from(rounded.data) as never,
          Float64Array.from(exact.data, (v) => v * max) as never,
        )
        t.ok(largest <= 0.5 + 1e-5 * max, `${width}x${height}, ${channels} channels, ${type}: ${largest} of a step`)
      }
    }
  }
  state.engine.dispose()
})

t.test('infer() of a whole picture equals forward()', async (t) => {
  const state = realState(2)
  const [width, height] = [37, 29]
  const image = picture(width, height, 3, 'float')
  const { data } = await upscale(state, image, { router: { subnet: 3 }, tile: 'image' })
  const planar = new Float32Array(3 * width * height)
  for (let i = 0; i < width * height; i++)
    for (let c = 0; c < 3; c++) planar[c * width * height + i] = image.data[3 * i + c]!
  const out = await state.engine.forward(3, planar, 1, height, width)
  const interleaved = Float32Array.from({ length: out.length }, (_, i) =>
    Math.min(1, Math.max(0, out[(i % 3) * 4 * width * height + Math.floor(i / 3)]!)),
  )
  t.ok(largestDifference(data, interleaved) < 2e-5)
  state.engine.dispose()
})

t.test('FLOPs counted in advance are those that ran', async (t) => {
  const state = realState(4)
  const region: InferRegion = {
    picture: 0,
    subnet: 2,
    x: 3,
    y: 5,
    width: 40,
    height: 30,
    keepX: 10,
    keepY: 5,
    keepWidth: 26,
    keepHeight: 20,
    rampLeft: 4,
    rampTop: 0,
    rampRight: 4,
    rampBottom: 4,
  }
  const outputs = [{ sum: new Float32Array(64 * 64 * 16 * 3), weight: new Float32Array(64 * 64 * 16) }]
  const { flops } = await state.engine.infer({
    inputs: [{ data: new Float32Array(64 * 64 * 3), width: 64, height: 64 }],
    outputs,
    regions: [region],
    maxBatchPixels: 65536,
  })
  t.ok(Math.abs(flops / regionFlops(region, state.engine.subnets[2]!) - 1) < 1e-6, `${flops}`)
  state.engine.dispose()
})

t.test('blending ramps sum to one', async (t) => {
  const state = realState(2)
  const weights = new Float32Array(64 * 48 * 4)
  const outputs = [{ sum: new Float32Array(64 * 48 * 4 * 3), weight: weights }]
  const region = { picture: 0, subnet: 0, y: 0, height: 48, keepY: 0, keepHeight: 48, rampTop: 0, rampBottom: 0 }
  const regions = [
    { ...region, x: 0, width: 40, keepX: 0, keepWidth: 34, rampLeft: 0, rampRight: 4 },
    { ...region, x: 24, width: 40, keepX: 30, keepWidth: 34, rampLeft: 4, rampRight: 0 },
  ]
  await state.engine.infer({
    inputs: [{ data: picture(64, 48, 3, 'float').data as Float32Array, width: 64, height: 48 }],
    outputs,
    regions,
    maxBatchPixels: 65536,
  })
  t.ok(weights.every((w) => Math.abs(w - 1) < 1e-6))
  state.engine.dispose()
})

t.test('stream, order and thread count change nothing; batches no more than rounding', async (t) => {
  const image = picture(120, 150)
  const options: UpscaleOptions = { router: 'projection', tile: 16, groupRows: 3, budgetScope: 'dataset' }
  const state = realState(2)
  const expected = await upscale(state, image, options)
  t.ok(expected.allocation.histogram.filter((n) => n > 0).length > 1, 'several subnets run')
  for (const tiles of [tilesFrom(image, 16, 8), shuffle(random(1), tilesFrom(image, 16, 16))]) {
    const stream = createInferStream(state, { router: 'projection', groupRows: 3 })
    for (const tile of tiles) stream.write(tile)
    stream.end()
    let largest = 0
    for await (const tile of stream as AsyncIterable<UpscaledTile>) {
      largest = Math.max(
        largest,
        largestDifference(tile.data, cutPixels(expected.data, 240, 3, tile.x, tile.y, tile.width, tile.height)),
      )
    }
    t.equal(largest, 0)
  }
  const single = realState(2, 1)
  t.equal(largestDifference((await upscale(single, image, options)).data, expected.data), 0, '1 and 2 threads')
  const batches = await upscale(state, image, { ...options, regionPixels: 512 })
  t.ok(largestDifference(batches.data, expected.data) <= 8, 'other regions: only seams differ')
  state.engine.dispose()
  single.engine.dispose()
})

t.test('the event loop is not blocked, and an abort takes effect while a network runs', async (t) => {
  const state = realState(4)
  const image = picture(512, 1024)
  const controller = new AbortController()
  // The third tick aborts. With a blocked event loop there would be no tick and no abort.
  let ticks = 0
  const timer = setInterval(() => {
    if (++ticks === 3) controller.abort()
  }, 5)
  await t.rejects(upscale(state, image, { router: { subnet: 3 }, signal: controller.signal }), { code: 'WBSR_ABORTED' })
  clearInterval(timer)
  t.ok(ticks >= 3)
  state.engine.dispose()
})
