// What breaks queues: processes that are killed, locks that are lost, a Redis that restarts, jobs that kill their workers.
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Queue } from 'bullmq'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import type { FleetJob } from '../../lib/fleet/events.js'
import { workQueue } from '../../lib/fleet/queues.js'
import { startFleetWorker } from '../../lib/fleet/start-worker.js'
import type { RawImage } from '../../lib/types.js'
import { start, skip as unbuilt } from '../support/cli.js'
import { testFleet } from '../support/fleet.js'
import { picture } from '../support/infer-pictures.js'
import { RedisServer, withoutRedis } from '../support/redis.js'

const skip = withoutRedis() || unbuilt
if (skip) t.test('faults of a fleet', { skip }, () => {})
else await withRedis(await RedisServer.start())

async function withRedis(redis: RedisServer) {
  const { store, connection, model, fleet } = await testFleet(redis)
  const options = { router: { subnet: 3 }, rate: 1e9, compressionLevel: 1 } as const

  /** `wbsr fleet worker` in a process of its own; `onStart` gets its jobs. */
  function program(onStart: (job: FleetJob, child: ChildProcessWithoutNullStreams) => void, ...more: string[]) {
    const child = start([
      'fleet',
      'worker',
      '--redis',
      connection,
      '--store',
      store.label,
      '--lock',
      '1',
      '--json',
      ...more,
    ])
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { event, ...job } = JSON.parse(line)
      if (event === 'start') onStart(job, child)
    })
    return child
  }

  const check = async (t: Test, image: RawImage, output: string) => {
    const { data } = await model.upscale(image, { router: options.router })
    const pixels = await sharp(store.file!(output)).raw().toBuffer()
    t.ok(pixels.equals(Buffer.from(data.buffer, data.byteOffset, data.byteLength)), 'the bytes of upscale()')
    const left = readdirSync(store.label, { recursive: true, encoding: 'utf8' })
    t.same(
      left.filter((name) => /\.tmp$|^runs\/./.test(name)),
      [],
      'no partial file and no band is left',
    )
  }

  t.test('workers that are killed in the middle of bands: others do them again', async (t) => {
    const image = picture(500, 1500)
    const run = await fleet.submit(model, image, 'out/killed.png', { ...options, bands: 5 })
    let kills = 0
    let alive: ChildProcessWithoutNullStreams | null = null
    let over = false
    const next = () => {
      if (over) return
      alive = program((_job, child) => {
        if (kills < 3) setTimeout(() => child.kill('SIGKILL') && kills++, 50)
      })
      alive.once('exit', next)
    }
    next()
    await run.result()
    over = true
    alive!.kill('SIGTERM')
    await once(alive!, 'exit')
    t.equal(kills, 3)
    await check(t, image, 'out/killed.png')
  })

  t.test('a band that kills every worker is given up and named', async (t) => {
    // Bands that take longer than the signal takes to arrive.
    const run = await fleet.submit(model, picture(600, 4000), 'out/deadly.png', { ...options, bands: 2 })
    let over = false
    let alive: ChildProcessWithoutNullStreams | null = null
    const next = () => {
      if (over) return
      alive = program(({ index }, child) => index === 0 && child.kill('SIGKILL'), '--crashes', '1')
      alive.once('exit', next)
    }
    next()
    await t.rejects(run.result(), { message: /band 0 of 2, after .*died or lost it/ })
    over = true
    alive!.kill('SIGTERM')
    await once(alive!, 'exit')
    await run.cancel()
  })

  t.test('Redis is killed and comes back in the middle', async (t) => {
    const image = picture(300, 1500)
    const run = await fleet.submit(model, image, 'out/restart.png', { ...options, bands: 5 })
    const worker = await startFleetWorker({ connection, store, lockSeconds: 1 })
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

  t.test('each band is done once, and finished jobs may be removed meanwhile', async (t) => {
    const image = picture(900, 2600)
    const run = await fleet.submit(model, image, 'out/long.png', { ...options, bands: 2 })
    const worker = await startFleetWorker({ connection, store, lockSeconds: 10 })
    t.teardown(() => worker.close(true))
    const started: FleetJob[] = []
    worker.on('start', (job) => started.push(job))
    await once(worker, 'done')
    const queue = new Queue(workQueue('wbsr', worker.numerics), { connection: { url: connection } })
    await new Promise((resolve) => setTimeout(resolve, 200))
    t.equal((await queue.clean(0, 1000, 'completed')).length > 0, true, 'the finished band is forgotten')
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
