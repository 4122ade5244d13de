// Pixels as an uncompressed TIFF in memory: the only way to give sharp raw pixels together with a colour profile.
import { endianness } from 'node:os'

export interface WrappedPixels {
  data: Uint8Array | Uint16Array
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  icc: Uint8Array
}

const SHORT = 3
const LONG = 4
const UNDEFINED = 7

/** A TIFF of the machine's byte order; alpha is not associated. */
export function wrapTiff({ data, width, height, channels, icc }: WrappedPixels): Buffer {
  const little = endianness() === 'LE'
  const pixels = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  const bits = new Uint16Array(channels).fill(8 * data.BYTES_PER_ELEMENT)
  const hasAlpha = channels === 2 || channels === 4
  const entries: [tag: number, type: number, value: number | Uint8Array, count?: number][] = [
    [256, LONG, width],
    [257, LONG, height],
    channels > 2 ? [258, SHORT, new Uint8Array(bits.buffer), channels] : [258, SHORT, bits[0]!],
    [259, SHORT, 1],
    [262, SHORT, channels < 3 ? 1 : 2],
    [273, LONG, 0],
    [277, SHORT, channels],
    [278, LONG, height],
    [279, LONG, pixels.length],
    ...(hasAlpha ? [[338, SHORT, 2] as [number, number, number]] : []),
    [34675, UNDEFINED, icc, icc.length],
  ]
  // Grey + alpha: two values fit into the entry itself.
  const directory = Buffer.alloc(2 + 12 * entries.length + 4)
  const blobs: Uint8Array[] = []
  let at = 8 + directory.length
  const view = new DataView(directory.buffer, directory.byteOffset, directory.length)
  view.setUint16(0, entries.length, little)
  entries.forEach(([tag, type, value, count = 1], i) => {
    const entry = 2 + 12 * i
    view.setUint16(entry, tag, little)
    view.setUint16(entry + 2, type, little)
    view.setUint32(entry + 4, count, little)
    if (typeof value !== 'number') {
      view.setUint32(entry + 8, at, little)
      const blob = new Uint8Array(Math.ceil(value.length / 2) * 2)
      blob.set(value)
      blobs.push(blob)
      at += blob.length
    } else if (type === SHORT) view.setUint16(entry + 8, value, little)
    else view.setUint32(entry + 8, value, little)
    if (tag === 258 && channels === 2) {
      view.setUint32(entry + 4, 2, little)
      view.setUint16(entry + 10, bits[1]!, little)
    }
  })
  view.setUint32(2 + 12 * entries.findIndex(([tag]) => tag === 273) + 8, at, little)
  const head = Buffer.alloc(8)
  head.write(little ? 'II' : 'MM', 'latin1')
  new DataView(head.buffer, head.byteOffset, 8).setUint16(2, 42, little)
  new DataView(head.buffer, head.byteOffset, 8).setUint32(4, 8, little)
  return Buffer.concat([head, directory, ...blobs, pixels])
}
