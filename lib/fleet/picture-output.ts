// The result of a picture in the store: written beside its place and renamed, or encoded here and then uploaded.
import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { checkPlacedTile } from '../stream/picture-assembler.js'
import { PictureFile, type PictureFileResult } from '../stream/picture-file.js'
import type { Tile } from '../types.js'
import type { PictureOutput } from './manifest.js'
import type { Store } from './store.js'

/**
 * Makes the file of a result from pieces of whole rows, top to bottom.
 *
 * @returns its size in pixels and bytes
 */
export async function writePicture(
  store: Store,
  output: string,
  { outputFormat, encode, metadata }: PictureOutput,
  tiles: AsyncIterable<Tile>,
  signal: AbortSignal,
): Promise<PictureFileResult & { bytes: number }> {
  const local = store.file?.(output)
  const folder = local === undefined ? await mkdtemp(path.join(tmpdir(), 'wbsr-fleet-')) : null
  const file = local ?? path.join(folder!, path.basename(output))
  try {
    const options = { ...encode, metadata, colourSpace: 'input', checkSpace: true } as const
    const picture = await PictureFile.open(file, outputFormat, options, signal)
    let result: PictureFileResult
    try {
      for await (const tile of tiles) {
        signal.throwIfAborted()
        await picture.add(checkPlacedTile(tile), () => signal.aborted)
      }
      signal.throwIfAborted()
      result = await picture.finish()
    } catch (error) {
      await picture.stop()
      await picture.discard()
      throw error
    }
    if (folder !== null) await store.write(output, createReadStream(file, { highWaterMark: 1 << 20 }))
    return { ...result, bytes: (await store.size(output)) ?? 0 }
  } finally {
    if (folder !== null) await rm(folder, { recursive: true, force: true })
  }
}
