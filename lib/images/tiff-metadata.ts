// EXIF in TIFF files: libvips writes none, so its directories are put behind the finished file and linked from the first.

import { open } from 'node:fs/promises'
import { isRangeError } from '../realms.js'
import { exifBody } from './exif.js'

/** Entries of EXIF's first directory that a TIFF's own directory has, too. */
const SHARED = new Set([0x10e, 0x10f, 0x110, 0x131, 0x132, 0x13b, 0x8298])
const EXIF_IFD = 0x8769
const GPS_IFD = 0x8825
const INTEROP_IFD = 0xa005
const SIZES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4]
const LONG = 4
const LONG8 = 16
/** The number that marks a BigTIFF. */
const BIG = 43

interface Entry {
  tag: number
  type: number
  count: number
  /** Of the source's byte order, or, for a directory, its entries. */
  value: Buffer | Entry[]
}

class Tiff {
  readonly little: boolean
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.little = bytes.toString('latin1', 0, 2) === 'II'
  }

  short(at: number): number {
    return this.little ? this.#bytes.readUInt16LE(at) : this.#bytes.readUInt16BE(at)
  }

  long(at: number): number {
    return this.little ? this.#bytes.readUInt32LE(at) : this.#bytes.readUInt32BE(at)
  }

  directory(at: number, depth = 0): Entry[] {
    const entries: Entry[] = []
    const number = this.short(at)
    for (let i = 0; i < number; i++) {
      const entry = at + 2 + 12 * i
      const [tag, type, count] = [this.short(entry), this.short(entry + 2), this.long(entry + 4)]
      const size = SIZES[type]
      if (!size) continue
      const bytes = size * count
      const from = bytes <= 4 ? entry + 8 : this.long(entry + 8)
      if (from + bytes > this.#bytes.length) continue
      if ([EXIF_IFD, GPS_IFD, INTEROP_IFD].includes(tag) && depth < 2)
        entries.push({ tag, type: LONG, count: 1, value: this.directory(this.long(entry + 8), depth + 1) })
      else entries.push({ tag, type, count, value: Buffer.from(this.#bytes.subarray(from, from + bytes)) })
    }
    return entries
  }
}

/** Numbers of `value` in the other byte order, in place. */
function swap(value: Buffer, type: number): void {
  const unit = type === 5 || type === 10 ? 4 : SIZES[type]!
  if (unit === 2) value.swap16()
  if (unit === 4) value.swap32()
  if (unit === 8) value.swap64()
}

/** How numbers lie in a TIFF file: classic, or with 64 bits for counts and places (BigTIFF). */
class Layout {
  readonly little: boolean
  readonly big: boolean

  constructor(little: boolean, big: boolean) {
    this.little = little
    this.big = big
  }

  /** Bytes of a place in the file, of the number of a directory's entries, and of an entry, whose value comes last. */
  get word(): 4 | 8 {
    return this.big ? 8 : 4
  }

  get header(): 2 | 8 {
    return this.big ? 8 : 2
  }

  get entry(): 12 | 20 {
    return this.big ? 20 : 12
  }

  read(bytes: Buffer, at: number, size: number): number {
    if (size === 8) return Number(this.little ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at))
    return this.little ? bytes.readUIntLE(at, size) : bytes.readUIntBE(at, size)
  }

  write(bytes: Buffer, value: number, at: number, size: number): void {
    if (size === 8) this.little ? bytes.writeBigUInt64LE(BigInt(value), at) : bytes.writeBigUInt64BE(BigInt(value), at)
    else this.little ? bytes.writeUIntLE(value, at, size) : bytes.writeUIntBE(value, at, size)
  }
}

/** Directories as bytes that lie at `base` in a file. */
function layOut(entries: readonly Entry[], base: number, layout: Layout): Buffer {
  const { word, header, entry } = layout
  const sorted = [...entries].sort((a, b) => a.tag - b.tag)
  const directory = Buffer.alloc(header + entry * sorted.length + word)
  layout.write(directory, sorted.length, 0, header)
  const blobs: Buffer[] = []
  let end = base + directory.length
  const append = (blob: Buffer) => {
    const at = end
    const padded = Buffer.concat([blob, Buffer.alloc(blob.length % 2)])
    blobs.push(padded)
    end += padded.length
    return at
  }
  sorted.forEach(({ tag, type, count, value }, i) => {
    const at = header + entry * i
    const place = at + entry - word
    layout.write(directory, tag, at, 2)
    // A place in the file is as long as that of the file's own directory.
    layout.write(directory, Array.isArray(value) && layout.big ? LONG8 : type, at + 2, 2)
    layout.write(directory, count, at + 4, word)
    if (Array.isArray(value)) layout.write(directory, append(layOut(value, end, layout)), place, word)
    else if (value.length <= word) value.copy(directory, place)
    else layout.write(directory, append(value), place, word)
  })
  return Buffer.concat([directory, ...blobs])
}

/** Adds an EXIF block to a TIFF file, also a BigTIFF. Damaged blocks are let be. */
export async function addTiffMetadata(file: string, exif: Uint8Array): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    const head = Buffer.alloc(16)
    await handle.read(head, 0, 16, 0)
    const little = head.toString('latin1', 0, 2) === 'II'
    const layout = new Layout(little, (little ? head.readUInt16LE(2) : head.readUInt16BE(2)) === BIG)
    const { word, header, entry } = layout
    const source = new Tiff(exifBody(exif))
    let added: Entry[]
    try {
      added = source
        .directory(source.long(4))
        .filter(({ tag }) => SHARED.has(tag) || tag === EXIF_IFD || tag === GPS_IFD)
    } catch (error) {
      if (isRangeError(error)) return
      throw error
    }
    const turn = (entries: Entry[]): void => {
      for (const { type, value } of entries) Array.isArray(value) ? turn(value) : swap(value, type)
    }
    if (source.little !== little) turn(added)
    const at = layout.read(head, word, word)
    const count = Buffer.alloc(header)
    await handle.read(count, 0, header, at)
    const old = Buffer.alloc(entry * layout.read(count, 0, header))
    await handle.read(old, 0, old.length, at + header)
    const size = (await handle.stat()).size
    const start = size + (size % 2)
    const tags = new Set(added.map(({ tag }) => tag))
    // Values of the file's own entries stay where they are: only the entries move.
    const kept: Entry[] = []
    for (let i = 0; i < old.length; i += entry)
      if (!tags.has(layout.read(old, i, 2)))
        kept.push({
          tag: layout.read(old, i, 2),
          type: layout.read(old, i + 2, 2),
          count: layout.read(old, i + 4, word),
          value: old.subarray(i + entry - word, i + entry),
        })
    const bytes = layOut([...kept, ...added], start, layout)
    if (!layout.big && start + bytes.length > 0xffffffff) return
    await handle.write(bytes, 0, bytes.length, start)
    const link = Buffer.alloc(word)
    layout.write(link, start, 0, word)
    await handle.write(link, 0, word, word)
  } finally {
    await handle.close()
  }
}
