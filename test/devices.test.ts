// Which device a model gets, and which reason is reported: with this machine's plugin, without a plugin, with damaged ones,
// and with one that needs no GPU (test/native/bindings/fake_cuda). Each case runs in its own process, since a process looks
// for CUDA once; it loads a copy of dist/ beside a copy of the addon and the plugin.

import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { listDevices } from '../lib/index.js'
import { native } from '../lib/native.js'
import { checksFolder, packageIn, releaseFolder, unbuilt } from './support/package.js'

const fakeFile = path.join(checksFolder, 'libwbsr_cuda.so')
const skip = unbuilt(fakeFile)

const prelude = `
  import { listDevices, srresnet, WbsrError } from './dist/index.js'
  import { createEngine } from './dist/devices.js'
  import { native } from './dist/native.js'
  const network = srresnet({ scale: 2, widths: [8], depths: [1] })
  const attempt = (device) => {
    try {
      const { engine, fallbackReason } = createEngine(network, { device, threads: 1 })
      return { kind: engine.device.kind, name: engine.device.name, fallbackReason }
    } catch (error) {
      return { wbsr: error instanceof WbsrError, code: error.code, message: error.message }
    }
  }
  const print = (value) => console.log(JSON.stringify(value))
`
const packageWith = (t: Test, plugin: Buffer | string | null) => {
  const run = packageIn(t, plugin)
  return (source: string, env: NodeJS.ProcessEnv = {}) => run(prelude + source, env)
}

/** The plugin's bytes with one text replaced by another of its length. */
function patched(file: string, from: RegExp, to: (found: string) => string): Buffer {
  const text = readFileSync(file).toString('latin1')
  const changed = text.replace(from, to)
  if (changed === text || changed.length !== text.length) throw new Error(`${String(from)} was not replaced`)
  return Buffer.from(changed, 'latin1')
}

const everything = `print({ info: native.findDevices('cuda'), list: listDevices().map(({ id }) => id), auto: attempt('auto'), cpu: attempt('cpu'), cuda: attempt('cuda'), third: attempt('cuda:3') })`

/** Without a usable GPU: `auto` falls back to the CPU and `cuda` is refused, both with the reason. */
function checkWithout(t: Test, answer: any, reason: RegExp) {
  t.same(answer.info.devices, [])
  t.match(answer.info.reason, reason)
  t.same(answer.list, ['cpu'])
  t.match(answer.auto, { kind: 'cpu', fallbackReason: answer.info.reason })
  t.match(answer.cpu, { kind: 'cpu', fallbackReason: null })
  for (const [device, found] of [
    ['cuda', answer.cuda],
    ['cuda:3', answer.third],
  ]) {
    t.match(found, { wbsr: true, code: 'WBSR_NO_DEVICE' })
    t.ok(
      found.message.startsWith(`Device '${device}' cannot be used: ${answer.info.reason}. Devices here: 'cpu' (`),
      found.message,
    )
  }
}

t.test('this build on this machine', { skip }, async (t) => {
  const file = path.join(releaseFolder, 'libwbsr_cuda.so')
  const plugin = existsSync(file) ? readFileSync(file) : null
  const run = packageWith(t, plugin)
  const here = native.findDevices('cuda')
  const there = run('print(native.findDevices("cuda"))')
  t.same(there.devices, here.devices)
  t.equal(there.reason.replace(/\(.+\/build\//, '(build/'), here.reason.replace(/\(.+\/build\//, '(build/'))
  t.same(run('print(listDevices())'), listDevices())
  // Hides the GPUs of this machine.
  const hidden = { CUDA_VISIBLE_DEVICES: '' }
  checkWithout(
    t,
    run(everything, hidden),
    plugin
      ? /no NVIDIA driver was found .*install NVIDIA driver \d+|driver .* shows no GPU, CUDA_VISIBLE_DEVICES=''/
      : /this build of wbsr has no CUDA plugin/,
  )
  const nowhere = run('print(native.findDevices("cuda"))', { WBSR_CUDNN_PATH: '/nowhere' })
  t.same(nowhere.devices, [], 'neither with a cuDNN that is not there')
  t.match(nowhere.reason, here.devices.length > 0 ? /cuDNN.*\/nowhere/s : there.reason)
})

t.test('no plugin', { skip }, async (t) => {
  checkWithout(
    t,
    packageWith(t, null)(everything),
    /^this build of wbsr has no CUDA plugin \(.+\/build\/Release\/libwbsr_cuda\.so does not exist/,
  )
})

t.test('a plugin that is not a library', { skip }, async (t) => {
  checkWithout(
    t,
    packageWith(t, 'not a library\n'.repeat(1000))(everything),
    /^the CUDA plugin cannot be opened \(.*libwbsr_cuda\.so: invalid ELF header\)/,
  )
})

t.test('a truncated plugin', { skip }, async (t) => {
  const whole = readFileSync(fakeFile)
  for (const [length, reason] of [
    [30, /^the CUDA plugin cannot be opened \(.*libwbsr_cuda\.so: file too short\)/],
    [2000, /^the CUDA plugin .+libwbsr_cuda\.so is damaged: install or build wbsr again/],
    [whole.length - 1, /^the CUDA plugin .+libwbsr_cuda\.so is damaged/],
  ] as const) {
    await t.test(`${length} bytes`, async (t) =>
      checkWithout(t, packageWith(t, whole.subarray(0, length))(everything), reason),
    )
  }
})

t.test('a library that is not a plugin', { skip }, async (t) => {
  const run = packageWith(
    t,
    patched(fakeFile, /\0wbsrCudaPlugin\0/, () => '\0wbsrCudaPlugim\0'),
  )
  checkWithout(t, run(everything), /^the CUDA plugin .+libwbsr_cuda\.so has no function wbsrCudaPlugin/)
})

t.test('a plugin of another build', { skip }, async (t) => {
  const run = packageWith(
    t,
    patched(
      fakeFile,
      /wbsr \d+\.\d+\.\d+[^\0 ]* [0-9a-f]{16}\0/,
      (found) => `${found.slice(0, -17)}0123456789abcdef\0`,
    ),
  )
  checkWithout(
    t,
    run(everything),
    /^the CUDA plugin .+libwbsr_cuda\.so is of another build \(wbsr \S+ 0123456789abcdef\) than the addon \(wbsr \S+ [0-9a-f]{16}\)/,
  )
})

t.test('a plugin that finds nothing', { skip }, async (t) => {
  const run = packageWith(t, readFileSync(fakeFile))
  checkWithout(t, run(everything, { WBSR_FAKE_CUDA: 'none' }), /^the fake found no card$/)
  checkWithout(t, run(everything, { WBSR_FAKE_CUDA: 'find:WBSR_DEVICE_FAILED' }), /^the fake card fell off the bus$/)
  checkWithout(t, run(everything, { WBSR_FAKE_CUDA: 'find:memory' }), /^std::bad_alloc$/)
})

t.test('two GPUs', { skip }, async (t) => {
  const run = packageWith(t, readFileSync(fakeFile))
  const found = run(everything)
  t.same(found.list, ['cuda:0', 'cuda:2', 'cpu'])
  t.match(found.auto, { kind: 'cuda', name: 'Fake A', fallbackReason: null })
  t.match(found.cuda, { kind: 'cuda', name: 'Fake A', fallbackReason: null })
  t.match(found.cpu, { kind: 'cpu', fallbackReason: null })
  t.match(found.third, { wbsr: true, code: 'WBSR_NO_DEVICE' })
  t.match(
    found.third.message,
    /^Device 'cuda:3' cannot be used: there is no usable CUDA device of that number\. Devices here: 'cuda:0' \(Fake A\), 'cuda:2' \(Fake B\), 'cpu' \(/,
  )
  t.match(run(`print([attempt('cuda:2'), attempt('cuda:1')])`), [
    { kind: 'cuda', name: 'Fake B' },
    { code: 'WBSR_NO_DEVICE' },
  ])
  t.match(run('print(listDevices()[1])'), {
    id: 'cuda:2',
    kind: 'cuda',
    name: 'Fake B',
    threads: 0,
    details: 'asked 1 times, 16.0 GiB',
  })
})

t.test('a GPU that fails when the model is made', { skip }, async (t) => {
  const run = packageWith(t, readFileSync(fakeFile))
  const both = `print([attempt('auto'), attempt('cuda')])`
  for (const code of ['WBSR_NO_DEVICE', 'WBSR_DEVICE_FAILED', 'WBSR_OUT_OF_MEMORY']) {
    const [auto, cuda] = run(both, { WBSR_FAKE_CUDA: `make:${code}` })
    t.match(auto, {
      kind: 'cpu',
      fallbackReason: /^cuda:0 \(Fake A\) cannot take the network \S+: the fake card fell off the bus$/,
    })
    t.match(cuda, { wbsr: true, code, message: /the fake card fell off the bus/ })
  }
  const [auto, cuda] = run(both, { WBSR_FAKE_CUDA: 'make:WBSR_INTERNAL' })
  t.match([auto.code, cuda.code], ['WBSR_INTERNAL', 'WBSR_INTERNAL'], 'a mistake of ours is not hidden')
})

t.test('a model that is disposed of frees its GPU on another thread', { skip }, async (t) => {
  const run = packageWith(t, readFileSync(fakeFile))
  const freed = run(
    `
    import { existsSync, readFileSync } from 'node:fs'
    import { setTimeout } from 'node:timers/promises'
    const idle = createEngine(network, { device: 'cuda', threads: 1 }).engine
    const busy = createEngine(network, { device: 'cuda', threads: 1 }).engine
    const pass = busy.forward(0, new Float32Array(3 * 64 * 64), 1, 64, 64)
    idle.dispose()
    busy.dispose()
    const memory = idle.memory()
    await pass
    const lines = () => (existsSync('freed') ? readFileSync('freed', 'utf8') : '').split('\\n').filter(Boolean)
    while (lines().length < 2) await setTimeout(5)
    print({ memory, lines: lines() })
  `,
    { WBSR_FAKE_CUDA_FREED: 'freed' },
  )
  t.same(freed, { memory: 0, lines: ['other', 'other'] })
})

t.test('worker threads that ask at the same time', { skip }, async (t) => {
  const run = packageWith(t, readFileSync(fakeFile))
  const answers = run(`
    import { isMainThread, parentPort, Worker } from 'node:worker_threads'
    if (isMainThread) {
      const workers = Array.from({ length: 4 }, () => new Worker(new URL(import.meta.url)))
      print(await Promise.all(workers.map((worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject)))))
    } else {
      parentPort.postMessage({ info: native.findDevices('cuda'), made: attempt('cuda:2') })
    }
  `)
  t.equal(answers.length, 4)
  for (const { info, made } of answers) {
    t.same(
      info.devices.map((device: { details: string }) => device.details),
      ['asked 1 times', 'asked 1 times'],
      'one process looks once',
    )
    t.match(made, { kind: 'cuda', name: 'Fake B' })
  }
})
