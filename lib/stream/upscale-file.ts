// One picture file into a larger one, by bands of rows: read, enlarged by the network as often as the size needs it, resized,
// written. Memory grows with the width of the picture, not with its height.
import { pipeline } from 'node:stream/promises'
import { aborted, invalidOption, wrapError } from '../errors.js'
import { AlphaJudge, type AlphaUse, hasAlpha } from '../images/alpha.js'
import { RowSource } from '../images/images.js'
import { bytesNeeded, checkOutputSize, checkRoom } from '../images/limits.js'
import { scaleMetadata } from '../images/metadata.js'
import { readContinued, wrapPixels } from '../images/wrap.js'
import type { AlphaChannel } from '../infer/options.js'
import { overlayRows } from '../infer/overlay.js'
import { checkUsable, type ModelState } from '../model-state.js'
import { native } from '../native.js'
import { overlapOf } from '../tiling/overlap.js'
import type { ImageInput, PictureMetadata } from '../types.js'
import { checkFileOptions, type FileSettings, type UpscaleFileOptions } from './file-options.js'
import { PictureFile } from './picture-file.js'
import {
  bytesOf,
  networkStages,
  type RowKind,
  type Rows,
  resizeStages,
  type Stage,
  samplesOf,
  unwrapRows,
} from './row-stages.js'
import type { RowStream } from './row-stream.js'
import { passesFor, type Size, targetSize } from './target.js'

/** What `model.upscaleFile` wrote, and what it cost. */
export interface UpscaleFileResult {
  file: string
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  /** How often the network ran. */
  passes: number
  /** Of the first run, 2 x MAC: what ran, halo included, and the largest subnet on the whole picture. */
  flops: number
  flopsOfLargest: number
  /** Tiles of each subnet in the first run. */
  histogram: number[]
  /** What was odd about the input and did no harm, and what of it was not read. */
  warnings: readonly string[]
  seconds: number
}

/** Rows that are read at a time; bytes that are decoded at a time, more than malloc keeps of what is freed (32 MB). */
const READ_ROWS = 64
const READ_BYTES = 33 << 20

/** What alpha is, and whether it is full everywhere: the picture is read once for that. */
async function judgeRows(
  source: RowSource,
  wanted: AlphaChannel,
  signal: AbortSignal | undefined,
): Promise<{ alphaChannel: AlphaUse; opaque: boolean }> {
  const { channels, height } = source.header
  if (!hasAlpha(channels)) return { alphaChannel: 'opacity', opaque: false }
  const judge = new AlphaJudge(channels)
  for (let y = 0; y < height; y += source.bandRows) {
    if (signal?.aborted) throw aborted('upscaleFile', signal)
    judge.add(await source.read(y, Math.min(source.bandRows, height - y)))
  }
  return { alphaChannel: wanted === 'auto' ? judge.verdict : wanted, opaque: judge.opaque }
}

/** Hands rows through and writes the map of the first run of the network. */
function mapRows(
  file: PictureFile,
  stream: RowStream,
  { width, height }: Size,
  { channels, depth }: RowKind,
  { scale, subnets, offset }: { scale: number; subnets: number; offset: { x: number; y: number } },
  stopped: () => boolean,
): Stage {
  return async function* (rows: Rows) {
    let y = 0
    for await (const piece of rows) {
      const { tile, columns, subnets: allocated } = stream.allocated
      const map = { edge: tile * scale, columns, subnets: allocated, count: subnets, offset }
      const data = overlayRows(samplesOf(piece, depth), width, channels, y, map)
      const count = data.length / (3 * width)
      const picture = { width, height, tileSize: tile * scale }
      await file.add({ x: 0, y, width, height: count, channels: 3, data, picture }, stopped)
      y += count
      yield piece
    }
  }
}

/** One picture on its way. */
class FileRun {
  readonly #state: ModelState
  readonly #settings: FileSettings
  readonly #source: RowSource
  readonly #kind: RowKind
  readonly #wanted: Size
  readonly #passes: number
  readonly #streams: RowStream[] = []
  readonly #start = performance.now()

  constructor(state: ModelState, settings: FileSettings, source: RowSource, kind: RowKind, wanted: Size) {
    this.#state = state
    this.#settings = settings
    this.#source = source
    this.#kind = kind
    this.#wanted = wanted
    this.#passes = passesFor(wanted, source.header, state.network.scale)
    if (this.#passes > 1 && (settings.wrap.x || settings.wrap.y))
      throw invalidOption(
        'wrap',
        `a result of at most ${state.network.scale} times the picture with wrap`,
        `${wanted.width}x${wanted.height}`,
      )
  }

  async run(file: PictureFile, map: PictureFile | null): Promise<Omit<UpscaleFileResult, 'seconds'>> {
    const { scale } = this.#state.network
    const { routing, wrap, signal } = this.#settings
    const { width, height, channels, metadata } = this.#source.header
    const side = wrapPixels(overlapOf(routing.halo ?? 'auto', this.#state.engine, !!this.#state.source).margin)
    const pad = { x: wrap.x ? side : 0, y: wrap.y ? side : 0 }
    const stages: Stage[] = []
    let size: Size = { width: width + 2 * pad.x, height: height + 2 * pad.y }
    for (let pass = 1; pass <= this.#passes; pass++) {
      const network = networkStages(this.#state, size, this.#kind, routing, pass === this.#passes)
      this.#streams.push(network.stream)
      stages.push(...network.stages, (rows) => this.#counted(rows))
      size = network.to
      if (pass > 1) continue
      const offset = { x: pad.x * scale, y: pad.y * scale }
      stages.push(...unwrapRows({ ...size, channels }, offset, this.#kind.depth))
      size = { width: width * scale, height: height * scale }
      const facts = { scale, subnets: this.#state.engine.subnets.length, offset }
      if (map) stages.push(mapRows(map, network.stream, size, this.#kind, facts, () => signal?.aborted === true))
    }
    stages.push(...resizeStages(size, this.#wanted, this.#kind, signal))
    const kept =
      metadata && scaleMetadata(metadata, this.#wanted.width / width, this.#wanted.width, this.#wanted.height)
    const all = [() => this.#read(pad), ...stages, (rows: Rows) => this.#write(rows, file, kept)]
    await (pipeline as (streams: readonly unknown[]) => Promise<void>)(all)
    if (signal?.aborted) throw aborted('upscaleFile', signal)
    await map?.finish()
    const written = await file.finish()
    const { flops, flopsOfLargest, tilesPerSubnet } = this.#streams[0]!.work
    const { warnings } = this.#source.header
    return { ...written, passes: this.#passes, flops, flopsOfLargest, histogram: tilesPerSubnet, warnings }
  }

  async *#read(pad: { x: number; y: number }): Rows {
    const height = this.#source.header.height + 2 * pad.y
    for (let y = 0; y < height; y += READ_ROWS)
      yield bytesOf(await readContinued(this.#source, pad, y, Math.min(READ_ROWS, height - y)))
  }

  async #write(rows: Rows, file: PictureFile, metadata: PictureMetadata | null): Promise<void> {
    const { signal } = this.#settings
    const { channels, depth } = this.#kind
    const { width, height } = this.#wanted
    const picture = { width, height, tileSize: READ_ROWS, ...(metadata && { metadata }) }
    let y = 0
    for await (const piece of rows) {
      const data = samplesOf(piece, depth)
      const count = data.length / (width * channels)
      await file.add({ x: 0, y, width, height: count, channels, data, picture }, () => signal?.aborted === true)
      native.releasePixels(data)
      y += count
    }
  }

  /** Hands rows through and reports progress. */
  async *#counted(rows: Rows): Rows {
    for await (const piece of rows) {
      await this.#progress()
      yield piece
    }
  }

  async #progress(): Promise<void> {
    const { onProgress } = this.#settings
    if (!onProgress) return
    const done = this.#streams.reduce((sum, stream) => sum + stream.tilesDone, 0)
    const total = this.#streams.reduce((sum, stream) => sum + stream.tiles, 0)
    await onProgress({ done, total, seconds: (performance.now() - this.#start) / 1000 })
  }
}

/**
 * Enlarges a picture into a file by bands of rows.
 *
 * @throws WbsrError WBSR_INVALID_OPTION, WBSR_INVALID_IMAGE, WBSR_NOT_FOUND, WBSR_IO, WBSR_ABORTED, WBSR_DISPOSED
 */
export async function upscaleFile(
  state: ModelState,
  input: ImageInput,
  output: string,
  options: UpscaleFileOptions = {},
): Promise<UpscaleFileResult> {
  checkUsable(state)
  const settings = checkFileOptions(options, output, state)
  const { read, target, alphaChannel, write, format, signal } = settings
  const start = performance.now()
  const files: PictureFile[] = []
  let source: RowSource | null = null
  try {
    source = await RowSource.open(input, 'input', READ_BYTES, read, true)
    const { channels, bits: depth } = source.header
    const wanted = targetSize(target, source.header)
    checkOutputSize(wanted, format, output)
    const bits = depth === 8 ? 8 : 16
    if (write.checkSpace)
      await checkRoom(output, bytesNeeded({ ...wanted, channels, bits }, format, write.compressionLevel))
    // Missing permission is reported before anything is computed.
    const file = await PictureFile.open(output, format, write, signal)
    files.push(file)
    const map = settings.map === undefined ? null : await PictureFile.open(settings.map, 'png', write, signal)
    if (map) files.push(map)
    const alpha = await judgeRows(source, alphaChannel, signal)
    const result = await new FileRun(state, settings, source, { channels, depth, ...alpha }, wanted).run(file, map)
    return { ...result, seconds: (performance.now() - start) / 1000 }
  } catch (error) {
    for (const file of files) {
      await file.stop()
      await file.discard()
    }
    throw signal?.aborted ? aborted('upscaleFile', signal) : wrapError(error)
  } finally {
    await source?.close()
  }
}
