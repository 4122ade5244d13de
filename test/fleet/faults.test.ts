// What breaks queues: processes that are killed, locks that are lost, a Redis that restarts, jobs that kill their workers.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Queue } from 'bullmq'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import type { FleetJob } from '../../lib/fleet/events.js'
import { workQueue } from '../../lib/fleet/queues.js'
import { startFleetWorker } from '../../lib/fleet/start-worker.js'
import type { RawImage } from '../../lib/types.js'
import { until } from '../support/cli.js'
import { measureTurns } from '../support/event-loop.js'
import { leftovers, testFleet } from '../support/fleet.js'
import { picture } from '../support/infer-pictures.js'
import { RedisServer, withoutRedis } from '../support/redis.js'

const skip = withoutRedis()
if (skip) t.test('faults of a fleet', { skip }, () => {})
else await withRedis(await RedisServer.start())

async function withRedis(redis: RedisServer) {
  const { store, connection, model, fleet } = await testFleet(redis)
  const options = { router: { subnet: 3 }, rate: 1e9, compressionLevel: 1 } as const

  /** A worker in a process of its own, which kills itself. */
  const victim = (crashes: number, when: 'middle' | 'band-0') => {
    const file = path.join(path.dirname(fileURLToPath(import.meta.url)), '../support/fleet-victim.ts')
    return fork(file, [connection, store.label, String(crashes), when], { stdio: 'ignore' })
  }

  const check = async (t: Test, image: RawImage, output: string) => {
    const { data } = await model.upscale(image, { router: options.router })
    const pixels = await sharp(store.file!(output)).raw().toBuffer()
    t.ok(pixels.equals(Buffer.from(data.buffer, data.byteOffset, data.byteLength)), 'the bytes of upscale()')
    t.same(await leftovers(store), [], 'no partial file and no band is left')
  }

  t.test('workers that are killed in the middle of bands: others do them again', async (t) => {
    const image = picture(500, 1500)
    const run = await fleet.submit(model, image, 'out/killed.png', { ...options, bands: 5 })
    for (let kills = 0; kills < 3; kills++) t.same(await once(victim(5, 'middle'), 'exit'), [null, 'SIGKILL'])
    t.equal((await run.status()).state, 'running')
    const worker = await startFleetWorker({ connection, store, lockSeconds: 5 })
    t.teardown(() => worker.close(true))
    await run.result()
    await worker.close()
    await check(t, image, 'out/killed.png')
  })

  t.test('a band that kills every worker is given up and named', async (t) => {
    const run = await fleet.submit(model, picture(100, 1200), 'out/deadly.png', { ...options, bands: 2 })
    let over = false
    let alive: ChildProcess
    const next = () => {
      if (over) return
      alive = victim(1, 'band-0')
      alive.once('exit', next)
    }
    next()
    await t.rejects(run.result(), { message: /band 0 of 2, after .*died or lost it/ })
    over = true
    if (alive!.kill('SIGKILL')) await once(alive!, 'exit')
    await run.cancel()
  })

  t.test('Redis is killed and comes back in the middle', async (t) => {
    const image = picture(300, 1500)
    const run = await fleet.submit(model, image, 'out/restart.png', { ...options, bands: 5 })
    const worker = await startFleetWorker({ connection, store, lockSeconds: 5 })
    t.teardown(() => worker.close(true))
    await once(worker, 'done')
    await redis.stop()
    await new Promise((resolve) => setTimeout(resolve, 300))
    await redis.run()
    await run.result()
    await check(t, image, 'out/restart.png')
    await worker.close()
  })

  t.test('a lock that is lost: the job is given up here and done again', async (t) => {
    const image = picture(900, 1500)
    const run = await fleet.submit(model, image, 'out/lost.png', { ...options, bands: 1 })
    const worker = await startFleetWorker({ connection, store, lockSeconds: 2, crashes: 1000 })
    t.teardown(() => worker.close(true))
    worker.once('start', ({ id }) =>
      redis.command('set', `bull:${workQueue('wbsr', worker.numerics)}:${id}:lock`, 'other', 'PX', '1500'),
    )
    await run.result()
    await check(t, image, 'out/lost.png')
    await worker.close()
  })

  t.test('a band that takes several times its lock keeps it, as no turn of the event loop is long', async (t) => {
    const lockSeconds = 3
    // A band of three locks on this machine, however busy it is.
    const { allocation, seconds } = await model.upscale(picture(400, 800), { router: options.router })
    const height = Math.ceil((800 * 3 * lockSeconds) / seconds)
    t.ok(allocation.flops > 0)
    const run = await fleet.submit(model, picture(400, height), 'out/slow.png', { ...options, bands: 1 })
    const worker = await startFleetWorker({ connection, store, lockSeconds })
    t.teardown(() => worker.close(true))
    const started: string[] = []
    const lost: string[] = []
    worker.on('start', ({ kind }) => started.push(kind))
    worker.on('lost', ({ kind }) => lost.push(kind))
    await once(worker, 'start')
    const turns = measureTurns()
    const [, done] = await once(worker, 'done')
    const longest = turns.stop()
    t.ok(done.seconds > 1.5 * lockSeconds, `${done.seconds} s`)
    t.ok(longest[0]! < 50, `a turn of ${longest[0]} ms of CPU`)
    await run.result()
    t.same([started, lost], [['band', 'assemble'], []])
    await worker.close()
  })

  t.test('each band is done once, and finished jobs may be removed meanwhile', async (t) => {
    const image = picture(900, 2600)
    const run = await fleet.submit(model, image, 'out/long.png', { ...options, bands: 2 })
    const worker = await startFleetWorker({ connection, store, lockSeconds: 10 })
    t.teardown(() => worker.close(true))
    const started: FleetJob[] = []
    worker.on('start', (job) => started.push(job))
    await once(worker, 'done')
    const queue = new Queue(workQueue('wbsr', worker.numerics), { connection: { url: connection } })
    let forgotten = 0
    // Redis learns of it after the worker has said so.
    await until(async () => (forgotten += (await queue.clean(0, 1000, 'completed')).length) > 0)
    t.ok(forgotten > 0, 'the finished band is forgotten')
    await queue.close()
    await run.result()
    t.equal(started.length, 3, 'each band once, and the file')
    await check(t, image, 'out/long.png')
    const used = Number(/used_memory:(\d+)/.exec(redis.command('info', 'memory'))![1])
    t.ok(used < 10e6, `${used} bytes in Redis: no pixels`)
    await worker.close()
  })

  t.test('a worker that is told to end gives its band back at once, without costing an attempt', async (t) => {
    const image = picture(900, 1500)
    const run = await fleet.submit(model, image, 'out/ended.png', { ...options, bands: 1, attempts: 1 })
    const first = await startFleetWorker({ connection, store, lockSeconds: 30 })
    await once(first, 'start')
    await first.close(true)
    t.notOk(existsSync(store.file!('out/ended.png')))
    const second = await startFleetWorker({ connection, store, lockSeconds: 30 })
    await run.result()
    await second.close()
    await check(t, image, 'out/ended.png')
  })
}
