// Cuts finished strips of SR rows into tiles: holds one tile row and cuts it when it is full.
import { scaleMetadata } from '../images/metadata.js'
import { cutPixels, pixelsLike } from '../images/pixels.js'
import type { Strip } from '../infer/picture-pass.js'
import type { Grid } from '../tiling/grid.js'
import type { PixelArray, Tile, TilePictureInfo, UpscaledTile } from '../types.js'

/** Class and subnet of an LR tile. */
export interface TileDecision {
  tile: Tile
  difficulty: number
  class: number
  subnet: number
}

function scaledPicture(picture: TilePictureInfo, scale: number): TilePictureInfo {
  const { metadata, wrap } = picture
  const [width, height] = [picture.width * scale, picture.height * scale]
  const kept = wrap ? [width - 2 * wrap.x * scale, height - 2 * wrap.y * scale] : [width, height]
  return {
    ...picture,
    width,
    height,
    tileSize: picture.tileSize * scale,
    ...(metadata && { metadata: scaleMetadata(metadata, scale, kept[0]!, kept[1]!) }),
    ...(wrap && { wrap: { x: wrap.x * scale, y: wrap.y * scale } }),
  }
}

export function upscaledTile({ tile, ...decision }: TileDecision, data: PixelArray, scale: number): UpscaledTile {
  const { x, y, width, height, channels, picture, alpha } = tile
  const scaled = picture && scaledPicture(picture, scale)
  return {
    x: x * scale,
    y: y * scale,
    width: width * scale,
    height: height * scale,
    data,
    channels,
    ...(alpha && { alpha }),
    ...(scaled && { picture: scaled }),
    ...decision,
  }
}

export class TileRows {
  readonly #grid: Grid
  readonly #scale: number
  readonly #channels: number
  /** Decisions of tiles that wait for their rows, by tile row. */
  readonly #waiting = new Map<number, TileDecision[]>()
  #row = -1
  #pixels: PixelArray | null = null

  constructor(grid: Grid, scale: number, channels: number) {
    this.#grid = grid
    this.#scale = scale
    this.#channels = channels
  }

  /** Registers tiles whose pixels will follow, row by row. */
  expect(decisions: readonly TileDecision[]): void {
    for (const decision of decisions) {
      const row = decision.tile.y / this.#grid.tile
      if (!this.#waiting.has(row)) this.#waiting.set(row, [])
      this.#waiting.get(row)!.push(decision)
    }
  }

  /** Adds finished rows; returns the tiles of all tile rows that are full now, row by row. */
  add(strip: Strip): UpscaledTile[] {
    const { tile, width, height } = this.#grid
    const edge = tile * this.#scale
    const rowWidth = width * this.#scale
    const stride = rowWidth * this.#channels
    const tiles: UpscaledTile[] = []
    for (let y = strip.firstRow; y < strip.firstRow + strip.rows; ) {
      const row = Math.floor(y / edge)
      const rowEnd = Math.min((row + 1) * edge, height * this.#scale)
      const end = Math.min(rowEnd, strip.firstRow + strip.rows)
      if (row !== this.#row || !this.#pixels) {
        this.#row = row
        this.#pixels = pixelsLike(strip.data, (rowEnd - row * edge) * stride)
      }
      this.#pixels.set(
        strip.data.subarray((y - strip.firstRow) * stride, (end - strip.firstRow) * stride),
        (y - row * edge) * stride,
      )
      if (end === rowEnd) {
        for (const decision of this.#waiting.get(row) ?? []) {
          const { x, width: w, height: h } = decision.tile
          const data = cutPixels(
            this.#pixels,
            rowWidth,
            this.#channels,
            x * this.#scale,
            0,
            w * this.#scale,
            h * this.#scale,
          )
          tiles.push(upscaledTile(decision, data, this.#scale))
        }
        this.#waiting.delete(row)
        this.#pixels = null
      }
      y = end
    }
    return tiles
  }
}
