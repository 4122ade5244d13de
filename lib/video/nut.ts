// Raw frames with exact timestamps, on their way to ffmpeg: the container NUT (ffmpeg.org/~michael/nut.txt), version 3, with
// one stream, whose frames are all keyframes. Of the containers that ffmpeg reads from a pipe it is the one that takes any
// time base as a fraction.

export interface RawVideo {
  width: number
  height: number
  /** 8: rgb24, 16: rgb48le. */
  bits: 8 | 16
  /** Seconds of a tick of the timestamps: numerator and denominator. */
  timeBase: readonly [number, number]
  /** Shape of a pixel; 0, 0: unknown. */
  aspect: readonly [number, number]
  /** Frames of a second, from which ffmpeg takes how long the last one is shown; 0, 0: unknown. */
  frameRate: readonly [number, number]
}

const START = {
  main: '4e4d7a561f5f04ad',
  stream: '4e5311405bf2f9db',
  sync: '4e4be4adeeca4569',
  info: '4e49ab68b596ba78',
} as const

const KEY = 1
const CODED_PTS = 8
const SIZE_MSB = 32
const CHECKSUM = 64
/** The first of the table, which adds nothing to sizes. */
const FRAME_CODE = 0
/** Timestamps of a frame are written whole where they are not smaller than 1 << this. */
const PTS_SHIFT = 7
const MAX_DISTANCE = 32768
/** -1 as a number with a sign. */
const SIGNED_MINUS_1 = 2

const table = Uint32Array.from({ length: 256 }, (_, i) => {
  let value = i << 24
  for (let bit = 0; bit < 8; bit++) value = value & 0x80000000 ? (value << 1) ^ 0x04c11db7 : value << 1
  return value >>> 0
})

function checksum(bytes: Uint8Array): Buffer {
  let crc = 0
  for (const byte of bytes) crc = ((crc << 8) ^ table[(crc >>> 24) ^ byte]!) >>> 0
  const out = Buffer.alloc(4)
  out.writeUInt32BE(crc)
  return out
}

/** A whole number in groups of seven bits, the highest first. */
function variable(value: number): number[] {
  const groups = [value % 128]
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) groups.unshift(128 + (rest % 128))
  return groups
}

function packet(start: string, payload: Uint8Array): Buffer {
  const length = Buffer.from([...Buffer.from(start, 'hex'), ...variable(payload.length + 4)])
  // Only longer packets have a checksum of their head.
  return Buffer.concat([length, payload, checksum(payload)])
}

const text = (value: string): number[] => [...variable(value.length), ...Buffer.from(value, 'latin1')]

/** One word about the stream. */
const info = (name: string, value: string): number[] => [
  ...variable(1), // the stream's id and 1
  ...[0, 0, 0].flatMap(variable), // no chapter
  ...variable(1), // words
  ...text(name),
  ...variable(SIGNED_MINUS_1), // a text follows
  ...text(value),
]

/** The start of a file. */
export function nutHeader({ width, height, bits, timeBase, aspect, frameRate }: RawVideo): Buffer {
  const main = [
    ...variable(3), // version
    ...variable(1), // streams
    ...variable(MAX_DISTANCE),
    ...variable(1), // time bases
    ...variable(timeBase[0]),
    ...variable(timeBase[1]),
    // One entry for all frame codes: flags, then six fields: pts, factor and stream of sizes, size, reserved, count.
    ...variable(KEY | CODED_PTS | SIZE_MSB | CHECKSUM),
    ...variable(6),
    ...[0, 1, 0, 0, 0].flatMap(variable),
    ...variable(255),
    ...variable(0), // no other elided headers
  ]
  const fourcc = [...Buffer.from('RGB', 'latin1'), bits === 16 ? 48 : 24]
  const stream = [
    ...variable(0), // id
    ...variable(0), // class: video
    ...variable(4),
    ...fourcc,
    ...variable(0), // time base
    ...variable(PTS_SHIFT),
    ...variable(2 ** 30), // distance of timestamps
    ...variable(0), // decode delay
    ...variable(0), // flags
    ...variable(0), // no codec specific data
    ...variable(width),
    ...variable(height),
    ...variable(aspect[0]),
    ...variable(aspect[1]),
    ...variable(0), // colours: RGB
  ]
  return Buffer.concat([
    Buffer.from('nut/multimedia container\0', 'latin1'),
    packet(START.main, Uint8Array.from(main)),
    packet(START.stream, Uint8Array.from(stream)),
    ...(frameRate[0] > 0 ? [packet(START.info, Uint8Array.from(info('r_frame_rate', frameRate.join('/'))))] : []),
  ])
}

/** What stands before the bytes of a frame. pts: ticks, at least 0. */
export function nutFrame(pts: number, bytes: number): Buffer {
  const frame = Uint8Array.from([FRAME_CODE, ...variable(pts + 2 ** PTS_SHIFT), ...variable(bytes)])
  return Buffer.concat([
    // Frames are longer than the distance of synchronisation points.
    packet(START.sync, Uint8Array.from([...variable(pts), ...variable(0)])),
    frame,
    checksum(frame),
  ])
}
