// The frequency term of the loss in training: what a step reports is what direct sums give, it falls, and it stands in every
// report. Its formulas and kernels: test/native/cpu/frequency_check.cc.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { readSafetensors, writeSafetensors } from '../../lib/files/safetensors.js'
import { trainSupernet } from '../../lib/index.js'
import { type NativeGraph, native } from '../../lib/native.js'
import { completeSeries, noSeries } from '../../lib/train/report/series.js'
import type { EpochReport } from '../../lib/train/reports.js'
import { cuttings, recorder, run } from '../support/training.js'

/** The mean of |real part| and |imaginary part| of rfft2 of a - b, (planes, height, width), by its definition. */
function term(a: Float32Array, b: Float32Array, height: number, width: number): number {
  const area = height * width
  const columns = Math.floor(width / 2) + 1
  let sum = 0
  for (let from = 0; from < a.length; from += area) {
    for (let u = 0; u < height; u++) {
      for (let v = 0; v < columns; v++) {
        let [real, imaginary] = [0, 0]
        for (let i = 0; i < area; i++) {
          const angle = 2 * Math.PI * ((u * Math.floor(i / width)) / height + (v * (i % width)) / width)
          const e = a[from + i]! - b[from + i]!
          real += e * Math.cos(angle)
          imaginary -= e * Math.sin(angle)
        }
        sum += Math.abs(real) + Math.abs(imaginary)
      }
    }
  }
  return sum / ((a.length / area) * 2 * height * columns)
}

t.test('the term of a step, and its gradient', async (t) => {
  const graph: NativeGraph = {
    scale: 2,
    widths: [8],
    depths: [1],
    nodes: [
      { op: 'input', inputs: [], channels: { fixed: 3 } },
      { op: 'conv', name: 'a', inputs: [0], channels: { fixed: 12 }, kernel: 3, bias: true, initGain: 1 },
      { op: 'pixelShuffle', inputs: [1], factor: 2 },
    ],
    output: 2,
  }
  const engine = new native.Engine(graph, { threads: 2 })
  engine.initialise(1)
  const [batch, width, height] = [2, 5, 3]
  const values = (count: number, seed: number) =>
    Float32Array.from({ length: count }, (_, i) => ((i * seed) % 251) / 250)
  const lr = values(batch * 3 * width * height, 37)
  const hr = values(4 * lr.length, 53)
  const plain = { kind: 'l2', fidelity: 'l2', dimension: 1, sigma: 0, fidelityScale: 1 }
  const job = { batch, width, height, subnets: [0], lr, hr, loss: { ...plain, frequency: 0.05 } }
  const valueNow = async () => 0.05 * term(await engine.forward(0, lr, batch, height, width), hr, 2 * height, 2 * width)

  const without = await engine.gradients({ ...job, loss: plain })
  const dataGradient = engine.getArena('gradient')
  const report = await engine.gradients(job)
  const gradient = engine.getArena('gradient').map((value, i) => value - dataGradient[i]!)
  t.equal(without.frequency, 0)
  t.equal(report.data, without.data)
  const value = await valueNow()
  t.ok(Math.abs(report.frequency - value) < 1e-5 * value, `${report.frequency}, wanted ${value}`)
  t.ok(Math.abs(report.loss - report.data - report.frequency) < 1e-9)

  // Along a direction in the space of weights.
  const weights = engine.getArena('weights')
  const direction = values(weights.length, 71).map((value) => value - 0.5)
  const at = async (step: number) => {
    engine.setArena(
      'weights',
      weights.map((weight, i) => weight + step * direction[i]!),
    )
    return valueNow()
  }
  const slope = ((await at(1e-4)) - (await at(-1e-4))) / 2e-4
  const wanted = gradient.reduce((sum, value, i) => sum + value * direction[i]!, 0)
  t.ok(Math.abs(slope - wanted) < 0.02 * Math.abs(wanted), `slope ${slope}, gradient ${wanted}`)

  const wrong = (frequency: unknown, message: RegExp) =>
    t.throws(() => engine.gradients({ ...job, loss: { ...plain, frequency: frequency as number } }), {
      code: 'WBSR_INVALID_OPTION',
      message,
    })
  wrong(-1, /Expected a number of at least 0 for loss\.frequency but received -1/)
  wrong('much', /loss\.frequency/)
})

t.test('the term falls in training, and stands in the report', async (t) => {
  const train = await cuttings(t.testdir())
  const file = path.join(train, 'report.html')
  const { reports, onStep } = recorder()
  const model = await trainSupernet(
    run(train, {
      steps: 200,
      loss: { kind: 'l1', frequency: 0.05 },
      sampler: { kind: 'uniform' },
      optimizer: { learningRate: 2e-3 },
      calibration: { images: 1, pixels: 4096 },
      report: { file, examples: 0 },
      onStep,
    }),
  )
  model.dispose()
  const mean = (from: number, to: number) =>
    reports.slice(from, to).reduce((sum, { frequency }) => sum + frequency, 0) / (to - from)
  const [first, last] = [mean(0, 10), mean(150, 200)]
  t.ok(last < 0.85 * first, `term ${first} -> ${last}`)
  for (const { loss, data, balance, frequency } of reports)
    t.ok(balance === 0 && frequency > 0 && Math.abs(data + frequency - loss) < 1e-6, `${data} + ${frequency} = ${loss}`)
  t.match(readFileSync(file, 'utf8'), /frequency term/)
})

t.test('BDLoss with the term', async (t) => {
  const train = await cuttings(t.testdir())
  const { reports, onStep } = recorder()
  const epochs: EpochReport[] = []
  const loss = { kind: 'bd', components: 2, frequency: 0.02 } as const
  const model = await trainSupernet(run(train, { loss, onStep, onEpoch: (report) => void epochs.push(report) }))
  model.dispose()
  for (const { loss, data, balance, frequency } of reports)
    t.ok(balance !== 0 && frequency > 0 && Math.abs(data + balance + frequency - loss) < 1e-6)
  const mean = reports.reduce((sum, { frequency }) => sum + frequency, 0) / reports.length
  t.ok(Math.abs(epochs.at(-1)!.frequency - mean) < 1e-9, 'the mean of an epoch')
})

t.test('checkpoints and reports of versions without the term', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  const stop = new AbortController()
  const onStep = ({ step }: { step: number }) => void (step === 3 && stop.abort())
  const options = run(train, { loss: 'l1', checkpoint: { directory } })
  await t.rejects(trainSupernet({ ...options, signal: stop.signal, onStep }), { code: 'WBSR_ABORTED' })
  const file = path.join(directory, 'checkpoint.safetensors')
  const { tensors, metadata } = await readSafetensors(file)
  const { epoch, ...rest } = JSON.parse(metadata['wbsr.checkpoint']!)
  const { frequency, ...older } = epoch
  t.equal(frequency, 0)
  const checkpoint = JSON.stringify({ ...rest, epoch: older })
  await writeSafetensors(
    file,
    [...tensors].map(([name, tensor]) => ({ ...tensor, name })),
    { ...metadata, 'wbsr.checkpoint': checkpoint },
  )
  const epochs: EpochReport[] = []
  const model = await trainSupernet({ ...options, onEpoch: (report) => void epochs.push(report) })
  model.dispose()
  t.match(epochs.at(-1), { stepsRun: 6, frequency: 0 })

  const series = { ...noSeries(), steps: [1, 2], counts: [1, 1] }
  const { frequency: _, ...values } = { ...series.values, loss: [3, 4] }
  const complete = completeSeries({ ...series, values: values as typeof series.values })
  t.same(
    [complete.values.loss, complete.values.frequency],
    [
      [3, 4],
      [0, 0],
    ],
  )
})
