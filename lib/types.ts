// Shapes shared by several folders of lib/ and by users.
import type { PixelArray } from './native.js'

export type { PixelArray }

/**
 * Decoded pixels, interleaved (height, width, channels). channels: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA (alpha not
 * premultiplied). Uint8Array 0..255, Uint16Array 0..65535, Float32Array 0..1.
 */
export interface RawImage {
  data: PixelArray
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
}

/**
 * An encoded image (PNG, JPEG, WebP, TIFF, AVIF, GIF, SVG): a file path or file: URL, or its bytes. Bytes must not change
 * before the image was read.
 */
export type EncodedInput = string | URL | Blob | ArrayBuffer | SharedArrayBuffer | NodeJS.ArrayBufferView

/** An encoded image or decoded pixels. */
export type ImageInput = EncodedInput | RawImage

/**
 * One tile of a picture, the unit of the infer stream. All positions are in pixels of the picture the tile belongs to
 * (LR before inference, SR after it). `data` holds the tile itself plus `halo` context pixels on each side
 * ((halo.top + height + halo.bottom) rows of (halo.left + width + halo.right) pixels).
 */
export interface Tile {
  x: number
  y: number
  width: number
  height: number
  data: PixelArray
  channels: 1 | 2 | 3 | 4
  /** Context pixels around the tile inside `data`; absent: none. At picture borders 0. */
  halo?: { left: number; top: number; right: number; bottom: number }
  /** The whole picture. Absent: the tile is a separate picture and is neither merged nor blended with others. */
  picture?: TilePictureInfo
  /**
   * With 2 or 4 channels: the meaning of alpha (docs/pictures.md); absent: opacity. The same for all tiles of a
   * picture.
   */
  alpha?: 'opacity' | 'data'
}

/** Metadata of a picture. Parts that the file does not have are absent. */
export interface PictureMetadata {
  /** Its colour profile: of RGB for 3 and 4 channels, of grey for 1 and 2. */
  icc?: Uint8Array
  /** EXIF, as a TIFF structure. Orientation is 1, because pixels are returned upright. */
  exif?: Uint8Array
  xmp?: Uint8Array
  /** Pixels per inch. */
  density?: number
  /** The colour space of the pixels: sRGB, or the file's own profile (see ReadOptions.colourSpace). */
  colourSpace: 'srgb' | 'input'
}

/** The picture of a tile. */
export interface TilePictureInfo {
  width: number
  height: number
  tileSize: number
  name?: string
  /** The page of the file, from 0. */
  page?: number
  /** Metadata of the picture, for stitchTo. */
  metadata?: PictureMetadata
  /** Pixels at each side that repeat the opposite side (see TilesOptions.wrap); stitchTo drops them. */
  wrap?: { x: number; y: number }
}

/** A tile as the infer stream returns it: SR pixels without halo, positions and picture size times the scale. */
export interface UpscaledTile extends Tile {
  /** ||g||2 of the LR tile. */
  difficulty: number
  /** 1 .. K. */
  class: number
  /** Index into model.subnets. */
  subnet: number
}
