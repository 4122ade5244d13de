// Enlarges the frames of a video one after the other. What did not change since the last frame is not computed again; what
// comes out is what computing everything gives, to the bit (with a threshold of 0).
import { Cancellation } from '../cancellation.js'
import { cutPixels } from '../images/pixels.js'
import { padPicture } from '../infer/padding.js'
import { PicturePass } from '../infer/picture-pass.js'
import { tileEdge } from '../infer/plan.js'
import { checkUsable, type ModelState } from '../model-state.js'
import { MERGED_TILES, mapForDataset } from '../routing/class-map.js'
import { routedState } from '../routing/measure.js'
import type { RoutingSettings } from '../routing/options.js'
import { routeGroup } from '../routing/route-group.js'
import type { ClassMap } from '../routing/router.js'
import { regionFlops } from '../tiling/flops.js'
import { type Grid, groupSpan, makeGrid } from '../tiling/grid.js'
import { isGlobal, type Overlap, overlapOf } from '../tiling/overlap.js'
import { groupBand, groupRegions } from '../tiling/regions.js'
import type { RawImage } from '../types.js'
import { blendedWith, differs, keptOf, keyOf, type PlacedRegion } from './changes.js'

export type FramePixels = Uint8Array | Uint16Array

export interface FrameShape {
  width: number
  height: number
  bits: 8 | 16
}

export interface FrameSettings extends RoutingSettings {
  /** Largest difference, in levels of 8 bits, of pixels that count as unchanged. */
  threshold: number
}

/** What became of one frame. */
export interface FrameWork {
  /** SR pixels of RGB. */
  data: FramePixels
  /** 2 x MAC that ran. */
  flops: number
  /** 2 x MAC that did not have to run, as nothing had changed there. */
  saved: number
}

/** Edge of a tile, in LR pixels. */
export const TILE = 64

export class FrameUpscaler {
  readonly width: number
  readonly height: number
  readonly #state: ModelState
  readonly #shape: FrameShape
  readonly #settings: FrameSettings
  readonly #threshold: number
  readonly #cancellation: Cancellation
  #grid: Grid | null = null
  #overlap: Overlap
  #map: ClassMap | null = null
  /** LR pixels that the results were made of, and the results. */
  #reference: FramePixels | null = null
  #result: FramePixels | null = null
  /** Where regions run into: only what is copied from it is valid. */
  #scratch: FramePixels | null = null
  #keys = new Set<string>()
  /** 2 x MAC of all regions of the last frame. */
  #whole = 0

  constructor(state: ModelState, shape: FrameShape, settings: FrameSettings) {
    this.#state = state
    this.#shape = shape
    this.#settings = settings
    this.#threshold = settings.threshold * (shape.bits === 16 ? 257 : 1)
    this.#overlap = overlapOf(settings.halo, state.engine, state.source !== undefined)
    this.#cancellation = new Cancellation('upscaling video', settings.signal)
    this.width = shape.width * state.network.scale
    this.height = shape.height * state.network.scale
  }

  /** The next frame: interleaved RGB. */
  async next(data: FramePixels): Promise<FrameWork> {
    checkUsable(this.#state)
    this.#cancellation.check()
    const { width, height } = this.#shape
    const frame = padPicture({ data, width, height, channels: 3 }, this.#state.engine)
    const grid = (this.#grid ??= this.#makeGrid(frame))
    const same = this.#reference !== null && Buffer.compare(bytesOf(frame.data), bytesOf(this.#reference)) === 0
    const all = same ? [] : await this.#regions(frame, grid)
    const changed = same ? [] : all.filter((placed) => this.#changed(placed, frame))
    const whole = changed.length === all.length
    let flops = 0
    if (changed.length > 0)
      flops = await this.#run(frame, grid, whole ? all : blendedWith(changed, all), whole ? null : changed)
    if (!same) {
      this.#remember(frame, all, changed)
      this.#whole = this.#flopsOf(all)
    }
    const { scale } = this.#state.network
    return {
      data: cutPixels(this.#result!, frame.width * scale, 3, 0, 0, this.width, this.height),
      flops,
      saved: this.#whole - flops,
    }
  }

  /** Nothing of the next frame is taken from the last one. */
  forget(): void {
    this.#reference = null
  }

  release(): void {
    this.#cancellation.release()
  }

  #makeGrid({ width, height }: RawImage): Grid {
    const { engine, source } = this.#state
    const edge = tileEdge(source && isGlobal(engine) ? 'global' : TILE, width, height)
    const grid = makeGrid(width, height, edge, this.#settings.groupRows)
    this.#map = mapForDataset(this.#state, this.#settings, MERGED_TILES * grid.tile, this.#overlap)
    return grid
  }

  /** All regions of a frame, by its tiles' classes. */
  async #regions({ data, channels }: RawImage, grid: Grid): Promise<PlacedRegion[]> {
    const { engine } = this.#state
    const regions: PlacedRegion[] = []
    for (let group = 0; group < grid.groups; group++) {
      const { classes } = await routeGroup(
        routedState(this.#state, this.#settings),
        { data, top: 0 },
        channels,
        grid,
        group,
      )
      const subnets = classes.map((k) => this.#map![k - 1]!)
      const band = groupBand(engine, grid, group, this.#overlap.margin)
      const { regionPixels } = this.#settings
      for (const region of groupRegions(engine, grid, group, band, subnets, this.#overlap, regionPixels))
        regions.push({ group, top: band.top, region })
    }
    this.#cancellation.check()
    return regions
  }

  #changed(placed: PlacedRegion, { data, width }: RawImage): boolean {
    if (!this.#reference || !this.#keys.has(keyOf(placed))) return true
    const { x, y, width: columns, height } = placed.region
    const seen = { x, y: y + placed.top, width: columns, height }
    return differs(data, this.#reference, width * 3, 3, seen, this.#threshold)
  }

  #flopsOf(regions: readonly PlacedRegion[]): number {
    const { subnets } = this.#state.engine
    return regions.reduce((sum, { region }) => sum + regionFlops(region, subnets[region.subnet]!), 0)
  }

  /** Runs regions and takes over the kept parts of `changed`; null: of all, as all run. */
  async #run(
    frame: RawImage,
    grid: Grid,
    running: readonly PlacedRegion[],
    changed: readonly PlacedRegion[] | null,
  ): Promise<number> {
    const { scale } = this.#state.network
    const length = frame.data.length * scale * scale
    this.#result ??= this.#newPixels(length)
    const target = changed === null ? this.#result : (this.#scratch ??= this.#newPixels(length))
    const chosen = (group: number) => running.filter((placed) => placed.group === group).map(({ region }) => region)
    const { regionPixels } = this.#settings
    const pass = new PicturePass(this.#state, grid, 3, this.#overlap, regionPixels, this.#cancellation, target, chosen)
    const stride = frame.width * 3
    try {
      let last = -1
      for (let group = 0; group < grid.groups; group++) {
        if (!running.some((placed) => placed.group === group)) continue
        if (last >= 0 && group > last + 1) await pass.finish()
        last = group
        const { top, bottom } = pass.bandOf(group)
        const band = { data: frame.data.subarray(top * stride, bottom * stride), top, bottom }
        await pass.run(group, band, [])
      }
      if (last >= 0 && groupSpan(grid, last).y1 < grid.height) await pass.finish()
    } finally {
      pass.release()
    }
    for (const placed of changed ?? []) this.#take(placed, frame.width * scale)
    return pass.totals.flops
  }

  #newPixels(length: number): FramePixels {
    return this.#shape.bits === 16 ? new Uint16Array(length) : new Uint8Array(length)
  }

  #take(placed: PlacedRegion, width: number): void {
    const { scale } = this.#state.network
    const { x, y, width: columns, height } = keptOf(placed)
    for (let row = y * scale; row < (y + height) * scale; row++) {
      const start = (row * width + x * scale) * 3
      const end = start + columns * scale * 3
      this.#result!.set(this.#scratch!.subarray(start, end), start)
    }
  }

  /** With a threshold a region's pixels are those that its result was made of, or slow changes would add up unseen. */
  #remember({ data, width }: RawImage, all: readonly PlacedRegion[], changed: readonly PlacedRegion[]): void {
    this.#keys = new Set(all.map(keyOf))
    const frame = data as FramePixels
    if (!this.#reference || this.#threshold === 0 || changed.length === all.length) {
      this.#reference = frame
      return
    }
    const reference = this.#reference.slice()
    for (const placed of changed) {
      const { x, y, width: columns, height } = placed.region
      for (let row = y + placed.top; row < y + placed.top + height; row++) {
        const start = (row * width + x) * 3
        reference.set(frame.subarray(start, start + columns * 3), start)
      }
    }
    this.#reference = reference
  }
}

const bytesOf = (data: RawImage['data']) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
