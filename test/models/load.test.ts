// loadModel: every format gives the same pixels; model descriptions; padding, tiles, streams; errors that name causes.
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { type Tensor, writeSafetensors } from '../../lib/files/safetensors.js'
import { type LoadModelOptions, loadModel, loadSupernet, tilesOf, type UpscaledTile } from '../../lib/index.js'
import { native } from '../../lib/native.js'
import { rlfn } from '../../lib/networks/rlfn.js'
import { rrdb } from '../../lib/networks/rrdb.js'
import { type TorchTensor, torchLegacy, torchZip } from './helpers/pickle.js'
import { ncnnBin, ncnnParam, onnxFile, stateDict, tensors } from './helpers/samples.js'

const cpu: LoadModelOptions = { device: 'cpu', threads: 1 }

const picture = {
  data: Float32Array.from({ length: 20 * 18 * 3 }, (_, i) => 0.5 + 0.4 * Math.sin(i * 0.37)),
  width: 20,
  height: 18,
  channels: 3 as const,
}

async function files(t: Test): Promise<Record<'zip' | 'legacy' | 'safetensors' | 'onnx' | 'ncnn', string>> {
  const dir = t.testdir({
    'zip.pth': torchZip(new Map([['params_ema', stateDict]])),
    'legacy.pth': torchLegacy(new Map([...stateDict].map(([key, value]) => [`module.netG.${key}`, value]))),
    'x.onnx': onnxFile(),
    'x.param': ncnnParam,
    'x.bin': ncnnBin(),
  })
  const file = (name: string) => path.join(dir, name)
  const list = Object.entries(tensors).map(([name, { shape, data }]) => ({ name, dtype: 'F32', shape, data }) as Tensor)
  await writeSafetensors(file('x.safetensors'), list)
  return {
    zip: file('zip.pth'),
    legacy: file('legacy.pth'),
    safetensors: file('x.safetensors'),
    onnx: file('x.onnx'),
    ncnn: file('x.param'),
  }
}

t.test('one network in five formats', async (t) => {
  const all = await files(t)
  let first: Float32Array | null = null
  for (const [format, file] of Object.entries(all)) {
    using model = await loadModel(file, cpu)
    const { data } = (await model.upscale(picture)) as { data: Float32Array }
    first ??= data
    t.ok(
      data.every((v, i) => Math.abs(v - first![i]!) < 1e-6),
      format,
    )
    t.match(model.architecture, {
      format: format === 'zip' || format === 'legacy' ? 'pth' : format,
      scale: 2,
      features: 4,
      range: 1,
      channels: 3,
      global: false,
    })
    t.equal(model.subnets.length, 1)
    t.equal(model.architecture.parameters, 108 + 4 + 4 + 144 + 4 + 4 + 432 + 12)
  }
})

t.test('saved, exported and loaded again', async (t) => {
  const { zip } = await files(t)
  using model = await loadModel(zip, cpu)
  const { data } = await model.upscale(picture)
  const file = (name: string) => path.join(path.dirname(zip), name)
  await model.save(file('saved.safetensors'))
  await model.exportOnnx(file('out.onnx'))
  await model.exportSafetensors(file('out.safetensors'))
  for (const name of ['saved.safetensors', 'out.onnx', 'out.safetensors']) {
    using again = await loadModel(file(name), cpu)
    t.same((await again.upscale(picture)).data, data, name)
  }
  using supernet = await loadSupernet(file('saved.safetensors'), { device: 'cpu', threads: 1 })
  t.same(supernet.architecture, model.architecture)
  await t.rejects(model.exportOnnx(file('x.onnx'), { subnet: 1 }), {
    code: 'WBSR_INVALID_OPTION',
    message: /Expected an integer between 0 and 0 for subnet but received 1/,
  })
})

t.test('tiles and streams give the picture as a whole', async (t) => {
  const { zip } = await files(t)
  using model = await loadModel(zip, cpu)
  const large = {
    data: Float32Array.from({ length: 90 * 75 * 3 }, (_, i) => 0.5 + 0.4 * Math.sin(i * 0.11)),
    width: 90,
    height: 75,
    channels: 3 as const,
  }
  const whole = (await model.upscale(large, { tile: 'image' })).data
  const close = (data: ArrayLike<number>) => Array.from(data).every((v, i) => Math.abs(v - whole[i]!) < 1e-5)
  t.ok(close((await model.upscale(large, { tile: 16, regionPixels: 512 })).data), 'tiles of 16')
  const data = new Float32Array(whole.length)
  for await (const tile of tilesOf(large, { size: 32 }).pipe(model.inferStream()) as AsyncIterable<UpscaledTile>)
    for (let row = 0; row < tile.height; row++) {
      const from = row * tile.width * 3
      data.set(tile.data.subarray(from, from + tile.width * 3), ((tile.y + row) * 180 + tile.x) * 3)
    }
  t.ok(close(data), 'stream')
})

t.test('range and mean can be set', async (t) => {
  const { zip } = await files(t)
  using plain = await loadModel(zip, cpu)
  using other = await loadModel(zip, { ...cpu, range: 255, mean: [0.1, 0.2, 0.3] })
  t.match(other.architecture, { range: 255, mean: [0.1, 0.2, 0.3] })
  const [a, b] = [(await plain.upscale(picture)).data, (await other.upscale(picture)).data]
  t.ok(a.some((v, i) => Math.abs(v - b[i]!) > 1e-3))
  for (const [options, message] of [
    [{ range: 0 }, /for range but received 0/],
    [{ mean: [1, 2] }, /Expected three numbers for mean/],
    [{ luma: 'half' }, /Expected one of 'full', 'video' for luma/],
    [{ scale: 9 }, /between 1 and 8 for scale/],
    [{ network: 1 }, /Expected no other keys than .* for options but received "network"/],
  ] as const)
    await t.rejects(loadModel(zip, options as never), { code: 'WBSR_INVALID_OPTION', message })
  await t.rejects(loadModel(zip, { ...cpu, scale: 3 }), { code: 'WBSR_INVALID_FILE', message: /of scale 2, not 3/ })
})

t.test('what is wrong with a file is named', async (t) => {
  const dir = t.testdir()
  const file = path.join(dir, 'x.pth')
  const refuse = async (change: (dict: Map<string, TorchTensor>) => void, message: RegExp) => {
    const dict = new Map(Object.entries(tensors))
    change(dict)
    writeFileSync(file, torchZip(new Map(dict)))
    await t.rejects(loadModel(file, cpu), { code: 'WBSR_INVALID_FILE', message })
  }
  await refuse((d) => d.delete('body.3.weight'), /x\.pth: looks like SRVGGNetCompact but lacks body\.3\.weight/)
  await refuse(
    (d) => d.set('body.9.weight', tensors['body.1.weight']!),
    /has tensors that are no part of it: body\.9\.weight/,
  )
  await refuse(
    (d) => d.set('body.2.weight', { shape: [4, 4, 1, 1], data: new Float32Array(16) }),
    /has body\.2\.weight of shape \[4, 4, 1, 1\] where \[4, 4, 3, 3\] is expected/,
  )
  await refuse((d) => d.clear(), /holds no tensors with names\. Known architectures: RRDBNet/)
  await refuse((d) => {
    d.clear()
    for (const name of ['conv_1', 'block_1.c1_r', 'block_1.c3_r', 'conv_2'])
      d.set(`${name}.weight`, { shape: [4, 4, 3, 3], data: new Float32Array(144) })
  }, /Nearest is RLFN: 4 of 7 required keys, without block_1\.c5\.weight, block_1\.esa\.conv4\.weight, upsampler\.0\.weight\./)

  writeFileSync(file, 'hello')
  await t.rejects(loadModel(file, cpu), { code: 'WBSR_INVALID_FILE', message: /is no model that wbsr reads/ })
  await t.rejects(loadModel(path.join(dir, 'none.pth'), cpu), { code: 'WBSR_NOT_FOUND' })
  await t.rejects(loadModel(dir, cpu), { code: 'WBSR_INVALID_FILE', message: /is a folder/ })
  writeFileSync(path.join(dir, 'y.param'), ncnnParam)
  await t.rejects(loadModel(path.join(dir, 'y.param'), cpu), {
    code: 'WBSR_NOT_FOUND',
    message: /y\.bin does not exist/,
  })
})

t.test('pictures of any size, and tiles, where a network takes only some', async (t) => {
  const file = path.join(t.testdir(), 'x.safetensors')
  for (const [network, sizes, global] of [
    [rlfn({ scale: 2, widths: [8], depths: [1] }), [1, 14, 15, 37], true],
    [rrdb({ scale: 2, widths: [4], depths: [1] }), [1, 7, 33, 70], false],
    [rrdb({ scale: 1, widths: [4], depths: [1] }), [3, 41], false],
  ] as const) {
    const engine = new native.Engine(network.graph, { threads: 1 })
    engine.initialise(7)
    const weights = engine.getArena('weights')
    const list = engine.parameters.map(({ name, shape, offset, count }) => ({
      name,
      dtype: 'F32' as const,
      shape,
      data: weights.slice(offset, offset + count),
    }))
    engine.dispose()
    await writeSafetensors(file, list)
    using model = await loadModel(file, cpu)
    t.equal(model.architecture.name, network.name)
    t.equal(model.architecture.global, global)
    for (const size of sizes) {
      const data = Float32Array.from({ length: size * (size + 2) * 3 }, (_, i) => 0.5 + 0.4 * Math.sin(i * 0.3))
      const image = { data, width: size, height: size + 2, channels: 3 as const }
      const whole = await model.upscale(image, { tile: 'image' })
      t.same([whole.width, whole.height], [size * network.scale, (size + 2) * network.scale], `${network.name} ${size}`)
      t.ok((whole.data as Float32Array).every(Number.isFinite))
      const tiled = await model.upscale(image, { tile: 16, regionPixels: 256 })
      const difference = (tiled.data as Float32Array).reduce(
        (most, v, i) => Math.max(most, Math.abs(v - whole.data[i]!)),
        0,
      )
      t.ok(difference < (global ? 0.1 : 1e-5), `${network.name} ${size}: ${difference}`)
    }
    if (global) continue
    const odd = { data: new Uint8Array(33 * 33 * 3), width: 33, height: 33, channels: 3 as const }
    await t.rejects(
      (async () => {
        for await (const _ of tilesOf(odd, { size: 16 }).pipe(model.inferStream())) t.fail('no tile comes out')
      })(),
      {
        code: 'WBSR_INVALID_OPTION',
        message: /Expected a multiple of [24], which this network needs for tile\.picture/,
      },
    )
    await t.rejects(model.upscale(odd, { tile: 17 }), {
      code: 'WBSR_INVALID_OPTION',
      message: /for tile but received 17/,
    })
  }
})
