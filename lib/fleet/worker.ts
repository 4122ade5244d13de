// A process that works for a fleet: bands and pictures on its device, and files put together.
import { EventEmitter } from 'node:events'
import { hostname } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Job, Queue, Worker } from 'bullmq'
import type { DeviceOptions } from '../devices.js'
import { wrapError } from '../errors.js'
import type { Backend, ConnectionOptions } from './connection.js'
import type { FleetJob, FleetWorkerEvents } from './events.js'
import { explainFailure, type Failure } from './failures.js'
import { LocalFiles } from './local-files.js'
import { cancelKey, type FolderManifest } from './manifest.js'
import { type Metrics, serveMetrics } from './metrics.js'
import { ModelCache, Refusal } from './model-cache.js'
import { fileQueue, type JobData, type JobName, workQueue } from './queues.js'
import type { Store } from './store.js'
import { finishFolder, Manifests, runTask, type TaskContext, type TaskResult } from './tasks.js'

export interface FleetWorkerOptions extends ConnectionOptions, DeviceOptions {
  store: Store
  /**
   * Files or names of the models that this worker may use, 'wbsr:x4' for example: jobs with others, also with older or newer
   * weights of the same network, are refused and left to others. Default: every model, which comes from the store.
   */
  models?: readonly string[]
  /**
   * Processes that may die over one job, or lose it, before the job counts as the cause and fails, 0 .. 1000. Default 5.
   */
  crashes?: number
  /**
   * Seconds after which a job of a worker that was killed goes to another one, 1 .. 3600. Default 30. Running jobs renew their
   * lock all the time: no job has to be done within it.
   */
  lockSeconds?: number
  /** Seconds until a job that this worker refused is offered again. Default 5. */
  refuseSeconds?: number
  /** Port of a Prometheus endpoint, /metrics; 0: any free one. Needs the package prom-client. Default: none. */
  metricsPort?: number
}

/** Between two timers that the delay of the event loop is measured with. */
const LOOP_MS = 5
/** How often a running job looks whether it was cancelled. */
const CANCEL_MS = 1000
/** Errors that another attempt does not mend. */
const FINAL = [
  'WBSR_INVALID_IMAGE',
  'WBSR_INVALID_FILE',
  'WBSR_INVALID_OPTION',
  'WBSR_NOT_FOUND',
  'WBSR_NO_DEVICE',
  'WBSR_ABORTED',
]

/** Reasons for which a running job is given up. */
type Stop = 'lost' | 'closing' | 'cancelled'

const jobOf = ({ id, name, data }: Job): FleetJob => {
  const { run, index } = data as JobData
  return { id: id!, kind: name as JobName, run, index }
}

/** Made by startFleetWorker. */
export class FleetWorker extends EventEmitter<FleetWorkerEvents> {
  /** Of this process, as it stands in results: machine and process. */
  readonly id = `${hostname()}-${process.pid}`
  /** What it computes with: jobs that were made with the same come here. */
  readonly numerics: string
  /** The port of the endpoint of metrics; null: there is none. */
  metricsPort: number | null = null
  readonly #backend: Backend
  readonly #store: Store
  readonly #models: ModelCache
  readonly #manifests: Manifests
  readonly #files: LocalFiles
  readonly #options: FleetWorkerOptions
  readonly #loop = monitorEventLoopDelay({ resolution: LOOP_MS })
  readonly #workers: Worker[] = []
  readonly #stopping = new Map<string, (why: Stop) => void>()
  #metrics: Metrics | null = null
  #closing: Promise<void> | null = null

  /** @internal */
  constructor(backend: Backend, options: FleetWorkerOptions, numerics: string, allowed: string[] | null) {
    super()
    const { store, device, threads, precision, autotune } = options
    this.numerics = numerics
    this.#backend = backend
    this.#store = store
    this.#options = options
    this.#models = new ModelCache(store, { device, threads, precision, autotune }, allowed)
    this.#manifests = new Manifests(store)
    this.#files = new LocalFiles(store)
    this.#loop.enable()
    // An event named error must have a listener.
    this.on('error', () => {})
  }

  /** @internal Begins to take jobs, after the caller could add listeners: the first event is one of theirs too. */
  async start(): Promise<void> {
    const { lockSeconds = 30, crashes = 5, metricsPort } = this.#options
    const { name } = this.#backend
    if (metricsPort !== undefined) {
      this.#metrics = await serveMetrics(metricsPort, this)
      this.metricsPort = this.#metrics.port
    }
    for (const queue of [workQueue(name, this.numerics), fileQueue(name)]) {
      const worker = this.#backend.worker(
        queue,
        // Three parameters: BullMQ then makes a signal for each job.
        (job, token, signal) => this.#run(job, token!, signal!),
        {
          concurrency: 1,
          lockDuration: 1000 * lockSeconds,
          stalledInterval: 1000 * lockSeconds,
          maxStalledCount: crashes,
          drainDelay: Math.min(5, lockSeconds),
          name: this.id,
          autorun: false,
        },
      )
      worker.on('error', (error) => this.emit('error', error))
      worker.on('lockRenewalFailed', (ids) => {
        for (const id of ids) this.#stopping.get(id)?.('lost')
      })
      worker.on('failed', (job, error) => {
        if (!job) return
        this.emit('failed', jobOf(job), error)
        // A part that fails for good takes its picture with it: the others need not be done.
        if (job.finishedOn !== undefined && job.parent) void this.#dropSiblings(job).catch(() => {})
      })
      this.#workers.push(worker)
    }
    await Promise.all(this.#workers.map((worker) => worker.waitUntilReady()))
    setImmediate(() => {
      if (this.#closing) return
      for (const worker of this.#workers) worker.run().catch((error) => this.emit('error', error))
    })
  }

  async #run(job: Job, token: string, fromBullmq: AbortSignal): Promise<unknown> {
    const controller = new AbortController()
    let why: Stop | null = null
    const stop = (reason: Stop) => {
      why ??= reason
      controller.abort(new Error(reason))
    }
    const abort = () => stop('cancelled')
    fromBullmq.addEventListener('abort', abort)
    this.#stopping.set(job.id!, stop)
    const { run } = job.data as JobData
    const timer = setInterval(() => {
      this.#store.size(cancelKey(run)).then(
        (found) => found !== null && stop('cancelled'),
        () => {},
      )
    }, CANCEL_MS)
    let shown = 0
    try {
      if (this.#closing) stop('closing')
      this.emit('start', jobOf(job))
      const result = await this.#task(job, {
        store: this.#store,
        files: this.#files,
        parts: async () => Object.values(await job.getChildrenValues<TaskResult>()),
        modelOf: (manifest) => this.#models.get(manifest, this.numerics),
        signal: controller.signal,
        onShare: (share) => {
          const now = Date.now()
          if (now - shown < CANCEL_MS && share < 1) return
          shown = now
          job.updateProgress({ share, worker: this.id }).catch(() => {})
        },
      })
      this.emit('done', jobOf(job), result)
      return { ...result, worker: this.id }
    } catch (error) {
      if (error instanceof Refusal) return await this.#refuse(job, token, error)
      return await this.#giveUp(job, token, error, why)
    } finally {
      clearInterval(timer)
      fromBullmq.removeEventListener('abort', abort)
      this.#stopping.delete(job.id!)
    }
  }

  async #task(job: Job, context: TaskContext): Promise<TaskResult> {
    const { run } = job.data as JobData
    if (job.name !== 'folder') return runTask(job.name as JobName, job.data as JobData, this.#manifests, context)
    const manifest = (await this.#manifests.get(run)) as FolderManifest
    const failures = new Map<string, Failure>()
    const queues = new Map<string, Queue>()
    const work = (numerics: string): Queue => {
      if (!queues.has(numerics)) queues.set(numerics, this.#backend.queue(workQueue(this.#backend.name, numerics)))
      return queues.get(numerics)!
    }
    try {
      for (const [child, reason] of Object.entries(await job.getIgnoredChildrenFailures())) {
        const id = child.split('.').at(-1)!
        failures.set(id, await explainFailure(await this.#manifests.get(id), reason, work))
      }
    } finally {
      await Promise.all([...queues.values()].map((queue) => queue.close()))
    }
    return finishFolder(this.#store, manifest, failures)
  }

  /** Leaves a job to others. It costs none of the job's attempts. */
  async #refuse(job: Job, token: string, { message }: Refusal): Promise<never> {
    this.emit('refused', jobOf(job), message)
    await job.updateProgress({ refused: message, worker: this.id }).catch(() => {})
    await job.moveToDelayed(Date.now() + 1000 * (this.#options.refuseSeconds ?? 5), token)
    throw new this.#backend.bullmq.DelayedError()
  }

  async #giveUp(job: Job, token: string, error: unknown, why: Stop | null): Promise<never> {
    const { DelayedError, UnrecoverableError } = this.#backend.bullmq
    if (why === 'closing') {
      await job.moveToDelayed(Date.now(), token)
      throw new DelayedError()
    }
    if (why === 'lost') {
      this.emit('lost', jobOf(job))
      throw new Error(`Worker ${this.id} lost the lock of job ${job.id}`)
    }
    const { code, message } = wrapError(error)
    if (code === 'WBSR_DEVICE_FAILED' || code === 'WBSR_DISPOSED') {
      const manifest = await this.#manifests.get((job.data as JobData).run)
      if ('model' in manifest) await this.#models.forget(manifest.model)
    }
    const text = `${code}: ${message}`
    throw FINAL.includes(code) ? new UnrecoverableError(text) : new Error(text)
  }

  async #dropSiblings(job: Job): Promise<void> {
    const queue = this.#backend.queue(fileQueue(this.#backend.name))
    try {
      // Of a folder, whose pictures do not depend on each other, the parent goes on.
      const parent = job.name === 'band' || job.name === 'segment' ? await queue.getJob(job.parent!.id!) : undefined
      await parent?.removeUnprocessedChildren()
    } finally {
      await queue.close()
    }
  }

  /** Milliseconds by which timers were late, since the worker began or was asked before. */
  eventLoopDelay(): { mean: number; p99: number; max: number } {
    const { mean, max } = this.#loop
    const p99 = this.#loop.percentile(99)
    this.#loop.reset()
    // The histogram holds the whole time between two timers.
    const ms = (nanoseconds: number) => (Number.isFinite(nanoseconds) ? Math.max(0, nanoseconds / 1e6 - LOOP_MS) : 0)
    return { mean: ms(mean), p99: ms(p99), max: ms(max) }
  }

  /**
   * Ends the worker.
   *
   * @param now true: what runs is stopped and goes to others at once, without costing an attempt; false (default): it is ended
   */
  async close(now = false): Promise<void> {
    this.#closing ??= this.#end(now)
    await this.#closing
  }

  async #end(now: boolean): Promise<void> {
    const closed = this.#workers.map((worker) => worker.close())
    if (now) for (const stop of this.#stopping.values()) stop('closing')
    await Promise.all(closed)
    this.#loop.disable()
    await this.#metrics?.close()
    await this.#models.dispose()
    await this.#files.dispose()
  }
}
