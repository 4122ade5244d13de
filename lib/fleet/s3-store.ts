// A store in S3 or a server like it (MinIO, Ceph, R2), by the official client.

import type { Readable } from 'node:stream'
import { isUint8Array } from 'node:util/types'
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3'
import { invalidOption, WbsrError } from '../errors.js'
import type { FileChunks } from '../files/atomic.js'
import { checkObject, checkString } from '../options.js'
import { loadS3, type S3 } from './packages.js'
import { checkKey, type Store, type StoredObject } from './store.js'

/** Options of {@link s3Store}. */
export interface S3StoreOptions {
  bucket: string
  /** In front of all keys, without a slash at its end. Default: none. */
  prefix?: string
  /**
   * Of the client: region, endpoint, credentials, forcePathStyle ... Default: from the environment, as all programs of AWS;
   * AWS_ENDPOINT_URL_S3 names a server of another kind, which is then addressed with paths.
   */
  client?: S3ClientConfig
}

/** Bytes of the first parts of an upload. S3 takes 5 MiB to 5 GiB each, and 10000 of them. */
const PART_BYTES = 8 << 20
/** The size of parts doubles after so many: 10000 parts then hold more than the largest object that S3 allows (5 TiB). */
const PARTS_OF_A_SIZE = 1000

/** A store with connections. */
export interface ClosableStore extends Store {
  /** Ends the connections. */
  close(): void
}

/**
 * A store in a bucket. Needs the package @aws-sdk/client-s3. The bucket must exist; the client needs the rights GetObject,
 * PutObject, DeleteObject, ListBucket and AbortMultipartUpload.
 *
 * @throws WbsrError WBSR_INVALID_OPTION, WBSR_NOT_FOUND: the package is not installed
 */
export async function s3Store(options: S3StoreOptions): Promise<ClosableStore> {
  checkObject(options, 's3Store options', ['bucket', 'prefix', 'client'])
  const bucket = checkString(options.bucket, 'bucket')
  const prefix = options.prefix === undefined ? '' : `${checkKey(options.prefix, 'prefix')}/`
  const sdk = await loadS3()
  const endpoint = process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL']
  const client = new sdk.S3Client({
    // Checksums in trailers, the client's default, are unknown to many servers other than Amazon's.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    ...(endpoint !== undefined && { forcePathStyle: true }),
    ...options.client,
  })
  return new S3Store(sdk, client, bucket, prefix)
}

/** A store from its name: s3://bucket/prefix or a folder. */
export async function storeOf(name: string, folder: (path: string) => Store): Promise<Store> {
  const found = /^s3:\/\/([^/]+)\/?(.*?)\/?$/.exec(name)
  if (!found) {
    if (/^\w+:\/\//.test(name)) throw invalidOption('store', 'a folder or s3://bucket/prefix', name)
    return folder(name)
  }
  const [, bucket, prefix] = found
  return s3Store({ bucket: bucket!, ...(prefix !== '' && { prefix }) })
}

class S3Store implements Store {
  readonly label: string
  readonly #sdk: S3
  readonly #client: S3Client
  readonly #bucket: string
  readonly #prefix: string

  constructor(sdk: S3, client: S3Client, bucket: string, prefix: string) {
    this.#sdk = sdk
    this.#client = client
    this.#bucket = bucket
    this.#prefix = prefix
    this.label = `s3://${bucket}/${prefix}`.replace(/\/$/, '')
  }

  /** Ends the connections of the client. */
  close(): void {
    this.#client.destroy()
  }

  #at(key: string) {
    return { Bucket: this.#bucket, Key: this.#prefix + checkKey(key, 'key') }
  }

  #explain(what: string, key: string, error: unknown): WbsrError {
    if (error instanceof WbsrError) return error
    const { name, message, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } }
    const place = `${this.label}/${key}`
    if (name === 'NoSuchKey' || name === 'NotFound' || (name !== 'NoSuchBucket' && $metadata?.httpStatusCode === 404))
      return new WbsrError('WBSR_NOT_FOUND', `${place} does not exist`, { cause: error })
    return new WbsrError('WBSR_IO', `Cannot ${what} ${place}: ${message || name}`, { cause: error })
  }

  async size(key: string): Promise<number | null> {
    try {
      return (await this.#client.send(new this.#sdk.HeadObjectCommand(this.#at(key)))).ContentLength ?? 0
    } catch (error) {
      const explained = this.#explain('read', key, error)
      if (explained.code === 'WBSR_NOT_FOUND') return null
      throw explained
    }
  }

  async read(key: string, from: number, bytes: number): Promise<Buffer> {
    try {
      const Range = `bytes=${from}-${from + bytes - 1}`
      const { Body } = await this.#client.send(new this.#sdk.GetObjectCommand({ ...this.#at(key), Range }))
      // One buffer of its own: its pixels are given to jobs.
      const buffer = Buffer.from(new ArrayBuffer(bytes))
      let done = 0
      for await (const chunk of Body as Readable) {
        const piece = chunk as Buffer
        if (done + piece.length > bytes) throw new WbsrError('WBSR_IO', `${this.label} sent more than it was asked for`)
        done += piece.copy(buffer, done)
      }
      return buffer.subarray(0, done)
    } catch (error) {
      throw this.#explain('read', key, error)
    }
  }

  async *stream(key: string): AsyncIterable<Uint8Array> {
    try {
      const { Body } = await this.#client.send(new this.#sdk.GetObjectCommand(this.#at(key)))
      yield* Body as Readable
    } catch (error) {
      throw this.#explain('read', key, error)
    }
  }

  async write(key: string, content: FileChunks): Promise<void> {
    const pieces = isUint8Array(content) ? [content] : content
    const upload = new Upload(this.#sdk, this.#client, this.#at(key))
    try {
      for await (const piece of pieces) await upload.add(piece)
      await upload.end()
    } catch (error) {
      await upload.abort()
      throw this.#explain('write', key, error)
    }
  }

  async remove(key: string): Promise<void> {
    try {
      await this.#client.send(new this.#sdk.DeleteObjectCommand(this.#at(key)))
    } catch (error) {
      throw this.#explain('remove', key, error)
    }
  }

  async removeFolder(folder: string): Promise<void> {
    for await (const { key } of this.list(`${checkKey(folder, 'folder')}/`)) await this.remove(key)
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    const { ListObjectsV2Command } = this.#sdk
    let ContinuationToken: string | undefined
    do {
      const page = await this.#client
        .send(new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: this.#prefix + prefix, ContinuationToken }))
        .catch((error) => {
          throw this.#explain('list', prefix, error)
        })
      for (const { Key, Size, LastModified } of page.Contents ?? [])
        yield { key: Key!.slice(this.#prefix.length), bytes: Size ?? 0, modified: LastModified?.getTime() ?? 0 }
      ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined
    } while (ContinuationToken !== undefined)
  }
}

/** An object in one request where it is small, else in parts; it appears with the last request. */
class Upload {
  readonly #sdk: S3
  readonly #client: S3Client
  readonly #at: { Bucket: string; Key: string }
  #waiting: Uint8Array[] = []
  #bytes = 0
  #id: string | undefined
  readonly #parts: { ETag: string | undefined; PartNumber: number }[] = []

  constructor(sdk: S3, client: S3Client, at: { Bucket: string; Key: string }) {
    this.#sdk = sdk
    this.#client = client
    this.#at = at
  }

  async add(piece: Uint8Array): Promise<void> {
    // A copy: the caller may use its memory again.
    this.#waiting.push(Buffer.from(piece))
    this.#bytes += piece.byteLength
    if (this.#bytes >= PART_BYTES * 2 ** Math.floor(this.#parts.length / PARTS_OF_A_SIZE)) await this.#send()
  }

  async #send(): Promise<void> {
    const { CreateMultipartUploadCommand, UploadPartCommand } = this.#sdk
    this.#id ??= (await this.#client.send(new CreateMultipartUploadCommand(this.#at))).UploadId
    const PartNumber = this.#parts.length + 1
    const place = { ...this.#at, UploadId: this.#id, PartNumber }
    const { ETag } = await this.#client.send(new UploadPartCommand({ ...place, Body: this.#take() }))
    this.#parts.push({ ETag, PartNumber })
  }

  #take(): Buffer {
    const body = Buffer.concat(this.#waiting)
    this.#waiting = []
    this.#bytes = 0
    return body
  }

  async end(): Promise<void> {
    if (this.#id === undefined) {
      await this.#client.send(new this.#sdk.PutObjectCommand({ ...this.#at, Body: this.#take() }))
      return
    }
    if (this.#bytes > 0) await this.#send()
    const MultipartUpload = { Parts: this.#parts }
    await this.#client.send(
      new this.#sdk.CompleteMultipartUploadCommand({ ...this.#at, UploadId: this.#id, MultipartUpload }),
    )
  }

  async abort(): Promise<void> {
    if (this.#id === undefined) return
    // The bucket's life-cycle rule removes what cannot be removed now.
    await this.#client
      .send(new this.#sdk.AbortMultipartUploadCommand({ ...this.#at, UploadId: this.#id }))
      .catch(() => {})
  }
}
