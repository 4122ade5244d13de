// The parent of a picture's bands: streams them, in order, into one file.
import { WbsrError } from '../errors.js'
import { scaleMetadata } from '../images/metadata.js'
import type { Tile, TilePictureInfo } from '../types.js'
import { type BandsManifest, bandKey, pictureMetadata } from './manifest.js'
import { writePicture } from './picture-output.js'
import { type RowShape, rowBytes, StoredRows } from './rows.js'
import { bandBytes } from './run-band.js'
import type { Store } from './store.js'

/** Bytes of SR rows that are read at a time. */
const READ_BYTES = 4 << 20

/** The size of the result and how much there is of it. */
export interface Assembled {
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  bytes: number
}

/**
 * Writes the result of a job whose bands are all in the store.
 *
 * @throws WbsrError WBSR_NOT_FOUND: a band is missing; WBSR_IO, WBSR_INVALID_OPTION: the format cannot hold the picture
 */
export async function assembleBands(
  store: Store,
  manifest: BandsManifest,
  signal: AbortSignal,
  onBand: (share: number) => void = () => {},
): Promise<Assembled> {
  const { width, height, channels, bytes } = await writePicture(
    store,
    manifest.output,
    manifest,
    stripsOf(store, manifest, onBand),
    signal,
  )
  return { width, height, channels, bytes }
}

async function* stripsOf(store: Store, manifest: BandsManifest, onBand: (share: number) => void): AsyncGenerator<Tile> {
  const { shape, scale, tile, bands, kept } = manifest
  const size = { width: shape.width * scale, height: shape.height * scale }
  const metadata = kept && scaleMetadata(pictureMetadata(kept), scale, size.width, size.height)
  const picture: TilePictureInfo = { ...size, tileSize: tile * scale, ...(metadata && { metadata }) }
  let y = 0
  for (const [index, band] of bands.entries()) {
    const bytes = bandBytes(manifest, band)
    const found = await store.size(bandKey(manifest.id, band))
    if (found !== bytes)
      throw new WbsrError(
        'WBSR_NOT_FOUND',
        `Expected ${bytes} bytes of band ${index} of job ${manifest.id} in ${store.label} but ${found ?? 'none'} are there`,
      )
    const sr: RowShape = { ...shape, ...size }
    const rows = bytes / rowBytes(sr)
    const source = new StoredRows(store, bandKey(manifest.id, band), { ...sr, height: rows })
    const step = Math.max(1, Math.floor(READ_BYTES / rowBytes(sr)))
    for (let first = 0; first < rows; first += step) {
      const count = Math.min(step, rows - first)
      const data = await source.read(first, count)
      yield { x: 0, y: y + first, width: size.width, height: count, data, channels: shape.channels, picture }
    }
    y += rows
    onBand((index + 1) / bands.length)
  }
}
