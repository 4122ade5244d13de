// The published EDSR weights through a graph of our operators score what they should on Set5 x2. This proves operators,
// padding, PixelShuffle order and metric at once.
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { decodeImage } from '../../lib/formats/images.js'
import { readSafetensors } from '../../lib/formats/safetensors.js'
import { psnr } from '../../lib/measure/quality.js'
import { native } from '../../lib/native.js'
import { edsr } from './edsr.js'

const shared = path.resolve(import.meta.dirname, '../../../shared/data')
const weightsFile = path.join(shared, 'weights/edsr_r8f64_x2.safetensors')

t.test('EDSR x2 on Set5', { skip: existsSync(weightsFile) ? false : '../shared/data is not here' }, async (t) => {
  const { tensors } = await readSafetensors(weightsFile)
  const engine = new native.Engine(edsr({ scale: 2, widths: [64], depths: [8] }).graph, { threads: 2 })
  t.teardown(() => engine.dispose())
  const arena = new Float32Array(engine.parameterCount)
  for (const p of engine.parameters) {
    const tensor = tensors.get(p.name)
    t.same(tensor?.shape, p.shape, p.name)
    arena.set(tensor!.data as Float32Array, p.offset)
  }
  t.equal(tensors.size, engine.parameters.length)
  engine.setArena('weights', arena)

  const mean = [0.4488, 0.4371, 0.404]
  let total = 0
  const names = readdirSync(path.join(shared, 'set5/hr'))
  for (const name of names) {
    const lr = await decodeImage(path.join(shared, 'set5/lr_x2', name), 'lr')
    const hr = await decodeImage(path.join(shared, 'set5/hr', name), 'hr')
    const pixels = lr.width * lr.height
    const input = new Float32Array(3 * pixels)
    for (let c = 0; c < 3; c++) for (let i = 0; i < pixels; i++) input[c * pixels + i] = lr.data[3 * i + c]! / 255 - mean[c]!
    const output = await engine.forward(0, input, 1, lr.height, lr.width)
    const width = lr.width * 2
    const height = lr.height * 2
    const sr = new Uint8Array(width * height * 3)
    for (let c = 0; c < 3; c++) {
      for (let i = 0; i < width * height; i++) sr[3 * i + c] = Math.min(255, Math.max(0, Math.round((output[c * width * height + i]! + mean[c]!) * 255)))
    }
    const cropped = new Uint8Array(width * height * 3)
    for (let y = 0; y < height; y++) cropped.set(hr.data.subarray(y * hr.width * 3, (y * hr.width + width) * 3), y * width * 3)
    total += await psnr({ data: sr, width, height, channels: 3 }, { data: cropped, width, height, channels: 3 }, { channel: 'y', shave: 2 })
  }
  t.match((total / names.length).toFixed(2), '37.80', `PSNR-Y ${total / names.length}`)
})
