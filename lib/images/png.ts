// PNG written row by row, so that a picture never has to be in memory as a whole; sharp can only write whole pictures.
// Filters are native, deflate is Node's (on the thread pool), chunks and checksums are here.
import { constants, crc32, createDeflate, type Deflate } from 'node:zlib'
import { invalidOption } from '../errors.js'
import { native } from '../native.js'

export interface PngShape {
  width: number
  height: number
  /** 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA. */
  channels: 1 | 2 | 3 | 4
  bits: 8 | 16
  /** 0 .. 9. */
  compressionLevel: number
  /** Chunks before the image data. */
  chunks?: readonly { type: string; data: Uint8Array }[]
}

const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex')
const COLOUR_TYPE = { 1: 0, 2: 4, 3: 2, 4: 6 } as const
/** Filtered bytes made at a time: long enough for the deflate threads, short enough not to matter in memory. */
const PIECE_BYTES = 1 << 21

function chunk(type: string, data: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(12 + data.length)
  out.writeUInt32BE(data.length, 0)
  out.write(type, 4, 'latin1')
  out.set(data, 8)
  out.writeUInt32BE(crc32(out.subarray(4, 8 + data.length)), 8 + data.length)
  return out
}

/** One PNG in the making. Calls must not overlap: await each before the next. */
export class PngEncoder {
  readonly #shape: PngShape
  readonly #write: (bytes: Uint8Array) => Promise<void>
  readonly #deflate: Deflate
  readonly #output: Promise<void>
  #error: unknown
  #giveUp: (error: unknown) => void = () => {}
  #row = 0
  #previous: Uint8Array | Uint16Array | null = null

  /** @param write takes the file's bytes in order, is awaited (backpressure); when it rejects, so does the call that waits for it */
  constructor(shape: PngShape, write: (bytes: Uint8Array) => Promise<void>) {
    this.#shape = shape
    this.#write = write
    const level = shape.compressionLevel
    // Z_FILTERED is what libpng takes for filtered rows.
    this.#deflate = createDeflate({
      level,
      memLevel: 9,
      chunkSize: 1 << 16,
      strategy: level === 0 ? constants.Z_DEFAULT_STRATEGY : constants.Z_FILTERED,
    })
    this.#output = this.#drain().catch((error: unknown) => {
      this.#error = error
      this.#deflate.destroy()
      // A deflate that is destroyed in the middle of a write never calls back.
      this.#giveUp(error)
    })
  }

  async #drain(): Promise<void> {
    const { width, height, channels, bits, chunks = [] } = this.#shape
    const header = Buffer.alloc(13)
    header.writeUInt32BE(width, 0)
    header.writeUInt32BE(height, 4)
    header.set([bits, COLOUR_TYPE[channels]], 8)
    await this.#write(Buffer.concat([SIGNATURE, chunk('IHDR', header)]))
    for (const { type, data } of chunks) await this.#write(chunk(type, data))
    for await (const bytes of this.#deflate) await this.#write(chunk('IDAT', bytes as Buffer))
    await this.#write(chunk('IEND', new Uint8Array(0)))
  }

  /** The next rows, interleaved samples, any whole number of rows; `data` must not change until the promise settles. */
  async rows(data: Uint8Array | Uint16Array): Promise<void> {
    const { width, height, channels, bits } = this.#shape
    const stride = width * channels
    const rows = data.length / stride
    if (data.BYTES_PER_ELEMENT * 8 !== bits) throw invalidOption('rows', `${bits}-bit samples`, data)
    if (!Number.isInteger(rows) || this.#row + rows > height)
      throw invalidOption('rows', `at most ${height - this.#row} rows of ${stride} samples`, data.length)
    const step = Math.max(1, Math.floor(PIECE_BYTES / (stride * (bits / 8))))
    for (let first = 0; first < rows; first += step) {
      const piece = data.subarray(first * stride, Math.min(rows, first + step) * stride)
      const filtered = await native.pngFilterRows(piece, width, piece.length / stride, channels, this.#previous)
      // A copy: a view would hold the whole band.
      this.#previous = piece.slice(-stride)
      await new Promise<void>((resolve, reject) => {
        if (this.#error) return reject(this.#error as Error)
        this.#giveUp = reject
        this.#deflate.write(filtered, (error) => (error ? reject(error) : resolve()))
      })
      native.releasePixels(filtered)
    }
    this.#row += rows
  }

  /** Ends the file after the last row. */
  async end(): Promise<void> {
    if (this.#row !== this.#shape.height)
      throw invalidOption('rows', `${this.#shape.height} rows before the end`, this.#row)
    this.#deflate.end()
    await this.#output
    if (this.#error) throw this.#error
  }

  /** Gives up; what was written so far is worth nothing. Resolves when `write` will not be called any more. */
  async destroy(): Promise<void> {
    this.#deflate.destroy()
    await this.#output
  }
}
