// What rows of a picture go through between a source and a file: one run of the network after the other, each with the
// padding that the network needs, then the exact resize. Pieces between stages are Buffers of whole rows.
import { Unwrapper } from '../images/wrap.js'
import { mirrored, paddedSide } from '../infer/padding.js'
import type { ModelState } from '../model-state.js'
import { native } from '../native.js'
import type { RoutingOptions } from '../routing/options.js'
import type { PixelArray } from '../types.js'
import { RowResize } from './row-resize.js'
import { RowStream, type RowStreamOptions, rowTile } from './row-stream.js'
import type { Size } from './target.js'

export type Rows = AsyncIterable<Buffer>
export type Glue = (rows: Rows) => Rows
export type Stage = RowStream | RowResize | Glue

/** What the rows are. */
export interface RowKind extends Required<Pick<RowStreamOptions, 'channels' | 'depth' | 'alphaChannel'>> {
  /** Alpha is full everywhere. */
  opaque: boolean
}

/** LR pixels of tile rows that are in memory together: wide pictures have fewer rows at a time, and compute more halo. */
const GROUP_PIXELS = 9e5
/** As many as upscale() takes where they fit. */
const GROUP_LINES = 256

const ARRAYS = { 8: Uint8Array, 16: Uint16Array, 32: Float32Array } as const

/** The samples of whole rows: a view, or a copy where they are not aligned. */
export function samplesOf(rows: Buffer, depth: 8 | 16 | 32): PixelArray {
  const bytes = depth / 8
  const aligned = rows.byteOffset % bytes === 0 ? rows : Buffer.from(new Uint8Array(rows).buffer)
  return new ARRAYS[depth](aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.length / bytes)
}

export const bytesOf = (rows: PixelArray): Buffer => Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength)

/** Continues rows to the right and below by reflection, as padPicture does. pixel: bytes. */
export function padRows(from: Size, to: Size, pixel: number): Glue[] {
  if (from.width === to.width && from.height === to.height) return []
  const columns = mirrored(from.width, to.width).slice(from.width)
  const below = mirrored(from.height, to.height).slice(from.height)
  const [narrow, wide] = [from.width * pixel, to.width * pixel]
  return [
    async function* (rows) {
      /** Rows that come again below the last one. */
      const again = new Map<number, Buffer>()
      let y = 0
      for await (const piece of rows) {
        const count = piece.length / narrow
        const out = Buffer.from(new ArrayBuffer(count * wide))
        for (let row = 0; row < count; row++, y++) {
          const [at, source] = [row * wide, row * narrow]
          piece.copy(out, at, source, source + narrow)
          for (const [i, column] of columns.entries())
            piece.copy(out, at + narrow + i * pixel, source + column * pixel, source + (column + 1) * pixel)
          if (below.includes(y)) again.set(y, Buffer.from(out.subarray(at, at + wide)))
        }
        yield out
      }
      for (const row of below) yield again.get(row)!
    },
  ]
}

/** The first `to.width` pixels of the first `to.height` rows. */
export function cropRows(from: Size, to: Size, pixel: number): Glue[] {
  if (from.width === to.width && from.height === to.height) return []
  const [wide, narrow] = [from.width * pixel, to.width * pixel]
  return [
    async function* (rows) {
      let left = to.height
      for await (const piece of rows) {
        const count = Math.min(left, piece.length / wide)
        left -= count
        if (count === 0) continue
        const out = Buffer.from(new ArrayBuffer(count * narrow))
        for (let row = 0; row < count; row++) piece.copy(out, row * narrow, row * wide, row * wide + narrow)
        native.releasePixels(piece)
        yield out
      }
    },
  ]
}

/** Cuts the continuation of a texture off again. */
export function unwrapRows(
  picture: Size & { channels: number },
  wrap: { x: number; y: number },
  depth: RowKind['depth'],
): Glue[] {
  if (wrap.x === 0 && wrap.y === 0) return []
  return [
    async function* (rows) {
      const unwrapper = new Unwrapper(picture, wrap)
      for await (const piece of rows) {
        const texture = unwrapper.push(samplesOf(piece, depth))
        if (texture) yield bytesOf(texture)
      }
    },
  ]
}

/** Tile rows of each group of a pass whose rows have `width` LR pixels; passes before the last take part of the room. */
function groupRowsOf(state: ModelState, width: number, last: boolean): number {
  const tile = rowTile(state)
  const pixels = last ? GROUP_PIXELS : GROUP_PIXELS / 2
  return Math.max(1, Math.min(Math.round(GROUP_LINES / tile), Math.floor(pixels / (width * tile))))
}

/** One run of the network over rows, padded where it needs that and cropped again. */
export function networkStages(
  state: ModelState,
  from: Size,
  kind: RowKind,
  routing: RoutingOptions,
  last: boolean,
): { stream: RowStream; stages: Stage[]; to: Size } {
  const { scale } = state.network
  const { channels, depth, alphaChannel } = kind
  const pixel = channels * (depth / 8)
  const padded = { width: paddedSide(from.width, state.engine), height: paddedSide(from.height, state.engine) }
  const groupRows = routing.groupRows ?? groupRowsOf(state, padded.width, last)
  const stream = new RowStream(state, { ...routing, ...padded, channels, depth, alphaChannel, groupRows })
  const to = { width: from.width * scale, height: from.height * scale }
  return { stream, stages: [...padRows(from, padded, pixel), stream, ...cropRows(stream, to, pixel)], to }
}

/** The exact resize, where it is needed. */
export function resizeStages(from: Size, to: Size, kind: RowKind, signal: AbortSignal | undefined): Stage[] {
  if (from.width === to.width && from.height === to.height) return []
  const { channels, depth, alphaChannel, opaque } = kind
  const size = { ...from, outWidth: to.width, outHeight: to.height }
  return [new RowResize({ ...size, channels, depth, alphaChannel, opaque, ...(signal && { signal }) })]
}
