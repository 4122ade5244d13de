// A fleet for tests: a model of four subnets, a store in a temporary folder, and a Redis of its own.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { openFleet } from '../../lib/fleet/fleet.js'
import { folderStore, type Store } from '../../lib/fleet/store.js'
import { SupernetModel } from '../../lib/models/model.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { until } from './cli.js'
import { realState } from './real-state.js'

/** Is closed and removed, with Redis, when the test file ends. */
export async function testFleet(redis: { url: string; remove(): Promise<void> }) {
  const folder = mkdtempSync(path.join(tmpdir(), 'wbsr-fleet-'))
  const store = folderStore(path.join(folder, 'store'))
  const connection = redis.url
  const model = new SupernetModel(realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })))
  const fleet = await openFleet({ connection, store })
  t.teardown(async () => {
    await fleet.close()
    model.dispose()
    await redis.remove()
    rmSync(folder, { recursive: true, force: true })
  })
  return { folder, store, connection, model, fleet }
}

/** What jobs that are done have left in a store's folder, a while after their results are there: they tidy up at last. */
export async function leftovers({ label }: Store, id = ''): Promise<string[]> {
  const left = () =>
    readdirSync(label, { recursive: true, encoding: 'utf8' }).filter(
      (name) => /\.tmp$/.test(name) || (name.startsWith(`runs/${id}`) && name !== 'runs'),
    )
  await until(() => left().length === 0).catch(() => {})
  return left()
}
