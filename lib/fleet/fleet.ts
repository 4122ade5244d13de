// The side of a fleet that gives jobs: plans them, submits them as flows of BullMQ, and asks how far they are.
import type { FlowJob, FlowProducer, Job, Queue } from 'bullmq'
import { invalidOption, WbsrError, wrapError } from '../errors.js'
import { outputFormat } from '../images/formats.js'
import { type SupernetModel, stateOf } from '../models/model.js'
import { checkObject, checkString } from '../options.js'
import type { ImageInput } from '../types.js'
import { containerOf } from '../video/containers.js'
import { neededKeys, removeOld } from './clean.js'
import { type Backend, type ConnectionOptions, checkBackend, openBackend } from './connection.js'
import { flowOf } from './flows.js'
import { storeModel } from './identity.js'
import {
  type BandsManifest,
  cancelKey,
  type FileManifest,
  type FolderManifest,
  identify,
  type Manifest,
  manifestKey,
  type PictureManifest,
} from './manifest.js'
import { checkPictureOptions, type PictureOptions } from './options.js'
import { nameOf } from './picture-job.js'
import { jobOf, videoJobOf } from './plan.js'
import { fileOptions, fileQueue, type JobName, workQueue } from './queues.js'
import { FleetRun, removeJob } from './run.js'
import { checkKey, type Store } from './store.js'
import { readDone } from './tasks.js'
import type { FleetVideoOptions } from './video-job.js'

/** Options of {@link openFleet}: the queue server and the store that all machines share. */
export interface FleetOptions extends ConnectionOptions {
  store: Store
}

type FlowChild = NonNullable<FlowJob['children']>[number]

/** A picture of a folder job. */
export interface FolderPicture {
  input: ImageInput
  /** Key of its result. */
  output: string
}

/** Made by openFleet. */
export class Fleet {
  readonly #backend: Backend
  readonly #store: Store
  readonly #flows: FlowProducer
  readonly #files: Queue
  readonly #work = new Map<string, Queue>()

  /** @internal */
  constructor(backend: Backend, store: Store, files: Queue) {
    this.#backend = backend
    this.#store = store
    this.#files = files
    this.#flows = backend.flows()
  }

  /** Where inputs, bands and results lie. */
  get store(): Store {
    return this.#store
  }

  #workQueue(numerics: string): Queue {
    let queue = this.#work.get(numerics)
    if (!queue) this.#work.set(numerics, (queue = this.#backend.queue(workQueue(this.#backend.name, numerics))))
    return queue
  }

  #run(id: string, manifest: Manifest | null): FleetRun {
    const work = (numerics: string) => this.#workQueue(numerics)
    return new FleetRun({ name: this.#backend.label, store: this.#store, file: this.#files, work }, id, manifest)
  }

  /** A job by its id. */
  run(id: string): FleetRun {
    return this.#run(checkKey(id, 'id'), null)
  }

  /** Jobs that the database knows, the newest first. */
  async runs(): Promise<FleetRun[]> {
    const jobs = (await this.#files.getJobs(
      ['waiting-children', 'active', 'waiting', 'delayed', 'failed', 'completed'],
      0,
      999,
    )) as (Job | undefined)[]
    const roots = jobs.filter((job) => job && !job.parent) as Job[]
    return roots.sort((a, b) => b.timestamp - a.timestamp).map((job) => this.#run(job.id!, null))
  }

  /**
   * Submits a picture. The same job, by input, model, options and output, is not done twice: where it is running or done, that
   * one is returned; where it failed, it is tried again, and bands that are done stay done.
   *
   * @param output key of the result, whose ending is its format: 'results/map.png'
   * @throws WbsrError WBSR_INVALID_OPTION, WBSR_INVALID_IMAGE, WBSR_NOT_FOUND, WBSR_IO, WBSR_ABORTED
   */
  async submit(
    model: SupernetModel,
    input: ImageInput,
    output: string,
    options: PictureOptions = {},
  ): Promise<FleetRun> {
    outputFormat(checkKey(output, 'output'), 'output')
    const state = stateOf(model)
    const { manifest } = await jobOf(state, input, output, options, this.#store)
    await storeModel(state, this.#store)
    return this.#add(manifest, flowOf(manifest, this.#names(manifest), null, options.attempts ?? 3))
  }

  /**
   * Submits a video, as `submit` does a picture. It is decoded here once, for timestamps and checksums; workers, which need the
   * same version of ffmpeg, decode, enlarge and encode segments of it, and one puts them together with sound, subtitles and
   * chapters. The frames and streams are those of `upscaleVideo`.
   *
   * @param input a file that ffmpeg reads
   * @param output key of the result: 'results/clip.mp4'; .mp4, .mov, .m4v, .mkv, .webm or .nut
   * @throws WbsrError WBSR_NOT_FOUND: no ffmpeg, no encoder, no source; WBSR_INVALID_FILE, WBSR_INVALID_OPTION, WBSR_IO,
   *   WBSR_ABORTED
   */
  async submitVideo(
    model: SupernetModel,
    input: string,
    output: string,
    options: FleetVideoOptions = {},
  ): Promise<FleetRun> {
    containerOf(checkKey(output, 'output'))
    const state = stateOf(model)
    const { manifest } = await videoJobOf(state, checkString(input, 'input'), output, options, this.#store)
    await storeModel(state, this.#store)
    return this.#add(manifest, flowOf(manifest, this.#names(manifest), null, options.attempts ?? 3))
  }

  /**
   * Submits many pictures as one job, which ends when each is done or failed: a damaged picture is named in the result and does
   * not stop the others.
   *
   * @param name of the job, for people
   */
  async submitFolder(
    model: SupernetModel,
    pictures: readonly FolderPicture[],
    name: string,
    options: PictureOptions = {},
  ): Promise<FleetRun> {
    const state = stateOf(model)
    const settings = checkPictureOptions(options, state)
    if (!Array.isArray(pictures) || pictures.length === 0)
      throw invalidOption('pictures', 'a list of { input, output }, at least one', pictures)
    const outputs = new Set<string>()
    for (const { output } of pictures) {
      outputFormat(checkKey(output, 'output'), 'output')
      if (outputs.has(output)) throw invalidOption('output', 'another key for each picture', output)
      outputs.add(output)
    }
    const manifests: (BandsManifest | PictureManifest)[] = []
    const failed: FolderManifest['failed'] = []
    for (const { input, output } of pictures) {
      try {
        manifests.push((await jobOf(state, input, output, options, this.#store)).manifest)
      } catch (error) {
        const { code, message } = wrapError(error)
        // Not the picture's fault.
        if (!['WBSR_INVALID_IMAGE', 'WBSR_NOT_FOUND'].includes(code)) throw error
        failed.push({ name: nameOf(input), code, message })
      }
    }
    await storeModel(state, this.#store)
    for (const manifest of manifests) await this.#write(manifest)
    const folder = identify<FolderManifest>({
      format: 1,
      kind: 'folder',
      name: checkString(name, 'name'),
      pictures: manifests.map(({ id, name, output }) => ({ id, name, output })),
      failed,
      flops: manifests.reduce((sum, { flops }) => sum + flops, 0),
      rate: manifests[0]?.rate ?? 1,
    })
    // Long ones first, so that the last one that runs is short.
    const children = [...manifests]
      .sort((a, b) => b.flops - a.flops)
      .map((manifest) => flowOf(manifest, this.#names(manifest), folder.id, settings.attempts) as FlowChild)
    return this.#add(folder, {
      name: 'folder' satisfies JobName,
      queueName: fileQueue(this.#backend.name),
      data: { run: folder.id },
      opts: fileOptions(folder.id, settings.attempts),
      children,
    })
  }

  #names(manifest: FileManifest) {
    return { files: fileQueue(this.#backend.name), work: workQueue(this.#backend.name, manifest.numerics) }
  }

  async #write(manifest: Manifest): Promise<void> {
    await this.#store.write(manifestKey(manifest.id), Buffer.from(JSON.stringify(manifest)))
    await this.#store.remove(cancelKey(manifest.id))
  }

  async #add(manifest: Manifest, flow: FlowJob): Promise<FleetRun> {
    const run = this.#run(manifest.id, manifest)
    try {
      if (await readDone(this.#store, manifest.id)) return run
      const queue =
        flow.queueName === this.#files.name ? this.#files : this.#workQueue((manifest as BandsManifest).numerics)
      const old = (await queue.getJob(manifest.id)) as Job | undefined
      const state = await old?.getState()
      if (old && state !== 'failed' && state !== 'completed' && state !== 'unknown') return run
      await removeJob(old)
      await this.#write(manifest)
      await this.#flows.add(flow)
      return run
    } catch (error) {
      throw error instanceof WbsrError ? error : wrapError(error, 'WBSR_IO', `Cannot submit to ${this.#backend.label}`)
    }
  }

  /**
   * Removes inputs, models, unfinished and finished jobs' objects that are older than some hours and that no job of the database
   * needs. Results stay.
   *
   * @returns how many objects and bytes
   */
  async clean(options: { hours: number }): Promise<{ objects: number; bytes: number }> {
    const { hours } = checkObject(options, 'options', ['hours']) as { hours: number }
    if (!(hours >= 0)) throw invalidOption('hours', 'a number of at least 0', hours)
    const needed = await neededKeys(this.#store, (id, manifest) => this.#isAlive(id, manifest))
    return removeOld(this.#store, Date.now() - hours * 3600_000, needed)
  }

  async #isAlive(id: string, manifest: Manifest): Promise<boolean> {
    const { state } = await this.#run(id, manifest).status()
    return state !== 'unknown' || (manifest.kind !== 'folder' && (await this.#inFolder(manifest)))
  }

  /** Whether a picture's job belongs to a folder that is under way: there its id has that of the folder in front. */
  async #inFolder({ id, ...manifest }: Exclude<Manifest, FolderManifest>): Promise<boolean> {
    const queue = manifest.kind === 'picture' ? this.#workQueue(manifest.numerics) : this.#files
    const jobs = await queue.getJobs(['waiting-children', 'active', 'waiting', 'delayed', 'prioritized'], 0, 9999)
    return jobs.some((job) => job?.id?.endsWith(`.${id}`))
  }

  /** Ends the connections; jobs that were submitted go on. */
  async close(): Promise<void> {
    await Promise.all([
      this.#flows.close(),
      this.#files.close(),
      ...[...this.#work.values()].map((queue) => queue.close()),
    ])
  }

  /** As close(). */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/**
 * Connects to the queues of a fleet.
 *
 * @throws WbsrError WBSR_IO: the database cannot be reached; WBSR_INVALID_OPTION, also for a Redis that evicts keys;
 *   WBSR_NOT_FOUND: bullmq is not installed
 */
export async function openFleet(options: FleetOptions): Promise<Fleet> {
  const { connection, name, store } = checkObject(options, 'fleet options', [
    'connection',
    'name',
    'store',
  ]) as unknown as FleetOptions
  if (typeof store?.size !== 'function') throw invalidOption('store', 'a Store (folderStore, s3Store)', store)
  const backend = await openBackend({ connection, name })
  const files = backend.queue(fileQueue(backend.name))
  try {
    await checkBackend(backend, files)
  } catch (error) {
    await files.close().catch(() => {})
    throw error
  }
  return new Fleet(backend, store, files)
}
