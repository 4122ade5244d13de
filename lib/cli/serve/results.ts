// Finished pictures, kept for a while for those who know their names, which cannot be guessed.
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { loseTemporary, rememberFolder } from './temporary-folder.js'

export interface ResultFile {
  file: string
  type: string
}

export interface Result {
  /** Of the download. */
  name: string
  files: { result: ResultFile; before: ResultFile; after: ResultFile }
}

interface Kept extends Result {
  folder: string
  bytes: number
  used: number
}

export class Results {
  readonly #folder: string
  readonly #limits: { bytes: number; seconds: number }
  readonly #kept = new Map<string, Kept>()
  readonly #timer: NodeJS.Timeout

  private constructor(folder: string, limits: { bytes: number; seconds: number }) {
    this.#folder = folder
    this.#limits = limits
    this.#timer = setInterval(() => this.#expire(), Math.min(60, limits.seconds) * 1000).unref()
  }

  /** Makes a folder that only this user may read, and that goes when the process does. */
  static async open(limits: { bytes: number; seconds: number }): Promise<Results> {
    const folder = await mkdtemp(path.join(tmpdir(), 'wbsr-serve-'))
    rememberFolder(folder)
    return new Results(folder, limits)
  }

  /** A folder for one picture, and its name. */
  async begin(): Promise<{ id: string; folder: string }> {
    const id = randomBytes(16).toString('hex')
    const folder = path.join(this.#folder, id)
    await mkdir(folder, { mode: 0o700 })
    return { id, folder }
  }

  /** Keeps what was made in a folder of begin(). */
  async keep(id: string, result: Result): Promise<void> {
    const files = [...new Set(Object.values(result.files).map(({ file }) => file))]
    const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size))
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    this.#kept.set(id, { ...result, folder: path.join(this.#folder, id), bytes, used: performance.now() })
    this.#expire()
  }

  get(id: string): Result | undefined {
    const kept = this.#kept.get(id)
    if (kept) kept.used = performance.now()
    return kept
  }

  async drop(id: string): Promise<void> {
    this.#kept.delete(id)
    await rm(path.join(this.#folder, id), { recursive: true, force: true }).catch(() => {})
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#kept.clear()
    await rm(this.#folder, { recursive: true, force: true }).catch(() => {})
    loseTemporary(this.#folder)
  }

  /** Drops what is old and, while there is too much, what was not used for longest; never the last one. */
  #expire(): void {
    const now = performance.now()
    const byAge = [...this.#kept].sort(([, a], [, b]) => a.used - b.used)
    let total = byAge.reduce((sum, [, { bytes }]) => sum + bytes, 0)
    let left = byAge.length
    for (const [id, { used, bytes }] of byAge) {
      if (now - used < this.#limits.seconds * 1000 && (total <= this.#limits.bytes || left === 1)) continue
      total -= bytes
      left--
      void this.drop(id)
    }
  }
}
