// ClassSR's classifier and the PSNR predictor: gradients by finite differences, what they learn, and their runs in evaluate().
import path from 'node:path'
import t from 'tap'
import { absoluteLoss, type BatchLoss, classsrLoss } from '../../lib/evaluate/tile-losses.js'
import { newTileNetwork, patchesOf, somePatches, TileRunner } from '../../lib/evaluate/tile-network.js'
import { classsrSubnets, type MeasuredTile, trainClassSr, trainPredictor } from '../../lib/evaluate/tile-training.js'
import { readSafetensors, writeSafetensors } from '../../lib/files/safetensors.js'
import { calibrateRouter, type EvaluateOptions, evaluate, loadSupernet } from '../../lib/index.js'
import type { ModelState } from '../../lib/model-state.js'
import { SupernetModel, stateOf } from '../../lib/models/model.js'
import { disp } from '../../lib/networks/disp.js'
import { randomFor } from '../../lib/random.js'
import { picture } from '../support/data-pictures.js'
import { fakeState } from '../support/fake-engine.js'
import { realState } from '../support/real-state.js'
import { cuttings, tiny } from '../support/training.js'

t.test('patches are 4 x 4 pixels, repeated beyond the edge of the tile', async (t) => {
  const image = picture(20, 12, 1, 160)
  const patches = patchesOf(image, { x: 2, y: 1, width: 6, height: 3 })
  t.equal(patches.length, 2 * 48)
  const at = (x: number, y: number, c: number) => Math.fround(image.data[(y * 20 + x) * 3 + c]! / 255)
  t.equal(patches[0], at(2, 1, 0))
  t.equal(patches[(2 * 4 + 1) * 3 + 2], at(3, 3, 2))
  t.equal(patches[(3 * 4 + 1) * 3 + 2], at(3, 3, 2), 'below the tile its last row')
  t.equal(patches[48 + 3 * 3], at(7, 1, 0), 'beside it its last column')
  t.equal(somePatches(patches, 2, randomFor(1)), patches)
  t.equal(somePatches(patches, 1, randomFor(1)).length, 48)
})

t.test('gradients are those of finite differences', async (t) => {
  const random = randomFor(4)
  const network = newTileNetwork(4, 3, random)
  // The last layer, which begins with zeros, too.
  const weights = network.weights.map((w) => (w === 0 ? 0.2 * (random.next() - 0.5) : w))
  const tiles = [0, 1].map((i) => patchesOf(picture(8, 8, i + 1, 160), { x: 0, y: 0, width: 8, height: 8 }))
  const errors = [
    [0.02, 0.018, 0.017],
    [0.01, 0.0095, 0.0094],
  ]
  for (const lossOf of [
    (outputs: Float32Array[]) => classsrLoss(outputs, errors),
    (outputs: Float32Array[]) => absoluteLoss(outputs, errors),
  ] as ((outputs: Float32Array[]) => BatchLoss)[]) {
    const runner = new TileRunner({ ...network, weights })
    const { slopes } = lossOf(tiles.map((tile) => runner.run(tile)))
    const gradient = new Float32Array(weights.length)
    for (const [b, tile] of tiles.entries()) runner.addGradient(runner.forward(tile), slopes[b]!, gradient)
    const loss = () => lossOf(tiles.map((tile) => runner.run(tile))).loss
    let [worst, largest] = [0, 0]
    for (let i = 0; i < weights.length; i += 7) {
      const value = runner.weights[i]!
      const step = 2e-3
      runner.weights[i] = value + step
      const above = loss()
      runner.weights[i] = value - step
      const below = loss()
      runner.weights[i] = value
      worst = Math.max(worst, Math.abs((above - below) / (2 * step) - gradient[i]!))
      largest = Math.max(largest, Math.abs(gradient[i]!))
    }
    t.ok(largest > 0.01 && worst < 0.02 * largest, `${worst} of ${largest}`)
  }
})

t.test("ClassSR's losses are those of its paper", async (t) => {
  const sure = (k: number) => Float32Array.from([0, 1, 2], (i) => (i === k ? 40 : 0))
  const none = [0, 0, 0]
  const near = (outputs: Float32Array[], errors: number[][], expected: number) =>
    t.ok(Math.abs(classsrLoss(outputs, errors).loss - expected) < 1e-4, `${classsrLoss(outputs, errors).loss}`)
  near([sure(0), sure(1), sure(2)], [none, none, none], 0)
  near([sure(0), sure(0), sure(0)], [none, none, none], 3)
  near([new Float32Array(3), new Float32Array(3), new Float32Array(3)], [none, none, none], 0.5 * 2)
  near(
    [sure(0), sure(1), sure(2)],
    [
      [0.003, 1, 1],
      [1, 0.006, 1],
      [1, 1, 0.009],
    ],
    1000 * 0.006,
  )
})

/** Tiles of which the textured ones need a large subnet. */
function synthetic(subnets: number): MeasuredTile[] {
  return Array.from({ length: 60 }, (_, i) => {
    const hard = i % 3
    const image = picture(16, 16, i + 1, 100 * hard)
    const errors = Array.from({ length: subnets }, (_, m) => 1e-4 * (1 + hard * (0.1 + (subnets - 1 - m) / subnets)))
    return {
      patches: patchesOf(image, { x: 0, y: 0, width: 16, height: 16 }),
      squared: errors,
      absolute: errors.map((error) => 10 * error),
    }
  })
}

t.test('what a tile shows is learned', async (t) => {
  const state = fakeState({ costs: [1, 2, 4, 8] })
  const tiles = synthetic(4)
  const { network } = await trainPredictor(state, tiles, { steps: 120 })
  const runner = new TileRunner(network)
  const predicted = tiles.map(({ patches }) => Array.from(runner.run(patches)))
  const mean = (hard: number, m: number) =>
    predicted.filter((_, i) => i % 3 === hard).reduce((s, row) => s + row[m]! / 20, 0)
  for (const [hard, loss] of [0, 10 * Math.log10(1 + 0.75 / 1.1), 10 * Math.log10(1 + 1.5 / 1.2)].entries())
    t.ok(Math.abs(mean(hard, 0) - loss) < 0.35, `${mean(hard, 0)} dB for ${loss}`)
  t.ok(mean(2, 0) > mean(2, 2) + 0.5, 'a larger subnet loses less')
  t.same(
    (await trainPredictor(state, tiles, { steps: 3 })).network,
    (await trainPredictor(state, tiles, { steps: 3 })).network,
  )
  t.notSame(
    (await trainPredictor(state, tiles, { steps: 3 })).network,
    (await trainPredictor(state, tiles, { steps: 3, seed: 2 })).network,
  )

  const classifier = await trainClassSr(state, tiles, { steps: 120 })
  t.same(classifier.subnets, [0, 2, 3])
  const counts = [0, 1, 2].map(() => [0, 0, 0])
  const classify = new TileRunner(classifier.network)
  for (const [i, { patches }] of tiles.entries()) {
    const outputs = Array.from(classify.run(patches))
    counts[i % 3]![outputs.indexOf(Math.max(...outputs))]!++
  }
  t.ok(counts[0]![0]! >= 15, `easy tiles: ${counts[0]}`)
  t.ok(counts[2]![2]! >= 15, `hard tiles: ${counts[2]}`)
  await t.rejects(trainClassSr(state, tiles, { signal: AbortSignal.abort() }), { code: 'WBSR_ABORTED' })
})

t.test("ClassSR's subnets are three widths at the largest depth", async (t) => {
  const state = realState(disp({ scale: 2, widths: [8, 12, 16, 20], depths: [1, 2] }))
  const { subnets } = state.engine
  t.same(
    classsrSubnets(state).map((m) => [subnets[m]!.width, subnets[m]!.depth]),
    [
      [8, 2],
      [16, 2],
      [20, 2],
    ],
  )
  state.engine.dispose()
  t.same(classsrSubnets(fakeState({ costs: [1, 2] }) as ModelState), [0, 1])
})

t.test('trained for a model, kept in its file, and run by evaluate', async (t) => {
  const folder = t.testdir({ hr: {} })
  const hr = await cuttings(path.join(folder, 'hr'))
  const model = new SupernetModel(realState(tiny, { gain: 3, threads: 1 }))
  const run = (net: SupernetModel, runs: EvaluateOptions['runs']) =>
    evaluate(net, { sets: { hr }, ssim: false, runs: runs! })
  await t.rejects(run(model, [{ router: 'classsr' }]), {
    message: /\(calibrateRouter\(model, \{ router: 'classsr', hr \}\) trains/,
  })
  const progress: number[] = []
  const onProgress = ({ done, total }: { done: number; total: number }) => void progress.push(done / total)
  await calibrateRouter(model, { router: 'classsr', hr, steps: 4, onProgress })
  t.equal(progress.at(-1), 1)
  const first = stateOf(model).tileRouters!
  await calibrateRouter(model, { router: 'predictor', hr, steps: 4 })
  t.equal(stateOf(model).tileRouters!.classsr, first.classsr, 'the other one stays')
  const file = path.join(folder, 'model.safetensors')
  await model.save(file)
  const before = await run(model, [{ router: 'predictor', budget: 0.6 }])
  model.dispose()
  await using net = await loadSupernet(file, { device: 'cpu', threads: 1 })

  const { sets } = await run(net, [
    { router: 'classsr' },
    { router: 'classsr', budget: 0.55 },
    { router: 'predictor', budget: 0.6, tile: 32 },
    { router: 'predictor', budget: 0.6 },
    { router: 'predictor', alpha: 0 },
    { router: 'predictor', alpha: 1e6 },
  ])
  const { summary } = sets[0]!
  t.same(summary['predictor 0.6']!.histogram, before.sets[0]!.summary['predictor 0.6']!.histogram)
  t.same(Object.keys(summary), [
    'bicubic',
    'classsr',
    'classsr 0.55',
    'predictor 0.6 tile 32',
    'predictor 0.6',
    'predictor alpha 0',
    'predictor alpha 1000000',
  ])
  for (const [name, share] of [
    ['classsr 0.55', 0.55],
    ['predictor 0.6 tile 32', 0.6],
    ['predictor 0.6', 0.6],
  ] as const)
    t.ok(summary[name]!.share <= share, `${name}: ${summary[name]!.share}`)
  const tiles = (name: string) => summary[name]!.histogram
  t.equal(tiles('predictor alpha 1000000')[0], 12)
  t.equal(
    tiles('classsr').reduce((a, b) => a + b),
    12,
  )

  for (const [bad, message] of [
    [{ router: 'predictor', alpha: 1, budget: 0.5 }, /only one for runs\[0\]\.budget and runs\[0\]\.alpha/],
    [{ router: 'predictor', loss: 1 }, /nothing with router 'predictor' for runs\[0\]\.loss/],
    [{ router: 'classsr', alpha: 1 }, /nothing with router 'classsr' for runs\[0\]\.alpha/],
  ] as [never, RegExp][])
    await t.rejects(run(net, [bad]), { code: 'WBSR_INVALID_OPTION', message })
  await t.rejects(calibrateRouter(net, { hr, steps: 4 }), {
    message: /nothing without router 'classsr' or 'predictor' for steps/,
  })

  const { tensors, metadata } = await readSafetensors(file)
  const kept = JSON.parse(metadata['wbsr.tileRouters']!)
  for (const [damage, message] of [
    [{ classsr: { ...kept.classsr, subnets: [0, 9] } }, /no ascending subnets of ClassSR below 4/],
    [
      { predictor: { network: { ...kept.predictor.network, weights: [1] } } },
      /no network of 3 outputs with all its weights/,
    ],
    [{ predictor: { network: { ...kept.predictor.network, features: 1e9 } } }, /no network of 3 outputs/],
  ] as const) {
    const damaged = path.join(folder, 'damaged.safetensors')
    const list = [...tensors].map(([name, tensor]) => ({ ...tensor, name }))
    await writeSafetensors(damaged, list, { ...metadata, 'wbsr.tileRouters': JSON.stringify(damage) })
    await t.rejects(loadSupernet(damaged, { device: 'cpu' }), { code: 'WBSR_INVALID_FILE', message })
  }
})
