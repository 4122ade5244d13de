// Every backbone as a family: it builds, its narrow subnets run, and it trains. What model.exportOnnx writes gives the same
// pixels in ONNX Runtime, for the largest and the narrowest subnet.
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import t from 'tap'
import { readSafetensors, type Tensor, writeSafetensors } from '../../lib/files/safetensors.js'
import * as api from '../../lib/index.js'
import { onnxOf } from '../../lib/models/graphs/onnx-export.js'
import { subnetTensors } from '../../lib/models/graphs/subnet-slices.js'
import { SupernetModel, UNTRAINED } from '../../lib/models/model.js'
import { native } from '../../lib/native.js'
import { backbones } from '../../lib/networks/all.js'
import type { Network } from '../../lib/networks/network.js'
import { largestDifference } from '../support/pictures.js'

const peer = path.resolve(import.meta.dirname, '../../bench/peers/onnxruntime')
const runtime: string | false = existsSync(path.join(peer, 'node_modules/onnxruntime-node'))
  ? false
  : 'bench/peers has no onnxruntime-node (node bench/run.mjs installs it)'

const small = { widths: [8, 12], depths: [1, 2] }
const families: Record<string, Network> = {
  carn: api.carn({ scale: 3, widths: small.widths }),
  'carn, mobile': api.carn({ scale: 4, widths: [8], groups: 4, mobile: true }),
  disp: api.disp({ scale: 2, ...small }),
  'disp, skip': api.disp({ scale: 2, ...small, skip: true }),
  edsr: api.edsr({ scale: 4, ...small, residualScale: 0.1 }),
  espcn: api.espcn({ scale: 3, widths: small.widths }),
  fmen: api.fmen({ scale: 2, ...small }),
  fsrcnn: api.fsrcnn({ scale: 3, ...small }),
  imdn: api.imdn({ scale: 2, widths: [16, 32], blocks: 2 }),
  plainusr: api.plainusr({ scale: 2, features: 40 }),
  rcan: api.rcan({ scale: 2, widths: [16, 32], depths: [1, 2], groups: 1 }),
  rfdn: api.rfdn({ scale: 2, widths: [10, 16], blocks: 2 }),
  rlfn: api.rlfn({ scale: 4, ...small }),
  'rlfn, pruned': api.rlfn({ scale: 2, widths: [12], depths: [1], middle: 14, attention: 5 }),
  rrdb: api.rrdb({ scale: 4, ...small, growth: 6 }),
  'rrdb, unshuffled': api.rrdb({ scale: 2, widths: [8, 12], depths: [1], plus: true }),
  'rrdb, same size': api.rrdb({ scale: 1, widths: [8], depths: [1] }),
  safmn: api.safmn({ scale: 2, ...small }),
  span: api.span({ scale: 2, widths: [8, 12], depths: [2, 3] }),
  spanf: api.spanf({ scale: 2, widths: [8, 12], depths: [1, 3] }),
  spanv2: api.spanv2({ scale: 3, widths: [8, 12], depths: [1, 3] }),
  srresnet: api.srresnet({ scale: 2, ...small }),
  'srresnet-prelu': api.srresnetPrelu({ scale: 2, ...small, tanh: true }),
  srvgg: api.srvgg({ scale: 2, ...small }),
  'srvgg, luma': api.srvgg({ scale: 2, widths: [8], depths: [1], convention: { channels: 1 } }),
}

const [height, width] = [32, 40]
const input = Float32Array.from({ length: 3 * height * width }, (_, i) => (Math.sin(i * 0.7) + 1) / 2)

t.test('every backbone is here and public', async (t) => {
  const here = new Set(Object.values(families).map((network) => network.name))
  const exported = Object.values(api)
  for (const { name, family } of backbones) {
    t.ok(here.has(name), name)
    t.ok(exported.includes(family as never), `${name} is exported`)
  }
  t.equal(here.size, backbones.length, 'and no other')
})

for (const [name, network] of Object.entries(families)) {
  t.test(`${name} trains`, async (t) => {
    const engine = new native.Engine(network.graph, { threads: 2 })
    t.teardown(() => engine.dispose())
    engine.initialise(3)
    const scale = network.scale
    const hr = Float32Array.from({ length: input.length * scale ** 2 }, (_, i) => (Math.sin(i * 0.09) + 1) / 2)
    const losses: number[] = []
    for (let step = 0; step < 6; step++) {
      const report = await engine.train({
        lr: input,
        hr,
        batch: 1,
        width,
        height,
        subnets: [...new Set([0, engine.subnets.length - 1])],
        loss: { kind: 'l1', fidelity: 'l1', dimension: 1, sigma: 0, fidelityScale: 1 },
        learningRate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay: 0,
        emaDecay: 0,
      })
      t.ok(report.finite)
      losses.push(report.loss)
    }
    t.ok(losses.at(-1)! < losses[0]!, `${losses[0]} -> ${losses.at(-1)}`)
  })

  t.test(`${name} is read again from the safetensors file that exportSafetensors writes`, async (t) => {
    const engine = new native.Engine(network.graph, { threads: 2 })
    engine.initialise(3)
    const state = { engine, network, fallbackReason: null, disposed: false }
    using model = new SupernetModel({ ...UNTRAINED, ...state })
    const lr: api.RawImage = { data: input, width, height, channels: 3 }
    const file = path.join(t.testdir(), 'model.safetensors')
    for (const subnet of new Set([0, model.subnets.length - 1])) {
      await model.exportSafetensors(file, { subnet })
      using read = await api.loadModel(file, { threads: 2 })
      const [ours, again] = [
        await model.upscale(lr, { router: { subnet }, tile: 'image' }),
        await read.upscale(lr, { tile: 'image' }),
      ]
      const largest = largestDifference(ours.data, again.data)
      t.equal(read.network.name, network.name)
      // Slices of features lie elsewhere in some narrow subnets, so that sums are rounded in another order.
      t.ok(largest < 1e-5, `${subnet}: ${largest}`)
    }
  })

  t.test(`${name} in ONNX Runtime`, { skip: runtime }, async (t) => {
    const ort = createRequire(path.join(peer, 'package.json'))('onnxruntime-node')
    const engine = new native.Engine(network.graph, { threads: 2 })
    t.teardown(() => engine.dispose())
    engine.initialise(5)
    for (const index of new Set([0, engine.subnets.length - 1])) {
      const subnet = engine.subnets[index]!
      const tensors = subnetTensors(network, subnet, engine.parameters, engine.getArena('weights'))
      const session = await ort.InferenceSession.create(onnxOf(network, subnet, tensors))
      const theirs = (await session.run({ input: new ort.Tensor('float32', input, [1, 3, height, width]) })).output
      const ours = await engine.forward(index, input, 1, height, width)
      const size = Math.max(1, ...ours.map(Math.abs))
      const largest = ours.reduce((most, v, i) => Math.max(most, Math.abs(v - theirs.data[i])), 0)
      t.equal(ours.length, theirs.data.length)
      t.ok(largest < 1e-4 * size, `${subnet.width}x${subnet.depth}: ${largest}, of ${size}`)
    }
  })
}

t.test('a file that says it holds a subnet and does not is refused', async (t) => {
  const network = families['disp, skip']!
  const engine = new native.Engine(network.graph, { threads: 2 })
  engine.initialise(3)
  using model = new SupernetModel({ ...UNTRAINED, engine, network, fallbackReason: null, disposed: false })
  const file = path.join(t.testdir(), 'model.safetensors')
  await model.exportSafetensors(file)
  const { tensors, metadata } = await readSafetensors(file)
  const about = JSON.parse(metadata['wbsr.subnet']!)
  const refuse = async (list: Tensor[], subnet: unknown, message: RegExp) => {
    await writeSafetensors(file, list, { ...metadata, 'wbsr.subnet': JSON.stringify(subnet) })
    await t.rejects(api.loadModel(file), { code: 'WBSR_INVALID_FILE', message })
  }
  const all = [...tensors.values()]
  await refuse(all.slice(1), about, /has no tensor .*, which its network needs/)
  await refuse([...all, { ...all[0]!, name: 'other' }], about, /has a tensor other that its network does not have/)
  await refuse(all, { ...about, network: { ...about.network, depths: [7] } }, /is not the network of one subnet/)
  await refuse(all, { ...about, network: network }, /it has several subnets/)
  await refuse(all, { ...about, mean: [1] }, /is not \{ network, title, range, mean, channels \}/)
})
