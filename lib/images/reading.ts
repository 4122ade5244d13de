// Reading through libvips: a picture with whole pixels is read whatever odd its file has, and the oddities are
// reported; one that is cut off or damaged is refused.
//
// libvips' messages and sharp's warnings are global to the process: they belong to one picture for certain only while
// nothing else is read. A picture that is read without any warning needs no such care, and most are.
import type { Sharp, SharpOptions } from 'sharp'
import { WbsrError } from '../errors.js'
import { repairJpeg } from './jpeg-repair.js'
import { SharedLock } from './shared-lock.js'
import { loadSharp } from './sharp.js'
import type { ImageSource } from './source.js'

const lock = new SharedLock()
/** Warnings of all reads so far; sharp reports them to the read that ends next. */
let heardByAll = 0

/** First warnings of libjpeg after which the picture is whole. */
const HARMLESS_JPEG =
  /Invalid SOS parameters|extraneous bytes before marker|unknown JFIF revision|Unknown Adobe color transform|bad ICC marker|Inconsistent progression/
/** Left over bytes of a scan that are taken for padding; what follows a decoder that lost its way is longer. */
const MOST_STRAY_BYTES = 64
/** Warnings of the other decoders that mean lost pixels. */
const DAMAGE =
  /premature|truncat|unexpected end|corrupt|not enough data|too short|mismatch|bad code|uncompress|decod|missing (strip|tile)|invalid (strip|tile)/i
const NOT_DAMAGE = /iCCP|ICC|tEXt|zTXt|iTXt|eXIf|pHYs|gAMA|cHRM|sRGB|tIME|tag|directory|ASCII/i

/** Options of sharp that reading is done with, without those that this module sets. */
export type ReadSharp = (options?: SharpOptions) => Sharp

function lines(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^read gave \d+ warnings|treated as error due to failOn/.test(line))
}

export class TolerantReader {
  readonly #source: ImageSource
  readonly #strict: boolean
  readonly #wanted: boolean
  readonly #warnings = new Set<string>()
  /** What libvips is to fail on; 'error' once a warning was found to be harmless. */
  #failOn: 'warning' | 'error' = 'warning'
  #attributed = false

  /**
   * @param strict refuse whatever there is a warning of
   * @param wanted whether the warnings are used: a second read may be necessary to assign them to a picture
   */
  constructor(source: ImageSource, strict: boolean, wanted = true) {
    this.#source = source
    this.#strict = strict
    this.#wanted = wanted || strict
  }

  /** What was odd and did no harm, in the decoders' words. */
  get warnings(): string[] {
    return [...this.#warnings]
  }

  warn(text: string): void {
    this.#warnings.add(text)
  }

  /**
   * @param work reads by the function it is given; may be called several times
   * @throws WbsrError WBSR_INVALID_IMAGE, WBSR_OUT_OF_MEMORY, naming the image
   */
  async read<T>(work: (open: ReadSharp) => Promise<T>): Promise<T> {
    try {
      if (this.#failOn === 'error') return await lock.exclusive(() => this.#attempt(work))
      const heard: string[] = []
      const before = heardByAll
      try {
        const { value, alone } = await lock.shared(() => work(this.#opener('warning', heard)))
        if (heardByAll === before || this.#attributed || !this.#wanted) return value
        if (alone) {
          this.#report(heard)
          return value
        }
      } catch (error) {
        if (this.#strict) throw error
      }
      return await lock.exclusive(() => this.#alone(work))
    } catch (error) {
      throw await this.#explain(error)
    }
  }

  #opener(failOn: 'warning' | 'error', heard: string[]): ReadSharp {
    return (options = {}) =>
      loadSharp()(this.#source.input, { failOn, limitInputPixels: false, sequentialRead: true, ...options }).on(
        'warning',
        (text: string) => {
          heardByAll++
          heard.push(text)
        },
      )
  }

  #report(texts: readonly string[]): void {
    this.#attributed = true
    for (const text of texts) for (const line of lines(text)) this.#warnings.add(line)
    if (this.#strict && this.#warnings.size > 0) throw new Error([...this.#warnings].join('\n'))
  }

  /** Reads once as #failOn says, while nothing else is read. */
  async #attempt<T>(work: (open: ReadSharp) => Promise<T>): Promise<T> {
    const heard: string[] = []
    const value = await work(this.#opener(this.#failOn, heard))
    const damage = heard
      .flatMap(lines)
      .find((line) => DAMAGE.test(line) && !NOT_DAMAGE.test(line) && !HARMLESS_JPEG.test(line))
    if (damage !== undefined) throw new Error(damage)
    this.#report(heard)
    return value
  }

  /** Reads a picture that gave a warning, while nothing else is read. */
  async #alone<T>(work: (open: ReadSharp) => Promise<T>): Promise<T> {
    let warning: string
    try {
      return await this.#attempt(work)
    } catch (error) {
      if (this.#strict) throw error
      warning = (error as Error).message
    }
    if (await this.#isJpeg()) {
      const repair = repairJpeg(await this.#source.all())
      if (repair) {
        this.#source.replace(repair.bytes)
        for (const fault of repair.faults) this.#warnings.add(`the JPEG file has ${fault}`)
        try {
          return await this.#attempt(work)
        } catch (error) {
          warning = (error as Error).message
        }
      }
      const stray = /(\d+) extraneous bytes/.exec(warning)
      if (!HARMLESS_JPEG.test(warning) || (stray && Number(stray[1]) > MOST_STRAY_BYTES)) throw new Error(warning)
    }
    this.#failOn = 'error'
    try {
      const value = await this.#attempt(work)
      this.#report([warning])
      return value
    } catch (error) {
      this.#failOn = 'warning'
      throw error
    }
  }

  async #isJpeg(): Promise<boolean> {
    const start = await this.#source.start(2)
    return start[0] === 0xff && start[1] === 0xd8
  }

  async #explain(error: unknown): Promise<unknown> {
    if (error instanceof WbsrError) return error
    const { label } = this.#source
    const cause = error as Error
    const message = lines(cause.message)[0] ?? 'unknown fault'
    if (/unsupported image format/.test(message))
      return new WbsrError(
        'WBSR_INVALID_IMAGE',
        `Expected an image (PNG, JPEG, WebP, TIFF, AVIF, GIF ...) but ${label} is of another or an unknown format`,
        { cause },
      )
    if (/out of memory/i.test(message))
      return new WbsrError('WBSR_OUT_OF_MEMORY', `Not enough memory to decode ${label}: ${message}`, { cause })
    if (this.#strict && this.#warnings.size > 0)
      return new WbsrError('WBSR_INVALID_IMAGE', `${label} is refused, as strict is set: ${message}`, { cause })
    return new WbsrError('WBSR_INVALID_IMAGE', `Cannot decode ${label}, is it damaged or truncated? (${message})`, {
      cause,
    })
  }
}
