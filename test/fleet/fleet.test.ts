// A fleet on a real Redis: pictures in bands, folders, repeated and failing jobs.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import type { FleetJob } from '../../lib/fleet/events.js'
import { type Fleet, openFleet } from '../../lib/fleet/fleet.js'
import { bandKey, manifestKey } from '../../lib/fleet/manifest.js'
import type { RunStatus } from '../../lib/fleet/run.js'
import { startFleetWorker } from '../../lib/fleet/start-worker.js'
import type { FleetWorker } from '../../lib/fleet/worker.js'
import { encodeImage } from '../../lib/images/images.js'
import { SupernetModel } from '../../lib/models/model.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { until } from '../support/cli.js'
import { leftovers, testFleet } from '../support/fleet.js'
import { picture } from '../support/infer-pictures.js'
import { realState } from '../support/real-state.js'
import { RedisServer, withoutRedis } from '../support/redis.js'

const skip = withoutRedis()
if (skip) t.test('fleet', { skip }, () => {})
else await withRedis(await RedisServer.start())

async function withRedis(redis: RedisServer) {
  const { folder, store, connection, model, fleet } = await testFleet(redis)
  const options = { router: 'projection', rate: 1e9, compressionLevel: 1 } as const

  /** A worker for one test, with what it did. */
  async function working(
    test: Test,
    more: object = {},
  ): Promise<{ worker: FleetWorker; started: FleetJob[]; refused: string[] }> {
    const worker = await startFleetWorker({ connection, store, lockSeconds: 10, ...more })
    const started: FleetJob[] = []
    const refused: string[] = []
    worker.on('start', (job) => started.push(job))
    worker.on('refused', (_job, reason) => refused.push(reason))
    test.teardown(() => worker.close(true))
    return { worker, started, refused }
  }

  const pixelsOf = (file: string) => sharp(file).raw().toBuffer()
  const expected = async (input: string | ReturnType<typeof picture>) => {
    const { data } = await model.upscale(input, { router: 'projection' })
    return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  }

  t.test('a picture in bands: the longest first, then one file, and nothing else is left', async (t) => {
    const image = picture(300, 1100)
    const run = await fleet.submit(model, image, 'out/one.png', { ...options, bands: 4 })
    t.match(await run.status(), { state: 'waiting', total: 4, done: 0, workers: 0, eta: null })
    const manifest = JSON.parse(readFileSync(store.file!(manifestKey(run.id)), 'utf8'))
    const { started, worker } = await working(t)
    const states: RunStatus[] = []
    const result = await run.result({ onProgress: (status) => states.push(status) })
    t.match(result, { output: 'out/one.png', width: 600, height: 2200, channels: 3 })
    t.ok((await pixelsOf(store.file!('out/one.png'))).equals(await expected(image)), 'the bytes of upscale()')
    const flops = started.filter(({ kind }) => kind === 'band').map(({ index }) => manifest.bands[index!].flops)
    t.same(
      flops,
      [...flops].sort((a, b) => b - a),
      'long bands first',
    )
    t.same(await leftovers(store, run.id), [], 'the bands are gone')
    t.match(await run.status(), { state: 'done', eta: 0 })
    t.ok(worker.eventLoopDelay().p99 >= 0)
    await run.save(path.join(folder, 'saved.png'))
    t.ok(readFileSync(path.join(folder, 'saved.png')).equals(readFileSync(store.file!('out/one.png'))))
    // Again: it is there already.
    const again = await fleet.submit(model, image, 'out/one.png', { ...options, bands: 4 })
    t.equal(again.id, run.id)
    t.match(await again.result(), { output: 'out/one.png' })
    t.equal(started.length, 5, 'nothing was done twice')
  })

  t.test('a job that is submitted twice is one job; bands that are there are not done again', async (t) => {
    const image = picture(128, 800)
    const one = await fleet.submit(model, image, 'out/twice.tif', { ...options, bands: 3 })
    const two = await fleet.submit(model, image, 'out/twice.tif', { ...options, bands: 3 })
    t.equal(one.id, two.id)
    const other = await fleet.submit(model, image, 'out/other.png', { ...options, bands: 3 })
    t.not(other.id, one.id)
    const { started } = await working(t)
    await Promise.all([one.result(), two.result(), other.result()])
    t.equal(started.length, 8)
    t.ok((await pixelsOf(store.file!('out/twice.tif'))).equals(await expected(image)))
  })

  t.test('a database that lost its jobs: submitting again goes on where the store is', async (t) => {
    const image = picture(128, 801)
    const run = await fleet.submit(model, image, 'out/lost.png', { ...options, bands: 3 })
    const { worker } = await working(t)
    await new Promise<void>((resolve) => worker.once('done', () => resolve()))
    await worker.close(true)
    redis.command('flushall')
    t.match(await run.status(), { state: 'unknown' })
    await t.rejects(run.result(), { code: 'WBSR_NOT_FOUND', message: /no job/ })
    const again = await fleet.submit(model, image, 'out/lost.png', { ...options, bands: 3 })
    t.equal(again.id, run.id)
    const second = await working(t)
    const found: boolean[] = []
    second.worker.on('done', (_job, result) => found.push(result.found))
    await again.result()
    t.ok(found.includes(true), 'a band that was there')
    t.ok((await pixelsOf(store.file!('out/lost.png'))).equals(await expected(image)))
  })

  t.test('many pictures: each is done or named, the small ones as a whole', async (t) => {
    const files = path.join(folder, 'pictures')
    mkdirSync(files, { recursive: true })
    for (const [name, height] of [
      ['a', 90],
      ['b', 130],
    ] as const)
      await encodeImage(picture(100, height, 3, 'uint8', height), path.join(files, `${name}.png`))
    writeFileSync(path.join(files, 'broken.png'), 'no picture')
    // Its header is right, its pixels are cut off: only the worker that decodes it finds out.
    writeFileSync(path.join(files, 'cut.png'), readFileSync(path.join(files, 'b.png')).subarray(0, 9000))
    const list = readdirSync(files).map((name) => ({ input: path.join(files, name), output: `folder/${name}` }))
    const large = { input: picture(100, 900), output: 'folder/large.png' }
    const run = await fleet.submitFolder(model, [...list, large], 'four pictures', { ...options, bandSeconds: 3 })
    await working(t)
    const result = await run.result()
    t.same(result.pictures!.map(({ output }) => output).sort(), ['folder/a.png', 'folder/b.png', 'folder/large.png'])
    t.match(
      result.failed!.map(({ name, code }) => [path.basename(name), code]),
      [
        ['broken.png', 'WBSR_INVALID_IMAGE'],
        ['cut.png', 'WBSR_INVALID_IMAGE'],
      ],
    )
    t.ok((await pixelsOf(store.file!('folder/a.png'))).equals(await expected(path.join(files, 'a.png'))))
    t.ok((await pixelsOf(store.file!('folder/large.png'))).equals(await expected(large.input)))
    t.match(await run.status(), { state: 'done' })
  })

  t.test('a poisoned band is tried as often as it should and named; then a second try succeeds', async (t) => {
    const image = picture(64, 900)
    const run = await fleet.submit(model, image, 'out/poison.png', { ...options, bands: 3, attempts: 2 })
    const manifest = JSON.parse(readFileSync(store.file!(manifestKey(run.id)), 'utf8'))
    // The band cannot be written: something is in the way.
    const blocked = store.file!(bandKey(run.id, manifest.bands[1]))
    mkdirSync(blocked)
    await working(t)
    await t.rejects(run.result(), {
      code: 'WBSR_IO',
      message: /band 1 of 3, after 2 attempts: Cannot write .*it is a folder/,
    })
    t.match(await run.status(), { state: 'failed' })
    rmSync(blocked, { recursive: true })
    const again = await fleet.submit(model, image, 'out/poison.png', { ...options, bands: 3, attempts: 2 })
    t.match(await again.result(), { output: 'out/poison.png' })
  })

  t.test('figures for Prometheus', async (t) => {
    const { worker } = await working(t, { metricsPort: 0 })
    const get = async (page: string) => await fetch(`http://127.0.0.1:${worker.metricsPort}${page}`)
    await (await fleet.submit(model, picture(200, 600), 'out/counted.png', { ...options, bands: 2 })).result()
    const value = (text: string, name: string, labels: string[]) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${name}{`) && labels.every((label) => line.includes(label)))
          ?.split(' ')
          .at(-1) ?? Number.NaN,
      )
    let text = ''
    // The worker counts a job when BullMQ has taken its result.
    await until(async () => {
      text = await (await get('/metrics')).text()
      return value(text, 'wbsr_fleet_jobs_total', ['kind="assemble"', 'outcome="done"']) === 1
    })
    t.equal(value(text, 'wbsr_fleet_jobs_total', ['kind="band"', 'outcome="done"']), 2)
    t.equal(value(text, 'wbsr_fleet_job_seconds_count', ['kind="band"']), 2)
    t.equal(value(text, 'wbsr_fleet_jobs_running', ['kind="band"']), 0)
    t.ok(value(text, 'wbsr_fleet_flops_total', []) > 1e6)
    t.match(text, /nodejs_eventloop_lag_p99_seconds/)
    t.equal((await get('/')).status, 404)
    await worker.close()
    await t.rejects(get('/metrics'), 'they end with the worker')
  })

  t.test('cancelling stops a running band and leaves nothing', async (t) => {
    const run = await fleet.submit(model, picture(1200, 2400), 'out/cancel.png', { ...options, bands: 2 })
    const { worker } = await working(t)
    await new Promise<void>((resolve) => worker.once('start', () => resolve()))
    await run.cancel()
    t.match(await run.status(), { state: 'unknown' })
    t.notOk(existsSync(store.file!('out/cancel.png')))
    t.notOk(existsSync(path.dirname(store.file!(manifestKey(run.id)))))
    t.same(await queued(fleet), 0, 'nothing in the queues')
  })

  t.test('a worker with older weights of the model refuses jobs of the new ones', async (t) => {
    const old = new SupernetModel(realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] }), { gain: 0.99 }))
    await old.save(path.join(folder, 'old.safetensors'))
    await model.save(path.join(folder, 'new.safetensors'))
    old.dispose()
    const run = await fleet.submit(model, picture(64, 300), 'out/refused.png', { ...options, bands: 1 })
    const { worker, refused } = await working(t, { models: [path.join(folder, 'old.safetensors')], refuseSeconds: 0.2 })
    while (refused.length < 3) await new Promise((resolve) => setTimeout(resolve, 50))
    t.match(refused[0], /wants model models\/\w+\.safetensors, this worker has models\/\w+/)
    t.match((await run.status()).refusals, [/this worker has/])
    await worker.close()
    await working(t, { models: [path.join(folder, 'new.safetensors')] })
    await run.result()
  })

  t.test('what is wrong is said at once', async (t) => {
    await t.rejects(openFleet({ connection: 'redis://127.0.0.1:1', store }), {
      code: 'WBSR_IO',
      message: /Cannot reach redis:\/\/127.0.0.1:1: .*ECONNREFUSED/,
    })
    await t.rejects(openFleet({ connection: 'http://x', store }), {
      code: 'WBSR_INVALID_OPTION',
      message: /for connection/,
    })
    await t.rejects(openFleet({ connection, store: {} as never }), {
      code: 'WBSR_INVALID_OPTION',
      message: /for store/,
    })
    const image = picture(32, 32)
    const wrong = [
      [['../x.png'], /for output/],
      [['x.gif'], /for output/],
      [['x.png', { bands: 0 }], /for bands/],
      [['x.png', { rate: -1 }], /for rate/],
      [['x.png', { tile: 'image' }], /for tile/],
      [['x.png', { wrap: true }], /no other keys/],
      [['x.png', { attempts: 0 }], /for attempts/],
    ] as [[string, object?], RegExp][]
    for (const [args, message] of wrong)
      await t.rejects(fleet.submit(model, image, ...(args as [string])), { code: 'WBSR_INVALID_OPTION', message })
    redis.command('config', 'set', 'maxmemory-policy', 'allkeys-lru')
    await t.rejects(openFleet({ connection, store }), { code: 'WBSR_INVALID_OPTION', message: /noeviction/ })
    await t.rejects(startFleetWorker({ connection, store }), { code: 'WBSR_INVALID_OPTION', message: /noeviction/ })
    redis.command('config', 'set', 'maxmemory-policy', 'noeviction')
  })
}

async function queued(fleet: Fleet): Promise<number> {
  const states = await Promise.all((await fleet.runs()).map((run) => run.status()))
  return states.filter(({ state }) => !['done', 'failed', 'unknown'].includes(state)).length
}
