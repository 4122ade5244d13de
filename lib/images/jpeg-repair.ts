// Harmless faults of JPEG files: the segments are copied, what libjpeg would warn of is put right. libjpeg reports its
// first warning only, so a file with a harmless fault is repaired and read again: what it warns of then is damage.

export interface JpegRepair {
  bytes: Buffer
  /** What was put right, in words. */
  faults: string[]
}

const SOI = 0xd8
const EOI = 0xd9
const SOS = 0xda
const isRestart = (marker: number) => marker >= 0xd0 && marker <= 0xd7

/** Where the entropy-coded data from `at` on ends: at the next marker that is no restart marker. */
function endOfScan(bytes: Buffer, at: number): number {
  for (let i = at; i + 1 < bytes.length; i++) {
    if (bytes[i] !== 0xff) continue
    const next = bytes[i + 1]!
    if (next !== 0 && next !== 0xff && !isRestart(next)) return i
  }
  return bytes.length
}

/** Null: not a JPEG, or nothing to put right. The bytes given are not changed. */
export function repairJpeg(bytes: Buffer): JpegRepair | null {
  if (bytes[0] !== 0xff || bytes[1] !== SOI) return null
  const parts: Buffer[] = [bytes.subarray(0, 2)]
  const faults = new Set<string>()
  let sequential = false
  let at = 2
  while (at < bytes.length) {
    const junk = at
    while (at + 1 < bytes.length && !(bytes[at] === 0xff && bytes[at + 1] !== 0 && bytes[at + 1] !== 0xff)) at++
    if (bytes.subarray(junk, at).some((byte) => byte !== 0xff)) faults.add('stray bytes between segments')
    if (at + 1 >= bytes.length) break
    const marker = bytes[at + 1]!
    if (marker === EOI) {
      parts.push(bytes.subarray(at))
      break
    }
    // Markers without a length.
    if (marker === 0x01 || isRestart(marker) || marker === SOI) {
      at += 2
      continue
    }
    if (at + 4 > bytes.length) break
    const end = at + 2 + bytes.readUInt16BE(at + 2)
    if (end > bytes.length) break
    let segment = bytes.subarray(at, end)
    if (marker === 0xc0 || marker === 0xc1) sequential = true
    if (marker === 0xc2) sequential = false
    if (marker === SOS) {
      const spectral = segment.length - 3
      if (
        sequential &&
        spectral > 4 &&
        (segment[spectral] !== 0 || segment[spectral + 1] !== 63 || segment[spectral + 2] !== 0)
      ) {
        segment = Buffer.from(segment)
        segment.set([0, 63, 0], spectral)
        faults.add('SOS parameters that do not fit a sequential JPEG')
      }
      const stop = endOfScan(bytes, end)
      parts.push(segment, bytes.subarray(end, stop))
      at = stop
      continue
    }
    // Adobe's marker: a transform code that is not known counts as that of the usual colour spaces.
    if (marker === 0xee && segment.length >= 16 && segment.toString('latin1', 4, 9) === 'Adobe' && segment[15]! > 2) {
      segment = Buffer.from(segment)
      segment[15] = 1
      faults.add('an unknown colour transform in its Adobe marker')
    }
    parts.push(segment)
    at = end
  }
  return faults.size > 0 ? { bytes: Buffer.concat(parts), faults: [...faults] } : null
}
