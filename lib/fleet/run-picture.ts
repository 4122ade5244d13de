// A picture that one worker enlarges as a whole: the small pictures of a folder, and networks that need the whole picture.

import { readImage } from '../images/images.js'
import { scaleMetadata } from '../images/metadata.js'
import type { UpscaleOptions } from '../infer/options.js'
import type { SupernetModel } from '../models/model.js'
import type { Tile } from '../types.js'
import type { Assembled } from './assemble.js'
import type { PictureManifest } from './manifest.js'
import { writePicture } from './picture-output.js'
import type { BandReport } from './run-band.js'
import { readAll, type Store } from './store.js'

/** @throws WbsrError as upscale and stitchTo do */
export async function runPicture(
  model: SupernetModel,
  store: Store,
  manifest: PictureManifest,
  signal: AbortSignal,
  onTiles: (share: number) => void = () => {},
): Promise<Assembled & BandReport> {
  const start = performance.now()
  const { source, read, upscale, output } = manifest
  // A folder's file is read in place, so that a large one is not held twice.
  const { image, header } = await readImage(store.file?.(source) ?? (await readAll(store, source)), manifest.name, read)
  const result = await model.upscale(image, {
    ...(upscale as UpscaleOptions),
    signal,
    onProgress: ({ done, total }) => onTiles(done / total),
  })
  const { data, width, height, channels, allocation } = result
  const metadata = header.metadata && scaleMetadata(header.metadata, model.scale, width, height)
  async function* whole(): AsyncGenerator<Tile> {
    // A tile without `picture` is the whole picture.
    yield { x: 0, y: 0, width, height, data, channels, ...(metadata && { metadata }) } as Tile
  }
  const written = await writePicture(store, output, manifest, whole(), signal)
  const seconds = (performance.now() - start) / 1000
  return { width, height, channels, bytes: written.bytes, flops: allocation.flops, seconds, found: false }
}
