// Objects of the store as files of this machine, for programs that read files: ffmpeg.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { writeFileAtomic } from '../files/atomic.js'
import type { Store } from './store.js'

/** Copies that are kept though nobody reads them: a worker's next segment is of the same video as a rule. */
const KEPT = 1

interface Copy {
  file: Promise<string>
  readers: number
}

export class LocalFiles {
  readonly #store: Store
  readonly #copies = new Map<string, Copy>()
  #folder: Promise<string> | null = null

  constructor(store: Store) {
    this.#store = store
  }

  /** Calls `read` with a file that holds the object: its own where the store is a folder, else a copy. */
  async with<T>(key: string, read: (file: string) => Promise<T>): Promise<T> {
    const own = this.#store.file?.(key)
    if (own !== undefined) return read(own)
    const copy = this.#copies.get(key) ?? { file: this.#copy(key), readers: 0 }
    // The one that was used last is at the end.
    this.#copies.delete(key)
    this.#copies.set(key, copy)
    copy.readers++
    try {
      return await read(await copy.file)
    } catch (error) {
      await copy.file.catch(() => this.#copies.delete(key))
      throw error
    } finally {
      copy.readers--
      await this.#drop(KEPT)
    }
  }

  async #copy(key: string): Promise<string> {
    this.#folder ??= mkdtemp(path.join(tmpdir(), 'wbsr-fleet-'))
    const file = path.join(await this.#folder, path.basename(key))
    await writeFileAtomic(file, this.#store.stream(key))
    return file
  }

  async #drop(most: number): Promise<void> {
    const unread = [...this.#copies].filter(([, { readers }]) => readers === 0)
    for (const [key, { file }] of unread.slice(0, Math.max(0, unread.length - most))) {
      this.#copies.delete(key)
      await rm(await file, { force: true }).catch(() => {})
    }
  }

  /** Removes all copies. */
  async dispose(): Promise<void> {
    this.#copies.clear()
    if (this.#folder) await rm(await this.#folder, { recursive: true, force: true })
    this.#folder = null
  }
}
