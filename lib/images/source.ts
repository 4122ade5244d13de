// Where the bytes of an encoded image come from. libvips keeps what it loads by file name and returns the old picture
// after the file was replaced, so it never sees a user's file name: small files are read into memory, large ones are
// opened once and named by their descriptor, in a spelling that no other read uses.

import { randomInt } from 'node:crypto'
import type { BigIntStats } from 'node:fs'
import { constants, existsSync } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { isArrayBuffer, isFloat32Array, isFloat64Array, isSharedArrayBuffer } from 'node:util/types'
import { invalidOption, WbsrError } from '../errors.js'
import { isBlob, isURL } from '../realms.js'
import type { EncodedInput } from '../types.js'

/** Files up to this size are read as a whole. */
const IN_MEMORY = 32 << 20
const DESCRIPTORS = '/proc/self/fd'

/** A file name for libvips of an open file, spelled as no other read spells it. */
export function descriptorName(fd: number): string {
  // "/" and "/./" mean the same to the system and not to libvips' cache.
  const spelling = randomInt(2 ** 47)
    .toString(2)
    .replaceAll('0', '/')
    .replaceAll('1', '/.')
  return `${DESCRIPTORS}${spelling}/${fd}`
}

/** Whether a value is an encoded image (or its name) and not decoded pixels. */
export function isEncodedInput(value: unknown): value is EncodedInput {
  return (
    typeof value === 'string' ||
    isURL(value) ||
    isBlob(value) ||
    isArrayBuffer(value) ||
    isSharedArrayBuffer(value) ||
    ArrayBuffer.isView(value)
  )
}

/** The name of a file that a user gives as a string or a file: URL. @throws WbsrError WBSR_INVALID_OPTION */
export function fileName(value: string | URL, name: string): string {
  if (typeof value === 'string') {
    if (value === '') throw invalidOption(name, 'a file path', value)
    if (value.includes('\0')) throw invalidOption(name, 'a file path without a null character', value)
    return value
  }
  if (value.protocol !== 'file:') throw invalidOption(name, 'a file: URL', value.href)
  try {
    return fileURLToPath(value)
  } catch {
    throw invalidOption(name, 'a file: URL of this machine', value.href)
  }
}

async function bytesOf(input: Exclude<EncodedInput, string | URL>, name: string): Promise<Buffer> {
  if (isFloat32Array(input) || isFloat64Array(input))
    throw invalidOption(name, 'the bytes of an encoded image or { data, width, height, channels }', input)
  let bytes: Buffer
  // A copy: sharp takes no shared memory.
  if (isSharedArrayBuffer(input)) bytes = Buffer.from(new Uint8Array(input))
  else if (isArrayBuffer(input)) bytes = Buffer.from(input)
  else if (isBlob(input)) bytes = Buffer.from(await input.arrayBuffer())
  else {
    bytes = Buffer.from(input.buffer as ArrayBuffer, input.byteOffset, input.byteLength)
    if (isSharedArrayBuffer(input.buffer)) bytes = Buffer.from(bytes)
  }
  if (bytes.length === 0)
    throw new WbsrError('WBSR_INVALID_IMAGE', `Expected an encoded image for ${name} but the Buffer is empty`)
  return bytes
}

async function openRegularFile(file: string): Promise<FileHandle> {
  const refuse = (what: string) => new WbsrError('WBSR_INVALID_IMAGE', `Expected an image file but ${file} ${what}`)
  let handle: FileHandle | undefined
  try {
    const named = await stat(file)
    if (named.isDirectory()) throw refuse('is a folder')
    if (!named.isFile()) throw refuse('is not a regular file')
    // Not blocking: the file may have become a pipe since.
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
    const opened = await handle.stat()
    if (!opened.isFile()) throw refuse('is not a regular file')
    if (opened.size === 0) throw refuse('is empty')
    return handle
  } catch (error) {
    await handle?.close()
    if (error instanceof WbsrError) throw error
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new WbsrError('WBSR_NOT_FOUND', `Image ${file} does not exist`, { cause: error })
    throw new WbsrError('WBSR_IO', `Cannot read ${file}: ${message}`, { cause: error })
  }
}

export class ImageSource {
  /** What the image is called in errors. */
  readonly label: string
  #bytes: Buffer | null
  readonly #handle: FileHandle | null
  readonly #opened: BigIntStats | null

  private constructor(label: string, bytes: Buffer | null, handle: FileHandle | null, opened: BigIntStats | null) {
    this.label = label
    this.#bytes = bytes
    this.#handle = handle
    this.#opened = opened
  }

  /**
   * @param name what the input is called in errors, where it has no file name
   * @param inMemory largest file, in bytes, that is read as a whole
   * @throws WbsrError WBSR_NOT_FOUND, WBSR_IO, WBSR_INVALID_IMAGE (a folder, not a regular file, empty),
   *   WBSR_INVALID_OPTION
   */
  static async open(input: EncodedInput, name: string, inMemory = IN_MEMORY): Promise<ImageSource> {
    if (typeof input !== 'string' && !isURL(input)) {
      const bytes = await bytesOf(input, name)
      return new ImageSource(`${name} (${bytes.length} bytes)`, bytes, null, null)
    }
    const file = fileName(input, name)
    const handle = await openRegularFile(file)
    try {
      const opened = await handle.stat({ bigint: true })
      if (opened.size > inMemory && existsSync(DESCRIPTORS)) return new ImageSource(file, null, handle, opened)
      const bytes = await handle.readFile()
      await handle.close()
      return new ImageSource(file, bytes, null, null)
    } catch (cause) {
      await handle.close()
      throw new WbsrError('WBSR_IO', `Cannot read ${file}: ${(cause as Error).message}`, { cause })
    }
  }

  /** What sharp is to read: another value for each call. */
  get input(): string | Buffer {
    if (this.#bytes) return this.#bytes
    return descriptorName(this.#handle!.fd)
  }

  /** Whether sharp reads a file, which libvips maps. */
  get isFile(): boolean {
    return this.#bytes === null
  }

  /** The first bytes, at most `length` of them. */
  async start(length: number): Promise<Buffer> {
    if (this.#bytes) return this.#bytes.subarray(0, length)
    const { buffer, bytesRead } = await this.#handle!.read(Buffer.alloc(length), 0, length, 0)
    return buffer.subarray(0, bytesRead)
  }

  /** All bytes. */
  async all(): Promise<Buffer> {
    if (this.#bytes) return this.#bytes
    const bytes = Buffer.alloc(Number(this.#opened!.size))
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await this.#handle!.read(bytes, done, Math.min(1 << 26, bytes.length - done), done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return bytes
  }

  /** Reads these bytes from now on. */
  replace(bytes: Buffer): void {
    this.#bytes = bytes
  }

  /** @throws WbsrError WBSR_INVALID_IMAGE: the file was written to since it was opened */
  async checkUnchanged(): Promise<void> {
    if (!this.#handle || !this.#opened) return
    const now = await this.#handle.stat({ bigint: true })
    if (now.size !== this.#opened.size || now.mtimeNs !== this.#opened.mtimeNs)
      throw new WbsrError('WBSR_INVALID_IMAGE', `${this.label} changed while it was read`)
  }

  async close(): Promise<void> {
    await this.#handle?.close().catch(() => {})
  }
}
