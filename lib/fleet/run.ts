// A job of a fleet as its owner sees it: how far it is, what went wrong, what came out.
import { createReadStream } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import type { Job, Queue } from 'bullmq'
import { aborted, WbsrError, type WbsrErrorCode } from '../errors.js'
import { writeFileAtomic } from '../files/atomic.js'
import { checkFunction, checkObject, checkSignal, checkString } from '../options.js'
import { explainFailure, type Failure } from './failures.js'
import { cancelKey, type FolderManifest, folderOf, type Manifest, partsOf, readManifest } from './manifest.js'
import type { WorkDone } from './queues.js'
import type { Store } from './store.js'
import { type Done, readDone } from './tasks.js'

/** How far a job is. */
export interface RunStatus {
  id: string
  name: string
  /**
   * 'waiting': no worker has begun; 'running': bands are done; 'assembling': they become a file; 'unknown': there is no such job,
   * or the database lost it (submit it again: what is done stays done).
   */
  state: 'waiting' | 'running' | 'assembling' | 'done' | 'failed' | 'unknown'
  /** Bands, segments of a video, or pictures of a folder. */
  total: number
  done: number
  active: number
  /** 2 x MAC: of the job, and what is done of it. */
  flops: { total: number; done: number }
  /** 2 x MAC in a second of one worker, measured on what is done; before that what was predicted. */
  rate: number
  /** Workers that take jobs like this one. */
  workers: number
  /** Seconds to go on these workers; null: none is there. */
  eta: number | null
  /** What ended the job. */
  failure: Failure | null
  /** Workers that refused jobs of it, and why. */
  refusals: string[]
}

/** The result of a job. */
export interface RunResult {
  id: string
  name: string
  /** Its key in the store; of a folder: its folder there. */
  output: string
  width?: number
  height?: number
  channels?: 1 | 2 | 3 | 4
  bytes: number
  /** Of a video; `saved` is the share of the work that did not have to be done, as nothing had changed there. */
  frames?: number
  saved?: number
  warnings?: string[]
  /** Of a folder: what became of each picture. */
  pictures?: { name: string; output: string; bytes: number }[]
  /** Of a folder: pictures that came to nothing, and why. */
  failed?: { name: string; code: string; message: string }[]
}

/** Options of {@link FleetRun.result}. */
export interface WaitOptions {
  /** Gets the status twice a second; awaited. */
  onProgress?: (status: RunStatus) => unknown
  signal?: AbortSignal
}

/** How often the state of a job is asked for, in ms. */
const ASK_MS = 500

export interface Queues {
  name: string
  store: Store
  file: Queue
  work(numerics: string): Queue
}

/** Made by Fleet. */
export class FleetRun {
  readonly id: string
  readonly #queues: Queues
  #manifest: Manifest | null

  /** @internal */
  constructor(queues: Queues, id: string, manifest: Manifest | null) {
    this.id = id
    this.#queues = queues
    this.#manifest = manifest
  }

  async #read(): Promise<Manifest | null> {
    this.#manifest ??= await readManifest(this.#queues.store, this.id).catch((error: WbsrError) => {
      if (error.code === 'WBSR_NOT_FOUND') return null
      throw error
    })
    return this.#manifest
  }

  /** Where the job itself is queued. */
  #queueOf(manifest: Manifest): Queue {
    return manifest.kind === 'picture' ? this.#queues.work(manifest.numerics) : this.#queues.file
  }

  async #root(): Promise<Job | undefined> {
    const manifest = await this.#read()
    return manifest ? this.#queueOf(manifest).getJob(this.id) : this.#queues.file.getJob(this.id)
  }

  /** @throws WbsrError WBSR_IO: of the store */
  async status(): Promise<RunStatus> {
    const { store } = this.#queues
    const result = await readDone(store, this.id)
    const manifest = await this.#read()
    const total = manifest ? partsOf(manifest) : 1
    const flops = manifest?.flops ?? 0
    const common = { id: this.id, name: manifest?.name ?? result?.name ?? '', total, refusals: [], failure: null }
    const rate = manifest?.rate ?? 0
    const over = { done: total, active: 0, flops: { total: flops, done: flops }, rate, workers: 0, eta: 0 }
    if (result) return { ...common, ...over, state: 'done' }
    const root = await this.#root()
    const state = root ? await root.getState() : 'unknown'
    if (!root || !manifest || state === 'unknown')
      return { ...common, ...over, done: 0, flops: { total: flops, done: 0 }, state: 'unknown', eta: null }
    return { ...common, ...(await new Progress(this.#queues, manifest, root, state).status()) }
  }

  /**
   * Waits for the result.
   *
   * @param options.onProgress gets the status twice a second
   * @param options.signal ends the waiting, not the job (see cancel)
   * @throws WbsrError: what the job failed with, naming the band or picture; WBSR_ABORTED; WBSR_NOT_FOUND: no such job
   */
  async result(options: WaitOptions = {}): Promise<RunResult> {
    checkObject(options, 'options', ['onProgress', 'signal'])
    const { signal } = options
    if (signal !== undefined) checkSignal(signal, 'signal')
    const onProgress = options.onProgress && checkFunction<(s: RunStatus) => unknown>(options.onProgress, 'onProgress')
    for (;;) {
      if (signal?.aborted) throw aborted(`waiting for job ${this.id}`, signal)
      const status = await this.status()
      await onProgress?.(status)
      if (status.state === 'done') return resultOf((await readDone(this.#queues.store, this.id))!)
      if (status.state === 'failed') throw failureOf(status)
      if (status.state === 'unknown')
        throw new WbsrError(
          'WBSR_NOT_FOUND',
          `There is no job ${this.id} in ${this.#queues.name}: it was cancelled or lost`,
        )
      await setTimeout(ASK_MS, undefined, signal && { signal }).catch(() => {})
    }
  }

  /** Copies the result to a file of this machine. @throws WbsrError WBSR_NOT_FOUND: it is not there, WBSR_IO */
  async save(file: string): Promise<void> {
    checkString(file, 'file')
    const done = await readDone(this.#queues.store, this.id)
    if (!done) throw new WbsrError('WBSR_NOT_FOUND', `Job ${this.id} has no result yet`)
    const local = this.#queues.store.file?.(done.output)
    await writeFileAtomic(file, local ? createReadStream(local) : this.#queues.store.stream(done.output))
  }

  /** Gives the job up and removes what it has in the store and the database; workers stop within a second or two. */
  async cancel(): Promise<void> {
    const manifest = await this.#read()
    const { store } = this.#queues
    const parts = manifest?.kind === 'folder' ? manifest.pictures.map(({ id }) => id) : []
    if (manifest) for (const id of [this.id, ...parts]) await store.write(cancelKey(id), Buffer.from('cancelled'))
    await removeJob(await this.#root())
    for (const id of [...parts, this.id]) await store.removeFolder(folderOf(id))
  }
}

/** Removes a job and its children, also those that run, which end as they see that they are cancelled. */
export async function removeJob(root: Job | undefined): Promise<void> {
  if (!root) return
  const LAST = 120
  for (let attempt = 1; ; attempt++) {
    try {
      await root.removeUnprocessedChildren().catch(() => {})
      await root.remove({ removeChildren: true })
      return
    } catch (error) {
      // It, or a child of it, is locked by the worker that runs it.
      if (attempt === LAST) throw new WbsrError('WBSR_IO', `Cannot remove job ${root.id}`, { cause: error })
      await setTimeout(ASK_MS)
    }
  }
}

const resultOf = ({ at: _at, ...result }: Done): RunResult => result as RunResult

function failureOf({ id, name, failure }: RunStatus): WbsrError {
  return new WbsrError(failure!.code as WbsrErrorCode, `Job ${id} (${name}) failed: ${failure!.message}`)
}

/** How far a job is that the database knows. */
class Progress {
  readonly #queues: Queues
  readonly #manifest: Manifest
  readonly #root: Job
  readonly #state: string

  constructor(queues: Queues, manifest: Manifest, root: Job, state: string) {
    this.#queues = queues
    this.#manifest = manifest
    this.#root = root
    this.#state = state
  }

  async status(): Promise<Omit<RunStatus, 'id' | 'name' | 'total'>> {
    const manifest = this.#manifest
    const values = Object.values(await this.#root.getChildrenValues<Partial<WorkDone>>())
    const done = values.length
    const active = await this.#active()
    const flopsDone = this.#flopsDone(done, values)
    const seconds = values.reduce((sum, value) => sum + (value.flops ? (value.seconds ?? 0) : 0), 0)
    const ran = values.reduce((sum, { flops }) => sum + (flops ?? 0), 0)
    // Of what was only bounded before, in the same measure as what is left.
    const rate = seconds > 0 ? (manifest.kind === 'bands' ? ran : flopsDone) / seconds : manifest.rate
    const workers = await this.#workers()
    const left = manifest.flops - flopsDone
    const reason = this.#root.failedReason ?? 'no reason is known'
    const failure =
      this.#state === 'failed' ? await explainFailure(manifest, reason, (name) => this.#queues.work(name)) : null
    const state =
      this.#state === 'failed'
        ? 'failed'
        : this.#state !== 'waiting-children' && manifest.kind !== 'picture'
          ? 'assembling'
          : done > 0 || active.running > 0
            ? 'running'
            : 'waiting'
    return {
      state,
      done,
      active: active.running,
      flops: { total: manifest.flops, done: flopsDone },
      rate,
      workers,
      eta: workers > 0 ? left / (rate * Math.min(workers, Math.max(1, partsOf(manifest) - done))) : null,
      failure,
      refusals: active.refusals,
    }
  }

  #flopsDone(done: number, values: readonly Partial<WorkDone>[]): number {
    const manifest = this.#manifest
    if (manifest.kind !== 'bands') return (manifest.flops * done) / partsOf(manifest)
    // Bands that had been done before count as well.
    const found = values.filter(({ flops }) => !flops).length
    const ran = values.reduce((sum, { flops }) => sum + (flops ?? 0), 0)
    return Math.min(manifest.flops, ran + (manifest.flops * found) / partsOf(manifest))
  }

  async #active(): Promise<{ running: number; refusals: string[] }> {
    const queue = 'numerics' in this.#manifest ? this.#queues.work(this.#manifest.numerics) : this.#queues.file
    const { id } = this.#root
    const own = (job: Job | undefined) =>
      job?.id === id || job?.id?.startsWith(`${id}-`) || job?.id?.startsWith(`${id}.`)
    const running = (await queue.getActive()).filter(own).length
    const delayed = (await queue.getDelayed(0, 20)).filter(own)
    const said = delayed.flatMap(({ progress }) => {
      const { refused, worker } = (progress ?? {}) as { refused?: string; worker?: string }
      return refused === undefined ? [] : [`${worker}: ${refused}`]
    })
    return { running, refusals: [...new Set(said)] }
  }

  /** Those that are connected; where the database does not tell, those that run a job. */
  async #workers(): Promise<number> {
    const manifest = this.#manifest
    const numerics = 'numerics' in manifest ? manifest.numerics : await this.#numericsOfFolder(manifest)
    if (numerics === null) return 0
    return this.#queues
      .work(numerics)
      .getWorkersCount()
      .catch(() => 0)
  }

  async #numericsOfFolder({ pictures }: FolderManifest): Promise<string | null> {
    for (const { id } of pictures) {
      const manifest = await readManifest(this.#queues.store, id).catch(() => null)
      if (manifest && 'numerics' in manifest) return manifest.numerics
    }
    return null
  }
}
