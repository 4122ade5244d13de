// wbsr as a contestant on any network of lib/networks: the largest subnet on one batch. Argument: threads.
import { readFileSync, writeFileSync } from 'node:fs'
import { native } from '../dist/native.js'
import { serve } from './contest.mjs'
import { engineWeights } from './weights.mjs'

const threads = Number(process.argv[2])
let engine
let lr
let dims
let result

await serve({
  load({ graph, weights, input, shape }) {
    engine = new native.Engine(JSON.parse(readFileSync(graph, 'utf8')), { threads })
    engine.setArena('weights', engineWeights(engine, weights))
    const bytes = readFileSync(input)
    lr = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
    dims = shape
    return { device: engine.device }
  },
  async infer() {
    const [batch, , height, width] = dims
    const start = performance.now()
    result = await engine.forward(engine.subnets.length - 1, lr, batch, height, width)
    return { seconds: (performance.now() - start) / 1000 }
  },
  save({ output }) {
    writeFileSync(output, Buffer.from(result.buffer, result.byteOffset, result.byteLength))
    return {}
  },
})
