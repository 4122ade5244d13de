// What happens to one picture: decoding, the network as often as the size needs it, the exact resize, writing.
import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { addAbortSignal, type Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { aborted, WbsrError } from '../../errors.js'
import { judgeAlpha } from '../../images/alpha.js'
import { encodeImage } from '../../images/encode.js'
import { imageHeader, readImage } from '../../images/images.js'
import { scaleMetadata } from '../../images/metadata.js'
import { resizeBicubic } from '../../index.js'
import { allocationOverlay } from '../../infer/overlay.js'
import type { UpscaleResult } from '../../infer/result.js'
import { checkPlacedTile } from '../../stream/picture-assembler.js'
import { PictureFile } from '../../stream/picture-file.js'
import { passesFor, targetSize } from '../../stream/target.js'
import type { RawImage } from '../../types.js'
import { type Job, STANDARD } from './jobs.js'
import { isLarge, upscaleLarge } from './large.js'
import type { Decoded, Finished, PictureSettings } from './types.js'

async function readStandardInput(stream: Readable, signal: AbortSignal): Promise<Buffer> {
  try {
    return await buffer(addAbortSignal(signal, stream))
  } catch (error) {
    throw signal.aborted ? aborted('Reading standard input', signal) : error
  }
}

export async function decodePicture(job: Job, settings: PictureSettings): Promise<Decoded> {
  const { models, read, encode, metadata, signal, target } = settings
  const input = job.input === STANDARD ? await readStandardInput(process.stdin, signal) : job.input
  const header = await imageHeader(input, 'standard input', read)
  const wanted = targetSize(target, header)
  const model = await models.for(input)
  const large = isLarge(model, header, wanted, settings)
  const empty = { data: new Uint8Array(0), width: header.width, height: header.height, channels: header.channels }
  const decoded = large ? { image: empty, header } : await readImage(input, 'standard input', read)
  const { image } = decoded
  let name = job.output
  let remove: Decoded['remove'] = null
  if (job.output === STANDARD) {
    // Standard output gets a whole picture or nothing.
    const folder = await mkdtemp(path.join(tmpdir(), 'wbsr-'))
    name = path.join(folder, `stdout.${job.format}`)
    remove = () => rm(folder, { recursive: true, force: true })
  }
  try {
    const options = { ...encode, metadata, colourSpace: 'input', checkSpace: true } as const
    const file = large ? null : await PictureFile.open(name, job.format, options, signal)
    return { model, image, header: decoded.header, input, name, remove, file }
  } catch (error) {
    await remove?.()
    throw error
  }
}

export async function discardPicture({ file, remove }: Decoded): Promise<void> {
  await file?.stop()
  await file?.discard()
  await remove?.()
}

export async function runPicture(decoded: Decoded, job: Job, settings: PictureSettings): Promise<Finished> {
  const { target, upscale, signal, onProgress } = settings
  const { model, image, header } = decoded
  const start = performance.now()
  if (!decoded.file) {
    const large = await upscaleLarge(model, decoded.input, header, decoded.name, job, settings)
    const seconds = (performance.now() - start) / 1000
    return { ...decoded, ...large, metadata: null, overlay: null, allocation: null, seconds }
  }
  const wanted = targetSize(target, image)
  const passes = passesFor(wanted, image, model.scale)
  // Judged once: later runs and the resize treat alpha as the first one.
  const { alphaChannel = 'auto' } = upscale
  const alpha = alphaChannel === 'auto' ? judgeAlpha(image.data, image.channels) : alphaChannel
  // Each pass has scale x scale times the work of the one before.
  const work = Array.from({ length: passes }, (_, pass) => model.scale ** (2 * pass))
  const total = work.reduce((sum, part) => sum + part, 0)
  let current: RawImage = image
  let first: UpscaleResult | null = null
  let behind = 0
  for (const part of work) {
    const result: UpscaleResult = await model.upscale(current, {
      ...upscale,
      alphaChannel: alpha,
      signal,
      onProgress: ({ done, total: tiles }) => onProgress(job, (behind + (part * done) / tiles) / total),
    })
    behind += part
    first ??= result
    current = result
  }
  const { allocation } = first!
  const overlay = job.map === null ? null : allocationOverlay(plain(first!), allocation)
  const result =
    current.width === wanted.width && current.height === wanted.height
      ? plain(current)
      : await resizeBicubic(plain(current), { ...wanted, alphaChannel: alpha })
  const kept = header.metadata
  return {
    ...decoded,
    result,
    metadata: kept && scaleMetadata(kept, result.width / image.width, result.width, result.height),
    share: allocation.flops / allocation.flopsOfLargest,
    tilesPerSubnet: allocation.histogram,
    allocation,
    overlay,
    seconds: (performance.now() - start) / 1000,
    passes,
  }
}

const plain = ({ data, width, height, channels }: RawImage): RawImage => ({ data, width, height, channels })

export async function encodePicture(finished: Finished, job: Job, settings: PictureSettings): Promise<void> {
  const { file, remove, name } = finished
  try {
    if (file) await writeWhole(file, finished, job, settings)
    if (job.output === STANDARD) await pipeline(createReadStream(name), process.stdout, { end: false })
  } catch (error) {
    await file?.stop()
    await file?.discard()
    throw error
  } finally {
    await remove?.()
  }
}

async function writeWhole(
  file: PictureFile,
  { result, metadata, overlay }: Finished,
  job: Job,
  { signal }: PictureSettings,
): Promise<void> {
  const tile = checkPlacedTile({ x: 0, y: 0, ...result, ...(metadata && { metadata }) })
  await file.add(tile, () => signal.aborted)
  if (signal.aborted) throw new WbsrError('WBSR_ABORTED', `Writing ${job.output} was aborted`)
  if (overlay) await encodeImage(overlay, job.map!)
  await file.finish()
}
