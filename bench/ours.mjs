// wbsr as a contestant: the largest subnet of a network (a file with its graph, else an SRResNet family) on the batch that the
// peers get. Arguments: threads, and optionally a precision.
import { readFileSync, writeFileSync } from 'node:fs'
import { native } from '../dist/native.js'
import { srresnet } from '../dist/networks/srresnet.js'
import { serve } from './contest.mjs'
import { engineWeights } from './weights.mjs'

const threads = Number(process.argv[2])
const precision = /** @type {import('../dist/index.js').Precision | undefined} */ (process.argv[3])
let engine
let job
let result

const floats = (file) => {
  const bytes = readFileSync(file)
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
}

await serve({
  load({ graph, weights, input, target, shape, scale, widths, depths, learningRate }) {
    engine?.dispose()
    const described = graph ? JSON.parse(readFileSync(graph, 'utf8')) : srresnet({ scale, widths, depths }).graph
    engine = new native.Engine(described, { threads, ...(precision && { precision }) })
    engine.setArena('weights', engineWeights(engine, weights))
    const [batch, , height, width] = shape
    job = { lr: floats(input), batch, height, width }
    if (target) {
      const loss = { kind: 'l1', fidelity: 'l1', dimension: 1, sigma: 1, fidelityScale: 1 }
      Object.assign(job, {
        hr: floats(target),
        subnets: [engine.subnets.length - 1],
        loss,
        learningRate,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay: 0,
        emaDecay: 0,
      })
    }
    return { device: engine.device }
  },
  async infer() {
    const start = performance.now()
    result = await engine.forward(engine.subnets.length - 1, job.lr, job.batch, job.height, job.width)
    return { seconds: (performance.now() - start) / 1000 }
  },
  async train() {
    const start = performance.now()
    const { loss, finite } = await engine.train(job)
    if (!finite) throw new Error('the loss is not finite')
    return { seconds: (performance.now() - start) / 1000, loss }
  },
  save({ output }) {
    writeFileSync(output, Buffer.from(result.buffer, result.byteOffset, result.byteLength))
    return {}
  },
})
