// A fleet on PostgreSQL in place of Redis.
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import sharp from 'sharp'
import t from 'tap'
import { startFleetWorker } from '../../lib/fleet/start-worker.js'
import { leftovers, testFleet } from '../support/fleet.js'
import { picture } from '../support/infer-pictures.js'
import { PostgresServer, withoutPostgres } from '../support/postgres.js'

if (withoutPostgres) t.test('a fleet on PostgreSQL', { skip: withoutPostgres }, () => {})
else {
  const postgres = await PostgresServer.start()
  const { store, connection, model, fleet } = await testFleet(postgres)
  const options = { router: { subnet: 3 }, rate: 1e9, compressionLevel: 1 } as const

  t.test('a picture in bands, while the server crashes and comes back', async (t) => {
    const image = picture(300, 1500)
    const run = await fleet.submit(model, image, 'out/one.png', { ...options, bands: 5 })
    t.match(await run.status(), { state: 'waiting', total: 5 })
    const worker = await startFleetWorker({ connection, store, lockSeconds: 5 })
    t.teardown(() => worker.close(true))
    await once(worker, 'done')
    await postgres.stop()
    await postgres.run()
    await run.result()
    const { data } = await model.upscale(image, { router: options.router })
    const pixels = await sharp(store.file!('out/one.png')).raw().toBuffer()
    t.ok(pixels.equals(Buffer.from(data.buffer, data.byteOffset, data.byteLength)), 'the bytes of upscale()')
    t.same(await leftovers(store), [])
    await worker.close()
  })

  t.test('a job that is cancelled', async (t) => {
    const run = await fleet.submit(model, picture(900, 1800), 'out/cancelled.png', { ...options, bands: 2 })
    const worker = await startFleetWorker({ connection, store, lockSeconds: 5 })
    t.teardown(() => worker.close(true))
    await once(worker, 'start')
    await run.cancel()
    t.equal((await run.status()).state, 'unknown')
    await worker.close()
    t.notOk(existsSync(store.file!('out/cancelled.png')))
    t.same(await leftovers(store), [])
  })
}
