// Checks the options of a worker and starts it.
import { checkDeviceOptions, createEngine, DEVICE_KEYS, type DeviceOptions } from '../devices.js'
import { invalidOption, WbsrError, wrapError } from '../errors.js'
import { loadModel } from '../models/load.js'
import { loadSupernet, stateOf } from '../models/model.js'
import { espcn } from '../networks/espcn.js'
import { checkInteger, checkNumber, checkObject } from '../options.js'
import { checkBackend, openBackend } from './connection.js'
import { modelKey, numericsOf } from './identity.js'
import { fileQueue } from './queues.js'
import { FleetWorker, type FleetWorkerOptions } from './worker.js'

const KEYS = [
  ...DEVICE_KEYS,
  'connection',
  'name',
  'store',
  'models',
  'crashes',
  'lockSeconds',
  'refuseSeconds',
  'metricsPort',
]

/** The smallest network there is, to ask a device what it is. */
function numericsOfDevice(device: DeviceOptions): string {
  const { engine } = createEngine(espcn({ scale: 2 }), checkDeviceOptions(device))
  try {
    return numericsOf(engine)
  } finally {
    engine.dispose()
  }
}

async function keysOf(models: readonly string[] | undefined): Promise<string[] | null> {
  if (models === undefined) return null
  if (!Array.isArray(models) || !models.every((name) => typeof name === 'string'))
    throw invalidOption('models', 'a list of files and names of models', models)
  const keys: string[] = []
  for (const name of models) {
    using model = await (name.startsWith('wbsr:') ? loadSupernet(name) : loadModel(name))
    keys.push(await modelKey(stateOf(model)))
  }
  return keys
}

/**
 * Works for a fleet until it is closed: takes jobs of its own kind of machine, one at a time, on all threads of its device, and
 * puts files together beside that.
 *
 * @throws WbsrError WBSR_IO: the database cannot be reached; WBSR_INVALID_OPTION, also for a Redis that evicts keys;
 *   WBSR_NO_DEVICE, WBSR_NOT_FOUND: bullmq is not installed
 */
export async function startFleetWorker(options: FleetWorkerOptions): Promise<FleetWorker> {
  checkObject(options, 'fleet worker options', KEYS)
  const { store, crashes, lockSeconds, refuseSeconds, metricsPort, models, connection, name } = options
  if (typeof store?.size !== 'function') throw invalidOption('store', 'a Store (folderStore, s3Store)', store)
  if (crashes !== undefined) checkInteger(crashes, 'crashes', 0, 1000)
  if (lockSeconds !== undefined) checkNumber(lockSeconds, 'lockSeconds', 1, 3600)
  if (refuseSeconds !== undefined) checkNumber(refuseSeconds, 'refuseSeconds', 0, 3600)
  if (metricsPort !== undefined) checkInteger(metricsPort, 'metricsPort', 0, 65_535)
  const { device, threads, precision, autotune } = options
  const numerics = numericsOfDevice({ device, threads, precision, autotune })
  const allowed = await keysOf(models)
  const backend = await openBackend({ connection, name })
  const queue = backend.queue(fileQueue(backend.name))
  try {
    await checkBackend(backend, queue)
  } finally {
    await queue.close().catch(() => {})
  }
  const worker = new FleetWorker(backend, options, numerics, allowed)
  try {
    await worker.start()
  } catch (error) {
    await worker.close(true).catch(() => {})
    throw error instanceof WbsrError ? error : wrapError(error, 'WBSR_IO', `Cannot work for ${backend.label}`)
  }
  return worker
}
