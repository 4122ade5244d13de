// The allocation as a picture: which subnet ran where; and the error as one. They are for inspection and not part of upscaling, so a plain pixel
// loop in JavaScript is fast enough.
import { isFloat32Array, isUint16Array } from 'node:util/types'
import { invalidOption } from '../errors.js'
import { checkRawImage } from '../images/images.js'
import { checkNumber, checkObject } from '../options.js'
import type { PixelArray, RawImage } from '../types.js'
import type { Allocation } from './result.js'

/** Blue (cheapest) over cyan, green and yellow to red (costliest), t in [0, 1]. */
export function costColour(t: number): [number, number, number] {
  const ramp = [
    [38, 70, 200],
    [40, 170, 220],
    [70, 190, 90],
    [245, 205, 60],
    [215, 40, 40],
  ] as const
  const position = Math.min(1, Math.max(0, t)) * (ramp.length - 1)
  const i = Math.min(Math.floor(position), ramp.length - 2)
  return ramp[i]!.map((v, c) => Math.round(v + (ramp[i + 1]![c]! - v) * (position - i))) as [number, number, number]
}

/** Mean error of R, G and B, of 255, that is drawn red. */
const FULL = 32

/** |sr - hr| of RGB pixels, mean of R, G and B: blue (equal) over green to red (32 of 255 and more). */
export function errorMap<T extends { data: Uint8Array; width: number; height: number }>(
  sr: T,
  hr: T,
): { data: Uint8Array; width: number; height: number } {
  const { width, height } = hr
  const data = new Uint8Array(3 * width * height)
  for (let i = 0; i < data.length; i += 3) {
    const sum = [0, 1, 2].reduce((all, c) => all + Math.abs(sr.data[i + c]! - hr.data[i + c]!), 0)
    data.set(costColour(sum / 3 / FULL), i)
  }
  return { data, width, height }
}

/** Strength of the tint; borders of tiles are tinted by more. */
const OPACITY = 0.45
const BORDER = 0.35

const factorOf = (data: PixelArray) => (isFloat32Array(data) ? 255 : isUint16Array(data) ? 1 / 257 : 1)

/** A sample as 8 bits. */
const level = (value: number, factor: number) => Math.min(255, Math.max(0, Math.round(value * factor)))

const tinted = (value: number, colour: number, strength: number) =>
  Math.round(value * (1 - strength) + colour * strength)

/** Where tiles lie, of which row and column 0 begin `offset` pixels before the picture. Sizes in pixels of the rows. */
export interface TileMap {
  edge: number
  columns: number
  /** By tile, row by row. */
  subnets: ArrayLike<number>
  /** How many subnets there are. */
  count: number
  offset: { x: number; y: number }
}

/** Rows from `y` on, of a picture that is `width` pixels wide, as allocationOverlay paints them. */
export function overlayRows(rows: PixelArray, width: number, channels: number, y: number, map: TileMap): Uint8Array {
  const factor = factorOf(rows)
  const { edge, columns, subnets, count, offset } = map
  const out = new Uint8Array((rows.length / channels) * 3)
  const colours = Array.from({ length: count }, (_, subnet) => costColour(subnet / Math.max(1, count - 1)))
  for (let i = 0; i < rows.length / channels; i++) {
    const [column, row] = [(i % width) + offset.x, y + Math.floor(i / width) + offset.y]
    const colour = colours[subnets[Math.floor(row / edge) * columns + Math.floor(column / edge)]!]!
    const strength = row % edge === 0 || column % edge === 0 ? OPACITY + BORDER : OPACITY
    for (let c = 0; c < 3; c++)
      out[3 * i + c] = tinted(level(rows[i * channels + (channels >= 3 ? c : 0)]!, factor), colour[c]!, strength)
  }
  return out
}

/**
 * Paints an allocation over its LR or SR picture: 8-bit RGB of the picture's size, tinted from blue (cheapest subnet)
 * to red (largest), with thin tile borders. Alpha is ignored.
 *
 * @param options.opacity of the tint, 0..1. Default 0.45.
 * @throws WbsrError WBSR_INVALID_OPTION, also when the picture's size is not a multiple of the allocation's
 */
export function allocationOverlay(
  image: RawImage,
  allocation: Pick<Allocation, 'tiles' | 'histogram'>,
  options: { opacity?: number } = {},
): RawImage {
  checkRawImage(image, 'image')
  checkObject(options, 'allocationOverlay options', ['opacity'])
  const opacity = checkNumber(options.opacity ?? OPACITY, 'opacity', 0, 1)
  if (!Array.isArray(allocation?.tiles) || !Array.isArray(allocation.histogram))
    throw invalidOption('allocation', 'the allocation that upscale returned', allocation)
  const { data, width, height, channels } = image
  const lrWidth = allocation.tiles.reduce((edge, tile) => Math.max(edge, tile.x + tile.width), 1)
  const lrHeight = allocation.tiles.reduce((edge, tile) => Math.max(edge, tile.y + tile.height), 1)
  const scale = width / lrWidth
  if (!Number.isInteger(scale) || height !== lrHeight * scale)
    throw invalidOption('image', `a picture of ${lrWidth}x${lrHeight} pixels or a multiple`, `${width}x${height}`)

  const factor = factorOf(data)
  const colours = channels >= 3 ? 3 : 1
  const out = new Uint8Array(width * height * 3)
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) out[3 * i + c] = level(data[i * channels + (colours === 3 ? c : 0)]!, factor)
  }
  const source = out.slice() // tiles of the paper's protocol overlap: the last tint counts, none is applied twice
  for (const tile of allocation.tiles) {
    const colour = costColour(tile.subnet / Math.max(1, allocation.histogram.length - 1))
    for (let y = tile.y * scale; y < (tile.y + tile.height) * scale; y++) {
      for (let x = tile.x * scale; x < (tile.x + tile.width) * scale; x++) {
        const strength = x === tile.x * scale || y === tile.y * scale ? Math.min(1, opacity + BORDER) : opacity
        const at = 3 * (y * width + x)
        for (let c = 0; c < 3; c++) out[at + c] = tinted(source[at + c]!, colour[c]!, strength)
      }
    }
  }
  return { data: out, width, height, channels: 3 }
}
