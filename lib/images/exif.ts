// EXIF of an enlarged picture. The block is changed in place, so that offsets inside of maker notes stay right.
import { isRangeError } from '../realms.js'

/** Values of an enlarged picture's EXIF. */
export interface ExifChange {
  width: number
  height: number
  /** Factor of the resolution. */
  scale: number
}

const SHORT = 3
const LONG = 4
const RATIONAL = 5

/** The TIFF structure of an EXIF block, without the header that JPEG and some others put before it. */
export function exifBody(block: Uint8Array): Buffer {
  const bytes = Buffer.from(block)
  return bytes.toString('latin1', 0, 6) === 'Exif\0\0' ? bytes.subarray(6) : bytes
}

/** Reads and writes numbers of one byte order. Offsets outside of the block throw a RangeError. */
class Numbers {
  readonly #view: DataView
  readonly #little: boolean

  constructor(bytes: Buffer, little: boolean) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#little = little
  }

  short(at: number): number {
    return this.#view.getUint16(at, this.#little)
  }

  long(at: number): number {
    return this.#view.getUint32(at, this.#little)
  }

  setShort(at: number, value: number): void {
    this.#view.setUint16(at, value, this.#little)
  }

  setLong(at: number, value: number): void {
    this.#view.setUint32(at, value, this.#little)
  }
}

function* entriesOf(numbers: Numbers, directory: number): Generator<{ tag: number; type: number; at: number }> {
  const count = numbers.short(directory)
  for (let i = 0; i < count; i++) {
    const at = directory + 2 + 12 * i
    yield { tag: numbers.short(at), type: numbers.short(at + 2), at }
  }
}

function setInteger(numbers: Numbers, at: number, value: number): void {
  numbers.setShort(at + 2, LONG)
  numbers.setLong(at + 4, 1)
  numbers.setLong(at + 8, value)
}

/** A number as numerator and denominator that fit into 32 bits. */
function rational(value: number): [number, number] {
  const denominator = Number.isInteger(value) ? 1 : 1000
  return [Math.min(0xffffffff, Math.round(value * denominator)), denominator]
}

/** Drops the directory of the thumbnail, which shows the old picture, and its bytes. */
function dropThumbnail(bytes: Buffer, numbers: Numbers, link: number): Buffer {
  const thumbnail = numbers.long(link)
  if (thumbnail === 0) return bytes
  numbers.setLong(link, 0)
  let start = 0
  let length = 0
  for (const { tag, at } of entriesOf(numbers, thumbnail)) {
    if (tag === 0x201) start = numbers.long(at + 8)
    if (tag === 0x202) length = numbers.long(at + 8)
  }
  if (start <= thumbnail || start + length > bytes.length) return bytes
  if (start + length === bytes.length) return bytes.subarray(0, start)
  bytes.fill(0, start, start + length)
  return bytes
}

/**
 * A copy with orientation 1, without thumbnail, and with the sizes and the resolution of the enlarged picture where the
 * block has them. Null: the block is damaged.
 */
export function changeExif(block: Uint8Array, { width, height, scale }: ExifChange): Buffer | null {
  let bytes = Buffer.from(exifBody(block))
  const order = bytes.toString('latin1', 0, 2)
  if (order !== 'II' && order !== 'MM') return null
  const numbers = new Numbers(bytes, order === 'II')
  const change = (directory: number, depth: number): void => {
    for (const { tag, type, at } of entriesOf(numbers, directory)) {
      if (tag === 0x112) {
        numbers.setShort(at + 2, SHORT)
        numbers.setLong(at + 4, 1)
        numbers.setLong(at + 8, 0)
        numbers.setShort(at + 8, 1)
      }
      if (tag === 0x100 || tag === 0xa002) setInteger(numbers, at, width)
      if (tag === 0x101 || tag === 0xa003) setInteger(numbers, at, height)
      if ((tag === 0x11a || tag === 0x11b || tag === 0xa20e || tag === 0xa20f) && type === RATIONAL) {
        const value = numbers.long(at + 8)
        const [numerator, denominator] = [numbers.long(value), numbers.long(value + 4)]
        // Resolutions may share their value: changed once, when the first of them is met.
        if (denominator > 0 && !changed.has(value)) {
          const [n, d] = rational((numerator / denominator) * scale)
          numbers.setLong(value, n)
          numbers.setLong(value + 4, d)
          changed.add(value)
        }
      }
      if (tag === 0x8769 && depth === 0) change(numbers.long(at + 8), 1)
    }
  }
  const changed = new Set<number>()
  try {
    if (numbers.short(2) !== 42) return null
    const first = numbers.long(4)
    change(first, 0)
    bytes = dropThumbnail(bytes, numbers, first + 2 + 12 * numbers.short(first)) as typeof bytes
  } catch (error) {
    if (isRangeError(error)) return null
    throw error
  }
  return bytes
}
