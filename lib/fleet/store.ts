// Where a fleet keeps pixels: inputs, models, bands and results. Redis holds only the keys of these objects.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { invalidOption, WbsrError, wrapError } from '../errors.js'
import { type FileChunks, writeFileAtomic } from '../files/atomic.js'
import { checkString } from '../options.js'

/** Bytes under keys such as 'runs/1f0c/result.png'. All methods reject with a WbsrError (WBSR_IO, WBSR_NOT_FOUND). */
export interface Store {
  /** Names the store in messages and in `wbsr fleet`: a folder or s3://bucket/prefix. */
  readonly label: string
  /** Bytes of an object; null: there is none. */
  size(key: string): Promise<number | null>
  /** `bytes` bytes from `from` on, or less where the object ends. @throws WbsrError WBSR_NOT_FOUND */
  read(key: string, from: number, bytes: number): Promise<Buffer>
  /** The whole object, in pieces. @throws WbsrError WBSR_NOT_FOUND */
  stream(key: string): AsyncIterable<Uint8Array>
  /** Writes an object, which is whole or absent for everybody else; an older one of that key is replaced at the end. */
  write(key: string, content: FileChunks): Promise<void>
  /** Removes an object; one that is not there is no error. */
  remove(key: string): Promise<void>
  /** Removes all objects whose keys begin with `folder` and a slash, and what killed processes left there. */
  removeFolder(folder: string): Promise<void>
  /** Objects whose key begins with `prefix`, in any order. */
  list(prefix: string): AsyncIterable<StoredObject>
  /** The path of an object where the store is a folder of this machine: large files are then written in place. */
  file?(key: string): string
}

/** An entry of a store. */
export interface StoredObject {
  key: string
  bytes: number
  /** When it was written, in ms since 1970. */
  modified: number
}

/** Keys are made of these parts, so that they are file names everywhere and never leave the store's folder. */
const PART = /^(?!\.)[\w .@+=,()-]{1,200}$/u

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkKey(key: unknown, name: string): string {
  if (typeof key !== 'string' || key.length > 800 || !key.split('/').every((part) => PART.test(part)))
    throw invalidOption(
      name,
      'the key of an object, parts of letters, digits, spaces and _.@+=,()- that do not begin with a dot, separated by /',
      key,
    )
  return key
}

/** The whole of a small object. @throws WbsrError WBSR_NOT_FOUND */
export async function readAll(store: Store, key: string): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of store.stream(key)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Hash of bytes, as hexadecimal digits. */
export function hashOf(...parts: (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}

/**
 * A store in a folder that all machines of a fleet see, e.g. on NFS. Objects are written under a temporary name and renamed.
 *
 * @param folder made where it is missing
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function folderStore(folder: string): Store & Required<Pick<Store, 'file'>> {
  return new FolderStore(path.resolve(checkString(folder, 'folder')))
}

class FolderStore implements Store {
  readonly label: string

  constructor(folder: string) {
    this.label = folder
  }

  file(key: string): string {
    return path.join(this.label, checkKey(key, 'key'))
  }

  async size(key: string): Promise<number | null> {
    const file = this.file(key)
    try {
      const found = await stat(file)
      return found.isFile() ? found.size : null
    } catch (error) {
      if (isMissing(error)) return null
      throw wrapError(error, 'WBSR_IO', `Cannot read ${file}`)
    }
  }

  async read(key: string, from: number, bytes: number): Promise<Buffer> {
    const file = this.file(key)
    try {
      const handle = await open(file, 'r')
      try {
        // One buffer of its own: its pixels are given to jobs.
        const buffer = Buffer.from(new ArrayBuffer(bytes))
        let done = 0
        while (done < bytes) {
          const { bytesRead } = await handle.read(buffer, done, Math.min(bytes - done, 1 << 28), from + done)
          if (bytesRead === 0) break
          done += bytesRead
        }
        return buffer.subarray(0, done)
      } finally {
        await handle.close()
      }
    } catch (error) {
      throw this.#missing(key, error)
    }
  }

  async *stream(key: string): AsyncIterable<Uint8Array> {
    try {
      yield* createReadStream(this.file(key), { highWaterMark: 1 << 20 })
    } catch (error) {
      throw this.#missing(key, error)
    }
  }

  async write(key: string, content: FileChunks): Promise<void> {
    await writeFileAtomic(this.file(key), content)
  }

  async remove(key: string): Promise<void> {
    const file = this.file(key)
    try {
      await rm(file, { force: true })
    } catch (error) {
      throw wrapError(error, 'WBSR_IO', `Cannot remove ${file}`)
    }
  }

  async removeFolder(folder: string): Promise<void> {
    const file = this.file(folder)
    try {
      await rm(file, { recursive: true, force: true, maxRetries: 3 })
    } catch (error) {
      throw wrapError(error, 'WBSR_IO', `Cannot remove ${file}`)
    }
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    const start = prefix.includes('/') ? prefix.slice(0, prefix.lastIndexOf('/')) : ''
    for await (const object of this.#walk(start)) if (object.key.startsWith(prefix)) yield object
  }

  async *#walk(key: string): AsyncIterable<StoredObject> {
    const entries = await readdir(path.join(this.label, key), { withFileTypes: true }).catch((error) => {
      if (isMissing(error)) return []
      throw wrapError(error, 'WBSR_IO', `Cannot list ${path.join(this.label, key)}`)
    })
    for (const entry of entries) {
      const inner = key === '' ? entry.name : `${key}/${entry.name}`
      if (entry.isDirectory()) yield* this.#walk(inner)
      // Temporary files begin with a dot, and so are no objects.
      if (!entry.isFile() || !PART.test(entry.name)) continue
      const found = await stat(path.join(this.label, inner)).catch(() => null)
      if (found) yield { key: inner, bytes: found.size, modified: found.mtimeMs }
    }
  }

  #missing(key: string, error: unknown): WbsrError {
    const file = path.join(this.label, key)
    if (isMissing(error)) return new WbsrError('WBSR_NOT_FOUND', `${file} does not exist`, { cause: error })
    return wrapError(error, 'WBSR_IO', `Cannot read ${file}`)
  }
}

function isMissing(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown }
  return code === 'ENOENT' || code === 'ENOTDIR'
}
