// Animated PNG: libvips reads the first frame and does not report the others.

/** Frames of a PNG file, of which these are the first bytes: 1 unless an animation control chunk says more. */
export function pngFrames(start: Buffer): number {
  for (let at = 8; at + 12 <= start.length; ) {
    const type = start.toString('latin1', at + 4, at + 8)
    if (type === 'acTL') return start.readUInt32BE(at + 8)
    if (type === 'IDAT') return 1
    at += 12 + start.readUInt32BE(at)
  }
  return 1
}
