// What a Node user would pick to enlarge a picture, as contestants: RGB bytes in, RGB bytes out, conversions included.
// Arguments: engine (a key of `engines`), threads, folder of the engine's npm packages.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { serve } from './contest.mjs'

const [kind, count, folder = ''] = process.argv.slice(2)
const threads = Number(count)
const packages = createRequire(path.join(folder || import.meta.dirname, 'package.json'))

/** Interleaved bytes as planes of floats in 0..1. */
function planesOf({ data, width, height }) {
  const pixels = width * height
  const planes = new Float32Array(3 * pixels)
  for (let i = 0; i < pixels; i++)
    for (let c = 0; c < 3; c++) planes[c * pixels + i] = /** @type {number} */ (data[3 * i + c]) / 255
  return planes
}

/** The reverse, clipped and rounded. */
function bytesOf(planes, pixels) {
  const data = new Uint8ClampedArray(3 * pixels)
  for (let i = 0; i < pixels; i++) for (let c = 0; c < 3; c++) data[3 * i + c] = planes[c * pixels + i] * 255
  return data
}

/** A session of either ONNX Runtime. */
async function onnx(ort, model, options) {
  const session = await ort.InferenceSession.create(model, options)
  return async (image) => {
    const input = new ort.Tensor('float32', planesOf(image), [1, 3, image.height, image.width])
    const { output } = await session.run({ input })
    return bytesOf(output.data, output.dims[2] * output.dims[3])
  }
}

/** Each takes { model, onnxFile, scale } and resolves with a function from { data, width, height } to bytes. */
const engines = {
  wbsr: async ({ model: file, options }) => {
    const { loadSupernet } = await import('../dist/index.js')
    const model = await loadSupernet(file, { device: 'cpu', threads })
    const last = model.subnets.length - 1
    /** @type {import('../dist/index.js').UpscaleOptions} */
    const settings = options === 'largest' ? { router: { subnet: last }, tile: 'image' } : {}
    return async (image) => (await model.upscale({ ...image, channels: 3 }, settings)).data
  },
  'onnxruntime-node': ({ onnxFile }) =>
    onnx(packages('onnxruntime-node'), onnxFile, {
      executionProviders: ['cpu'],
      graphOptimizationLevel: 'all',
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
    }),
  'onnxruntime-web': ({ onnxFile }) => {
    const ort = packages('onnxruntime-web')
    ort.env.wasm.numThreads = threads
    return onnx(ort, readFileSync(onnxFile), { executionProviders: ['wasm'] })
  },
  // Its default model on TensorFlow.js' WebAssembly backend, which installs everywhere; its Node backend fetches a library.
  upscalerjs: async () => {
    const tf = packages('@tensorflow/tfjs')
    const wasm = packages('@tensorflow/tfjs-backend-wasm')
    const binaries = `${path.dirname(packages.resolve('@tensorflow/tfjs-backend-wasm'))}/`
    wasm.setWasmPaths(binaries)
    wasm.setThreadsCount(threads)
    await tf.setBackend('wasm')
    const home = path.join(folder, 'node_modules/@upscalerjs/default-model/models')
    const { modelTopology, weightsManifest } = JSON.parse(readFileSync(path.join(home, 'model.json'), 'utf8'))
    const [{ paths, weights }] = weightsManifest
    const parts = Buffer.concat(paths.map((name) => readFileSync(path.join(home, name))))
    const weightData = parts.buffer.slice(parts.byteOffset, parts.byteOffset + parts.length)
    const load = async () => ({ modelTopology, weightSpecs: weights, weightData })
    const network = await tf.loadLayersModel({ load })
    return async ({ data, width, height }) => {
      const output = tf.tidy(() =>
        network
          .predict(tf.tensor(data, [1, height, width, 3], 'float32'))
          .clipByValue(0, 255)
          .round()
          .cast('int32'),
      )
      const bytes = Uint8Array.from(await output.data())
      output.dispose()
      return bytes
    }
  },
  sharp: async ({ scale }) => {
    const { default: sharp } = await import('sharp')
    sharp.concurrency(threads)
    return ({ data, width, height }) =>
      sharp(data, { raw: { width, height, channels: 3 } })
        .resize({ width: width * scale, height: height * scale, fit: 'fill', kernel: 'lanczos3' })
        .raw()
        .toBuffer()
  },
}

let enlarge
await serve({
  async load(request) {
    enlarge = await engines[kind](request)
  },
  async upscale({ lr, width, height, output }) {
    const data = new Uint8Array(readFileSync(lr))
    const start = performance.now()
    const pixels = await enlarge({ data, width, height })
    const seconds = (performance.now() - start) / 1000
    if (output) writeFileSync(output, pixels)
    return { seconds, peak: process.resourceUsage().maxRSS * 1024 }
  },
})
