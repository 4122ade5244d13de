// The loss option, its controller over a run, the mixture from pixels, and the native functions beneath.
import t from 'tap'
import type { Mixture } from '../../lib/model-state.js'
import { type NativeLoss, native } from '../../lib/native.js'
import { type CheckedLoss, checkLoss, LossController } from '../../lib/train/loss.js'
import { LOSSES } from '../../lib/train/loss-names.js'
import { fitPixelMixture, fromNativeMixture, toNativeMixture } from '../../lib/train/mixture.js'

const bd = (options: object = {}) => checkLoss({ kind: 'bd', ...options }) as CheckedLoss & { kind: 'bd' }

/** Deterministic bytes that look like a picture's: dark, with a bright share. */
function pixels(count: number): Uint8Array {
  let state = 7
  const next = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648
  return Uint8Array.from({ length: count * 3 }, (_, n) => {
    const bright = Math.floor(n / 3) % 5 === 0
    return Math.round((bright ? 200 : 60) + 30 * (next() + next() + next() - 1.5) * 2)
  })
}

const one: Mixture = { dimension: 1, weights: [1], means: [[0.4]], covariances: [[[0.01]]] }

t.test('checkLoss fills in the defaults', async (t) => {
  const defaults = {
    kind: 'bd',
    space: 'channel',
    dimension: 1,
    components: 8,
    sigma: { initial: 0.02, final: null, learn: false, learningRate: 1e-3, floor: 0.005, cap: 0.08 },
    fidelity: 'l1',
    typicalResidual: null,
    minStd: 4 / 255,
  }
  t.same(checkLoss(undefined), defaults)
  t.same(checkLoss('bd'), defaults)
  t.same(checkLoss({ kind: 'bd' }), defaults)
  t.same(checkLoss('l1'), { kind: 'l1' })
  t.same(checkLoss({ kind: 'l2' }), { kind: 'l2' })
  t.same(checkLoss({ kind: 'l2', frequency: 0.05 }), { kind: 'l2', frequency: 0.05 })
  t.same(checkLoss({ kind: 'bd', frequency: 0.1 }), { ...defaults, frequency: 0.1 })
  t.same(checkLoss({ kind: 'bd', frequency: 0 }), defaults, 'no term is as before')
  t.equal(bd({ space: 'rgb' }).dimension, 3)
  t.equal(bd({ sigma: 0.1 }).sigma.initial, 0.1)
  t.match(bd({ sigma: { initial: 0.01, final: 0.05 } }).sigma, { initial: 0.01, final: 0.05, learn: false })
  t.match(bd({ sigma: { initial: 0.01, learn: true, floor: 0.008, cap: 0.02, learningRate: 0.01 } }).sigma, {
    learn: true,
    floor: 0.008,
    cap: 0.02,
    learningRate: 0.01,
  })
  t.same(JSON.parse(JSON.stringify(checkLoss('bd'))), checkLoss('bd'), 'plain data')
})

t.test('checkLoss names what is wrong', async (t) => {
  const names = LOSSES.map((name) => `'${name}'`).join(', ')
  const wrong: [unknown, string][] = [
    ['huber', `Expected one of ${names} for loss but received "huber"`],
    [null, 'Expected an object for loss but received null'],
    [{}, `Expected one of ${names} for loss.kind but received undefined`],
    [
      { kind: 'l1', sigma: 0.1 },
      'Expected no other keys than kind, frequency for loss of kind \'l1\' but received "sigma"',
    ],
    [{ kind: 'l1', frequency: -0.1 }, 'Expected a number between 0 and 10 for loss.frequency but received -0.1'],
    [{ kind: 'bd', frequency: '1' }, 'Expected a number between 0 and 10 for loss.frequency but received "1"'],
    [
      { kind: 'bd', sigmas: 1 },
      'Expected no other keys than kind, space, components, sigma, fidelity, typicalResidual, minStd, frequency for loss but received "sigmas"',
    ],
    [{ kind: 'bd', space: 'yuv' }, "Expected one of 'channel', 'rgb' for loss.space but received \"yuv\""],
    [{ kind: 'bd', components: 33 }, 'Expected an integer between 1 and 32 for loss.components but received 33'],
    [{ kind: 'bd', sigma: 0 }, 'Expected a number between 0.001 and 1 for loss.sigma but received 0'],
    [
      { kind: 'bd', sigma: '0.1' },
      'Expected a number between 0.001 and 1 or an object for loss.sigma but received "0.1"',
    ],
    [{ kind: 'bd', sigma: {} }, 'Expected a number between 0.001 and 1 for loss.sigma.initial but received undefined'],
    [
      { kind: 'bd', sigma: { initial: 0.1, learn: true, final: 0.2 } },
      'Expected no value together with learn for loss.sigma.final but received 0.2',
    ],
    [
      { kind: 'bd', sigma: { initial: 0.1, cap: 0.2 } },
      'Expected no value without learn for loss.sigma.cap but received 0.2',
    ],
    [
      { kind: 'bd', sigma: { initial: 0.1, learn: true, cap: 0.05 } },
      'Expected a number between 0.1 and 1 for loss.sigma.cap but received 0.05',
    ],
    [
      { kind: 'bd', sigma: { initial: 0.1, learn: true, floor: 0.2 } },
      'Expected a number between 0.001 and 0.1 for loss.sigma.floor but received 0.2',
    ],
    [{ kind: 'bd', sigma: { initial: 0.1, learn: 1 } }, 'Expected a boolean for loss.sigma.learn but received 1'],
    [
      { kind: 'bd', fidelity: 'charbonnier' },
      "Expected one of 'l1', 'l2' for loss.fidelity but received \"charbonnier\"",
    ],
    [
      { kind: 'bd', fidelity: 'l2', typicalResidual: 0.1 },
      `Expected no value with fidelity 'l2' for loss.typicalResidual but received 0.1`,
    ],
    [
      { kind: 'bd', typicalResidual: -1 },
      'Expected a number between 0.0001 and 1 for loss.typicalResidual but received -1',
    ],
    [{ kind: 'bd', minStd: 0 }, `Expected a number between ${1 / 255} and 0.5 for loss.minStd but received 0`],
  ]
  for (const [options, message] of wrong)
    t.throws(() => checkLoss(options), { code: 'WBSR_INVALID_OPTION', message }, message)
})

t.test('fitPixelMixture: a histogram for channels, full covariances for RGB, seeded', async (t) => {
  const sample = pixels(30000)
  const channel = await fitPixelMixture(sample, { dimension: 1, components: 2, minStd: 4 / 255, seed: 3 })
  t.ok(Math.abs(channel.weights[1]! - 0.2) < 0.01, `weight of the bright share: ${channel.weights[1]}`)
  t.ok(Math.abs(channel.means[0]![0]! - 60 / 255) < 0.01, `mean of the dark share: ${channel.means[0]![0]}`)
  t.ok(Math.abs(Math.sqrt(channel.covariances[0]![0]![0]!) - 30 / 255) < 0.01, 'deviation of the dark share')
  const options = { dimension: 3, components: 4, minStd: 4 / 255, seed: 3, maxSamples: 5000 } as const
  const rgb = await fitPixelMixture(sample, options)
  t.same(
    [rgb.weights.length, rgb.means[0]!.length, rgb.covariances[3]!.length, rgb.covariances[3]![2]!.length],
    [4, 3, 3, 3],
  )
  t.same(await fitPixelMixture(sample, options), rgb, 'the same again')
  t.same(fromNativeMixture(toNativeMixture(rgb), 3), rgb, 'flat and back')
  t.same(JSON.parse(JSON.stringify(rgb)), rgb, 'JSON and back')
  const flat = await fitPixelMixture(new Uint8Array(300).fill(51), {
    dimension: 1,
    components: 8,
    minStd: 4 / 255,
    seed: 1,
  })
  t.ok(Math.abs(flat.weights[0]! - 1) < 1e-9 && Math.abs(flat.means[0]![0]! - 0.2) < 1e-6, 'one value only')
  await t.rejects(fitPixelMixture(new Uint8Array(0), options), { code: 'WBSR_INVALID_OPTION' })
  await t.rejects(fitPixelMixture(new Uint8Array(4), options), { code: 'WBSR_INVALID_OPTION' })
  await t.rejects(fitPixelMixture(sample, { ...options, components: 99 }), {
    code: 'WBSR_INVALID_OPTION',
    message: /1 to 32 mixture components/,
  })
})

t.test('native.evaluateLoss: plain losses by hand', async (t) => {
  const x = Float32Array.of(0.5, 0.25, 1)
  const y = Float32Array.of(0.25, 0.25, 1.5)
  const plain = { fidelity: 'l1', dimension: 1, sigma: 0, fidelityScale: 1 } as const
  const l1 = await native.evaluateLoss(x, y, { ...plain, kind: 'l1' })
  t.equal(l1.loss, 0.25)
  t.same(Array.from(l1.gradient), [1 / 3, 0, -1 / 3].map(Math.fround))
  t.same([l1.balance, l1.balanceGradient, l1.sigmaGradient], [0, 0, 0])
  t.ok(Math.abs(l1.dataGradient - 2 / 3) < 1e-9)
  const l2 = await native.evaluateLoss(x, y, { ...plain, kind: 'l2' })
  t.ok(Math.abs(l2.loss - 0.3125 / 3) < 1e-9)
  t.same(Array.from(l2.gradient), [0.5 / 3, 0, -1 / 3].map(Math.fround))
  t.ok(Math.abs(l2.dataGradient - 0.5) < 1e-9)
})

t.test('native.evaluateLoss: one Gaussian by hand', async (t) => {
  const [s2, v, mu, x, y] = [0.01, 0.0025, 0.4, 0.7, 0.6]
  const spec: NativeLoss = {
    kind: 'bd',
    fidelity: 'l2',
    dimension: 1,
    sigma: Math.sqrt(v),
    fidelityScale: 1,
    mixture: toNativeMixture(one),
  }
  const close = (got: number, wanted: number, what: string) =>
    t.ok(Math.abs(got - wanted) < 1e-5 * Math.abs(wanted), `${what}: ${got}, wanted ${wanted}`)
  const lse = -0.5 * Math.log(2 * Math.PI * (s2 + v)) - (x - mu) ** 2 / (2 * (s2 + v))
  const slope = -(x - mu) / (s2 + v)
  const l2 = await native.evaluateLoss(Float32Array.of(x), Float32Array.of(y), spec)
  close(l2.data, (x - y) ** 2, 'data')
  close(l2.balance, 2 * v * lse, 'balance')
  close(l2.loss, (x - y) ** 2 + 2 * v * lse, 'loss')
  close(l2.gradient[0]!, 2 * (x - y) + 2 * v * slope, 'gradient')
  close(l2.dataGradient, 2 * (x - y), 'data gradient')
  close(l2.balanceGradient, -2 * v * slope, 'balancing gradient')
  const perVariance =
    -((x - y) ** 2) / (2 * v * v) + 1 / (2 * v) - 1 / (2 * (s2 + v)) + (x - mu) ** 2 / (2 * (s2 + v) ** 2)
  close(l2.sigmaGradient, 2 * v * 2 * Math.sqrt(v) * perVariance, 'sigma gradient')
  const c = await native.fidelityScale({ ...spec, fidelity: 'l1' }, 0.05)
  close(c, (1.1 * 2 * v * 0.6) / (s2 + v), 'the largest slope is at 1, farthest from the mean')
  const l1 = await native.evaluateLoss(Float32Array.of(x), Float32Array.of(y), {
    ...spec,
    fidelity: 'l1',
    fidelityScale: c,
  })
  close(l1.loss, x - y + ((2 * v) / c) * lse, 'l1 loss')
  close(l1.gradient[0]!, 1 + ((2 * v) / c) * slope, 'l1 gradient')
  close(l1.sigmaGradient, l2.sigmaGradient / c, 'l1 sigma gradient')
  const outside = await native.evaluateLoss(Float32Array.of(1.2), Float32Array.of(y), {
    ...spec,
    fidelity: 'l1',
    fidelityScale: c,
  })
  t.equal(outside.gradient[0], 1, 'outside [0, 1] only the data term pulls')
  close(
    outside.balance,
    ((2 * v) / c) * (-0.5 * Math.log(2 * Math.PI * (s2 + v)) - 0.36 / (2 * (s2 + v))),
    'outside [0, 1] the balance is that of the edge',
  )
})

t.test('native loss functions refuse wrong arguments', async (t) => {
  const x = new Float32Array(3)
  const spec: NativeLoss = {
    kind: 'bd',
    fidelity: 'l1',
    dimension: 1,
    sigma: 0.02,
    fidelityScale: 0.02,
    mixture: toNativeMixture(one),
  }
  const wrong = (loss: unknown, message: RegExp) =>
    t.throws(
      () => native.evaluateLoss(x, x, loss as NativeLoss),
      { code: 'WBSR_INVALID_OPTION', message },
      String(message),
    )
  wrong({ ...spec, kind: 'l3' }, /loss\.kind/)
  wrong({ ...spec, dimension: 2 }, /loss\.dimension/)
  wrong({ ...spec, dimension: 3 }, /\(K, D\) means/)
  wrong({ ...spec, sigma: 0 }, /loss\.sigma/)
  wrong({ ...spec, sigma: NaN }, /loss\.sigma/)
  wrong({ ...spec, mixture: undefined }, /loss\.mixture/)
  wrong({ ...spec, mixture: { ...spec.mixture, weights: Float64Array.of(0) } }, /positive sum/)
  t.throws(() => native.evaluateLoss(x, new Float32Array(2), spec), { code: 'WBSR_INVALID_OPTION' })
  t.throws(() => native.evaluateLoss(new Float32Array(0), new Float32Array(0), spec), { code: 'WBSR_INVALID_OPTION' })
  t.throws(() => native.fidelityScale({ ...spec, kind: 'l1' }, 0.1), { code: 'WBSR_INVALID_OPTION' })
  await t.rejects(native.fidelityScale(spec, 0), { code: 'WBSR_INVALID_OPTION' })
  await t.rejects(native.evaluateLoss(x, x, { ...spec, fidelityScale: 0 }), { code: 'WBSR_INVALID_OPTION' })
})

t.test('LossController: fixed sigma, and no mixture for plain losses', async (t) => {
  const plain = new LossController(checkLoss('l1'), null)
  t.same(await plain.nativeLoss(0.3), { kind: 'l1', fidelity: 'l1', dimension: 1, sigma: 0, fidelityScale: 1 })
  t.match(await new LossController(checkLoss({ kind: 'l1', frequency: 0.05 }), null).nativeLoss(0), { frequency: 0.05 })
  t.match(await new LossController(bd({ frequency: 0.05 }), one).nativeLoss(0), { kind: 'bd', frequency: 0.05 })
  plain.update(NaN) // not its business
  plain.restore(plain.state())
  t.throws(() => new LossController(bd(), null), { code: 'WBSR_INVALID_OPTION', message: /mixture of dimension 1/ })
  t.throws(() => new LossController(bd({ space: 'rgb' }), one), {
    code: 'WBSR_INVALID_OPTION',
    message: /mixture of dimension 3/,
  })

  const controller = new LossController(bd({ sigma: 0.05 }), one)
  const loss = await controller.nativeLoss(0)
  t.match(loss, { kind: 'bd', fidelity: 'l1', dimension: 1, sigma: 0.05 })
  t.ok(Math.abs(loss.fidelityScale - (1.1 * 2 * 0.0025 * 0.6) / 0.0125) < 1e-6, 'c from the slope')
  controller.update(1)
  t.same(await controller.nativeLoss(1), loss, 'fixed')
  t.equal((await new LossController(bd({ sigma: 0.05, typicalResidual: 0.6 }), one).nativeLoss(0)).fidelityScale, 0.6)
  t.equal(
    (await new LossController(bd({ sigma: 0.001 }), one).nativeLoss(0)).fidelityScale,
    0.001,
    'c is sigma where that is larger',
  )
  t.equal((await new LossController(bd({ fidelity: 'l2' }), one).nativeLoss(0)).fidelityScale, 1)
})

t.test('LossController: ramp', async (t) => {
  const controller = new LossController(bd({ sigma: { initial: 0.01, final: 0.05 } }), one)
  for (const [progress, sigma] of [
    [0, 0.01],
    [0.5, 0.03],
    [1, 0.05],
    [2, 0.05],
  ] as const) {
    const loss = await controller.nativeLoss(progress)
    t.ok(Math.abs(loss.sigma - sigma) < 1e-12, `sigma at ${progress}`)
    const exact = await native.fidelityScale(loss, loss.sigma)
    t.ok(
      loss.fidelityScale >= exact * 0.999999 && loss.fidelityScale < exact * 1.03,
      `c at ${progress}: ${loss.fidelityScale}, at least ${exact}`,
    )
  }
})

t.test('LossController: learned sigma, bounds, state', async (t) => {
  const options = bd({ sigma: { initial: 0.05, learn: true, floor: 0.02, cap: 0.06, learningRate: 0.01 } })
  const controller = new LossController(options, one)
  controller.update(3)
  t.ok(
    Math.abs(controller.sigma(0) - 0.05 * Math.exp(-0.01)) < 1e-9,
    'the first step has the size of the learning rate, downhill',
  )
  for (let n = 0; n < 10; n++) controller.update(n % 3 ? 1 : -0.5)
  const saved = JSON.parse(JSON.stringify(controller.state())) as unknown
  const resumed = new LossController(options, one)
  resumed.restore(saved)
  for (let n = 0; n < 10; n++) for (const each of [controller, resumed]) each.update(Math.sin(n))
  t.same(resumed.state(), controller.state(), 'resumed equals uninterrupted')
  t.same(await resumed.nativeLoss(0.5), await controller.nativeLoss(0.5))
  const before = controller.state()
  t.throws(() => controller.update(Infinity), { code: 'WBSR_NON_FINITE' })
  t.same(controller.state(), before)
  for (let n = 0; n < 300; n++) controller.update(1)
  t.equal(controller.sigma(0), 0.02, 'floor')
  for (let n = 0; n < 600; n++) controller.update(-1)
  t.equal(controller.sigma(0), 0.06, 'cap')
  for (const damaged of [
    null,
    {},
    { ...before, sigma: 0.5 },
    { ...before, sigma: 0.001 },
    { ...before, m: NaN },
    { ...before, steps: '3' },
  ]) {
    t.throws(() => controller.restore(damaged), { code: 'WBSR_INVALID_FILE' })
  }
})

t.test('a learned sigma finds the residuals of its predictions', async (t) => {
  // Targets from the mixture, predictions that are off by 0.03: maximum likelihood with a wide mixture says sigma = 0.03.
  const wide: Mixture = { dimension: 1, weights: [1], means: [[0.5]], covariances: [[[4]]] }
  const controller = new LossController(
    bd({ sigma: { initial: 0.1, learn: true, floor: 0.01, cap: 0.2, learningRate: 0.05 } }),
    wide,
  )
  const y = Float32Array.from({ length: 2000 }, (_, n) => n / 2000)
  const x = y.map((value, n) => value + (n % 2 ? 0.03 : -0.03))
  for (let n = 0; n < 150; n++)
    controller.update((await native.evaluateLoss(x, y, await controller.nativeLoss(0))).sigmaGradient)
  t.ok(Math.abs(controller.sigma(0) - 0.03) < 0.002, `sigma ${controller.sigma(0)}`)
})
