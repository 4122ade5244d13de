// ONNX Runtime's CPU execution provider as a contestant. Arguments: folder of its npm package, threads.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { serve } from './contest.mjs'

const [folder, threads] = process.argv.slice(2)
const ort = createRequire(path.join(folder, 'package.json'))('onnxruntime-node')
let session
let feeds
let result

await serve({
  async load({ model, input, shape }) {
    const options = {
      executionProviders: ['cpu'],
      graphOptimizationLevel: 'all',
      intraOpNumThreads: Number(threads),
      interOpNumThreads: 1,
      executionMode: 'sequential',
    }
    session = await ort.InferenceSession.create(model, options)
    const bytes = readFileSync(input)
    feeds = {
      input: new ort.Tensor('float32', new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), shape),
    }
  },
  async infer() {
    const start = performance.now()
    result = (await session.run(feeds)).output
    return { seconds: (performance.now() - start) / 1000 }
  },
  save({ output }) {
    writeFileSync(output, Buffer.from(result.data.buffer, result.data.byteOffset, result.data.byteLength))
    return { shape: result.dims }
  },
})
