// Cases in which the addon could crash the process: terminated worker threads, allocations that fail, arguments that point
// outside of their buffers, jobs that outlive their engine.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import {
  type GradientSettings,
  type InferRegion,
  type NativeGraph,
  native,
  type UpdateJob,
} from '../../../lib/native.js'

const addon = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)),
  '..',
  '..',
  '..',
  'build',
  'Release',
  'wbsr.node',
)

/** One convolution, a shuffle, one convolution: x2. */
function graph(width = 32): NativeGraph {
  return {
    scale: 2,
    widths: [width],
    depths: [1],
    nodes: [
      { op: 'input', inputs: [], channels: { fixed: 3 } },
      { op: 'conv', name: 'a', inputs: [0], channels: { num: 1, den: 1 }, kernel: 3, bias: true, initGain: 1 },
      { op: 'conv', name: 'b', inputs: [1], channels: { num: 4, den: 1 }, kernel: 3, bias: true, initGain: 1 },
      { op: 'pixelShuffle', inputs: [2], factor: 2 },
      { op: 'conv', name: 'c', inputs: [3], channels: { fixed: 3 }, kernel: 3, bias: true, initGain: 1 },
    ],
    output: 4,
  }
}

function engine(width = 32) {
  const made = new native.Engine(graph(width), { threads: 2 })
  made.initialise(1)
  return made
}

t.test(
  'worker threads may be terminated at any moment',
  { skip: existsSync(addon) ? false : 'no local build of the addon' },
  async (t) => {
    const source = `
    const { parentPort } = require('node:worker_threads')
    const native = require(${JSON.stringify(addon)})
    const engine = new native.Engine(${JSON.stringify(graph())}, { threads: 2 })
    engine.initialise(1)
    const input = new Float32Array(3 * 48 * 48), pixels = new Uint8Array(200 * 200 * 3)
    const forward = () => { engine.forward(0, input, 1, 48, 48).then(forward) }
    const resize = () => { native.resizeBicubic(pixels, 200, 200, 3, 80, 80, 0).then(resize) }
    for (let i = 0; i < 4; i++) forward(), resize()
    setInterval(() => parentPort.postMessage(0), 1)`
    for (let i = 0; i < 15; i++) {
      const worker = new Worker(source, { eval: true })
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
      await new Promise((resolve) => setTimeout(resolve, i))
      t.equal(await worker.terminate(), 1, 'it was running')
    }
  },
)

t.test('a job too large for the memory is rejected and the engine goes on', async (t) => {
  const e = engine(128)
  const small = new Float32Array(3 * 16 * 16).fill(0.5)
  const before = await e.forward(0, small, 1, 16, 16)
  const side = 12_000 // 128 channels of it, enlarged, are 295 GB; the array itself is never touched
  await t.rejects(async () => e.forward(0, new Float32Array(3 * side * side), 1, side, side), {
    code: 'WBSR_OUT_OF_MEMORY',
  })
  t.same(await e.forward(0, small, 1, 16, 16), before)
})

t.test('a result that no array can hold is an error', async (t) => {
  await t.rejects(async () => native.resizeBicubic(new Uint8Array(4), 2, 2, 1, 90_000, 90_000, 0), {
    code: 'WBSR_OUT_OF_MEMORY',
  })
  await t.rejects(async () => native.averageTiles(new Uint8Array(0), 2 ** 24, 2 ** 24, 4096, 1, 1), {
    code: 'WBSR_INVALID_OPTION',
  })
  await t.rejects(async () => engine().forward(0, new Float32Array(0), 2 ** 30, 2 ** 30, 2 ** 30), {
    code: 'WBSR_OUT_OF_MEMORY',
  })
})

t.test('a network too large for the memory is an error', async (t) => {
  const huge = graph()
  for (const node of huge.nodes.slice(1, 3)) Object.assign(node, { channels: { fixed: 65_536 }, kernel: 15 })
  t.throws(() => new native.Engine(huge, { threads: 1 }), { code: 'WBSR_OUT_OF_MEMORY' })
})

t.test('arguments of wrong type or range are refused', async (t) => {
  for (const kernel of [NaN, Infinity, 2.5, 2 ** 32 + 3, '3', undefined]) {
    const wrong = graph()
    Object.assign(wrong.nodes[1]!, { kernel })
    t.throws(
      () => new native.Engine(wrong, { threads: 1 }),
      { code: 'WBSR_INVALID_OPTION', message: /kernel/ },
      `kernel ${kernel}`,
    )
  }
  const data = new Float32Array(3 * 8 * 8)
  const picture = {
    inputs: [{ data, width: 8, height: 8 }],
    outputs: [{ sum: new Float32Array(data.length * 4), weight: new Float32Array(8 * 8 * 4) }],
  }
  const region = {
    picture: 0,
    subnet: 0,
    x: 0,
    y: 0,
    width: 8,
    height: 8,
    keepX: 0,
    keepY: 0,
    keepWidth: 8,
    keepHeight: 8,
    rampLeft: 0,
    rampTop: 0,
    rampRight: 0,
    rampBottom: 0,
  }
  for (const wrong of [
    { x: 2 ** 30, width: 2 ** 30 },
    { x: 1 },
    { y: -1 },
    { keepX: 4 },
    { keepWidth: NaN },
    { picture: 1 },
    { subnet: 1 },
    { rampLeft: 2 ** 30 },
  ]) {
    await t.rejects(
      async () => engine().infer({ ...picture, regions: [{ ...region, ...wrong }], maxBatchPixels: 64 }),
      { code: 'WBSR_INVALID_OPTION' },
      JSON.stringify(wrong),
    )
  }
  await t.rejects(async () => engine().infer({ ...picture, regions: [region], maxBatchPixels: NaN }), {
    code: 'WBSR_INVALID_OPTION',
  })
  t.match(await engine().infer({ ...picture, regions: [region], maxBatchPixels: Infinity }), { batches: 1 })
})

t.test('a job outlives dispose(), memory() may be asked while it runs', async (t) => {
  const e = engine()
  const input = new Float32Array(3 * 64 * 64).fill(0.25)
  const expected = await e.forward(0, input, 1, 64, 64)
  t.ok(e.memory() > 0)
  const jobs = [e.forward(0, input, 1, 64, 64), e.forward(0, input, 1, 64, 64)]
  t.ok(e.memory() > 0)
  e.dispose()
  for (const result of await Promise.all(jobs)) t.same(result, expected)
  t.equal(e.memory(), 0)
  await t.rejects(async () => e.forward(0, input, 1, 64, 64), { code: 'WBSR_DISPOSED' })
})

const whole = (width: number, height: number): InferRegion => ({
  picture: 0,
  subnet: 0,
  x: 0,
  y: 0,
  width,
  height,
  keepX: 0,
  keepY: 0,
  keepWidth: width,
  keepHeight: height,
  rampLeft: 0,
  rampTop: 0,
  rampRight: 0,
  rampBottom: 0,
})
const noise = (length: number, seed = 1) =>
  Uint8Array.from({ length }, (_, i) => ((i * 7919 + seed * 104729) ^ ((i * i) >> 5)) & 255)

t.test('a canvas gives the same as host arrays, for pixels of any type', async (t) => {
  const e = engine()
  const [width, height] = [24, 10]
  const job = { regions: [whole(width, height)], maxBatchPixels: 1000 }
  for (const channels of [1, 2, 3, 4] as const) {
    const bytes = noise(width * height * channels)
    for (const data of [bytes, Uint16Array.from(bytes, (v) => v * 257), Float32Array.from(bytes, (v) => v / 255)]) {
      const size = data.BYTES_PER_ELEMENT as 1 | 2 | 4
      const rgb = await native.toRgbFloat(data, width, height, channels)
      const sum = new Float32Array(width * height * 12)
      const weight = new Float32Array(width * height * 4)
      await e.infer({ ...job, inputs: [{ data: rgb, width, height }], outputs: [{ sum, weight }] })
      const canvas = await e.createCanvas(2 * width, 2 * height + 4)
      t.match(canvas, { width: 2 * width, rows: 2 * height + 4 })
      void canvas.move(0, 0, 2 * height)
      t.match(await e.infer({ ...job, inputs: [{ data, width, height, channels }], outputs: [{ canvas }] }), {
        batches: 1,
        halvings: 0,
      })
      const alpha =
        channels % 2 === 0
          ? ((await native.resizeBicubic(
              await native.toAlphaFloat(data, width, height, channels),
              width,
              height,
              1,
              2 * width,
              2 * height,
              0,
            )) as Float32Array)
          : null
      const expected = await native.finishRows(
        sum,
        weight,
        2 * width,
        3,
        5,
        channels,
        alpha && alpha.subarray(0, 10 * width),
        size,
      )
      const rows = await canvas.finish(3, 5, channels, alpha && alpha.subarray(0, 10 * width), size)
      t.same(rows, expected, `${channels} channels of ${size} bytes`)
      const into = new (data.constructor as typeof Uint8Array)(expected.length)
      t.equal(await canvas.finish(3, 5, channels, alpha && alpha.subarray(0, 10 * width), size, into), into)
      t.same(into, expected)
      await canvas.move(3, 5, 7)
      t.same(await canvas.finish(0, 5, channels, alpha && alpha.subarray(0, 10 * width), size), expected, 'moved')
      if (channels === 3)
        t.ok(
          (await canvas.finish(5, 2, channels, null, size)).every((v) => v === 0),
          'cleared',
        )
      canvas.dispose()
    }
  }
})

t.test('canvases: invalid arguments, and use after dispose()', async (t) => {
  const e = engine()
  const other = engine()
  const data = noise(3 * 8 * 8)
  const before = e.memory()
  const canvas = await e.createCanvas(16, 16)
  t.ok(e.memory() >= before + 16 * 16 * 16, 'counted as native memory')
  const inputs = [{ data, width: 8, height: 8 }]
  const rest = { regions: [whole(8, 8)], maxBatchPixels: 64 }
  const foreign = await other.createCanvas(16, 16)
  const invalid = (call: () => Promise<unknown>, message: RegExp) =>
    t.rejects(async () => call(), { code: 'WBSR_INVALID_OPTION', message })
  await invalid(
    () => e.infer({ ...rest, inputs, outputs: [{ canvas: foreign }] }),
    /a canvas of this engine for outputs\[0\].canvas/,
  )
  await invalid(
    () => e.infer({ ...rest, inputs, outputs: [{ canvas: {} as typeof canvas }] }),
    /Expected a canvas for outputs\[0\].canvas but received an object/,
  )
  const narrow = await e.createCanvas(15, 99)
  await invalid(() => e.infer({ ...rest, inputs, outputs: [{ canvas: narrow }] }), /16 pixels and at least 16 rows/)
  await invalid(
    () => e.infer({ ...rest, inputs: [{ data, width: 8, height: 8, channels: 4 }], outputs: [{ canvas }] }),
    /256 samples .* for inputs\[0\].data/,
  )
  await invalid(() => e.createCanvas(0, 4), /for width but received 0/)
  await invalid(() => canvas.move(1, 16, 16), /between 0 and 0 for from/)
  await invalid(() => canvas.move(0, 5, 4), /between 0 and 4 for kept/)
  await invalid(() => canvas.finish(16, 1, 3, null, 1), /for first but received 16/)
  await invalid(() => canvas.finish(0, 1, 4, null, 1), /for alpha but received null/)
  await invalid(() => canvas.finish(0, 1, 3, null, 1, new Uint8Array(3)), /48 samples .* for into/)
  t.throws(() => new (canvas.constructor as new () => unknown)(), { code: 'WBSR_INVALID_OPTION' })
  await t.rejects(e.createCanvas(2 ** 24, 2 ** 24), { code: 'WBSR_OUT_OF_MEMORY' })

  const running = e.infer({ ...rest, inputs, outputs: [{ canvas }] })
  canvas.dispose()
  t.match(await running, { batches: 1 }, 'a job outlives the dispose() of its canvas')
  for (const call of [
    () => canvas.move(0, 0, 16),
    () => canvas.finish(0, 1, 3, null, 1),
    () => e.infer({ ...rest, inputs, outputs: [{ canvas }] }),
  ]) {
    await t.rejects(async () => call(), { code: 'WBSR_DISPOSED' })
  }
  const last = await e.createCanvas(16, 16)
  const jobs = [last.move(0, 0, 16), e.infer({ ...rest, inputs, outputs: [{ canvas: last }] })]
  e.dispose()
  await Promise.all(jobs)
  t.equal(e.memory(), 0, 'dispose() of the engine lets go of its canvases')
  await t.rejects(async () => last.move(0, 0, 16), { code: 'WBSR_DISPOSED' })
  await t.rejects(async () => e.createCanvas(16, 16), { code: 'WBSR_DISPOSED' })
})

t.test('route: difficulties as gradientVectors gives them, classes by thresholds', async (t) => {
  const e = engine()
  const [width, height, tile] = [37, 21, 16]
  const data = noise(width * height * 3)
  const rects: number[] = []
  for (let y = 0; y < height; y += tile)
    for (let x = 0; x < width; x += tile) rects.push(x, y, Math.min(tile, width - x), Math.min(tile, height - y))
  const vectors = await native.gradientVectors(data, width, height, 3, Int32Array.from(rects))
  const expected = Float64Array.from({ length: rects.length / 4 }, (_, i) =>
    Math.sqrt(vectors.subarray(4 * i, 4 * i + 4).reduce((sum, v) => sum + v * v, 0)),
  )
  const thresholds = [...expected].sort((a, b) => a - b).slice(1, 3)
  const { difficulties, classes } = await e.route({ data, width, height, tile, thresholds })
  t.same(difficulties, expected)
  t.same(
    [...classes],
    [...expected].map((s) => 1 + thresholds.filter((threshold) => threshold < s).length),
  )
  t.same([...(await e.route({ data, width, height, tile: 100, thresholds: [] })).classes], [1])
  for (const [wrong, message] of [
    [{ tile: 0 }, /tile/],
    [{ thresholds: [2, 1] }, /ascending numbers for thresholds/],
    [{ thresholds: [NaN] }, /thresholds/],
    [{ height: 22 }, /samples/],
  ] as const) {
    await t.rejects(
      async () => e.route(Object.assign({ data, width, height, tile, thresholds }, wrong)),
      { code: 'WBSR_INVALID_OPTION', message },
      JSON.stringify(wrong),
    )
  }
})

const settings: GradientSettings & UpdateJob = {
  batch: 2,
  width: 8,
  height: 8,
  subnets: [0],
  loss: { kind: 'l2', fidelity: 'l2', dimension: 1, sigma: 0, fidelityScale: 1 },
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  emaDecay: 0.9,
}

t.test('steps on crops equal steps on their batch, also when all are handed over at once', async (t) => {
  const image = { data: noise(40 * 30 * 3), width: 40, height: 30 }
  const source = (step: number) => ({
    images: [image],
    crops: [0, 1].map((i) => ({
      image: 0,
      x: (step * 5 + i) % 24,
      y: (step * 3) % 14,
      flipX: i === 0,
      flipY: step % 2 === 0,
      transpose: step > 2,
    })),
  })
  const one = engine()
  const expected = []
  for (let step = 0; step < 5; step++)
    expected.push(
      await one.train({ ...settings, ...(await native.assembleBatch({ ...source(step), patchSize: 16, scale: 2 })) }),
    )
  const two = engine()
  const order: number[] = []
  const reports = await Promise.all(
    [0, 1, 2, 3, 4].map(async (step) => {
      const report = await two.train({ ...settings, source: source(step) })
      order.push(step)
      return report
    }),
  )
  t.same(order, [0, 1, 2, 3, 4], 'promises settle in order')
  t.same(
    reports.map(({ loss, losses, parts }) => ({ loss, losses, parts })),
    expected.map(({ loss, losses, parts }) => ({ loss, losses, parts })),
  )
  t.same(two.getArena('weights'), one.getArena('weights'))
  t.same(two.getArena('ema'), one.getArena('ema'))
  for (const [wrong, message] of [
    [{ batch: 3 }, /one crop for each of the batch for crops/],
    [{ height: 7 }, /width and height/],
    [{ lr: new Float32Array(384) }, /nothing together with lr and hr for source/],
    [{ width: 20, height: 20 }, /patchSize/],
  ] as const) {
    await t.rejects(
      async () => two.train({ ...settings, source: source(0), ...wrong }),
      { code: 'WBSR_INVALID_OPTION', message },
      JSON.stringify(wrong),
    )
  }
})

t.test('gradients() and apply() are train(), and gradients may be changed between them', async (t) => {
  const whole = engine()
  const halves = engine()
  const values = (count: number, seed: number) =>
    Float32Array.from({ length: count }, (_, i) => ((i * seed) % 251) / 250)
  const job = {
    batch: 2,
    width: 8,
    height: 8,
    subnets: [0],
    loss: { kind: 'l1', fidelity: 'l1', dimension: 1, sigma: 0, fidelityScale: 1 },
    lr: values(2 * 3 * 64, 37),
    hr: values(2 * 3 * 256, 53),
  }
  const update = {
    subnets: [0],
    learningRate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0,
    emaDecay: 0.9,
  }
  for (let step = 0; step < 2; step++) {
    const report = await whole.train({ ...job, ...update })
    const { loss, finite } = await halves.gradients(job)
    t.equal(loss, report.loss)
    t.equal(finite, true)
    halves.setArena('gradient', halves.getArena('gradient'))
    t.match(await halves.apply(update), { finite: true, seconds: Number })
  }
  for (const arena of ['weights', 'ema', 'm', 'v', 'gradient'] as const)
    t.same(halves.getArena(arena), whole.getArena(arena), arena)
  t.same(halves.getSteps(), whole.getSteps())

  const before = halves.getArena('weights')
  halves.setArena('gradient', new Float32Array(before.length).fill(NaN))
  t.match(await halves.apply(update), { finite: false })
  t.same(halves.getArena('weights'), before, 'a gradient that is not finite updates nothing')
  await t.rejects(async () => halves.apply({ ...update, subnets: [9] }), { code: 'WBSR_INVALID_OPTION' })
})

t.test('a failed step settles in order; no step stays pending after dispose() or abort', async (t) => {
  const e = engine()
  const lr = new Float32Array(2 * 3 * 64).fill(0.5)
  const hr = new Float32Array(4 * lr.length).fill(0.25)
  const order: string[] = []
  const step = (name: string, cancel?: Int32Array) =>
    e.train({ ...settings, lr, hr, cancel }).then(
      () => order.push(name),
      (error: { code: string }) => order.push(`${name} ${error.code}`),
    )
  await Promise.all([step('a'), step('b', Int32Array.of(1)), step('c')])
  t.same(order, ['a', 'b WBSR_ABORTED', 'c'])
  t.throws(
    () => {
      void e.train({ ...settings, lr, hr })
      e.getArena('weights')
    },
    { code: 'WBSR_INTERNAL' },
    'busy',
  )
  const last = [step('d'), step('e')]
  e.dispose()
  await Promise.all(last)
  t.same(order.slice(3), ['d', 'e'])
  t.equal(e.memory(), 0)
})

t.test('after a non-finite step nothing is updated until weights are set', async (t) => {
  const e = engine()
  const lr = new Float32Array(2 * 3 * 64).fill(0.5)
  const hr = new Float32Array(4 * lr.length).fill(0.25)
  const bad = hr.slice()
  bad[7] = NaN
  const weights = e.getArena('weights')
  const reports = await Promise.all([e.train({ ...settings, lr, hr: bad }), e.train({ ...settings, lr, hr })])
  t.same(
    reports.map(({ finite }) => finite),
    [false, false],
  )
  t.same(e.getArena('weights'), weights)
  e.setArena('weights', weights)
  t.equal((await e.train({ ...settings, lr, hr })).finite, true)
})

t.test('device properties, and invalid options', async (t) => {
  t.match(engine().device, { kind: 'cpu', threads: 2, precision: 'fp32', regular: false, pipelined: false })
  const bad = (options: object, message: RegExp) =>
    t.throws(
      () => new native.Engine(graph(), { threads: 1, ...options }),
      { code: 'WBSR_INVALID_OPTION', message },
      JSON.stringify(options),
    )
  bad({ device: 'tpu' }, /^Expected 'cpu' or 'cuda' for device but received tpu$/)
  bad({ device: 'cuda', precision: 'fp8' }, /^Expected 'bf16', 'tf32' or 'fp32' for precision but received fp8$/)
  bad({ device: 'cuda', autotune: -1 }, /for autotune but received -1/)
  bad({ device: 'cuda', index: 0.5 }, /for index but received 0.5/)
  if (native.findDevices('cuda').devices.length === 0)
    t.throws(() => new native.Engine(graph(), { threads: 1, device: 'cuda' }), {
      code: 'WBSR_NO_DEVICE',
      message: native.findDevices('cuda').reason,
    })
})
