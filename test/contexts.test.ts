// wbsr in other contexts than the main program's: values of other realms, a vm context as Jest makes it, worker threads that end in
// the middle of a job, and two copies of the package in one process.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import vm from 'node:vm'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { loadSupernet, psnr, type RawImage, stitchTo, type Tile, type UpscaledTile, videoStream } from '../lib/index.js'
import { releaseFolder, unbuilt } from './support/package.js'
import { pattern, sameSamples } from './support/pictures.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const skip = unbuilt()

/** Runs a program in a process of its own, without what tap preloads; returns its last line, parsed as JSON. */
function run(t: Test, ...args: string[]) {
  const { NODE_OPTIONS: _options, ...env } = process.env
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' })
  t.equal(signal ?? status, 0, stderr)
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) || 'null')
}

/** The same values as objects of another realm. */
const foreign = vm.createContext({})
function foreignArray<T extends RawImage['data']>(data: T): T {
  const name = Object.prototype.toString.call(data).slice(8, -1)
  const copy = (vm.runInContext(name, foreign) as { from: (values: ArrayLike<number>) => T }).from(data)
  if (copy instanceof (data.constructor as new () => T)) throw new Error('it is of this realm')
  return copy
}

t.test('arrays, signals and addresses of another realm', async (t) => {
  const folder = t.testdir()
  const model = await loadSupernet('wbsr:x2', { threads: 1 })
  const bytes = pattern(20, 16, 3, 8)
  const pictures: RawImage[] = [
    bytes,
    pattern(20, 16, 3, 16),
    { ...bytes, data: Uint8ClampedArray.from(bytes.data) },
    { ...bytes, data: Float32Array.from(bytes.data, (value) => value / 255) },
  ]
  for (const picture of pictures) {
    const other = { ...picture, data: foreignArray(picture.data) }
    const [a, b] = [await model.upscale(picture), await model.upscale(other)]
    t.ok(sameSamples(a.data, b.data), `upscale, ${picture.data.constructor.name}`)

    const file = path.join(folder, 'a.png')
    await once(stitchTo(file).end({ x: 0, y: 0, ...picture, data: foreignArray(picture.data) }), 'finish')
    t.match(await sharp(file).metadata(), { width: 20, height: 16 }, 'stitchTo')

    const stream = model.inferStream()
    const tile: Tile = { x: 0, y: 0, ...other }
    stream.end(tile)
    const [sr] = (await stream.toArray()) as UpscaledTile[]
    t.match(sr, { width: 40, height: 32 }, 'inferStream')
  }
  t.equal(await psnr(bytes, { ...bytes, data: foreignArray(bytes.data) }), Infinity)
  await t.rejects(model.upscale({ ...bytes, data: vm.runInContext('new Int8Array(960)', foreign) }), {
    code: 'WBSR_INVALID_OPTION',
    message: /Expected a Uint8Array, .* for input\.data/,
  })

  const frames = videoStream(model, { width: 20, height: 16 })
  frames.end({ data: foreignArray(bytes.data as Uint8Array) })
  t.equal((await frames.toArray()).length, 1, 'videoStream')

  const png = foreignArray(new Uint8Array(await sharp(bytes.data, { raw: bytes }).png().toBuffer()))
  for (const encoded of [png, png.buffer]) t.match(await model.upscale(encoded), { width: 40 }, 'an encoded picture')

  writeFileSync(path.join(folder, 'b.png'), png)
  const { href } = pathToFileURL(path.join(folder, 'b.png'))
  // As jsdom's: classes of the window, with the tags that the standard asks for.
  const [url, signal] = vm.runInContext(
    `class URL { get [Symbol.toStringTag]() { return 'URL' } }
     class AbortSignal {
       aborted = true
       reason = 'enough'
       addEventListener() {}
       removeEventListener() {}
       get [Symbol.toStringTag]() { return 'AbortSignal' }
     }
     ;[new URL(), new AbortSignal()]`,
    foreign,
  ) as [URL, AbortSignal]
  const { protocol, hostname, pathname } = new URL(href)
  Object.assign(url, { href, protocol, hostname, host: hostname, pathname, search: '', hash: '' })
  t.match(await model.upscale(url), { width: 40 }, 'a file: URL')
  await t.rejects(model.upscale(bytes, { signal }), { code: 'WBSR_ABORTED', cause: 'enough' })
  model.dispose()
})

t.test('nothing asks for a class of its own realm', async (t) => {
  const builtIn = /instanceof (\w*Array|ArrayBuffer|URL|Blob|AbortSignal|Error|RangeError|TypeError)\b/
  const files = readdirSync(path.join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  )
  t.ok(files.length > 200)
  for (const name of files.filter((name) => name !== 'realms.ts'))
    t.notMatch(readFileSync(path.join(root, 'lib', name), 'utf8'), builtIn, `lib/${name}: see lib/realms.ts`)
})

t.test('all of wbsr in a vm context, as in Jest', { skip }, async (t) => {
  const folder = t.testdir({ photos: {} })
  await sharp(pattern(80, 80, 3, 8).data, { raw: { width: 80, height: 80, channels: 3 } })
    .jpeg()
    .toFile(path.join(folder, 'photos', 'a.jpg'))
  const module = path.join(folder, 'main.mjs')
  writeFileSync(
    module,
    `import { once } from 'node:events'
     import { loadModel, loadSupernet, resizeBicubic, srresnet, stitchTo, trainSupernet } from 'wbsr'
     const at = (name) => ${JSON.stringify(folder)} + '/' + name
     const model = await loadSupernet('wbsr:x2', { threads: 1 })
     const made = []
     for (const type of [Uint8Array, Uint16Array, Float32Array]) {
       const data = new type(24 * 16 * 3).map((_, i) => (type === Float32Array ? (i % 256) / 255 : i % 256))
       const sr = await model.upscale({ data, width: 24, height: 16, channels: 3 })
       await once(stitchTo(at(type.name + '.png')).end({ x: 0, y: 0, ...sr }), 'finish')
       made.push(sr.data.constructor.name)
     }
     const { width } = await model.upscaleFile(at('Uint16Array.png'), at('large.tif'), { scale: 1.5 })
     made.push(width, (await resizeBicubic(at('large.tif'), { width: 10, height: 8 })).width)
     await model.save(at('saved.safetensors'))
     await model.exportOnnx(at('saved.onnx'))
     for (const name of ['saved.safetensors', 'saved.onnx']) made.push((await loadModel(at(name))).scale)
     const run = {
       network: srresnet({ scale: 2, widths: [8], depths: [1] }),
       data: { train: at('photos') },
       steps: 2,
       patchSize: 32,
       batchSize: 2,
       checkpoint: { directory: at('run') },
       report: at('report.html'),
     }
     await trainSupernet({ ...run, data: { ...run.data, degradation: 'photo' } })
     const trained = await trainSupernet({ ...run, extend: at('run') })
     made.push(trained.subnets.length)
     // A clone is of the process's realm, so this says that the context has a Float32Array of its own.
     made.push(structuredClone(new Float32Array(1)) instanceof Float32Array)
     console.log(JSON.stringify(made))`,
  )
  const made = run(
    t,
    '--experimental-vm-modules',
    '--no-warnings',
    path.join(root, 'test/support/vm-context.mjs'),
    module,
  )
  t.same(made, ['Uint8Array', 'Uint16Array', 'Float32Array', 72, 10, 2, 2, 1, false])
})

t.test('workers that are terminated while they compute leave the others alone', { skip }, async (t) => {
  const folder = t.testdir()
  const module = path.join(folder, 'main.mjs')
  writeFileSync(
    module,
    `import { once } from 'node:events'
     import { isMainThread, parentPort, threadId, Worker, workerData } from 'node:worker_threads'
     import { loadSupernet } from ${JSON.stringify(path.join(root, 'dist/index.js'))}

     const model = await loadSupernet('wbsr:x2', { threads: 1 })
     const picture = (width, height) => ({ data: new Uint8Array(width * height * 3).fill(99), width, height, channels: 3 })
     const largest = { router: { subnet: model.subnets.length - 1 } }
     if (isMainThread) {
       const before = await model.upscale(picture(40, 40), largest)
       const ends = []
       for (let round = 0; round < 2; round++) {
         const workers = Array.from({ length: 2 }, () => new Worker(new URL(import.meta.url)))
         // Each is in the middle of a picture, and would go on for ever.
         await Promise.all(workers.map((worker) => once(worker, 'message')))
         const own = model.upscale(picture(60, 60), largest)
         ends.push(...(await Promise.all(workers.map((worker) => worker.terminate()))))
         await own
       }
       const after = await model.upscale(picture(40, 40), largest)
       console.log(JSON.stringify({ ends, same: Buffer.compare(before.data, after.data) === 0 }))
     } else {
       const begun = () => parentPort.postMessage('begun')
       const onProgress = ({ done }) => done > 0 && begun()
       for (;;) await model.upscale(picture(200, 4000), { ...largest, groupRows: 64, onProgress })
     }`,
  )
  t.same(run(t, module), { ends: [1, 1, 1, 1], same: true })
})

t.test('two copies of the package in one process', { skip }, async (t) => {
  const folder = t.testdir()
  const copies = ['one', 'two'].map((name) => {
    const home = path.join(folder, name)
    mkdirSync(path.join(home, 'build', 'Release'), { recursive: true })
    for (const part of ['dist', 'weights', 'package.json'])
      cpSync(path.join(root, part), path.join(home, part), { recursive: true })
    cpSync(path.join(releaseFolder, 'wbsr.node'), path.join(home, 'build', 'Release', 'wbsr.node'))
    symlinkSync(path.join(root, 'node_modules'), path.join(home, 'node_modules'))
    return path.join(home, 'dist', 'index.js')
  })
  const module = path.join(folder, 'main.mjs')
  writeFileSync(
    module,
    `import { readFileSync } from 'node:fs'
     import * as one from ${JSON.stringify(copies[0])}
     import * as two from ${JSON.stringify(copies[1])}
     const data = Uint8Array.from({ length: 70 * 50 * 3 }, (_, i) => (i * 31) % 256)
     const results = await Promise.all(
       [one, two, one, two].map(async ({ loadSupernet }) => {
         const model = await loadSupernet('wbsr:x2', { threads: 1 })
         return model.upscale({ data, width: 70, height: 50, channels: 3 })
       }),
     )
     const foreign = await one.loadSupernet('wbsr:x2')
     const refused = await two.slimFrom(foreign, { depths: [2, 4] }).catch(({ code }) => code)
     console.log(
       JSON.stringify({
         same: results.every((result) => Buffer.compare(result.data, results[0].data) === 0),
         addons: new Set(readFileSync('/proc/self/maps', 'utf8').match(/\\/\\S*wbsr\\.node$/gm)).size,
         refused,
       }),
     )`,
  )
  t.same(run(t, module), { same: true, addons: 2, refused: 'WBSR_INVALID_OPTION' })
})
