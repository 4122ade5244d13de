// What upscale returns: pixels, and which subnet made which tile.
import type { Expectation } from '../routing/class-map.js'
import type { PictureMetadata, RawImage } from '../types.js'

/** The upscaled pixels. */
export type PixelResult = Omit<UpscaleResult, keyof PictureFacts>

/** Class and subnet of one tile. Positions and sizes in LR pixels. */
export interface AllocatedTile {
  x: number
  y: number
  width: number
  height: number
  /** ||g||2 of the gradient vector. */
  difficulty: number
  /** 1 .. K. */
  class: number
  /** Index into model.subnets. */
  subnet: number
}

/** Which subnet each tile got, and what that cost. */
export interface Allocation {
  /** Row by row. */
  tiles: AllocatedTile[]
  /** 2 x MAC that ran, halo included. */
  flops: number
  /** 2 x MAC of the largest subnet on the whole picture (protocol 'paper': on every tile). */
  flopsOfLargest: number
  /** flops / flopsOfLargest. */
  spent: number
  /** What the router table expects for the tiles of this picture; null: the model has none. */
  expected: Expectation | null
  /**
   * The same for the pictures that the table was measured on: the loss that the option `loss` sets. null also with `costs`, where
   * neighbours decide as well.
   */
  expectedOverall: Expectation | null
  /** Tiles of each subnet, by index into model.subnets. */
  histogram: number[]
}

/** Facts about the file of a picture. */
export interface PictureFacts {
  /** Metadata of the picture, adapted to the enlarged one; null: none, as with decoded pixels. */
  metadata: PictureMetadata | null
  /** Pages or frames of the file, and which of them this is (from 0). */
  pages: number
  page: number
  /** Irregularities of the file that did no harm, and parts of it that were not read. */
  warnings: readonly string[]
}

/** SR pixels of the input's type (protocol 'paper': Uint8Array) and channels, with the allocation and times. */
export interface UpscaleResult extends RawImage, PictureFacts {
  allocation: Allocation
  /** From pixels to pixels, without decoding. */
  seconds: number
  /**
   * network: on the device; other: difficulties, planning, tiling, blending and conversion; predicted: of both together, where
   * the option `costs` was given.
   */
  timings: { network: number; other: number; predicted?: number }
}
