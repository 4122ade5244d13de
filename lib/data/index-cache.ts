// Difficulties of one image between runs: a small JSON file per image and settings.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { writeFileAtomic } from '../files/atomic.js'

/** What is kept of an image: its size, cut down to a multiple of the scale, and its patches' difficulties. */
export interface CachedImage {
  width: number
  height: number
  difficulties: Float64Array
}

/** The folder for cached indices that is used when none is given. */
export function defaultCacheDirectory(): string {
  const base = process.env.XDG_CACHE_HOME
  // The XDG specification: relative paths are to be ignored.
  return path.join(base && path.isAbsolute(base) ? base : path.join(homedir(), '.cache'), 'wbsr')
}

function checksum({ width, height, difficulties }: CachedImage): string {
  return createHash('sha256').update(`${width} ${height} `).update(difficulties).digest('hex')
}

/** Null for everything but an intact entry of this key, with as many patches as an image of its size has. */
export async function readCached(
  directory: string,
  key: string,
  patches: (width: number, height: number) => number,
): Promise<CachedImage | null> {
  try {
    const entry = JSON.parse(await readFile(path.join(directory, `${key}.json`), 'utf8')) as {
      width: number
      height: number
      checksum: string
      difficulties: number[]
    }
    const { width, height } = entry
    const image = { width, height, difficulties: Float64Array.from(entry.difficulties) }
    if (entry.checksum !== checksum(image)) return null
    return image.difficulties.length === patches(width, height) ? image : null
  } catch {
    return null
  }
}

/** A full or read-only disk costs time in the next run, it does not stop this one: failures are ignored. */
export async function writeCached(directory: string, key: string, image: CachedImage): Promise<void> {
  const { width, height, difficulties } = image
  const entry = JSON.stringify({ width, height, checksum: checksum(image), difficulties: [...difficulties] })
  await writeFileAtomic(path.join(directory, `${key}.json`), Buffer.from(entry)).catch(() => {})
}
