// Subnet costs and parameter counts to the digit (method.md section 1), graph checks, presets.
import t from 'tap'
import * as api from '../../lib/index.js'
import { native } from '../../lib/native.js'
import { GraphBuilder, type Network } from '../../lib/networks/network.js'
import { rcan } from '../../lib/networks/rcan.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { edsr } from '../support/edsr.js'

function subnetsOf(network: Network) {
  const engine = new native.Engine(network.graph, { threads: 1 })
  const { subnets, parameterCount, parameters } = engine
  engine.dispose()
  return { subnets, parameterCount, names: parameters.map((p) => p.name) }
}

t.test('the nine SRResNet subnets of the paper', async (t) => {
  const { subnets, parameterCount } = subnetsOf(srresnet({ scale: 4, preset: 'paper' }))
  const expected: Record<string, [string, number]> = {
    '36x4': ['1.0849', 200_883],
    '36x8': ['1.2760', 294_483],
    '36x16': ['1.6582', 481_683],
    '52x4': ['2.2418', 417_459],
    '52x8': ['2.6406', 612_563],
    '52x16': ['3.4380', 1_002_771],
    '64x4': ['3.3821', 631_299],
    '64x8': ['3.9860', 926_723],
    '64x16': ['5.1940', 1_517_571],
  }
  t.equal(subnets.length, 9)
  for (const s of subnets) {
    t.same([(s.flops / 1e9).toFixed(4), s.parameters], expected[`${s.width}x${s.depth}`], `${s.width}x${s.depth}`)
  }
  t.equal(subnets[8]!.flops, 5_193_990_144)
  t.equal(parameterCount, 1_517_571)
  t.same(
    subnets.map((s) => `${s.width}x${s.depth}`),
    ['36x4', '36x8', '36x16', '52x4', '52x8', '64x4', '52x16', '64x8', '64x16'],
    'sorted by cost, not by width',
  )
  t.same(
    [...new Set(subnets.map((s) => s.receptiveField))].sort((a, b) => a - b),
    [11, 19, 35],
  )
})

t.test('SRResNet at x2 and x3', async (t) => {
  const x2 = subnetsOf(srresnet({ scale: 2, preset: 'paper' }))
  t.equal(x2.parameterCount, 1_369_859)
  t.equal((x2.subnets.at(-1)!.flops / 1e6).toFixed(1), '3037.6')
  // upconv1 has 9 nf filters at x3: 64 x 576 x 9 + 576 instead of x2's 64 x 256 x 9 + 256
  t.equal(subnetsOf(srresnet({ scale: 3 })).parameterCount, 1_369_859 + 320 * (64 * 9 + 1))
  t.ok(x2.names.includes('recon_trunk.15.conv2.weight'))
  t.ok(x2.names.includes('HRconv.bias'))
})

t.test('the nine RCAN subnets of the paper', async (t) => {
  const { subnets, parameterCount } = subnetsOf(rcan({ scale: 4 }))
  const expected: Record<string, string> = {
    '36x5': '3.164',
    '36x10': '5.552',
    '36x20': '10.330',
    '52x5': '6.578',
    '52x10': '11.562',
    '52x20': '21.530',
    '64x5': '9.951',
    '64x10': '17.501',
    '64x20': '32.600',
  }
  // The table leaves out mean shifts and attention (1 x 1 and pooled), which are far below its last digit.
  for (const s of subnets)
    t.match(
      Math.abs(s.flops / 1e9 - Number(expected[`${s.width}x${s.depth}`])) < 1e-3,
      true,
      `${s.width}x${s.depth} ${s.flops / 1e9}`,
    )
  t.equal(parameterCount, 15_592_379)
  t.equal(subnetsOf(rcan({ scale: 2 })).parameterCount, 15_444_667)
})

t.test('any width and depth list', async (t) => {
  const { subnets } = subnetsOf(srresnet({ scale: 2, widths: [7, 33], depths: [1, 3, 5] }))
  t.equal(subnets.length, 6)
  t.same(
    subnets.map((s) => s.flops),
    subnets.map((s) => s.flops).sort((a, b) => a - b),
  )
  t.equal(subnetsOf(srresnet({ scale: 4, widths: [64], depths: [16] })).subnets.length, 1)
})

t.test('a backbone is one TypeScript file', async (t) => {
  const { parameterCount, names } = subnetsOf(edsr({ scale: 2, widths: [32, 64], depths: [4, 8] }))
  t.equal(parameterCount, 779_011, 'as in ../shared/data/weights/README.md')
  t.ok(names.includes('body.7.body.2.weight'))
})

t.test('a small RCAN runs and trains', async (t) => {
  const engine = new native.Engine(rcan({ scale: 2, widths: [16, 32], depths: [1, 2], groups: 2 }).graph, {
    threads: 2,
  })
  t.teardown(() => engine.dispose())
  engine.initialise(1)
  const lr = Float32Array.from({ length: 2 * 3 * 12 * 12 }, (_, i) => (Math.sin(i * 0.37) + 1) / 2)
  const hr = Float32Array.from({ length: lr.length * 4 }, (_, i) => (Math.sin(i * 0.09) + 1) / 2)
  const losses: number[] = []
  for (let step = 0; step < 12; step++) {
    const report = await engine.train({
      lr,
      hr,
      batch: 2,
      width: 12,
      height: 12,
      subnets: [0, 3],
      loss: { kind: 'l1', fidelity: 'l1', dimension: 1, sigma: 0, fidelityScale: 1 },
      learningRate: 1e-3,
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      weightDecay: 0,
      emaDecay: 0,
    })
    losses.push(report.loss)
  }
  t.ok(losses.at(-1)! < losses[0]! * 0.9, `${losses[0]} -> ${losses.at(-1)}`)
})

t.test('errors for invalid graphs name the node', async (t) => {
  const refuse = (network: Network, message: RegExp) =>
    t.throws(() => new native.Engine(network.graph, { threads: 1 }), { code: 'WBSR_INVALID_OPTION', message })
  const family = { scale: 2, widths: [8, 12], depths: [1] }
  {
    const g = new GraphBuilder(family)
    refuse(g.build('x', g.conv('a', g.input(), 3)), /output is not 2 times the input's size/)
  }
  {
    const g = new GraphBuilder(family)
    refuse(g.build('x', g.pixelShuffle(g.conv('a', g.input(), 'width'), 2)), /output must have 3 channels/)
  }
  {
    const g = new GraphBuilder(family)
    refuse(g.build('x', g.pixelShuffle(g.conv('a', g.input(), 13), 2)), /multiple of 4 channels/)
  }
  {
    const g = new GraphBuilder(family)
    const x = g.input()
    refuse(g.build('x', g.add(g.conv('a', x, 'width'), x)), /channels at width 8/)
  }
  {
    const g = new GraphBuilder(family)
    const x = g.conv('a', g.input(), 'width')
    refuse(g.build('x', g.pixelShuffle(g.conv('a', x, 12), 2)), /the name a is taken/)
  }
  for (const slope of [-0.1, -1e-9, 1e40]) {
    const g = new GraphBuilder(family)
    const x = g.leakyRelu(g.conv('a', g.input(), 12), slope)
    refuse(g.build('x', g.pixelShuffle(x, 2)), /network node 2: Expected a number of at least 0 for slope but received/)
  }
  t.throws(() => srresnet({ scale: 5 as 4 }), {
    code: 'WBSR_INVALID_OPTION',
    message: /Expected an integer between 2 and 4 for scale but received 5/,
  })
  t.throws(() => srresnet({ scale: 4, widths: [] }), { message: /widths/ })
  t.throws(() => srresnet({ scale: 4, widths: [8, 8] }), { message: /distinct/ })
  t.throws(() => srresnet({ scale: 4, depths: [0] }), { message: /depths\[0\]/ })
  t.throws(() => srresnet({ scale: 4, width: [8] } as never), { message: /width/ })
})

t.test('scales are numbers, and both families are public', async (t) => {
  t.equal(api.rcan, rcan)
  t.equal(api.srresnet, srresnet)
  for (const family of [srresnet, rcan]) {
    for (const scale of ['2', 5, 2.5, undefined]) {
      t.throws(() => family({ scale: scale as 2 }), {
        code: 'WBSR_INVALID_OPTION',
        message: /Expected an integer between 2 and 4 for scale but received/,
      })
    }
  }
})
