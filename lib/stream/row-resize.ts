// Rows in, rows of another size out: resizeBicubic for a picture that is never held as a whole.
import { Transform, type TransformCallback } from 'node:stream'
import { aborted, invalidOption, WbsrError, wrapError } from '../errors.js'
import { type AlphaUse, hasAlpha } from '../images/alpha.js'
import { native } from '../native.js'
import { checkBoolean, checkChoice, checkInteger, checkObject, checkSignal } from '../options.js'
import type { PixelArray } from '../types.js'

/** Sizes and kind of the rows of {@link resizeStream}. */
export interface ResizeStreamOptions {
  /** Of the rows that come, in pixels. */
  width: number
  /** How many rows come. */
  height: number
  /** Size of the result, in pixels; the sides may have different factors. */
  outWidth: number
  outHeight: number
  /** 1 grey, 2 grey + alpha, 3 RGB (default), 4 RGBA. */
  channels?: 1 | 2 | 3 | 4
  /** Bits of a sample: 8 (default); 16, little-endian; 32, float 0..1, little-endian. The same comes out. */
  depth?: 8 | 16 | 32
  /** As in resizeBicubic. Default 'symmetric'. */
  border?: 'symmetric' | 'replicate'
  /** 'opacity' (default): colour is weighted by alpha. 'data': all channels alike. */
  alphaChannel?: AlphaUse
  /** Alpha is full everywhere: colours are then exactly those of a resize without alpha. Default false. */
  opaque?: boolean
  signal?: AbortSignal
}

const ARRAYS = { 8: Uint8Array, 16: Uint16Array, 32: Float32Array } as const
const MOST = 1 << 24
/** Bytes of the rows that are made at a time, and of those that they are made of. */
const PIECE_BYTES = 4 << 20

type Settings = Required<Omit<ResizeStreamOptions, 'signal'>> & Pick<ResizeStreamOptions, 'signal'>

function checkResizeOptions(value: unknown): Settings {
  const known = ['width', 'height', 'outWidth', 'outHeight', 'channels', 'depth', 'border', 'alphaChannel', 'opaque']
  const options = checkObject(value, 'resize stream options', [...known, 'signal']) as unknown as ResizeStreamOptions
  const { channels = 3, depth = 8, border = 'symmetric', alphaChannel = 'opacity', opaque = false, signal } = options
  for (const name of ['width', 'height', 'outWidth', 'outHeight'] as const) checkInteger(options[name], name, 1, MOST)
  if (depth !== 8 && depth !== 16 && depth !== 32) throw invalidOption('depth', '8, 16 or 32', depth)
  return {
    ...options,
    channels: checkInteger(channels, 'channels', 1, 4) as Settings['channels'],
    depth,
    border: checkChoice(border, 'border', ['symmetric', 'replicate'] as const),
    alphaChannel: checkChoice(alphaChannel, 'alphaChannel', ['opacity', 'data'] as const),
    opaque: checkBoolean(opaque, 'opaque'),
    signal: signal === undefined ? undefined : checkSignal(signal, 'signal'),
  }
}

/** The Transform that resizeStream makes. */
export class RowResize extends Transform {
  /** Of the rows that come out. */
  readonly width: number
  readonly height: number
  readonly #settings: Settings
  readonly #border: 0 | 1
  readonly #weighted: boolean
  /** Bytes of a row that comes. */
  readonly #stride: number
  /** Input rows after which the last output rows need none of those before. */
  readonly #tail: number
  /** Output rows that are made at a time. */
  readonly #step: number
  /** Rows from #top on, of which #filled bytes are there. */
  #rows: Buffer
  #top = 0
  #filled = 0
  /** The next output row, and the input rows that the next piece needs. */
  #next = 0
  #bottom = 0
  readonly #abort = () => this.destroy(aborted('resizeStream', this.#settings.signal!))

  constructor(options: ResizeStreamOptions) {
    const settings = checkResizeOptions(options)
    // One piece after the other is handed out as it is: a reader of bytes would join them.
    super({ readableObjectMode: true, readableHighWaterMark: 1 })
    this.#settings = settings
    const { width, height, outWidth, outHeight, channels, depth, border, alphaChannel, opaque, signal } = settings
    this.width = outWidth
    this.height = outHeight
    this.#border = border === 'replicate' ? 1 : 0
    this.#weighted = hasAlpha(channels) && alphaChannel === 'opacity' && !opaque
    this.#stride = width * channels * (depth / 8)
    const perRow = Math.max(outWidth * channels * (depth / 8), (this.#stride * height) / outHeight)
    this.#step = Math.max(1, Math.min(outHeight, Math.floor(PIECE_BYTES / perRow)))
    this.#tail = native.resizeSpan(height, outHeight, outHeight - 1, 1, this.#border)[0]
    this.#rows = Buffer.alloc(0)
    this.#plan()
    signal?.addEventListener('abort', this.#abort)
    if (signal?.aborted) this.#abort()
  }

  get #count(): number {
    return Math.min(this.#step, this.height - this.#next)
  }

  /** Lets go of the rows that are not needed any more and makes room for those of the next piece. */
  #plan(): void {
    const { height } = this.#settings
    const [top, bottom] = native.resizeSpan(height, this.height, this.#next, this.#count, this.#border)
    // The last rows mirror some that the piece before may not need.
    const from = Math.max(this.#top, Math.min(top, this.#tail))
    const kept = this.#rows.subarray((from - this.#top) * this.#stride, this.#filled)
    this.#bottom = Math.max(bottom, from + Math.floor(kept.length / this.#stride))
    const rows = Buffer.from(new ArrayBuffer((this.#bottom - from) * this.#stride))
    this.#filled = kept.copy(rows)
    native.releasePixels(this.#rows)
    this.#rows = rows
    this.#top = from
  }

  /** @internal */
  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#take(chunk).then(
      () => done(),
      (error: unknown) => done(wrapError(error)),
    )
  }

  /** @internal */
  override _flush(done: TransformCallback): void {
    // Rows below the last that is needed are skipped, where the result is so much smaller.
    const missing = this.#next < this.height || this.#seen < this.#settings.height * this.#stride
    done(missing ? this.#wrongLength('fewer') : null)
  }

  /** @internal */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#settings.signal?.removeEventListener('abort', this.#abort)
    this.#rows = Buffer.alloc(0)
    done(error)
  }

  #wrongLength(what: string): WbsrError {
    return new WbsrError(
      'WBSR_INVALID_IMAGE',
      `Expected ${this.#settings.height} rows of ${this.#stride} bytes in resizeStream but ${what} came`,
    )
  }

  /** Bytes that came. */
  #seen = 0

  async #take(chunk: Buffer): Promise<void> {
    this.#seen += chunk.length
    if (this.#seen > this.#settings.height * this.#stride) throw this.#wrongLength('more')
    for (let at = 0; at < chunk.length && this.#next < this.height; ) {
      const count = chunk.copy(this.#rows, this.#filled, at)
      at += count
      this.#filled += count
      while (this.#next < this.height && this.#filled === this.#rows.length) await this.#make()
    }
  }

  async #make(): Promise<void> {
    const { width, height, outWidth, outHeight, channels, depth } = this.#settings
    const rows = this.#rows
    const data: PixelArray = new ARRAYS[depth](rows.buffer as ArrayBuffer, 0, rows.length / (depth / 8))
    const made = await native.resizeBicubicRows(
      data,
      width,
      this.#bottom - this.#top,
      channels,
      this.#top,
      height,
      outWidth,
      outHeight,
      this.#next,
      this.#count,
      this.#border,
      this.#weighted,
    )
    if (this.destroyed) return
    this.#next += this.#count
    if (this.#next < this.height) this.#plan()
    this.push(Buffer.from(made.buffer, made.byteOffset, made.byteLength))
  }
}

/**
 * A Transform of the bytes of a picture's rows, top to bottom in pieces of any size, into those of `resizeBicubic`'s result,
 * bit for bit. Memory grows with the width, not with the height. Pieces that come out are whole rows. It ends with
 * WBSR_INVALID_IMAGE where fewer or more rows come.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function resizeStream(options: ResizeStreamOptions): RowResize {
  return new RowResize(options)
}
