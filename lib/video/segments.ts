// What a run has done so far: a folder beside the result, with encoded segments and a manifest. A run that was killed goes
// on after the last segment that is whole.
import { randomBytes } from 'node:crypto'
import { open, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { WbsrError, wrapError } from '../errors.js'
import { makeFolder, writeFileAtomic } from '../files/atomic.js'
import { processStart } from '../files/temporaries.js'

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
const LOCK = 'lock'

export class Segments {
  readonly folder: string
  readonly #made: unknown
  #list: Segment[]
  /** Why segments of a run before are not used; null: they are, or there are none. */
  readonly discarded: string | null

  private constructor(folder: string, made: unknown, list: Segment[], discarded: string | null) {
    this.folder = folder
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
    try {
      await makeFolder(folder)
      await lock(path.join(folder, LOCK), result)
    } catch (error) {
      throw wrapError(error, 'WBSR_IO', error instanceof WbsrError ? undefined : `Cannot write beside ${result}`)
    }
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
    return new Segments(folder, made, list, why)
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

  /** The result is there: nothing of this is needed any more. */
  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
  }

  /** Another process may go on. */
  async release(): Promise<void> {
    await rm(path.join(this.folder, LOCK), { force: true }).catch(() => {})
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

/** The lock names its process, so that one that was killed does not hold it. */
async function lock(file: string, result: string): Promise<void> {
  const own = `${process.pid} ${processStart(process.pid)}`
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      await writeExclusive(file, own)
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const [pid, start] = (await readFile(file, 'utf8').catch(() => '')).split(' ')
    if (pid && processStart(Number(pid)) === start)
      throw new WbsrError('WBSR_IO', `Cannot write ${result}: process ${pid} is writing it`)
    await rm(file, { force: true })
  }
  throw new WbsrError('WBSR_IO', `Cannot write ${result}: another process is writing it`)
}

async function writeExclusive(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx')
  await handle.writeFile(text).finally(() => handle.close())
}
