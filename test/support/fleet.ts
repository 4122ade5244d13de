// A fleet for tests: a model of four subnets, a store in a temporary folder, and a Redis of its own.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { openFleet } from '../../lib/fleet/fleet.js'
import { folderStore } from '../../lib/fleet/store.js'
import { SupernetModel } from '../../lib/models/model.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { realState } from './real-state.js'
import type { RedisServer } from './redis.js'

/** Is closed and removed when the test file ends. */
export async function testFleet(redis: RedisServer) {
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
