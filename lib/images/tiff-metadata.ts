// EXIF in TIFF files: libvips writes none, so its directories are put behind the finished file and linked from the first.
import { open } from 'node:fs/promises'
import { exifBody } from './exif.js'

/** Entries of EXIF's first directory that a TIFF's own directory has, too. */
const SHARED = new Set([0x10e, 0x10f, 0x110, 0x131, 0x132, 0x13b, 0x8298])
const EXIF_IFD = 0x8769
const GPS_IFD = 0x8825
const INTEROP_IFD = 0xa005
const SIZES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4]
const LONG = 4

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

/** Directories as bytes that lie at `base` in a file. */
function layOut(entries: readonly Entry[], base: number, little: boolean): Buffer {
  const short = (bytes: Buffer, value: number, at: number) =>
    little ? bytes.writeUInt16LE(value, at) : bytes.writeUInt16BE(value, at)
  const long = (bytes: Buffer, value: number, at: number) =>
    little ? bytes.writeUInt32LE(value, at) : bytes.writeUInt32BE(value, at)
  const sorted = [...entries].sort((a, b) => a.tag - b.tag)
  const directory = Buffer.alloc(2 + 12 * sorted.length + 4)
  short(directory, sorted.length, 0)
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
    const at = 2 + 12 * i
    short(directory, tag, at)
    short(directory, type, at + 2)
    long(directory, count, at + 4)
    if (Array.isArray(value)) long(directory, append(layOut(value, end, little)), at + 8)
    else if (value.length <= 4) value.copy(directory, at + 8)
    else long(directory, append(value), at + 8)
  })
  return Buffer.concat([directory, ...blobs])
}

/** Adds an EXIF block to a TIFF file. Files of more than 4 GB (BigTIFF) and damaged blocks are let be. */
export async function addTiffMetadata(file: string, exif: Uint8Array): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    const head = Buffer.alloc(8)
    await handle.read(head, 0, 8, 0)
    const little = head.toString('latin1', 0, 2) === 'II'
    const read16 = (bytes: Buffer, at: number) => (little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at))
    const read32 = (bytes: Buffer, at: number) => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at))
    if (read16(head, 2) !== 42) return
    const source = new Tiff(exifBody(exif))
    let added: Entry[]
    try {
      added = source
        .directory(source.long(4))
        .filter(({ tag }) => SHARED.has(tag) || tag === EXIF_IFD || tag === GPS_IFD)
    } catch (error) {
      if (error instanceof RangeError) return
      throw error
    }
    const turn = (entries: Entry[]): void => {
      for (const { type, value } of entries) Array.isArray(value) ? turn(value) : swap(value, type)
    }
    if (source.little !== little) turn(added)
    const at = read32(head, 4)
    const count = Buffer.alloc(2)
    await handle.read(count, 0, 2, at)
    const old = Buffer.alloc(12 * read16(count, 0))
    await handle.read(old, 0, old.length, at + 2)
    const size = (await handle.stat()).size
    const start = size + (size % 2)
    const tags = new Set(added.map(({ tag }) => tag))
    // Values of the file's own entries stay where they are: only the entries move.
    const kept: Entry[] = []
    for (let i = 0; i < old.length; i += 12)
      if (!tags.has(read16(old, i)))
        kept.push({
          tag: read16(old, i),
          type: read16(old, i + 2),
          count: read32(old, i + 4),
          value: old.subarray(i + 8, i + 12),
        })
    const bytes = layOut([...kept, ...added], start, little)
    if (start + bytes.length > 0xffffffff) return
    await handle.write(bytes, 0, bytes.length, start)
    const link = Buffer.alloc(4)
    little ? link.writeUInt32LE(start) : link.writeUInt32BE(start)
    await handle.write(link, 0, 4, 4)
  } finally {
    await handle.close()
  }
}
