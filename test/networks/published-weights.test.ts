// The published EDSR weights in a graph of our operators reach the published scores on Set5 x2. This tests operators,
// padding, PixelShuffle order and metric together. The same on the CUDA device, with CUDA and cuDNN on the host: with bf16,
// real weights and real pictures, PSNR does not change measurably.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { readSafetensors } from '../../lib/files/safetensors.js'
import { decodeImage } from '../../lib/images/images.js'
import { psnr } from '../../lib/measure/quality.js'
import { type NativeEngine, native } from '../../lib/native.js'
import { edsr } from '../support/edsr.js'
import { checksFolder, packageIn, unbuilt } from '../support/package.js'

const shared = path.resolve(import.meta.dirname, '../../../shared/data')
const weightsFile = path.join(shared, 'weights/edsr_r8f64_x2.safetensors')
const absent = existsSync(weightsFile) ? false : '../shared/data is not here'
const plugin = path.join(checksFolder, 'host_cuda', 'libwbsr_cuda.so')
const network = edsr({ scale: 2, widths: [64], depths: [8] })
const mean = [0.4488, 0.4371, 0.404]

/** The arena of the weights, filled from the file's tensors. */
async function arenaOf(t: Test, engine: NativeEngine): Promise<Float32Array> {
  const { tensors } = await readSafetensors(weightsFile)
  const arena = new Float32Array(engine.parameterCount)
  for (const p of engine.parameters) {
    const tensor = tensors.get(p.name)
    t.same(tensor?.shape, p.shape, p.name)
    arena.set(tensor!.data as Float32Array, p.offset)
  }
  t.equal(tensors.size, engine.parameters.length)
  return arena
}

/** A picture of Set5 as input of the network, and PSNR-Y of an output. */
async function picture(name: string) {
  const lr = await decodeImage(path.join(shared, 'set5/lr_x2', name), 'lr')
  const hr = await decodeImage(path.join(shared, 'set5/hr', name), 'hr')
  const pixels = lr.width * lr.height
  const input = new Float32Array(3 * pixels)
  for (let c = 0; c < 3; c++)
    for (let i = 0; i < pixels; i++) input[c * pixels + i] = lr.data[3 * i + c]! / 255 - mean[c]!
  const score = async (output: Float32Array) => {
    const width = lr.width * 2
    const height = lr.height * 2
    const sr = new Uint8Array(width * height * 3)
    for (let c = 0; c < 3; c++) {
      for (let i = 0; i < width * height; i++)
        sr[3 * i + c] = Math.min(255, Math.max(0, Math.round((output[c * width * height + i]! + mean[c]!) * 255)))
    }
    const cropped = new Uint8Array(width * height * 3)
    for (let y = 0; y < height; y++)
      cropped.set(hr.data.subarray(y * hr.width * 3, (y * hr.width + width) * 3), y * width * 3)
    return psnr(
      { data: sr, width, height, channels: 3 },
      { data: cropped, width, height, channels: 3 },
      { channel: 'y', shave: 2 },
    )
  }
  return { width: lr.width, height: lr.height, input, score }
}

t.test('EDSR x2 on Set5', { skip: absent }, async (t) => {
  const engine = new native.Engine(network.graph, { threads: 2 })
  t.teardown(() => engine.dispose())
  engine.setArena('weights', await arenaOf(t, engine))
  let total = 0
  const names = readdirSync(path.join(shared, 'set5/hr'))
  for (const name of names) {
    const { width, height, input, score } = await picture(name)
    total += await score(await engine.forward(0, input, 1, height, width))
  }
  t.match((total / names.length).toFixed(2), '37.80', `PSNR-Y ${total / names.length}`)
})

t.test('EDSR x2 on the CUDA device', { skip: absent || unbuilt(plugin) }, async (t) => {
  const run = packageIn(t, readFileSync(plugin))
  const { width, height, input, score } = await picture('butterfly.png')
  const engine = new native.Engine(network.graph, { threads: 2 })
  t.teardown(() => engine.dispose())
  const arena = await arenaOf(t, engine)
  engine.setArena('weights', arena)
  const onCpu = await score(await engine.forward(0, input, 1, height, width))
  t.match(onCpu.toFixed(2), '34.84')

  const file = (name: string) => path.join(t.testdirName, name)
  writeFileSync(file('graph.json'), JSON.stringify(network.graph))
  writeFileSync(file('weights.bin'), arena)
  writeFileSync(file('input.bin'), input)
  for (const [precision, most] of [
    ['bf16', 0.02],
    ['tf32', 0.005],
  ] as const) {
    const ran = run(`
      import { readFileSync, writeFileSync } from 'node:fs'
      import { native } from './dist/native.js'
      const floats = (name) => new Float32Array(new Uint8Array(readFileSync(name)).buffer)
      const engine = new native.Engine(JSON.parse(readFileSync('graph.json', 'utf8')), { threads: 1, device: 'cuda', index: 0, precision: '${precision}' })
      engine.setArena('weights', floats('weights.bin'))
      writeFileSync('output.bin', await engine.forward(0, floats('input.bin'), 1, ${height}, ${width}))
      console.log(JSON.stringify([engine.device.kind, engine.device.precision]))
    `)
    t.same(ran, ['cuda', precision])
    const onCuda = await score(new Float32Array(new Uint8Array(readFileSync(file('output.bin'))).buffer))
    t.ok(Math.abs(onCuda - onCpu) < most, `${precision}: ${onCuda} dB, on the CPU ${onCpu} dB`)
  }
})
