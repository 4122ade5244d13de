// The models that a worker has loaded, from the store, where they lie under the hash of their bytes.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { DeviceOptions } from '../devices.js'
import { WbsrError } from '../errors.js'
import { loadSupernet, type SupernetModel, stateOf } from '../models/model.js'
import { probeOf } from './identity.js'
import type { Common } from './manifest.js'
import { hashOf, readAll, type Store } from './store.js'

/** Models that are held at a time. */
const MOST = 2

interface Loaded {
  model: SupernetModel
  probe: string
}

/** A job that this worker does not do, as its result would not be what others make of it. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
}

export class ModelCache {
  readonly #store: Store
  readonly #device: DeviceOptions
  readonly #allowed: readonly string[] | null
  readonly #models = new Map<string, Promise<Loaded>>()

  /** @param allowed keys of the models that the worker may use; null: all */
  constructor(store: Store, device: DeviceOptions, allowed: readonly string[] | null) {
    this.#store = store
    this.#device = device
    this.#allowed = allowed
  }

  /**
   * The model of a job.
   *
   * @throws Refusal: the worker may not use it, or computes other bytes with it than the machine that made the job;
   *   WbsrError WBSR_NOT_FOUND, WBSR_INVALID_FILE, WBSR_IO
   */
  async get({ model: key, probe, numerics }: Common, own: string): Promise<SupernetModel> {
    if (this.#allowed && !this.#allowed.includes(key))
      throw new Refusal(`it wants model ${key}, this worker has ${this.#allowed.join(', ') || 'none'}`)
    if (numerics !== own) throw new Refusal(`it was made for ${numerics}, this worker is ${own}`)
    let loading = this.#models.get(key)
    if (loading) this.#models.delete(key)
    else loading = this.#load(key)
    // The one that was used last is at the end.
    this.#models.set(key, loading)
    loading.catch(() => this.#models.delete(key))
    const loaded = await loading
    await this.#drop(MOST)
    if (loaded.probe !== probe)
      throw new Refusal(
        `this machine (${own}) computes other bytes with model ${key} than the one that made the job: probe ${loaded.probe.slice(0, 12)} instead of ${probe.slice(0, 12)}`,
      )
    return loaded.model
  }

  async #load(key: string): Promise<Loaded> {
    const bytes = await readAll(this.#store, key)
    if (key !== `models/${hashOf(bytes)}.safetensors`)
      throw new WbsrError('WBSR_INVALID_FILE', `${key} of ${this.#store.label} is damaged: its hash is another one`)
    const folder = await mkdtemp(path.join(tmpdir(), 'wbsr-fleet-'))
    try {
      const file = path.join(folder, 'model.safetensors')
      await writeFile(file, bytes)
      const model = await loadSupernet(file, this.#device)
      return { model, probe: await probeOf(stateOf(model)) }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }

  /** Forgets a model whose device failed, so that it is loaded again. */
  async forget(key: string): Promise<void> {
    const loading = this.#models.get(key)
    this.#models.delete(key)
    ;(await loading?.catch(() => null))?.model.dispose()
  }

  async #drop(most: number): Promise<void> {
    for (const key of this.#models.keys()) {
      if (this.#models.size <= most) return
      await this.forget(key)
    }
  }

  async dispose(): Promise<void> {
    await this.#drop(0)
  }
}
