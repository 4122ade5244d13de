// The networks that people bring, on a 320x180 LR picture: RLFN, SPAN, SRVGGNetCompact and SRResNet at x4 in their
// published sizes, against ONNX Runtime on the file that exportOnnx() writes and against PyTorch, which runs the same graph
// (bench/torch_graph.py); and the same in 8 bits, where the processor has AMX, against our float32. Weights are those that
// training starts from: they do not change the time.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import * as wbsr from '../dist/index.js'
import { SupernetModel } from '../dist/models/model.js'
import { native } from '../dist/native.js'
import { Contestant, inTurns } from './contest.mjs'
import { onnxRuntime, torch } from './peers.mjs'
import { makeImages, writeSafetensors } from './weights.mjs'

const [height, width] = [180, 320]
const shape = [1, 3, height, width]
const scale = 4
const WANTED = 2
const WANTED_INT8 = 1.5
const here = import.meta.dirname

/** @type {[string, import('../dist/index.js').Network][]} */
const networks = [
  ['RLFN 52x6', wbsr.rlfn({ scale, widths: [52], depths: [6] })],
  ['SPAN 48x6', wbsr.span({ scale, widths: [48], depths: [6] })],
  ['SRVGG 64x32', wbsr.srvgg({ scale, widths: [64], depths: [32] })],
  ['SRResNet 64x16', wbsr.srresnet({ scale, widths: [64], depths: [16] })],
]

/** Every parameter at full width, by name. */
function tensorsOf(engine) {
  const values = engine.getArena('weights')
  let offset = 0
  return Object.fromEntries(
    engine.parameters.map(({ name, shape: dims }) => {
      const size = dims.reduce((a, b) => a * b, 1)
      const data = values.slice(offset, offset + size)
      offset += size
      return [name, { shape: dims, data }]
    }),
  )
}

/** Files that all contestants read. */
async function prepare(folder, name, network) {
  const file = (ending) => path.join(folder, `${name.replaceAll(' ', '-')}.${ending}`)
  const engine = new native.Engine(network.graph, { threads: 1 })
  engine.initialise(1)
  writeSafetensors(file('safetensors'), tensorsOf(engine))
  writeFileSync(file('graph.json'), JSON.stringify(network.graph))
  /** @type {import('../dist/model-state.js').ModelState} */
  const state = {
    engine,
    network,
    classes: { count: 1, thresholds: [], kind: 'interval' },
    router: null,
    mixture: null,
    training: null,
    fallbackReason: null,
    disposed: false,
  }
  const model = new SupernetModel(state)
  const { flops } = model.subnets[0]
  await model.exportOnnx(file('onnx'))
  model.dispose()
  writeFileSync(file('lr.f32'), makeImages(3 * height * width))
  return {
    flops: (flops * height * width) / 1024,
    files: { weights: file('safetensors'), graph: file('graph.json'), model: file('onnx'), input: file('lr.f32') },
    output: (contestant) => file(`${contestant.replaceAll(' ', '')}.out`),
  }
}

const floats = (file) => {
  const bytes = readFileSync(file)
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
}

async function differencesFromOurs(contestants, output) {
  const outputs = []
  for (const contestant of contestants) {
    await contestant.ask({ do: 'save', output: output(contestant.name) })
    outputs.push(floats(output(contestant.name)))
  }
  // Networks that see 0..255 have large values at the start of training.
  const range = outputs[0].reduce((most, v) => Math.max(most, Math.abs(v)), 1)
  return outputs.slice(1).map((other) => {
    if (other.length !== outputs[0].length) return Number.POSITIVE_INFINITY
    return other.reduce((worst, v, i) => Math.max(worst, Math.abs(v - outputs[0][i])), 0) / range
  })
}

/** Part `networks` of `npm run bench`. */
export async function networksPart({ folder, threads, rounds }) {
  const ort = await onnxRuntime()
  const pytorch = await torch()
  const int8 = native.deviceKinds().some(({ name, precisions }) => name === 'cpu' && precisions.includes('int8'))
  const table = []
  const details = {}
  for (const [name, network] of networks) {
    const { files, flops, output } = await prepare(folder, name, network)
    const ours = (who, ...precision) =>
      new Contestant(who, process.execPath, [path.join(here, 'ours.mjs'), String(threads), ...precision])
    const contestants = [ours('wbsr')]
    if (int8) contestants.push(ours('wbsr int8', 'int8'))
    if (!ort.missing)
      contestants.push(
        new Contestant('ONNX Runtime', process.execPath, [
          path.join(here, 'peer_onnxruntime.mjs'),
          ort.folder,
          String(threads),
        ]),
      )
    if (!pytorch.missing)
      contestants.push(new Contestant('PyTorch', pytorch.python, [path.join(here, 'torch_graph.py'), String(threads)]))
    try {
      for (const contestant of contestants) await contestant.ask({ do: 'load', ...files, shape })
      const results = await inTurns(
        contestants.map((contestant) => ({ name: contestant.name, contestant, request: { do: 'infer' } })),
        rounds,
      )
      const differences = await differencesFromOurs(contestants, output)
      details[name] = {
        results,
        gflops: Object.fromEntries(Object.entries(results).map(([who, r]) => [who, flops / r.seconds / 1e9])),
      }
      const what = `${name} x4, 320x180`
      for (const { peer, missing } of [
        { peer: 'ONNX Runtime', missing: ort.missing },
        { peer: 'PyTorch', missing: pytorch.missing },
      ]) {
        const target = peer === 'ONNX Runtime' ? `>= ${WANTED} x` : ''
        if (missing) {
          table.push({ what, against: peer, target, skipped: missing })
          continue
        }
        const difference = differences[contestants.findIndex((c) => c.name === peer) - 1]
        const ratio = results[peer].seconds / results.wbsr.seconds
        const agrees = difference <= 1e-4
        table.push({
          what,
          against: peer,
          seconds: results.wbsr.seconds,
          theirs: results[peer].seconds,
          ratio,
          target,
          reached: target === '' ? (agrees ? undefined : false) : ratio >= WANTED && agrees,
          checked: `outputs differ by ${difference.toExponential(1)} of their range at most`,
        })
      }
      const difference = differences[0]
      table.push({
        what: `${what}, int8`,
        against: 'wbsr, fp32',
        target: `>= ${WANTED_INT8} x`,
        ...(int8
          ? {
              seconds: results['wbsr int8'].seconds,
              theirs: results.wbsr.seconds,
              ratio: results.wbsr.seconds / results['wbsr int8'].seconds,
              reached: results.wbsr.seconds / results['wbsr int8'].seconds >= WANTED_INT8,
              checked: `outputs differ by ${difference.toExponential(1)} of their range at most`,
            }
          : { skipped: 'this processor has no AMX' }),
      })
    } finally {
      for (const contestant of contestants) await contestant.close()
    }
  }
  return { table, details }
}
