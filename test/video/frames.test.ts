// Frames one after the other: what is reused is exact, and it saves work.
import t from 'tap'
import { SupernetModel } from '../../lib/models/model.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { checkRouting } from '../../lib/routing/options.js'
import type { RawImage } from '../../lib/types.js'
import { FrameUpscaler } from '../../lib/video/frames.js'
import { type UpscaledFrame, videoStream } from '../../lib/video/stream.js'
import { picture } from '../support/infer-pictures.js'
import { sameSamples } from '../support/pictures.js'
import { realState } from '../support/real-state.js'

const state = realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] }))
const model = new SupernetModel(state)
t.teardown(() => model.dispose())
const [width, height] = [300, 290]
const settings = (threshold = 0) => ({ ...checkRouting({ regionPixels: 8192 }, state), threshold })

/** The frame with a noisy square at (x, y). */
function withSquare(image: RawImage, x: number, y: number, side: number, seed: number): Uint8Array {
  const data = (image.data as Uint8Array).slice()
  for (let row = y; row < y + side; row++)
    for (let i = (row * width + x) * 3; i < (row * width + x + side) * 3; i++) data[i] = (i * seed * 7919) % 256
  return data
}

const still = picture(width, height)

t.test('a frame is what upscale() makes of it with the budget of the data set', async (t) => {
  const upscaler = new FrameUpscaler(state, { width, height, bits: 8 }, settings())
  const { data, flops, saved } = await upscaler.next(still.data as Uint8Array)
  const whole = await model.upscale(still, { budgetScope: 'dataset', regionPixels: 8192 })
  t.ok(sameSamples(data, whole.data))
  t.equal(flops, whole.allocation.flops)
  t.equal(saved, 0)
  upscaler.release()
})

t.test('what is reused is exact, wherever the change lies', async (t) => {
  const upscaler = new FrameUpscaler(state, { width, height, bits: 8 }, settings())
  // Corners, borders of tiles, borders of groups, all over, nothing, back.
  const places: [number, number, number][] = [
    [0, 0, 9],
    [60, 60, 9],
    [250, 270, 15],
    [120, 250, 12],
    [128, 190, 2],
    [0, 0, 280],
  ]
  const frames = [
    still.data as Uint8Array,
    // Each square comes, and goes.
    ...places.flatMap(([x, y, side], i) => [withSquare(still, x, y, side, i + 2), still.data as Uint8Array]),
    withSquare(still, 3, 3, 9, 8),
    withSquare(still, 280, 270, 9, 9),
    still.data as Uint8Array,
    still.data as Uint8Array,
  ]
  for (const [i, frame] of frames.entries()) {
    const { data, flops, saved } = await upscaler.next(frame)
    const fresh = new FrameUpscaler(state, { width, height, bits: 8 }, settings())
    const whole = await fresh.next(frame)
    fresh.release()
    t.ok(sameSamples(data, whole.data), `frame ${i}`)
    t.equal(flops + saved, whole.flops, `work of frame ${i}`)
    if (i === frames.length - 1) t.equal(flops, 0, 'the same frame again costs nothing')
    if (i >= 1 && i <= 8)
      t.ok(saved > 0.3 * whole.flops, `frame ${i} saves ${((100 * saved) / whole.flops).toFixed(0)} %`)
  }
  upscaler.release()
})

t.test('16 bits, and sides that the network does not take', async (t) => {
  const deep = picture(61, 45, 3, 'uint16')
  const upscaler = new FrameUpscaler(state, { width: 61, height: 45, bits: 16 }, settings())
  const { data } = await upscaler.next(deep.data as Uint16Array)
  t.ok(sameSamples(data, (await model.upscale(deep, { budgetScope: 'dataset', regionPixels: 8192 })).data))
  upscaler.release()
})

t.test('a threshold counts from what was computed, not from the last frame', async (t) => {
  const upscaler = new FrameUpscaler(state, { width, height, bits: 8 }, settings(3))
  const base = Uint8Array.from(still.data as Uint8Array, (value) => Math.min(200, value))
  const first = await upscaler.next(base)
  const at = (by: number) => base.map((value) => value + by)
  const near = await upscaler.next(at(2))
  t.equal(near.flops, 0)
  t.ok(sameSamples(near.data, first.data))
  const far = await upscaler.next(at(4))
  t.equal(far.saved, 0, 'four levels in two steps of two')
  const fresh = new FrameUpscaler(state, { width, height, bits: 8 }, settings())
  t.ok(sameSamples(far.data, (await fresh.next(at(4))).data))
  upscaler.release()
  fresh.release()
})

t.test('videoStream', async (t) => {
  const stream = videoStream(model, { width, height })
  const buffer = (still.data as Uint8Array).slice()
  const out: UpscaledFrame[] = []
  stream.on('data', (frame: UpscaledFrame) => out.push(frame))
  const write = (frame: unknown) => new Promise<void>((resolve) => stream.write(frame, () => resolve()))
  await write({ data: buffer, pts: 7 })
  // The caller's memory may change.
  buffer.fill(9)
  await write({ data: still.data, pts: 8 })
  await new Promise((resolve) => stream.once('end', resolve).end())
  t.match(out, [
    { pts: 7, width: 600, height: 580, saved: 0 },
    { pts: 8, flops: 0 },
  ])
  t.ok(sameSamples(out[0]!.data, out[1]!.data))

  const wrong = videoStream(model, { width, height })
  wrong.write({ data: new Uint8Array(5) })
  const error = await new Promise<Error>((resolve) => wrong.once('error', resolve))
  t.match(error, {
    code: 'WBSR_INVALID_OPTION',
    message: /Uint8Array of 261000 samples \(300 x 290 RGB\) for frame\.data/,
  })
  t.throws(() => videoStream(model, { width: 0, height }), { code: 'WBSR_INVALID_OPTION' })
  t.throws(() => videoStream(model, { width, height, bits: 10 as 8 }), /8 or 16 for bits/)
  const abort = new AbortController()
  const stopped = videoStream(model, { width, height, signal: abort.signal })
  const over = new Promise<Error>((resolve) => stopped.once('error', resolve))
  abort.abort()
  t.match(await over, { code: 'WBSR_ABORTED' })
})
