// What a run has done so far: a folder beside the result, with encoded segments and a manifest. A run that was killed goes
// on after the last segment that is whole.
import { randomBytes } from 'node:crypto'
import { open, readdir, readFile, rm, rmdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { WbsrError, wrapError } from '../errors.js'
import { makeFolder, writeFileAtomic } from '../files/atomic.js'
import { ProcessLock } from './process-lock.js'

export interface Segment {
  file: string
  frames: number
  /** Timestamps of its first and last frame, in ticks. */
  first: number
  last: number
  /** 2 x MAC that ran and that did not have to. */
  flops: number
  saved: number
}

interface Manifest {
  format: 1
  /** What has to be equal for segments to belong together. */
  made: unknown
  segments: Segment[]
}

const MANIFEST = 'manifest.json'
const TRIES = 3

export class Segments {
  readonly folder: string
  readonly #lock: ProcessLock
  readonly #made: unknown
  #list: Segment[]
  /** Why segments of a run before are not used; null: they are, or there are none. */
  readonly discarded: string | null

  private constructor(folder: string, lock: ProcessLock, made: unknown, list: Segment[], discarded: string | null) {
    this.folder = folder
    this.#lock = lock
    this.#made = made
    this.#list = list
    this.discarded = discarded
  }

  /**
   * Opens the folder of a result, for this process alone.
   *
   * @param made what the segments depend on: plain data
   * @param resume false: segments that are there are removed
   * @throws WbsrError WBSR_IO: another process writes the same result, or the folder cannot be written
   */
  static async open(result: string, made: unknown, resume: boolean): Promise<Segments> {
    const folder = `${path.resolve(result)}.wbsr`
    const lock = await takeFolder(folder, result)
    const found = await readManifest(folder)
    const same = found !== null && JSON.stringify(found.made) === JSON.stringify(made)
    const list: Segment[] = []
    if (same && resume)
      for (const segment of found.segments) {
        // A manifest is written after its segments, so one that is missing was taken away.
        if (!(await stat(path.join(folder, segment.file)).catch(() => null))) break
        list.push(segment)
      }
    const why =
      found !== null && found.segments.length > 0 && resume && !same
        ? 'an earlier run had another source, model or other options: it begins anew'
        : null
    return new Segments(folder, lock, made, list, why)
  }

  get list(): readonly Segment[] {
    return this.#list
  }

  /**
   * A name for the next segment; it counts when `add` was called. No two processes get the same: an encoder whose process was
   * killed may still be writing.
   */
  next(): string {
    const name = `segment-${String(this.#list.length).padStart(6, '0')}-${randomBytes(4).toString('hex')}.nut`
    return path.join(this.folder, name)
  }

  /** @param written what `next` named, whole */
  async add(written: string, segment: Omit<Segment, 'file'>): Promise<void> {
    const file = path.basename(written)
    const handle = await open(written, 'r')
    await handle.sync().finally(() => handle.close())
    const list = [...this.#list, { file, ...segment }]
    const manifest: Manifest = { format: 1, made: this.#made, segments: list }
    await writeFileAtomic(path.join(this.folder, MANIFEST), Buffer.from(JSON.stringify(manifest)))
    this.#list = list
  }

  /** The result is there: nothing of this is needed any more, but for the lock, which `release` takes away. */
  async remove(): Promise<void> {
    for (const name of await readdir(this.folder))
      if (!ProcessLock.isLock(name)) await rm(path.join(this.folder, name), { recursive: true, force: true })
  }

  /** Another process may go on. A folder in which nothing is left goes. */
  async release(): Promise<void> {
    await this.#lock.release()
    await rmdir(this.folder).catch(() => {})
  }
}

async function readManifest(folder: string): Promise<Manifest | null> {
  try {
    const manifest = JSON.parse(await readFile(path.join(folder, MANIFEST), 'utf8')) as Manifest
    return manifest.format === 1 && Array.isArray(manifest.segments) ? manifest : null
  } catch {
    return null
  }
}

/** Makes the folder and its lock. @throws WbsrError WBSR_IO */
async function takeFolder(folder: string, result: string): Promise<ProcessLock> {
  for (let tries = 0; ; tries++)
    try {
      await makeFolder(folder)
      return await ProcessLock.take(folder, result)
    } catch (error) {
      // Another process was done and took the empty folder away.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' && tries < TRIES) continue
      throw wrapError(error, 'WBSR_IO', error instanceof WbsrError ? undefined : `Cannot write beside ${result}`)
    }
}
