// Encoded pictures made by hand, so that what is read is compared with the formats and not with sharp's own writers.
import { crc32, deflateSync } from 'node:zlib'
import type { RawImage } from '../../lib/types.js'

export function pngChunk(type: string, data: Uint8Array): Buffer {
  const out = Buffer.alloc(12 + data.length)
  out.writeUInt32BE(data.length)
  out.write(type, 4, 'latin1')
  out.set(data, 8)
  out.writeUInt32BE(crc32(out.subarray(4, 8 + data.length)), 8 + data.length)
  return out
}

export function iccChunk(icc: Uint8Array): Buffer {
  return pngChunk('iCCP', Buffer.concat([Buffer.from('p\0\0', 'latin1'), deflateSync(icc)]))
}

/** A PNG of these pixels; `chunks` come before the image data. */
export function makePng({ data, width, height, channels }: RawImage, chunks: readonly Buffer[] = []): Buffer {
  const bits = data instanceof Uint16Array ? 16 : 8
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width)
  header.writeUInt32BE(height, 4)
  header.set([bits, { 1: 0, 2: 4, 3: 2, 4: 6 }[channels]], 8)
  const rows = Buffer.alloc(height * (1 + (width * channels * bits) / 8))
  let at = 0
  for (let y = 0; y < height; y++) {
    at++
    for (let x = 0; x < width * channels; x++) {
      const value = data[y * width * channels + x]!
      at = bits === 16 ? rows.writeUInt16BE(value, at) : rows.writeUInt8(value, at)
    }
  }
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    pngChunk('IHDR', header),
    ...chunks,
    pngChunk('IDAT', deflateSync(rows)),
    pngChunk('IEND', Buffer.alloc(0)),
  ])
}

export interface TiffOptions {
  width: number
  height: number
  bits: number
  channels: number
  /** 1 unsigned (default), 2 signed, 3 float. */
  format?: number
  /** 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK, 8 Lab. */
  photometric: number
  data: Uint8Array
  /** Further entries: tag, type, value or bytes. */
  more?: readonly (readonly [number, number, number | Uint8Array])[]
}

/** A little-endian TIFF of one uncompressed strip. */
export function makeTiff({
  width,
  height,
  bits,
  channels,
  format = 1,
  photometric,
  data,
  more = [],
}: TiffOptions): Buffer {
  const shorts = (value: number) => Buffer.from(Uint16Array.from({ length: channels }, () => value).buffer)
  const entries: (readonly [number, number, number | Uint8Array])[] = [
    [256, 4, width] as const,
    [257, 4, height] as const,
    [258, 3, channels === 1 ? bits : shorts(bits)] as const,
    [259, 3, 1] as const,
    [262, 3, photometric] as const,
    [273, 4, 0] as const,
    [277, 3, channels] as const,
    [278, 4, height] as const,
    [279, 4, data.length] as const,
    [339, 3, channels === 1 ? format : shorts(format)] as const,
    ...more,
  ].sort((a, b) => a[0] - b[0])
  const directory = Buffer.alloc(2 + 12 * entries.length + 4)
  directory.writeUInt16LE(entries.length)
  const blobs: Uint8Array[] = []
  let at = 8 + directory.length
  entries.forEach(([tag, type, value], i) => {
    const entry = 2 + 12 * i
    directory.writeUInt16LE(tag, entry)
    directory.writeUInt16LE(type, entry + 2)
    const size = type === 3 ? 2 : type === 4 ? 4 : 1
    directory.writeUInt32LE(typeof value === 'number' ? 1 : value.length / size, entry + 4)
    if (typeof value === 'number')
      type === 3 ? directory.writeUInt16LE(value, entry + 8) : directory.writeUInt32LE(value, entry + 8)
    else if (value.length <= 4) directory.set(value, entry + 8)
    else {
      directory.writeUInt32LE(at, entry + 8)
      const padded = Buffer.alloc(value.length + (value.length % 2))
      padded.set(value)
      blobs.push(padded)
      at += padded.length
    }
  })
  directory.writeUInt32LE(at, 2 + 12 * entries.findIndex(([tag]) => tag === 273) + 8)
  return Buffer.concat([Buffer.from('49492a0008000000', 'hex'), directory, ...blobs, data])
}

/** The bytes of typed arrays, for makeTiff. */
export function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

/** A TIFF of several pages: each of them made by makeTiff, one after the other. */
export function joinTiffs(pages: readonly Buffer[]): Buffer {
  const moved: Buffer[] = []
  let base = 0
  pages.forEach((page, i) => {
    const copy = Buffer.from(page)
    const directory = 8
    const count = copy.readUInt16LE(directory)
    for (let k = 0; k < count; k++) {
      const entry = directory + 2 + 12 * k
      const [tag, type, n] = [copy.readUInt16LE(entry), copy.readUInt16LE(entry + 2), copy.readUInt32LE(entry + 4)]
      const size = n * (type === 3 ? 2 : type === 4 ? 4 : 1)
      if (tag === 273 || size > 4) copy.writeUInt32LE(copy.readUInt32LE(entry + 8) + base, entry + 8)
    }
    const padded = Buffer.concat([copy, Buffer.alloc(copy.length % 2)])
    const next = base + padded.length
    if (i < pages.length - 1) padded.writeUInt32LE(next + 8, directory + 2 + 12 * count)
    moved.push(padded)
    base = next
  })
  return Buffer.concat(moved)
}
