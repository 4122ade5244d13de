// The infer stream: LR tiles in, SR tiles out, in order, with backpressure.
//
// Tiles of a picture are collected by group (some tile rows). A complete group runs while only the next one is
// collected: the callback of the tile that completes the next group is delayed until the device is free and the reader
// has consumed the finished tiles. The output depends neither on the order of arrival within the picture nor on
// batching.
import { Transform, type TransformCallback } from 'node:stream'
import { Cancellation } from '../cancellation.js'
import { wrapError } from '../errors.js'
import { hasAlpha, splitColours } from '../images/alpha.js'
import { PicturePass } from '../infer/picture-pass.js'
import { checkUsable, type ModelState } from '../model-state.js'
import { MERGED_TILES, mapForDataset } from '../routing/class-map.js'
import { routedState } from '../routing/measure.js'
import type { RoutingSettings } from '../routing/options.js'
import { routeGroup } from '../routing/route-group.js'
import type { ClassMap, RouterKind } from '../routing/router.js'
import { groupSpan } from '../tiling/grid.js'
import { type Overlap, overlapOf } from '../tiling/overlap.js'
import type { Tile, UpscaledTile } from '../types.js'
import { checkStreamOptions, type StreamOptions, type StreamSettings } from './options.js'
import { SingleTiles } from './single-tiles.js'
import { assembleBand, checkGridTile, checkSides, samePicture, TilePicture } from './tile-picture.js'
import { type TileDecision, TileRows } from './tile-rows.js'

/** A picture in the stream. */
class PictureRun {
  readonly tiles: TilePicture
  readonly #state: ModelState
  readonly #map: ClassMap
  readonly #router: RouterKind
  readonly #pass: PicturePass
  readonly #rows: TileRows
  /** The next group to run. */
  next = 0

  constructor(state: ModelState, settings: RoutingSettings, overlap: Overlap, first: Tile, cancellation: Cancellation) {
    const tiles = new TilePicture(first, settings.groupRows)
    this.tiles = tiles
    this.#state = state
    this.#router = settings.router
    this.#map = mapForDataset(state, settings, MERGED_TILES * tiles.grid.tile, overlap)
    this.#pass = new PicturePass(state, tiles.grid, first.channels, overlap, settings.regionPixels, cancellation)
    this.#rows = new TileRows(tiles.grid, state.network.scale, first.channels)
  }

  /** Runs one group with the tiles that have arrived. */
  async run(group: number): Promise<UpscaledTile[]> {
    const { grid } = this.tiles
    const out: UpscaledTile[] = []
    if (group > this.next) out.push(...(await this.finish()))
    this.next = group + 1
    const tiles = this.tiles.take(group)
    const band = assembleBand(grid, group, this.#pass.bandOf(group), tiles)
    const { channels, alpha } = this.tiles.first
    if (alpha === 'data' && hasAlpha(channels)) band.colours = splitColours(band.data, channels)
    const { firstRow } = groupSpan(grid, group)
    const routed = routedState(this.#state, { router: this.#router })
    const { difficulties, classes } = await routeGroup(routed, band, tiles[0]!.channels, grid, group)
    const subnets = new Int32Array(difficulties.length).fill(-1)
    const decisions = tiles.map((tile): TileDecision => {
      const index = (tile.y / grid.tile - firstRow) * grid.columns + tile.x / grid.tile
      const k = classes[index]!
      subnets[index] = this.#map[k - 1]!
      return { tile, difficulty: difficulties[index]!, class: k, subnet: subnets[index]! }
    })
    this.#rows.expect(decisions)
    for (const strip of await this.#pass.run(group, band, subnets)) out.push(...this.#rows.add(strip))
    return out
  }

  /** Finishes the rows that waited for a group that will not come. */
  async finish(): Promise<UpscaledTile[]> {
    const tiles = (await this.#pass.finish()).flatMap((strip) => this.#rows.add(strip))
    this.#pass.release()
    return tiles
  }
}

type Work = () => Promise<UpscaledTile[]>

class InferStream extends Transform {
  readonly #state: ModelState
  readonly #settings: StreamSettings
  readonly #overlap: Overlap
  readonly #cancellation: Cancellation
  #picture: PictureRun | null = null
  readonly #singleTiles: SingleTiles
  #singles: Tile[] = []
  /** The work in progress and the delivery of its tiles; null when idle. */
  #busy: Promise<void> | null = null
  #resume: (() => void) | null = null

  constructor(state: ModelState, settings: StreamSettings) {
    super({
      writableObjectMode: true,
      readableObjectMode: true,
      writableHighWaterMark: 1,
      readableHighWaterMark: settings.highWaterMark,
    })
    this.#state = state
    this.#settings = settings
    this.#overlap = overlapOf(settings.halo, state.engine, state.source !== undefined)
    this.#cancellation = new Cancellation('infer stream', settings.signal)
    this.#singleTiles = new SingleTiles(state, settings, this.#overlap.halo, this.#cancellation)
    const { signal } = settings
    const stop = () => this.destroy(this.#cancellation.explain(signal!.reason) as Error)
    if (signal?.aborted) process.nextTick(stop)
    else signal?.addEventListener('abort', stop, { once: true })
    this.once('close', () => {
      signal?.removeEventListener('abort', stop)
      this.#cancellation.release()
    })
  }

  override _transform(value: unknown, _: BufferEncoding, done: TransformCallback): void {
    this.#accept(value).then(
      () => done(),
      (error) => done(this.#explain(error)),
    )
  }

  override _flush(done: TransformCallback): void {
    this.#end().then(
      () => done(),
      (error) => done(this.#explain(error)),
    )
  }

  override _read(size: number): void {
    this.#wake()
    super._read(size)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#cancellation.cancel()
    this.#wake()
    this.#picture = null
    this.#singles = []
    done(error)
  }

  #wake(): void {
    this.#resume?.()
    this.#resume = null
  }

  #explain(error: unknown): Error {
    return wrapError(this.#cancellation.explain(error))
  }

  async #accept(value: unknown): Promise<void> {
    checkUsable(this.#state)
    const tile = checkGridTile(value)
    checkSides(tile, this.#state.engine)
    if (!tile.picture) {
      await this.#closePicture()
      this.#singles.push(tile)
      // While the device is busy, tiles are collected into a batch; when it is idle, a tile runs at once.
      if (!this.#busy || this.#singles.length >= this.#settings.batchTiles) await this.#startSingles()
      return
    }
    await this.#startSingles()
    if (this.#picture && !samePicture(this.#picture.tiles.first, tile)) await this.#closePicture()
    const run = (this.#picture ??= new PictureRun(this.#state, this.#settings, this.#overlap, tile, this.#cancellation))
    run.tiles.add(tile)
    while (!this.destroyed && run.tiles.isReady(run.next)) {
      const group = run.next
      await this.#start(() => run.run(group))
    }
    if (run.tiles.complete) this.#picture = null
  }

  /** Runs the tiles that have arrived of a picture that ends before all of them came. */
  async #closePicture(): Promise<void> {
    const run = this.#picture
    if (!run) return
    this.#picture = null
    await this.#idle()
    for (const group of run.tiles.waiting()) await this.#start(() => run.run(group))
    await this.#start(() => run.finish())
  }

  async #startSingles(): Promise<void> {
    if (this.#singles.length === 0) return
    const tiles = this.#singles
    this.#singles = []
    await this.#start(() => this.#singleTiles.run(tiles))
  }

  async #end(): Promise<void> {
    await this.#startSingles()
    await this.#closePicture()
    await this.#idle()
  }

  async #idle(): Promise<void> {
    while (this.#busy) await this.#busy
  }

  /** Waits for the previous work, starts this one and returns while it runs. */
  async #start(work: Work): Promise<void> {
    await this.#idle()
    if (this.destroyed) return
    const busy = work()
      .then((tiles) => this.#deliver(tiles))
      .catch((error) => this.destroy(this.#explain(error)) as unknown as void)
      .then(() => {
        if (this.#busy === busy) this.#busy = null
      })
    this.#busy = busy
  }

  /** Pushes tiles to the readable side as fast as they are consumed. */
  async #deliver(tiles: UpscaledTile[]): Promise<void> {
    for (const tile of tiles) {
      if (this.destroyed) return
      if (!this.push(tile)) await new Promise<void>((resolve) => (this.#resume = resolve))
    }
  }
}

/**
 * A Transform of {@link Tile} to {@link UpscaledTile}.
 *
 * Tiles with `picture` must lie on its grid (multiples of tileSize, the last clipped at the border). They may come in
 * any order within a picture; pictures come one after the other. The output is row by row. A picture that ends early
 * yields the tiles that came. Each tile should carry `halo` + 2 context pixels (6 with 'auto'), of which only those at
 * the borders of a group of tile rows are used; with fewer the network has less context at those borders. Memory: about
 * two groups of tile rows, more if the order of the tiles requires it.
 *
 * Tiles without `picture` are pictures of their own: their halo is used as context, nothing is blended.
 *
 * A budget is met on average over the pictures that the router table was measured on, not for each single picture; `loss` and
 * `guarantee` choose the same map as upscale does.
 *
 * @throws WbsrError WBSR_INVALID_OPTION, WBSR_DISPOSED; as 'error' event also WBSR_ABORTED and for tiles of wrong shape
 */
export function createInferStream(state: ModelState, options: StreamOptions = {}): Transform {
  checkUsable(state)
  const settings = checkStreamOptions(options, state)
  return new InferStream(state, settings)
}
