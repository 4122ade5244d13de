import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import sharp from 'sharp'
import t from 'tap'
import { readSafetensors, type Tensor, writeSafetensors } from '../../lib/files/safetensors.js'
import { listDevices, loadSupernet, srresnet, stitchTo, tilesOf } from '../../lib/index.js'
import { native } from '../../lib/native.js'
import { naming } from '../support/naming.js'
import { onSmallDisk } from '../support/small-disk.js'

const network = srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })
const plain = { network, device: 'cpu', threads: 1 } as const

/** Shapes by published name, written by hand. */
const shapes: Record<string, number[]> = {
  'conv_first.weight': [16, 3, 3, 3],
  'conv_first.bias': [16],
  'recon_trunk.0.conv1.weight': [16, 16, 3, 3],
  'recon_trunk.0.conv1.bias': [16],
  'recon_trunk.0.conv2.weight': [16, 16, 3, 3],
  'recon_trunk.0.conv2.bias': [16],
  'recon_trunk.1.conv1.weight': [16, 16, 3, 3],
  'recon_trunk.1.conv1.bias': [16],
  'recon_trunk.1.conv2.weight': [16, 16, 3, 3],
  'recon_trunk.1.conv2.bias': [16],
  'upconv1.weight': [64, 16, 3, 3],
  'upconv1.bias': [64],
  'HRconv.weight': [16, 16, 3, 3],
  'HRconv.bias': [16],
  'conv_last.weight': [3, 16, 3, 3],
  'conv_last.bias': [3],
}

function tensors(): Tensor[] {
  let value = 0
  return Object.entries(shapes).map(([name, shape]) => {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.sin(value++) / 20)
    return { name, dtype: 'F32', shape, data }
  })
}

const picture = {
  data: Uint8Array.from({ length: 12 * 10 * 3 }, (_, i) => (i * 37) % 256),
  width: 12,
  height: 10,
  channels: 3 as const,
}

t.test('weights of another tool load, save and load again as a model', async (t) => {
  const dir = t.testdir()
  const file = path.join(dir, 'plain.safetensors')
  await writeSafetensors(file, tensors())
  const first = await loadSupernet(file, plain)
  t.equal(first.scale, 2)
  t.same(first.network, network)
  t.equal(first.router, null)
  t.same(first.classes.thresholds, [])
  t.same(
    first.subnets.map(({ width, depth }) => [width, depth]),
    [
      [8, 1],
      [8, 2],
      [16, 1],
      [16, 2],
    ],
  )
  t.ok(first.subnets.every(({ index, flops }, i) => index === i && (i === 0 || flops > first.subnets[i - 1]!.flops)))
  t.equal(
    first.subnets[3]!.parameters,
    Object.values(shapes).reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0),
  )

  const saved = path.join(dir, 'model.safetensors')
  await first.save(saved)
  const stored = await readSafetensors(saved)
  for (const { name, shape, data } of tensors()) {
    t.same(stored.tensors.get(name)!.shape, shape)
    t.same(stored.tensors.get(name)!.data, data, name)
  }
  const second = await loadSupernet(saved, { device: 'cpu', threads: 1 })
  t.same(second.network, network)
  t.same((await second.upscale(picture)).data, (await first.upscale(picture)).data)
  await second.save(path.join(dir, 'again.safetensors'))
  t.same(readFileSync(path.join(dir, 'again.safetensors')), readFileSync(saved), 'saving is deterministic')
  first.dispose()
  second.dispose()
})

t.test('a stream of tiles equals upscale', async (t) => {
  const dir = t.testdir()
  const file = path.join(dir, 'plain.safetensors')
  await writeSafetensors(file, tensors())
  using model = await loadSupernet(file, plain)
  const router = { subnet: 1 }
  const out = path.join(dir, 'out.png')
  await pipeline(tilesOf(picture, { size: 16 }), model.inferStream({ router }), stitchTo(out))
  t.same(new Uint8Array(await sharp(out).raw().toBuffer()), (await model.upscale(picture, { router, tile: 16 })).data)
})

t.test('parameter names of BasicSR load', async (t) => {
  const dir = t.testdir()
  const basic = tensors().map((tensor) => ({
    ...tensor,
    name: tensor.name.replace('recon_trunk', 'body').replace('HRconv', 'conv_hr'),
  }))
  await writeSafetensors(path.join(dir, 'basic.safetensors'), basic)
  await writeSafetensors(path.join(dir, 'plain.safetensors'), tensors())
  using a = await loadSupernet(path.join(dir, 'basic.safetensors'), plain)
  using b = await loadSupernet(path.join(dir, 'plain.safetensors'), plain)
  t.same((await a.upscale(picture)).data, (await b.upscale(picture)).data)
})

t.test('files that do not fit are refused, with what was expected', async (t) => {
  const dir = t.testdir()
  const file = path.join(dir, 'x.safetensors')
  const refuses = async (
    list: Tensor[],
    message: RegExp,
    options: object = plain,
    metadata: Record<string, string> = {},
  ) => {
    await writeSafetensors(file, list, metadata)
    await t.rejects(
      loadSupernet(file, options),
      { name: 'WbsrError', code: 'WBSR_INVALID_FILE', message },
      String(message),
    )
    await t.rejects(loadSupernet(file, options), { message: naming(file) })
  }
  await refuses(tensors().slice(1), /tensor conv_first\.weight of shape \[16, 3, 3, 3\] is missing/)
  await refuses(
    [...tensors(), { name: 'extra.bias', dtype: 'F32', shape: [1], data: new Float32Array(1) }],
    /tensor extra\.bias is not part of the network srresnet \(scale 2, widths 8\/16, depths 1\/2\)/,
  )
  await refuses(
    tensors().map((x) => (x.name === 'HRconv.bias' ? { ...x, shape: [4, 4] } : x)),
    /tensor HRconv\.bias has shape \[4, 4\] where \[16\] is expected/,
  )
  await refuses(
    tensors().map((x) => (x.name === 'HRconv.bias' ? { ...x, dtype: 'I32' as const, data: new Int32Array(16) } : x)),
    /tensor HRconv\.bias has type I32 where F32 is expected/,
  )
  await refuses(tensors(), /was not written by wbsr; say which network its weights belong to/, { device: 'cpu' })

  await writeSafetensors(path.join(dir, 'plain.safetensors'), tensors())
  const model = await loadSupernet(path.join(dir, 'plain.safetensors'), plain)
  const good = path.join(dir, 'good.safetensors')
  await model.save(good)
  model.dispose()
  const { metadata } = await readSafetensors(good)
  const json = (key: string, change: (value: any) => unknown) => ({
    ...metadata,
    [key]: JSON.stringify(change(JSON.parse(metadata[key]!))),
  })
  const own = { device: 'cpu' }
  await refuses(tensors(), /has format 99, this wbsr reads format 1/, own, { ...metadata, 'wbsr.format': '99' })
  await refuses(tensors(), /defines difficulty as edges/, own, { ...metadata, 'wbsr.difficulty': 'edges' })
  await refuses(tensors(), /metadata wbsr\.network is not JSON/, own, { ...metadata, 'wbsr.network': '{' })
  await refuses(
    tensors(),
    /metadata wbsr\.network: .*widths/,
    own,
    json('wbsr.network', (n) => ({ ...n, widths: [-3] })),
  )
  await refuses(tensors(), /tensor conv_first\.weight has shape \[16, 3, 3, 3\] where \[12, 3, 3, 3\]/, own, {
    ...metadata,
    'wbsr.network': JSON.stringify(srresnet({ scale: 2, widths: [8, 12], depths: [1, 2] })),
  })
  const noKernel = (n: any) => ({
    ...n,
    graph: { ...n.graph, nodes: n.graph.nodes.map(({ kernel, ...node }: any) => node) },
  })
  await refuses(tensors(), /holds a network that cannot be built: .*kernel/, own, json('wbsr.network', noKernel))
  await refuses(
    tensors(),
    /metadata wbsr\.classes is not/,
    own,
    json('wbsr.classes', (c) => ({ ...c, count: 3 })),
  )
  await refuses(tensors(), /metadata wbsr\.router is not a table of 1 classes by 4 subnets/, own, {
    ...metadata,
    'wbsr.router': JSON.stringify({
      squaredError: [[1]],
      bicubicSquaredError: [1],
      frequency: [1],
      tiles: 1,
      tileSize: 32,
    }),
  })
  const lossesOf = (tileLosses: unknown) => ({
    ...metadata,
    'wbsr.router': JSON.stringify({
      squaredError: [[4, 3, 2, 1]],
      bicubicSquaredError: [1],
      frequency: [1],
      tiles: 2,
      tileSize: 32,
      tileLosses,
    }),
  })
  const rows = [0.3, 0.2, 0.1, 0].map((loss) => [0, loss])
  for (const tileLosses of [
    [],
    { tiles: [2] },
    { tiles: [3], quantiles: [rows] },
    { tiles: [2.5], quantiles: [rows] },
    { tiles: [2], quantiles: [rows.slice(1)] },
    { tiles: [2], quantiles: [rows.map(([a, b]) => [b! + 1, a])] },
    { tiles: [2], quantiles: [rows.map(() => [0, 'much'])] },
  ])
    await refuses(tensors(), /tileLosses that are not .* of 1 classes by 4 subnets/, own, lossesOf(tileLosses))
  await writeSafetensors(file, tensors(), lossesOf({ tiles: [2], quantiles: [rows] }))
  using measured = await loadSupernet(file, own)
  t.same(measured.router!.tileLosses, { tiles: [2], quantiles: [rows] })
  await refuses(tensors(), /metadata wbsr\.mixture is not/, own, {
    ...metadata,
    'wbsr.mixture': JSON.stringify({ dimension: 2 }),
  })
  const { 'wbsr.classes': _, ...without } = metadata
  await refuses(tensors(), /metadata wbsr\.classes is missing/, own, without)
  await t.rejects(
    loadSupernet(good, { ...own, network: srresnet({ scale: 3, widths: [8, 16], depths: [1, 2] }) } as never),
    { code: 'WBSR_INVALID_FILE', message: /scale is 2 there and 3 here/ },
  )

  const bytes = readFileSync(good)
  for (const length of [0, 7, 200, bytes.length - 1]) {
    writeFileSync(file, bytes)
    truncateSync(file, length)
    await t.rejects(loadSupernet(file), { code: 'WBSR_INVALID_FILE' }, `cut to ${length} bytes`)
  }
  await t.rejects(loadSupernet(path.join(dir, 'none.safetensors')), { code: 'WBSR_NOT_FOUND' })
  await t.rejects(loadSupernet(dir), { code: 'WBSR_INVALID_FILE' })
})

t.test('options and devices', async (t) => {
  const dir = t.testdir()
  const file = path.join(dir, 'x.safetensors')
  await writeSafetensors(file, tensors())
  const bad = async (args: [unknown, unknown?], message: string) => {
    await t.rejects((loadSupernet as (...a: unknown[]) => Promise<unknown>)(...args), {
      code: 'WBSR_INVALID_OPTION',
      message,
    })
  }
  await bad([5], 'Expected a non-empty string for file but received 5')
  await bad([file, { device: 'tpu' }], `Expected one of 'auto', 'cpu', 'cuda', 'cuda:N' for device but received "tpu"`)
  await bad([file, { threads: 1.5 }], 'Expected an integer between 1 and 1024 for threads but received 1.5')
  await bad(
    [file, { precision: 'fp8' }],
    `Expected one of 'bf16', 'tf32', 'fp32', 'int8' for precision but received "fp8"`,
  )
  const withAmx = native.deviceKinds().at(-1)!.precisions.includes('int8')
  await bad(
    [file, { device: 'cpu', precision: 'bf16' }],
    `Expected 'fp32'${withAmx ? ", 'int8'" : ''} or nothing with device 'cpu' for precision but received "bf16"`,
  )
  await bad([file, { device: 'cpu', autotune: 3 }], `Expected nothing with device 'cpu' for autotune but received 3`)
  await bad([file, { autotune: 65 }], 'Expected an integer between 0 and 64 for autotune but received 65')
  await bad(
    [file, { cores: 2 }],
    'Expected no other keys than device, threads, precision, autotune, concurrency, maxWaiting, network for options but received "cores"',
  )
  await t.rejects(loadSupernet(file, { network, device: 'cuda:99' }), {
    code: 'WBSR_NO_DEVICE',
    message: /^Device 'cuda:99' cannot be used: .*\. Devices here: .*'cpu'/s,
  })

  using auto = await loadSupernet(file, { network, threads: 2 })
  t.equal(auto.device().kind, listDevices()[0]!.kind)
  t.equal(auto.device().fallbackReason === null, auto.device().kind === 'cuda')
  t.ok(auto.device().name.length > 0)
  using cpu = await loadSupernet(file, { network, device: 'cpu', precision: 'fp32' })
  t.match(cpu.device(), { kind: 'cpu', precision: 'fp32', fallbackReason: null })
  t.match(listDevices().at(-1), { id: 'cpu', kind: 'cpu', threads: Number })
})

t.test('a model can be saved while it runs and after an abort', async (t) => {
  const dir = t.testdir()
  const file = path.join(dir, 'x.safetensors')
  await writeSafetensors(file, tensors())
  const model = await loadSupernet(file, plain)
  t.teardown(() => model.dispose())
  const large = { data: new Uint8Array(200 * 300 * 3).fill(90), width: 200, height: 300, channels: 3 as const }
  await model.save(path.join(dir, 'idle.safetensors'))
  const stop = new AbortController()
  const work = model.upscale(large, { tile: 16, signal: stop.signal, onProgress: () => stop.abort() })
  // It may end before the file is written.
  const ended = t.rejects(work, { code: 'WBSR_ABORTED' })
  await model.save(path.join(dir, 'busy.safetensors'))
  await ended
  await model.save(path.join(dir, 'aborted.safetensors'))
  for (const name of ['busy', 'aborted'])
    t.ok(
      readFileSync(path.join(dir, `${name}.safetensors`)).equals(readFileSync(path.join(dir, 'idle.safetensors'))),
      name,
    )
  const saved = model.save(path.join(dir, 'y.safetensors'))
  model.dispose()
  await saved.catch((error: unknown) => t.match(error, { name: 'WbsrError', code: 'WBSR_DISPOSED' }))
})

t.test('a disposed model throws WBSR_DISPOSED', async (t) => {
  const dir = t.testdir()
  const file = path.join(dir, 'x.safetensors')
  await writeSafetensors(file, tensors())
  const model = await loadSupernet(file, plain)
  model.dispose()
  model.dispose()
  const disposed = { name: 'WbsrError', code: 'WBSR_DISPOSED' }
  t.throws(() => model.device(), disposed)
  t.throws(() => model.inferStream(), disposed)
  await t.rejects(model.save(path.join(dir, 'y.safetensors')), disposed)
  await t.rejects(model.upscale(picture), disposed)
  t.equal(model.subnets.length, 4, 'plain data stays readable')

  let seen: Awaited<ReturnType<typeof loadSupernet>>
  {
    await using other = await loadSupernet(file, plain)
    seen = other
  }
  t.throws(() => seen.device(), disposed)
})

t.test('a full disk leaves the old model file intact', async (t) => {
  const dir = t.testdir({ disk: {} })
  const disk = path.join(dir, 'disk')
  await writeSafetensors(path.join(dir, 'x.safetensors'), tensors())
  using model = await loadSupernet(path.join(dir, 'x.safetensors'), plain)
  await onSmallDisk(t, disk, '140k', async () => {
    const file = path.join(disk, 'm.safetensors')
    await model.save(file)
    const before = readFileSync(file)
    t.ok(before.length > 70_000, `${before.length} bytes: two of them do not fit`)
    await t.rejects(model.save(file), { code: 'WBSR_IO', message: /m\.safetensors: no space left on the disk/ })
    t.same(readFileSync(file), before)
  })
})
