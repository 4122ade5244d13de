// The addon where it could take the process down with it: terminated worker threads, more memory than there is,
// arguments that name memory nobody has, jobs that outlive their engine.
import t from 'tap'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { native, type NativeGraph } from '../../lib/native.js'

const addon = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'build', 'Release', 'wbsr.node')

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

t.test('worker threads may be terminated at any moment', { skip: existsSync(addon) ? false : 'no local build of the addon' }, async (t) => {
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
})

t.test('a job too large for the memory is rejected and the engine goes on', async (t) => {
  const e = engine(128)
  const small = new Float32Array(3 * 16 * 16).fill(0.5)
  const before = await e.forward(0, small, 1, 16, 16)
  const side = 12_000 // 128 channels of it, enlarged, are 295 GB; the array itself is never touched
  await t.rejects(async () => e.forward(0, new Float32Array(3 * side * side), 1, side, side), { code: 'WBSR_OUT_OF_MEMORY' })
  t.same(await e.forward(0, small, 1, 16, 16), before)
})

t.test('a result that no array can hold is an error', async (t) => {
  await t.rejects(async () => native.resizeBicubic(new Uint8Array(4), 2, 2, 1, 90_000, 90_000, 0), { code: 'WBSR_OUT_OF_MEMORY' })
  await t.rejects(async () => native.averageTiles(new Uint8Array(0), 2 ** 24, 2 ** 24, 4096, 1, 1), { code: 'WBSR_INVALID_OPTION' })
  await t.rejects(async () => engine().forward(0, new Float32Array(0), 2 ** 30, 2 ** 30, 2 ** 30), { code: 'WBSR_OUT_OF_MEMORY' })
})

t.test('a network too large for the memory is an error', async (t) => {
  const huge = graph()
  for (const node of huge.nodes.slice(1, 3)) Object.assign(node, { channels: { fixed: 65_536 }, kernel: 15 })
  t.throws(() => new native.Engine(huge, { threads: 1 }), { code: 'WBSR_OUT_OF_MEMORY' })
})

t.test('numbers that are none are not read as any', async (t) => {
  for (const kernel of [NaN, Infinity, 2.5, 2 ** 32 + 3, '3', undefined]) {
    const wrong = graph()
    Object.assign(wrong.nodes[1]!, { kernel })
    t.throws(() => new native.Engine(wrong, { threads: 1 }), { code: 'WBSR_INVALID_OPTION', message: /kernel/ }, `kernel ${kernel}`)
  }
  const data = new Float32Array(3 * 8 * 8)
  const picture = { inputs: [{ data, width: 8, height: 8 }], outputs: [{ sum: new Float32Array(data.length * 4), weight: new Float32Array(8 * 8 * 4) }] }
  const region = { picture: 0, subnet: 0, x: 0, y: 0, width: 8, height: 8, keepX: 0, keepY: 0, keepWidth: 8, keepHeight: 8, rampLeft: 0, rampTop: 0, rampRight: 0, rampBottom: 0 }
  for (const wrong of [{ x: 2 ** 30, width: 2 ** 30 }, { x: 1 }, { y: -1 }, { keepX: 4 }, { keepWidth: NaN }, { picture: 1 }, { subnet: 1 }, { rampLeft: 2 ** 30 }]) {
    await t.rejects(async () => engine().infer({ ...picture, regions: [{ ...region, ...wrong }], maxBatchPixels: 64 }), { code: 'WBSR_INVALID_OPTION' }, JSON.stringify(wrong))
  }
  await t.rejects(async () => engine().infer({ ...picture, regions: [region], maxBatchPixels: NaN }), { code: 'WBSR_INVALID_OPTION' })
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
