// The two benchmarks against other engines: inference and a training step of SRResNet x4, width 64, 16 blocks, on a
// batch of sixteen 32x32 LR patches. Every engine gets the same weights and images; outputs and losses are compared.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { loadSupernet } from '../dist/index.js'
import { srresnet } from '../dist/networks/srresnet.js'
import { Contestant, inTurns } from './contest.mjs'
import { onnxRuntime, torch } from './peers.mjs'
import { makeImages, makeWeights, writeSafetensors } from './weights.mjs'

const scale = 4
export const shape = [16, 3, 32, 32]
const family = { scale, widths: [32, 48, 64], depths: [4, 8, 16] }
export const largest = { width: 64, depth: 16 }
const count = shape.reduce((a, b) => a * b)
const here = import.meta.dirname

/** Files that all contestants read. */
export async function prepare(folder) {
  const file = (name) => path.join(folder, name)
  const network = srresnet({ scale, widths: [largest.width], depths: [largest.depth] })
  const weights = makeWeights(network)
  writeSafetensors(file('weights.safetensors'), weights)
  const model = await loadSupernet(file('weights.safetensors'), { network, device: 'cpu', threads: 1 })
  await model.exportOnnx(file('model.onnx'))
  model.dispose()
  writeFileSync(file('lr.f32'), makeImages(count))
  writeFileSync(file('hr.f32'), makeImages(count * scale ** 2, 3))
  return {
    weights: file('weights.safetensors'),
    model: file('model.onnx'),
    input: file('lr.f32'),
    target: file('hr.f32'),
    output: (name) => file(`${name}.out`),
  }
}

const ours = (threads) => new Contestant('wbsr', process.execPath, [path.join(here, 'ours.mjs'), String(threads)])
const torchPeer = (peer, threads) =>
  new Contestant('PyTorch', peer.python, [path.join(here, 'peers_torch.py'), String(threads)])
const ortPeer = (peer, threads) =>
  new Contestant('ONNX Runtime', process.execPath, [
    path.join(here, 'peer_onnxruntime.mjs'),
    peer.folder,
    String(threads),
  ])

async function largestDifference(contestants, files) {
  const outputs = []
  for (const contestant of contestants) {
    const output = files.output(contestant.name.replaceAll(' ', ''))
    await contestant.ask({ do: 'save', output })
    const bytes = readFileSync(output)
    outputs.push(new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4))
  }
  return outputs.slice(1).map((other) => {
    if (other.length !== outputs[0].length) return Infinity
    let worst = 0
    for (let i = 0; i < other.length; i++) worst = Math.max(worst, Math.abs(other[i] - outputs[0][i]))
    return worst
  })
}

/** Rows of the table: our seconds against each peer's. `extra(index of the peer)` adds what was checked. */
function rows(what, targets, results, missing, extra) {
  const peers = Object.keys(targets)
  let index = 0
  return peers.map((peer) => {
    if (missing[peer]) return { what, against: peer, target: `>= ${targets[peer]} x`, skipped: missing[peer] }
    const ratio = results[peer].seconds / results.wbsr.seconds
    const { checked, agrees } = extra(peer, index++)
    return {
      what,
      against: peer,
      seconds: results.wbsr.seconds,
      theirs: results[peer].seconds,
      ratio,
      target: `>= ${targets[peer]} x`,
      reached: ratio >= targets[peer] && agrees,
      checked,
    }
  })
}

export async function inference({ folder, threads, rounds }) {
  const files = await prepare(folder)
  const peers = { 'ONNX Runtime': await onnxRuntime(), PyTorch: await torch() }
  const missing = Object.fromEntries(Object.entries(peers).map(([name, peer]) => [name, peer.missing]))
  const contestants = [ours(threads)]
  if (!missing['ONNX Runtime']) contestants.push(ortPeer(peers['ONNX Runtime'], threads))
  if (!missing.PyTorch) contestants.push(torchPeer(peers.PyTorch, threads))
  try {
    const request = { do: 'load', ...files, output: undefined, target: undefined, shape, ...family, ...largest }
    const loaded = {}
    for (const contestant of contestants) loaded[contestant.name] = await contestant.ask(request)
    const results = await inTurns(
      contestants.map((contestant) => ({ name: contestant.name, contestant, request: { do: 'infer' } })),
      rounds,
    )
    const differences = await largestDifference(contestants, files)
    const flops = 5_193_990_144 * shape[0] // method.md
    const table = rows(
      'inference, SRResNet x4 64x16, 16 x 32x32',
      { 'ONNX Runtime': 2.0, PyTorch: 2.5 },
      results,
      missing,
      (_, i) => ({
        checked: `outputs differ by ${differences[i].toExponential(1)} at most`,
        agrees: differences[i] <= 1e-4,
      }),
    )
    return {
      table,
      details: {
        results,
        loaded,
        differences,
        gflops: Object.fromEntries(Object.entries(results).map(([name, r]) => [name, flops / r.seconds / 1e9])),
      },
    }
  } finally {
    await Promise.all(contestants.map((contestant) => contestant.close()))
  }
}

export async function training({ folder, threads, rounds }) {
  const files = await prepare(folder)
  const peer = await torch()
  const contestants = [ours(threads)]
  if (!peer.missing) contestants.push(torchPeer(peer, threads))
  try {
    const request = { do: 'load', ...files, output: undefined, shape, ...family, ...largest, learningRate: 2e-4 }
    const loaded = {}
    for (const contestant of contestants) loaded[contestant.name] = await contestant.ask(request)
    const results = await inTurns(
      contestants.map((contestant) => ({ name: contestant.name, contestant, request: { do: 'train' } })),
      rounds,
    )
    // After the same number of steps from the same weights on the same batch the losses must have come down alike.
    const losses = Object.values(results).map((result) => result.answers.at(-1).loss)
    const apart = Math.abs(losses[0] - (losses[1] ?? losses[0])) / losses[0]
    const table = rows(
      'training step (L1, forward + backward + Adam)',
      { PyTorch: 1.5 },
      results,
      { PyTorch: peer.missing },
      () => ({
        checked: `loss after ${rounds + 1} steps ${losses.map((loss) => loss.toFixed(5)).join(' and ')}`,
        agrees: apart < 1e-2,
      }),
    )
    return { table, details: { results, loaded, losses } }
  } finally {
    await Promise.all(contestants.map((contestant) => contestant.close()))
  }
}
