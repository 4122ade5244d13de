// Rows in, rows out: raw pixels of a picture whose size is known, without files. Memory grows with its width, not with its
// height.
import { Transform, type TransformCallback } from 'node:stream'
import { Cancellation } from '../cancellation.js'
import { aborted, invalidOption, WbsrError, wrapError } from '../errors.js'
import { type AlphaUse, hasAlpha, splitColours } from '../images/alpha.js'
import { checkTileEdge } from '../infer/options.js'
import { PicturePass, type Strip } from '../infer/picture-pass.js'
import { checkUsable, type ModelState } from '../model-state.js'
import { native } from '../native.js'
import { checkChoice, checkInteger, checkObject } from '../options.js'
import { MERGED_TILES, mapForDataset } from '../routing/class-map.js'
import { routedState } from '../routing/measure.js'
import { checkRouting, ROUTING_KEYS, type RoutingOptions, type RoutingSettings } from '../routing/options.js'
import { type PixelBand, routeGroup } from '../routing/route-group.js'
import type { ClassMap } from '../routing/router.js'
import { pictureFlops } from '../tiling/flops.js'
import { type Grid, makeGrid } from '../tiling/grid.js'
import { isGlobal, overlapOf } from '../tiling/overlap.js'
import type { PixelArray } from '../types.js'

export interface RowStreamOptions extends RoutingOptions {
  /** Of the rows that come, in pixels. */
  width: number
  /** How many rows come. */
  height: number
  /** 1 grey, 2 grey + alpha, 3 RGB (default), 4 RGBA. */
  channels?: 1 | 2 | 3 | 4
  /** Bits of a sample: 8 (default); 16, little-endian; 32, float 0..1, little-endian. The same comes out. */
  depth?: 8 | 16 | 32
  /** What alpha is (see UpscaleOptions); 'auto' would need the whole picture. Default 'opacity'. */
  alphaChannel?: AlphaUse
  /** Edge of a tile in LR pixels, 16..4096. Default 64; 256 for other tools' models whose attention sees the whole picture. */
  tile?: number
}

const TILE = 64
/** As upscale() takes it for large pictures. */
const GLOBAL_TILE = 256
const ARRAYS = { 8: Uint8Array, 16: Uint16Array, 32: Float32Array } as const

/** Edge of a tile by default. */
export function rowTile(state: ModelState): number {
  return state.source && isGlobal(state.engine) ? GLOBAL_TILE : TILE
}

interface RowSettings extends RoutingSettings {
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  depth: 8 | 16 | 32
  alphaChannel: AlphaUse
  tile: number
}

function checkRowOptions(value: unknown, state: ModelState): RowSettings {
  const known = [...ROUTING_KEYS, 'width', 'height', 'channels', 'depth', 'alphaChannel', 'tile']
  const options = checkObject(value, 'row stream options', known) as unknown as RowStreamOptions
  const { channels = 3, depth = 8, alphaChannel = 'opacity' } = options
  const { minimumSize = 1, sizeMultiple = 1 } = state.engine
  for (const name of ['width', 'height'] as const) {
    const side = checkInteger(options[name], name, 1, 2 ** 31 - 1)
    if (side < minimumSize || side % sizeMultiple !== 0)
      throw invalidOption(
        name,
        `at least ${minimumSize} and a multiple of ${sizeMultiple}, as this network needs it`,
        side,
      )
  }
  if (depth !== 8 && depth !== 16 && depth !== 32) throw invalidOption('depth', '8, 16 or 32', depth)
  return {
    ...checkRouting(options as unknown as Record<string, unknown>, state),
    width: options.width,
    height: options.height,
    channels: checkInteger(channels, 'channels', 1, 4) as RowSettings['channels'],
    depth,
    alphaChannel: checkChoice(alphaChannel, 'alphaChannel', ['opacity', 'data'] as const),
    tile: checkTileEdge(options.tile ?? rowTile(state), sizeMultiple),
  }
}

/** The Transform that upscaleStream makes. */
export class RowStream extends Transform {
  /** Of the rows that come out. */
  readonly width: number
  readonly height: number
  readonly channels: 1 | 2 | 3 | 4
  readonly depth: 8 | 16 | 32
  readonly #state: ModelState
  readonly #settings: RowSettings
  readonly #cancellation: Cancellation
  readonly #grid: Grid
  readonly #map: ClassMap
  readonly #pass: PicturePass
  readonly #subnets: Uint16Array
  /** Tiles whose rows have come out, and all of them. */
  tilesDone = 0
  readonly tiles: number
  /** Bytes of a row that comes. */
  readonly #stride: number
  /** Rows from #top on, of which #filled bytes are there. */
  #rows: Buffer
  #top = 0
  #filled = 0
  #group = 0
  /** The group that runs; bytes of the next one are taken meanwhile. */
  #busy: Promise<void> = Promise.resolve()
  #resume: (() => void) | null = null
  readonly #abort = () => this.destroy(aborted('upscaleStream', this.#settings.signal!))

  constructor(state: ModelState, options: RowStreamOptions) {
    checkUsable(state)
    const settings = checkRowOptions(options, state)
    // One strip after the other is handed out as it is: a reader of bytes would join them.
    super({ readableObjectMode: true, readableHighWaterMark: 1 })
    const { width, height, channels, depth, signal } = settings
    const { scale } = state.network
    this.#state = state
    this.#settings = settings
    this.width = width * scale
    this.height = height * scale
    this.channels = channels
    this.depth = depth
    this.#stride = width * channels * (depth / 8)
    this.#cancellation = new Cancellation('upscaleStream', signal)
    const overlap = overlapOf(settings.halo, state.engine, state.source !== undefined)
    this.#grid = makeGrid(width, height, settings.tile, settings.groupRows)
    this.#map = mapForDataset(state, settings, MERGED_TILES * settings.tile, overlap)
    this.#pass = new PicturePass(state, this.#grid, channels, overlap, settings.regionPixels, this.#cancellation)
    this.tiles = this.#grid.columns * this.#grid.rows
    this.#subnets = new Uint16Array(this.tiles)
    this.#rows = this.#newRows()
    signal?.addEventListener('abort', this.#abort)
    if (signal?.aborted) this.#abort()
  }

  /** So far: 2 x MAC that ran, halo included, those of the largest subnet on the same rows, and tiles of each subnet. */
  get work(): { flops: number; flopsOfLargest: number; tilesPerSubnet: number[] } {
    const { width, height } = this.#settings
    const { subnets } = this.#state.engine
    const tilesPerSubnet = new Array<number>(subnets.length).fill(0)
    for (const subnet of this.#subnets.subarray(0, this.tilesDone)) tilesPerSubnet[subnet]!++
    const rows = Math.min(height, (this.tilesDone / this.#grid.columns) * this.#grid.tile)
    return {
      flops: this.#pass.totals.flops,
      flopsOfLargest: pictureFlops(subnets.at(-1)!, width, rows),
      tilesPerSubnet,
    }
  }

  /** @internal Subnets of the tiles so far, row by row, for a map. */
  get allocated(): { tile: number; columns: number; subnets: Uint16Array } {
    const { tile, columns } = this.#grid
    return { tile, columns, subnets: this.#subnets }
  }

  /** For the band of the next group. */
  #newRows(): Buffer {
    const { bottom } = this.#pass.bandOf(this.#group)
    // A buffer of its own: its pixels are given to jobs.
    return Buffer.from(new ArrayBuffer((bottom - this.#top) * this.#stride))
  }

  /** @internal */
  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#take(chunk).then(
      () => done(),
      (error: unknown) => done(this.#explain(error)),
    )
  }

  /** @internal */
  override _flush(done: TransformCallback): void {
    this.#end().then(
      () => done(),
      (error: unknown) => done(this.#explain(error)),
    )
  }

  /** @internal */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#settings.signal?.removeEventListener('abort', this.#abort)
    this.#cancellation.cancel()
    this.#cancellation.release()
    this.#wake()
    // A job that runs uses the canvas.
    this.#busy
      .catch(() => {})
      .then(() => {
        this.#pass.release()
        done(error)
      })
  }

  #explain(error: unknown): Error {
    return wrapError(this.#cancellation.explain(error))
  }

  async #take(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      if (this.#group === this.#grid.groups) throw this.#wrongLength('more')
      const count = chunk.copy(this.#rows, this.#filled, at)
      at += count
      this.#filled += count
      // The rows of a small last group may be there with those of the one before.
      while (this.#group < this.#grid.groups && this.#filled === this.#rows.length) await this.#start()
    }
  }

  async #end(): Promise<void> {
    if (this.#group < this.#grid.groups) throw this.#wrongLength('fewer')
    await this.#busy
  }

  #wrongLength(what: string): WbsrError {
    const { height } = this.#settings
    return new WbsrError(
      'WBSR_INVALID_IMAGE',
      `Expected ${height} rows of ${this.#stride} bytes in upscaleStream but ${what} came`,
    )
  }

  /** Runs the group whose band is complete, after the one before, and makes room for the next. */
  async #start(): Promise<void> {
    const group = this.#group++
    const [rows, top] = [this.#rows, this.#top]
    if (this.#group < this.#grid.groups) {
      const next = this.#pass.bandOf(this.#group).top
      this.#top = next
      this.#rows = this.#newRows()
      this.#filled = rows.copy(this.#rows, 0, (next - top) * this.#stride)
    }
    await this.#busy
    this.#busy = this.#run(group, rows, top)
    // Reported by the next await; until then it is not unhandled.
    this.#busy.catch(() => {})
  }

  async #run(group: number, rows: Buffer, top: number): Promise<void> {
    checkUsable(this.#state)
    const { channels, depth, width, alphaChannel } = this.#settings
    const data: PixelArray = new ARRAYS[depth](rows.buffer as ArrayBuffer, 0, rows.length / (depth / 8))
    const band: PixelBand = { data, top, bottom: top + data.length / (width * channels) }
    if (alphaChannel === 'data' && hasAlpha(channels)) band.colours = splitColours(data, channels)
    const { classes } = await routeGroup(routedState(this.#state, this.#settings), band, channels, this.#grid, group)
    const subnets = classes.map((k) => this.#map[k - 1]!)
    const strips: Strip[] = await this.#pass.run(group, band, subnets)
    // The next group needs alpha of this one.
    if (!hasAlpha(channels)) native.releasePixels(rows)
    this.#subnets.set(subnets, this.tilesDone)
    this.tilesDone += subnets.length
    for (const { data: out } of strips) {
      if (this.destroyed) return
      // Rows come out while no chunk is being taken, which a Transform does not hold back by itself.
      if (!this.push(Buffer.from(out.buffer, out.byteOffset, out.byteLength))) await this.#drained()
    }
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#resume = resolve
    })
  }

  #wake(): void {
    this.#resume?.()
    this.#resume = null
  }

  /** @internal */
  override _read(size: number): void {
    this.#wake()
    super._read(size)
  }
}
