// slimFrom: the largest subnet is the model to the bit, narrower ones are the same network with channels left out that
// belong together, and what cannot be cut is refused with a reason.
import { existsSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import * as api from '../../lib/index.js'
import { averageModels, loadModel, type SupernetModel as Model, SupernetModel, slimFrom } from '../../lib/index.js'
import { subnetTensors } from '../../lib/models/graphs/subnet-slices.js'
import { stateOf, UNTRAINED } from '../../lib/models/model.js'
import { tiesOf } from '../../lib/models/slim/ties.js'
import { native } from '../../lib/native.js'
import { GraphBuilder, type Network } from '../../lib/networks/network.js'
import { graphNodes } from '../../lib/networks/nodes.js'
import { randomFor } from '../../lib/random.js'

const shared = path.resolve(import.meta.dirname, '../../../shared/data')
const absent = existsSync(shared) ? false : '../shared/data is not here'

/** A network with random weights, every value of which matters: biases and slopes too. */
function modelOf(network: Network): Model {
  const engine = new native.Engine(network.graph, { threads: 2 })
  engine.initialise(5)
  const weights = engine.getArena('weights')
  for (const { name, offset, count } of engine.parameters)
    if (!name.endsWith('.weight')) for (let i = 0; i < count; i++) weights[offset + i] = Math.sin(offset + i) / 10
  engine.setArena('weights', weights)
  return new SupernetModel({ ...UNTRAINED, engine, network, fallbackReason: null, disposed: false })
}

const [height, width] = [32, 40]
const input = Float32Array.from({ length: 3 * height * width }, (_, i) => (Math.sin(i * 0.7) + 1) / 2)
const forward = (model: Model, subnet: number) => stateOf(model).engine.forward(subnet, input, 1, height, width)

/** As another tool's file would give it: one width, one depth. */
const families: Record<string, { network: Network; widths: number[]; depths?: number[] }> = {
  carn: { network: api.carn({ scale: 3, widths: [12] }), widths: [7, 12] },
  disp: { network: api.disp({ scale: 2, widths: [12], depths: [3] }), widths: [8, 12], depths: [1, 3] },
  edsr: { network: api.edsr({ scale: 4, widths: [12], depths: [3] }), widths: [8, 12], depths: [2, 3] },
  espcn: { network: api.espcn({ scale: 3, widths: [12] }), widths: [5, 8, 12] },
  fmen: { network: api.fmen({ scale: 2, widths: [12], depths: [2] }), widths: [8, 12], depths: [1, 2] },
  fsrcnn: { network: api.fsrcnn({ scale: 3, widths: [12], depths: [2] }), widths: [8, 12], depths: [1, 2] },
  imdn: { network: api.imdn({ scale: 2, widths: [32], blocks: 2 }), widths: [16, 24, 32] },
  rcan: {
    network: api.rcan({ scale: 4, widths: [32], depths: [2], groups: 2 }),
    widths: [16, 24, 32],
    depths: [1, 2],
  },
  rfdn: { network: api.rfdn({ scale: 2, widths: [16], blocks: 2 }), widths: [8, 10, 16] },
  rlfn: {
    network: api.rlfn({ scale: 4, widths: [12], depths: [3], middle: 14, attention: 5 }),
    widths: [6, 8, 12],
    depths: [1, 3],
  },
  rrdb: { network: api.rrdb({ scale: 4, widths: [12], depths: [2], growth: 6 }), widths: [8, 12], depths: [1, 2] },
  'rrdb, plus': { network: api.rrdb({ scale: 2, widths: [12], depths: [1], plus: true }), widths: [6, 12] },
  safmn: { network: api.safmn({ scale: 2, widths: [24], depths: [2] }), widths: [8, 16, 24], depths: [1, 2] },
  span: { network: api.span({ scale: 2, widths: [12], depths: [4] }), widths: [7, 12], depths: [2, 3, 4] },
  spanf: { network: api.spanf({ scale: 2, widths: [12], depths: [3] }), widths: [8, 12], depths: [2, 3] },
  spanv2: { network: api.spanv2({ scale: 3, widths: [12], depths: [3] }), widths: [8, 12], depths: [1, 3] },
  srresnet: { network: api.srresnet({ scale: 4, widths: [12], depths: [3] }), widths: [5, 12], depths: [1, 3] },
  'srresnet-prelu': {
    network: api.srresnetPrelu({ scale: 2, widths: [12], depths: [2] }),
    widths: [8, 12],
    depths: [1, 2],
  },
  srvgg: { network: api.srvgg({ scale: 2, widths: [12], depths: [4] }), widths: [4, 8, 12], depths: [2, 4] },
}

/** One subnet as a network of its own, with the weights that are left. */
async function alone(model: Model, subnet: { width: number; depth: number }): Promise<Model> {
  const { engine } = stateOf(model)
  const { scale, graph } = model.network
  const tensors = subnetTensors(model.network, subnet, engine.parameters, await engine.readWeights())
  // Stacks are taken out by hand; channels become fixed numbers.
  const nodes = graphNodes(graph)
  const of = nodes.map((node, i) => (node.op === 'stack' ? node.inputs[subnet.depth]! : i))
  const keep = (node: number): number => (of[node] === node ? node : keep(of[node]!))
  const used = nodes.map(() => false)
  used[keep(graph.output)] = true
  for (let i = nodes.length - 1; i >= 0; i--) if (used[i]) for (const n of nodes[i]!.inputs) used[keep(n)] = true
  const place = new Map<number, number>()
  const left = nodes.flatMap((node, i) => {
    if (!used[i]) return []
    place.set(i, place.size)
    const inputs = node.inputs.map((n) => place.get(keep(n))!)
    const { order: _, ...rest } = { order: undefined, ...node }
    const fixed = (rule: object) =>
      'fixed' in rule
        ? rule
        : { fixed: Math.floor((Number(Reflect.get(rule, 'num')) * subnet.width) / Number(Reflect.get(rule, 'den'))) }
    return [
      {
        ...rest,
        inputs,
        ...('channels' in node && node.channels && { channels: fixed(node.channels) }),
        ...(node.op === 'slice' && { from: fixed(node.from) }),
      },
    ]
  })
  const widths = [subnet.width]
  const network = {
    name: 'alone',
    scale,
    widths,
    depths: [1],
    graph: { scale, widths, depths: [1], nodes: left, output: place.get(keep(graph.output))! },
  } as unknown as Network
  const plain = new native.Engine(network.graph, { threads: 2 })
  const weights = new Float32Array(plain.parameterCount)
  for (const { name, shape, offset } of plain.parameters) {
    const tensor = tensors.get(name)!
    if (JSON.stringify(tensor.shape) !== JSON.stringify(shape))
      throw new Error(`${name}: ${tensor.shape} is no ${shape}`)
    weights.set(tensor.data, offset)
  }
  plain.setArena('weights', weights)
  return new SupernetModel({ ...UNTRAINED, engine: plain, network, fallbackReason: null, disposed: false })
}

const largestGap = (a: Float32Array, b: Float32Array) =>
  a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0)

for (const [name, { network, widths, depths }] of Object.entries(families)) {
  t.test(name, async (t) => {
    using model = modelOf(network)
    using slim = await slimFrom(model, { widths, ...(depths && { depths }) })
    t.equal(slim.subnets.length, widths.length * (depths?.length ?? 1))
    const ordered = slim.network.graph.nodes.filter(({ order }) => order !== undefined)
    t.ok(ordered.length > 0, 'channels have an order')
    t.same(await forward(slim, slim.subnets.length - 1), await forward(model, 0), 'the largest subnet, to the bit')
    t.same(slim.subnets.at(-1)!.flops, model.subnets[0]!.flops)
    for (const subnet of slim.subnets.slice(0, -1)) {
      using single = await alone(slim, subnet)
      const out = await forward(slim, subnet.index)
      const gap = largestGap(out, await forward(single, 0))
      t.ok(gap < 1e-4 && out.every(Number.isFinite), `${subnet.width}x${subnet.depth} is its channels alone: ${gap}`)
      t.equal(single.subnets[0]!.flops, subnet.flops)
    }
  })
}

// A network of which some channels do nothing loses nothing without them.
t.test('channels without influence are the first to go', async (t) => {
  for (const [name, { network, widths }] of Object.entries(families)) {
    if (name === 'safmn') continue // Normalises over all channels, those that do nothing included.
    const narrow = widths.at(-2)!
    using model = modelOf(network)
    const { engine } = stateOf(model)
    const ties = tiesOf({ ...network, depths: network.depths })
    const weights = engine.getArena('weights')
    // The first channels of each group, so that keeping the first ones would be wrong.
    const dead = new Map<number, Set<number>>()
    for (const { atoms } of ties.groups)
      for (const atom of atoms.slice(0, atoms.length - Math.floor((atoms.length * narrow) / widths.at(-1)!)))
        for (const [node, channels] of atom.places) {
          const known = dead.get(node) ?? new Set()
          for (const c of channels) known.add(c)
          dead.set(node, known)
        }
    const nodes = graphNodes(network.graph)
    nodes.forEach((node, i) => {
      if (!('name' in node)) return
      for (const part of ['weight', 'bias'] as const) {
        const parameter = engine.parameters.find((p) => p.name === `${node.name}.${part}`)
        if (!parameter) continue
        const { shape, offset, count } = parameter
        const rows = shape[0]!
        const isTransposed = node.op === 'convTranspose' && part === 'weight'
        for (let r = 0; r < rows; r++) {
          if (!isTransposed && dead.get(i)?.has(r))
            weights.fill(0, offset + (r * count) / rows, offset + ((r + 1) * count) / rows)
        }
        if (
          part === 'bias' ||
          (node.op === 'conv' && (node.depthwise || (node.groups ?? 1) > 1)) ||
          node.op === 'prelu'
        )
          continue
        const columns = shape[1]!
        const area = count / (rows * columns)
        for (let r = 0; r < rows; r++)
          for (let c = 0; c < columns; c++) {
            const channel = isTransposed ? r : c
            if (dead.get(node.inputs[0])?.has(channel))
              weights.fill(0, offset + (r * columns + c) * area, offset + (r * columns + c + 1) * area)
          }
      }
    })
    engine.setArena('weights', weights)
    using slim = await slimFrom(model, { widths: [narrow, widths.at(-1)!] })
    const [small, large] = [await forward(slim, 0), await forward(slim, 1)]
    const gap = largestGap(small, large) / large.reduce((most, v) => Math.max(most, Math.abs(v)), 0)
    t.ok(gap < 1e-5, `${name}: without them ${gap}`)
  }
})

t.test('channels that belong together', async (t) => {
  const g = new GraphBuilder({ scale: 2, widths: [8], depths: [1] })
  const image = g.input()
  const a = g.conv('a', image, 'width')
  const b = g.conv('b', a, 'width')
  const sum = g.add(b, a)
  const gate = g.multiply(sum, g.sigmoid(g.depthwiseConv('deep', g.conv('c', sum, 'width'))))
  const half = g.slice(gate, 0, { of: 1, per: 2 })
  const rest = g.slice(gate, { of: 1, per: 2 }, { of: 1, per: 2 })
  const joined = g.concat([rest, g.conv('d', half, 'width')])
  const up = g.pixelShuffle(g.conv('up', joined, { times: 4 }), 2)
  const { groups } = tiesOf(g.build('ties', g.conv('out', up, 3)))
  const names = (nodes: Iterable<number>) =>
    [...nodes].map((i) => graphNodes({ ...g, output: 0 } as never)[i]!).flatMap((n) => ('name' in n ? [n.name] : []))
  t.same(
    groups.map(({ atoms }) => [atoms.length, names(atoms[0]!.places.keys()), [...atoms[0]!.places.values()].at(-1)]),
    [
      [4, ['a', 'b', 'c', 'deep'], [0]],
      [4, ['a', 'b', 'c', 'deep'], [0]],
      [8, ['d'], [4]],
      [8, ['up'], [0]],
    ],
  )
  t.same(groups[3]!.atoms[2]!.places.get(12), [8, 9, 10, 11], 'all sub-pixels of a channel')
})

t.test('importance on pictures', async (t) => {
  // Channels with large weights that a bias switches off.
  const g = new GraphBuilder({ scale: 2, widths: [8], depths: [1] })
  const hidden = g.relu(g.conv('first', g.input(), 'width'))
  const network = g.build('switched', g.pixelShuffle(g.conv('last', hidden, 12), 2))
  using model = modelOf(network)
  const { engine } = stateOf(model)
  const weights = engine.getArena('weights')
  const offsetOf = (name: string) => engine.parameters.find((p) => p.name === name)!.offset
  for (const channel of [0, 2, 3, 6]) {
    weights[offsetOf('first.bias') + channel] = -1e4
    for (let i = 0; i < 27; i++) weights[offsetOf('first.weight') + 27 * channel + i]! *= 10
  }
  engine.setArena('weights', weights)
  const random = randomFor(4)
  const image = {
    data: Uint8Array.from({ length: 70 * 66 * 3 }, () => random.integer(256)),
    width: 70,
    height: 66,
    channels: 3 as const,
  }
  const orderOf = ({ network }: Model) => network.graph.nodes.find(({ name }) => name === 'first')!['order']
  using measured = await slimFrom(model, { widths: [4, 8], pictures: [image] })
  t.same(orderOf(measured), [1, 4, 5, 7, 0, 2, 3, 6])
  t.ok(largestGap(await forward(measured, 0), await forward(measured, 1)) < 1e-5)
  t.same(await forward(measured, 1), await forward(model, 0))
  using judged = await slimFrom(model, { widths: [4, 8] })
  t.same(orderOf(judged), [0, 2, 3, 6, 1, 4, 5, 7], 'by the weights')
  const refuse = (pictures: unknown, error: { code: string; message?: RegExp }) =>
    t.rejects(slimFrom(model, { widths: [4, 8], pictures: pictures as never }), error)
  await refuse([], { code: 'WBSR_INVALID_OPTION', message: /1 to 16 pictures for pictures/ })
  await refuse(['missing.png'], { code: 'WBSR_NOT_FOUND' })
  await refuse([new Uint8Array(9)], { code: 'WBSR_INVALID_IMAGE', message: /pictures\[0\]/ })
})

t.test('a slimmed model trains, is saved and exported', async (t) => {
  const file = path.join(t.testdir(), 'slim.safetensors')
  using model = modelOf(api.rlfn({ scale: 2, widths: [12], depths: [2] }))
  using slim = await slimFrom(model, { widths: [8, 12], depths: [1, 2] })
  await slim.save(file)
  using again = await api.loadSupernet(file, { threads: 2 })
  for (const { index } of slim.subnets)
    t.same(await forward(again, index), await forward(slim, index), `subnet ${index}`)
  const { engine } = stateOf(slim)
  const before = engine.getArena('weights')
  const hr = Float32Array.from({ length: input.length * 4 }, (_, i) => (Math.sin(i * 0.09) + 1) / 2)
  const report = await engine.train({
    lr: input,
    hr,
    batch: 1,
    width,
    height,
    subnets: [0],
    loss: { kind: 'l1', fidelity: 'l1', dimension: 1, sigma: 0, fidelityScale: 1 },
    learningRate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0,
    emaDecay: 0,
  })
  t.ok(report.finite)
  const after = engine.getArena('weights')
  // What the smallest subnet leaves out is not touched.
  const { parameters } = engine
  const { offset } = parameters.find(({ name }) => name === 'conv_1.bias')!
  const { order } = slim.network.graph.nodes.find(({ name }) => name === 'conv_1')! as unknown as { order: number[] }
  const changed = order.map((channel) => after[offset + channel] !== before[offset + channel])
  t.same(changed, [...Array(8).fill(true), ...Array(4).fill(false)])
})

t.test('weights between two models', async (t) => {
  using model = modelOf(api.rlfn({ scale: 2, widths: [12], depths: [2] }))
  using start = await slimFrom(model, { widths: [8, 12] })
  using trained = await slimFrom(model, { widths: [8, 12] })
  const { engine } = stateOf(trained)
  const weights = engine.getArena('weights')
  engine.setArena(
    'weights',
    weights.map((v) => 3 * v),
  )
  using between = await averageModels(trained, start, { share: 0.25 })
  const made = stateOf(between).engine.getArena('weights')
  t.ok(
    largestGap(
      made,
      weights.map((v) => 1.5 * v),
    ) < 1e-6,
  )
  using own = await averageModels(trained, start, { share: 0 })
  t.same(await forward(own, 1), await forward(model, 0))
  t.equal(between.router, null)
  const refuse = (other: unknown, options: object, message: RegExp) =>
    t.rejects(averageModels(trained, other as Model, options), { code: 'WBSR_INVALID_OPTION', message })
  await refuse(model, {}, /a model of the same network \(widths is \[12\] there and \[8,12\] here\) for start/)
  await refuse(start, { share: 1.1 }, /between 0 and 1 for share/)
  await refuse(5, {}, /a model for start but received 5/)
})

t.test('what cannot be cut', async (t) => {
  const refuse = async (network: Network, options: object, message: RegExp) => {
    using model = modelOf(network)
    await t.rejects(slimFrom(model, options), { code: 'WBSR_INVALID_OPTION', message })
  }
  const rlfn = api.rlfn({ scale: 2, widths: [12], depths: [3] })
  await refuse(
    rlfn,
    { widths: [8, 16] },
    /Expected widths of which the largest is the model's own, 12, for widths but received \[8, 16\]/,
  )
  await refuse(rlfn, { widths: [8] }, /largest is the model's own, 12/)
  await refuse(rlfn, { depths: [1, 4] }, /depths of which the largest is the model's own, 3/)
  await refuse(rlfn, { widths: [8, 8, 12] }, /ascending distinct values for widths/)
  await refuse(rlfn, { widths: 8 }, /array of integers for widths/)
  await refuse(rlfn, { width: [8] }, /slimFrom options/)
  await refuse(api.carn({ scale: 2, widths: [12] }), { depths: [1, 3] }, /carn has no blocks that can be left out/)
  await refuse(api.span({ scale: 2, widths: [12], depths: [3] }), { depths: [1, 2, 3] }, /1 and 2 are the same blocks/)
  await refuse(
    api.plainusr({ scale: 2, features: 40 }),
    { widths: [20, 40] },
    /Expected \[40\] or nothing \(the layers of plainusr have fixed channels\) for widths/,
  )
  await refuse(api.safmn({ scale: 2, widths: [12], depths: [1] }), { widths: [6, 12] }, /at 6 .* belong together/)
  await refuse(
    api.rcan({ scale: 2, widths: [32], depths: [1], groups: 1 }),
    { widths: [8, 32] },
    /at 8 nothing is left of .*conv_du/,
  )
  const mobile = api.carn({ scale: 2, widths: [8], groups: 4, mobile: true })
  await refuse(mobile, { widths: [4, 8] }, /Expected widths to which the network can be cut/)
  await t.rejects(slimFrom({} as never, {}), { code: 'WBSR_INVALID_OPTION', message: /a model of loadModel/ })
  const gone = modelOf(rlfn)
  gone.dispose()
  await t.rejects(slimFrom(gone, { widths: [8, 12] }), { code: 'WBSR_DISPOSED' })
})

t.test('published models', { skip: absent }, async (t) => {
  const files: [string, number[], number[]][] = [
    ['weights/rlfn_x2.pth', [32, 44, 52], [2, 4, 6]],
    ['zoo/span_ntire26_x4/team00_SPAN.pth', [16, 28], [2, 4, 6]],
    ['zoo/animevideov3_x4_pth/realesr-animevideov3.pth', [32, 64], [8, 16]],
    ['zoo/imdn_x2/IMDN_x2.pth', [32, 64], [6]],
    ['weights/edsr_r8f64_x2.pth', [32, 64], [4, 8]],
  ]
  for (const [file, widths, depths] of files) {
    using model = await loadModel(path.join(shared, file), { device: 'cpu', threads: 2 })
    using slim = await slimFrom(model, { widths, depths })
    t.same(await forward(slim, slim.subnets.length - 1), await forward(model, 0), file)
    t.equal(slim.architecture.title, model.architecture.title)
  }
  using graph = await loadModel(path.join(shared, 'zoo/spankendata_x4_onnx/4xSPANkendata_fp32.onnx'), { threads: 2 })
  await t.rejects(slimFrom(graph, { widths: [24, 48] }), {
    code: 'WBSR_INVALID_OPTION',
    message: /layers of onnx have fixed channels/,
  })
})
