// Results of evaluate() on disk, so that it goes on where it was stopped: SET/PICTURE.json in the directory of the option
// holds what every run gave on a picture. A result is valid for the bytes of the picture's files, the model, and the settings
// that its key was made of.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { writeFileAtomic } from '../files/atomic.js'
import type { PictureResult } from './results.js'

/** Goes into the key: raise it whenever the same picture would get other figures. */
const VERSION = 2

export const digestOf = (...parts: (string | Uint8Array)[]): string => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(String(part.length)).update(':').update(part)
  return hash.digest('hex')
}

/** A name as part of a file's name. */
export const fileNameOf = (name: string): string => name.replaceAll(/[^\p{L}\p{N}._=-]+/gu, '_')

/** JSON has no Infinity: null stands for it, in psnr. */
const revive = (key: string, value: unknown): unknown =>
  value === null && (key === 'y' || key === 'rgb') ? Infinity : value

interface Stored {
  /** Its name then: for people, the key decides. */
  run: string
  result: PictureResult
}

/** All runs' results on one picture. */
export class PictureStore {
  readonly #file: string
  readonly #results: Map<string, Stored>

  private constructor(file: string, results: Map<string, Stored>) {
    this.#file = file
    this.#results = results
  }

  /** What is stored of a picture; a file that cannot be read counts as empty. */
  static async open(directory: string, set: string, picture: string): Promise<PictureStore> {
    const file = path.join(directory, fileNameOf(set), `${fileNameOf(picture)}.json`)
    let stored: { version?: unknown; results?: Record<string, Stored> } = {}
    try {
      stored = (JSON.parse(await readFile(file, 'utf8'), revive) as typeof stored | null) ?? {}
    } catch {
      // Absent, or not ours: it is written anew.
    }
    const results = stored.version === VERSION ? (stored.results ?? {}) : {}
    return new PictureStore(file, new Map(Object.entries(results)))
  }

  get(key: string): PictureResult | undefined {
    return this.#results.get(key)?.result
  }

  /** Written at once. @throws WbsrError WBSR_IO */
  async set(key: string, run: string, result: PictureResult): Promise<void> {
    this.#results.set(key, { run, result })
    const text = JSON.stringify({ version: VERSION, results: Object.fromEntries(this.#results) }, null, 1)
    await writeFileAtomic(this.#file, Buffer.from(`${text}\n`))
  }
}
