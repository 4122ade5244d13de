// The decoded rows of a picture in the store, which workers read in pieces: no worker decodes the picture again.

import { createReadStream } from 'node:fs'
import { WbsrError } from '../errors.js'
import { AlphaJudge, type AlphaUse, hasAlpha } from '../images/alpha.js'
import { type ImageHeader, RowSource } from '../images/images.js'
import type { ReadOptions } from '../images/read-options.js'
import { fileName, isEncodedInput } from '../images/source.js'
import type { AlphaChannel } from '../infer/options.js'
import { isBlob, isURL } from '../realms.js'
import type { ImageInput, PixelArray } from '../types.js'
import { hashOf, type Store } from './store.js'

/** Shape of rows in the store: interleaved samples of `bits` bits, little-endian, without padding. */
export interface RowShape {
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  bits: 8 | 16 | 32
}

/** Rows of a picture, wherever they are. */
export interface Rows {
  readonly shape: RowShape
  read(first: number, rows: number): Promise<PixelArray>
}

const ARRAYS = { 8: Uint8Array, 16: Uint16Array, 32: Float32Array } as const

/** Decoders begin at the top of a picture for each of these bands. */
const DECODE_BYTES = 256 << 20
/** Bytes of rows that are written at a time. */
const WRITE_BYTES = 8 << 20

export const rowBytes = ({ width, channels, bits }: RowShape): number => width * channels * (bits / 8)

/** Rows of an object in the store. */
export class StoredRows implements Rows {
  readonly shape: RowShape
  readonly #store: Store
  readonly #key: string

  constructor(store: Store, key: string, shape: RowShape) {
    this.#store = store
    this.#key = key
    this.shape = shape
  }

  async read(first: number, rows: number): Promise<PixelArray> {
    const stride = rowBytes(this.shape)
    const bytes = await this.#store.read(this.#key, first * stride, rows * stride)
    if (bytes.length !== rows * stride)
      throw new WbsrError(
        'WBSR_IO',
        `${this.#key} of ${this.#store.label} is shorter than its ${this.shape.height} rows`,
      )
    return new ARRAYS[this.shape.bits](
      bytes.buffer as ArrayBuffer,
      bytes.byteOffset,
      bytes.length / (this.shape.bits / 8),
    )
  }
}

/** A picture that is decoded here. */
export class DecodedRows implements Rows {
  readonly shape: RowShape
  readonly header: ImageHeader
  readonly #source: RowSource

  private constructor(source: RowSource) {
    this.#source = source
    this.header = source.header
    const { width, height, channels, bits } = source.header
    this.shape = { width, height, channels, bits }
  }

  static async open(input: ImageInput, options: ReadOptions): Promise<DecodedRows> {
    return new DecodedRows(await RowSource.open(input, 'input', DECODE_BYTES, options))
  }

  read(first: number, rows: number): Promise<PixelArray> {
    return this.#source.read(first, rows)
  }

  close(): Promise<void> {
    return this.#source.close()
  }
}

/** Pieces of all rows, top to bottom. */
export async function* piecesOf(rows: Rows, signal?: AbortSignal): AsyncGenerator<PixelArray> {
  const { height } = rows.shape
  const step = Math.max(1, Math.floor(WRITE_BYTES / rowBytes(rows.shape)))
  for (let y = 0; y < height; y += step) {
    signal?.throwIfAborted()
    yield await rows.read(y, Math.min(step, height - y))
  }
}

/** Writes the rows, unless they are there. */
export async function storeRows(store: Store, key: string, rows: Rows, signal?: AbortSignal): Promise<void> {
  if ((await store.size(key)) === rowBytes(rows.shape) * rows.shape.height) return
  async function* bytes() {
    for await (const { buffer, byteOffset, byteLength } of piecesOf(rows, signal))
      yield new Uint8Array(buffer, byteOffset, byteLength)
  }
  await store.write(key, bytes())
}

/** The meaning of alpha; undefined: there is none. 'auto' reads all rows. */
export async function alphaOf(rows: Rows, wanted: AlphaChannel, signal?: AbortSignal): Promise<AlphaUse | undefined> {
  const { channels } = rows.shape
  if (!hasAlpha(channels)) return undefined
  if (wanted !== 'auto') return wanted
  const judge = new AlphaJudge(channels)
  for await (const piece of piecesOf(rows, signal)) judge.add(piece)
  return judge.verdict
}

/** Hash of what a picture is made from: the bytes of its file, or its pixels. */
export async function contentHash(input: ImageInput): Promise<string> {
  if (!isEncodedInput(input)) {
    const { data, width, height, channels } = input
    const shape = JSON.stringify([width, height, channels, data.constructor.name])
    return hashOf(shape, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  }
  if (typeof input === 'string' || isURL(input)) return fileHash(fileName(input, 'input'))
  if (isBlob(input)) return hashOf(new Uint8Array(await input.arrayBuffer()))
  if (ArrayBuffer.isView(input)) return hashOf(new Uint8Array(input.buffer, input.byteOffset, input.byteLength))
  return hashOf(new Uint8Array(input))
}

/** @throws WbsrError WBSR_NOT_FOUND, WBSR_IO */
export async function fileHash(file: string): Promise<string> {
  const { createHash } = await import('node:crypto')
  const hash = createHash('sha256')
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk)
  } catch (cause) {
    const missing = (cause as { code?: string }).code === 'ENOENT'
    throw new WbsrError(missing ? 'WBSR_NOT_FOUND' : 'WBSR_IO', `Cannot read ${file}: ${(cause as Error).message}`, {
      cause,
    })
  }
  return hash.digest('hex')
}
