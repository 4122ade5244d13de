// The Redis of a fleet dies, and its sentinels make a replica the master: the job goes on.
import { once } from 'node:events'
import sharp from 'sharp'
import t from 'tap'
import { startFleetWorker } from '../../lib/fleet/start-worker.js'
import { until } from '../support/cli.js'
import { leftovers, testFleet } from '../support/fleet.js'
import { picture } from '../support/infer-pictures.js'
import { withoutRedis } from '../support/redis.js'
import { WatchedRedis } from '../support/sentinels.js'

const skip = withoutRedis()
if (skip) t.test('a failover', { skip }, () => {})
else {
  const redis = await WatchedRedis.start()
  const { store, model, fleet } = await testFleet(redis)

  t.test('the master is killed in the middle of a job', async (t) => {
    const options = { router: { subnet: 3 }, rate: 1e9, compressionLevel: 1 } as const
    const image = picture(300, 1500)
    const run = await fleet.submit(model, image, 'out/failover.png', { ...options, bands: 6 })
    // By the URL above, by options here.
    const worker = await startFleetWorker({ connection: redis.options, store, lockSeconds: 5 })
    t.teardown(() => worker.close(true))
    await once(worker, 'done')
    t.match(redis.replica.command('role'), /^slave/)
    await redis.master.stop()
    await run.result()
    t.match(redis.replica.command('role'), /^master/)
    const { data } = await model.upscale(image, { router: options.router })
    const pixels = await sharp(store.file!('out/failover.png')).raw().toBuffer()
    t.ok(pixels.equals(Buffer.from(data.buffer, data.byteOffset, data.byteLength)), 'the bytes of upscale()')
    t.same(await leftovers(store), [])

    // What was the master comes back as a replica, and the next job runs.
    await redis.master.run()
    await until(() => redis.master.command('role').startsWith('slave'))
    await (await fleet.submit(model, picture(100, 100), 'out/next.png', options)).result()
    await worker.close()
  })
}
