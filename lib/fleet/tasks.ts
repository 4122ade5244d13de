// What a worker does for each kind of job, apart from queues.
import { WbsrError } from '../errors.js'
import { type SupernetModel, stateOf } from '../models/model.js'
import { type Assembled, assembleBands } from './assemble.js'
import type { Failure } from './failures.js'
import type { LocalFiles } from './local-files.js'
import {
  type Common,
  cancelKey,
  doneKey,
  type FolderManifest,
  folderOf,
  type Manifest,
  readManifest,
} from './manifest.js'
import type { JobData, JobName } from './queues.js'
import { runBand } from './run-band.js'
import { runPicture } from './run-picture.js'
import { type AssembledVideo, assembleVideo, runSegment } from './run-video.js'
import { readAll, type Store } from './store.js'

/** What became of a job: of one that makes a file, also what is in it. */
export interface TaskResult {
  flops: number
  seconds: number
  /** It had been done before. */
  found: boolean
  /** Of videos: 2 x MAC that did not have to run; in the result of the whole its share. */
  saved?: number
  warnings?: string[]
}

/** What became of the pictures of a folder. */
export interface FolderReport {
  pictures: { name: string; output: string; bytes: number }[]
  failed: { name: string; code: string; message: string }[]
}

/** The result of a job, as it lies in the store under doneKey. */
export interface Done extends Partial<Assembled>, Partial<AssembledVideo>, Partial<FolderReport> {
  id: string
  name: string
  output: string
  bytes: number
  saved?: number
  /** When it was done, in ms since 1970. */
  at: number
}

export interface TaskContext {
  store: Store
  files: LocalFiles
  /** What the parts of the job answered. */
  parts(): Promise<TaskResult[]>
  /** The model of a job. */
  modelOf(manifest: Common): Promise<SupernetModel>
  signal: AbortSignal
  onShare(share: number): void
}

const KEPT = 8

/** Manifests that were read, the last ones. */
export class Manifests {
  readonly #store: Store
  readonly #known = new Map<string, Promise<Manifest>>()

  constructor(store: Store) {
    this.#store = store
  }

  get(id: string): Promise<Manifest> {
    let manifest = this.#known.get(id)
    if (!manifest) {
      manifest = readManifest(this.#store, id)
      this.#known.set(id, manifest)
      manifest.catch(() => this.#known.delete(id))
      for (const key of this.#known.keys()) if (this.#known.size > KEPT) this.#known.delete(key)
    }
    return manifest
  }
}

/** The result of a job that is done; null: it is not, or its result is gone. */
export async function readDone(store: Store, id: string): Promise<Done | null> {
  if ((await store.size(doneKey(id))) === null) return null
  const done = JSON.parse((await readAll(store, doneKey(id))).toString('utf8')) as Done
  return (await store.size(done.output)) === done.bytes ? done : null
}

async function finish(
  store: Store,
  { id, name, output }: Common,
  made: Assembled | (AssembledVideo & { saved: number }),
): Promise<Done> {
  const done: Done = { id, name, output, ...made, at: Date.now() }
  await store.write(doneKey(id), Buffer.from(JSON.stringify(done)))
  // Nothing reads the bands any more.
  await store.removeFolder(folderOf(id))
  return done
}

/** The end of a folder's job: what its pictures say becomes a report. */
export async function finishFolder(
  store: Store,
  manifest: FolderManifest,
  failures: ReadonlyMap<string, Failure>,
): Promise<TaskResult & Done> {
  const report: FolderReport = { pictures: [], failed: [...manifest.failed] }
  for (const { id, name, output } of manifest.pictures) {
    const done = await readDone(store, id)
    const missing = { code: 'WBSR_INTERNAL', message: 'its job ended without a result' }
    if (done) report.pictures.push({ name, output, bytes: done.bytes })
    else report.failed.push({ name, ...(failures.get(id) ?? missing) })
  }
  const output = `reports/${manifest.id}.json`
  const bytes = Buffer.from(JSON.stringify(report, null, 2))
  await store.write(output, bytes)
  const done: Done = { id: manifest.id, name: manifest.name, output, bytes: bytes.length, at: Date.now(), ...report }
  await store.write(doneKey(manifest.id), Buffer.from(JSON.stringify(done)))
  await store.removeFolder(folderOf(manifest.id))
  return { ...done, flops: 0, seconds: 0, found: false }
}

/** Runs a job. @throws WbsrError; Refusal of the model */
export async function runTask(
  name: JobName,
  { run, index }: JobData,
  manifests: Manifests,
  context: TaskContext,
): Promise<TaskResult & Partial<Done>> {
  const { store, signal, onShare } = context
  const start = performance.now()
  const done = await readDone(store, run)
  if (done) return { ...done, flops: 0, seconds: 0, found: true }
  if ((await store.size(cancelKey(run))) !== null) throw new WbsrError('WBSR_ABORTED', `Job ${run} was cancelled`)
  const manifest = await manifests.get(run)
  const since = () => (performance.now() - start) / 1000
  if (name === 'band' && manifest.kind === 'bands') {
    const model = await context.modelOf(manifest)
    return runBand(stateOf(model), store, manifest, index!, signal, onShare)
  }
  if (name === 'picture' && manifest.kind === 'picture') {
    const model = await context.modelOf(manifest)
    const { flops, found, seconds: _seconds, ...made } = await runPicture(model, store, manifest, signal, onShare)
    return { ...(await finish(store, manifest, made)), flops, seconds: since(), found }
  }
  if (name === 'assemble' && manifest.kind === 'bands') {
    const assembled = await assembleBands(store, manifest, signal, onShare)
    return { ...(await finish(store, manifest, assembled)), flops: 0, seconds: since(), found: false }
  }
  if (name === 'segment' && manifest.kind === 'video') {
    const model = await context.modelOf(manifest)
    return runSegment(stateOf(model), store, context.files, manifest, index!, signal, onShare)
  }
  if (name === 'video' && manifest.kind === 'video') {
    const made = await assembleVideo(store, context.files, manifest, signal)
    const parts = await context.parts()
    const sum = (of: (part: TaskResult) => number) => parts.reduce((total, part) => total + of(part), 0)
    const saved = sum((part) => part.saved ?? 0)
    const warnings = [...made.warnings, ...parts.flatMap((part) => part.warnings ?? [])]
    const share = saved > 0 ? saved / (saved + sum(({ flops }) => flops)) : 0
    const done = await finish(store, manifest, { ...made, warnings, saved: share })
    return { ...done, flops: 0, seconds: since(), found: false }
  }
  throw new WbsrError('WBSR_INVALID_FILE', `Job ${run} is of kind ${manifest.kind}, expected one for ${name}`)
}
