// Files that are either complete or not there: everything wbsr writes goes through here, so that a full disk, a crash
// or an abort never costs the user the file that was there before.

import { type FileHandle, mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { isUint8Array } from 'node:util/types'
import { WbsrError } from '../errors.js'
import { forgetTemporary, rememberTemporary, sweepTemporaries, temporaryName } from './temporaries.js'

/** What goes into a file: bytes, or bytes as they come. */
export type FileChunks = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>

// Linux refuses single writes of 2 GiB and more, and smaller ones let other I/O of the thread pool through.
const WRITE_BYTES = 1 << 24

function cannotWrite(file: string, cause: unknown): WbsrError {
  if (cause instanceof WbsrError) return cause
  const { code, message } = cause as { code?: unknown; message?: unknown }
  const why =
    code === 'ENOSPC'
      ? 'no space left on the disk'
      : code === 'EACCES' || code === 'EPERM'
        ? 'permission denied'
        : String(message ?? cause)
  return new WbsrError('WBSR_IO', `Cannot write ${file}: ${why}`, { cause })
}

async function statOrNull(file: string) {
  try {
    return await stat(file)
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return null
    throw error
  }
}

/** Writes all of `bytes` at the handle's position. */
export async function writeBytes(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0
  while (done < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(WRITE_BYTES, bytes.byteLength - done))
    done += bytesWritten
  }
}

/**
 * Creates a folder and what it lies in. Not mkdir's own recursion: in Node 20 it never ends where a file system answers
 * ENOENT below a folder that exists, as /proc does.
 */
export async function makeFolder(folder: string): Promise<void> {
  if (await statOrNull(folder)) return
  await makeFolder(path.dirname(folder))
  await mkdir(folder).catch((error) => {
    if (error.code !== 'EEXIST') throw error
  })
}

/**
 * A file in the making: bytes go to a temporary file in the same folder; `commit` puts it in place, `discard` forgets
 * it. Until `commit` the file of that name, if there is one, is untouched. All methods throw WBSR_IO, naming the file.
 */
export class AtomicFile {
  /** Where the bytes are until `commit`; other writers (sharp) may be given this path. */
  readonly temporary: string
  readonly handle: FileHandle
  readonly #file: string
  readonly #target: string
  #open = true

  private constructor(file: string, target: string, temporary: string, handle: FileHandle) {
    this.#file = file
    this.#target = target
    this.temporary = temporary
    this.handle = handle
  }

  /**
   * Creates the temporary file, and the folder that `file` lies in where it is missing. A symbolic link is followed;
   * a folder, device or pipe of that name is refused. The permissions of an existing file are kept.
   */
  static async open(file: string): Promise<AtomicFile> {
    let handle: FileHandle | undefined
    let temporary = ''
    try {
      const old = await statOrNull(file)
      if (old?.isDirectory())
        throw new WbsrError('WBSR_IO', `Cannot write ${file}: it is a folder, expected the name of a file`)
      // Renaming over /dev/null or a pipe would replace it.
      if (old && !old.isFile()) throw new WbsrError('WBSR_IO', `Cannot write ${file}: it is not a regular file`)
      if (/[/\\]$/.test(file))
        throw new WbsrError('WBSR_IO', `Cannot write ${file}: expected the name of a file, not of a folder`)
      const target = old ? await realpath(file) : path.resolve(file)
      const folder = path.dirname(target)
      await makeFolder(folder)
      await sweepTemporaries(target)
      temporary = temporaryName(target)
      rememberTemporary(temporary)
      handle = await open(temporary, 'wx+')
      if (old) await handle.chmod(old.mode & 0o777)
      return new AtomicFile(file, target, temporary, handle)
    } catch (error) {
      await handle?.close().catch(() => {})
      if (handle) await rm(temporary, { force: true }).catch(() => {})
      forgetTemporary(temporary)
      throw cannotWrite(file, error)
    }
  }

  /** Appends bytes. */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      await writeBytes(this.handle, bytes)
    } catch (error) {
      throw cannotWrite(this.#file, error)
    }
  }

  /** Makes the bytes durable and gives them the file's name. On failure the temporary file is removed. */
  async commit(): Promise<void> {
    try {
      await this.handle.sync()
      this.#open = false
      await this.handle.close()
      await rename(this.temporary, this.#target)
      forgetTemporary(this.temporary)
      // The new name itself must survive a power cut too; folders that cannot be synced (some network disks) are let be.
      const folder = await open(path.dirname(this.#target), 'r')
      await folder
        .sync()
        .catch(() => {})
        .finally(() => folder.close())
    } catch (error) {
      await this.discard()
      throw cannotWrite(this.#file, error)
    }
  }

  /** Removes the temporary file. Never throws. */
  async discard(): Promise<void> {
    if (this.#open) {
      this.#open = false
      await this.handle.close().catch(() => {})
    }
    await rm(this.temporary, { force: true }).catch(() => {})
    forgetTemporary(this.temporary)
  }
}

/**
 * Writes a file so that it is either complete or not there: temporary name in the same folder, fsync of file and
 * folder, rename. A missing folder is created. On any error the temporary file is removed and an older file of that
 * name survives untouched.
 *
 * @param write bytes, an (async) iterable of bytes, or a function that writes through the handle it is given
 * @throws WbsrError WBSR_IO that names the file (full disk, permissions, a folder of that name); a WbsrError thrown by
 *   `write` (such as WBSR_ABORTED) passes through as it is
 */
export async function writeFileAtomic(
  file: string,
  write: FileChunks | ((handle: FileHandle) => Promise<void>),
): Promise<void> {
  const atomic = await AtomicFile.open(file)
  try {
    if (typeof write === 'function') await write(atomic.handle)
    else if (isUint8Array(write)) await atomic.write(write)
    else for await (const chunk of write) await atomic.write(chunk)
  } catch (error) {
    await atomic.discard()
    throw cannotWrite(file, error)
  }
  await atomic.commit()
}
