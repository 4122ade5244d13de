// Runs one picture through the engine, group by group: pixels of a band in, finished SR rows out. Both upscale() and
// the infer stream are loops around this class, which is why they give the same pixels.
//
// Groups overlap by a few blended rows. Their weighted sums are carried from one group to the next, so a group
// finishes its rows except the last ones, which the next group (or finish()) completes.
import { isFloat32Array, isUint16Array } from 'node:util/types'
import type { Cancellation } from '../cancellation.js'
import { hasAlpha, joinAlpha } from '../images/alpha.js'
import { checkUsable, type ModelState } from '../model-state.js'
import { type InferRegion, type NativeCanvas, type NativeEngine, native } from '../native.js'
import { allSettled, markHandled } from '../promises.js'
import { type PixelBand, rowsOf } from '../routing/route-group.js'
import { regionFlops } from '../tiling/flops.js'
import { type Grid, groupSpan } from '../tiling/grid.js'
import type { Overlap } from '../tiling/overlap.js'
import { groupBand, groupRegions } from '../tiling/regions.js'
import type { PixelArray } from '../types.js'

/** Rows of context that cubic interpolation needs. */
const CUBIC_REACH = 3

/** Finished SR rows: `rows` rows of the whole picture's width, from `firstRow` on. */
export interface Strip {
  data: PixelArray
  firstRow: number
  rows: number
}

export interface PassTotals {
  flops: number
  networkSeconds: number
}

/**
 * The canvas of the last picture, reused for the next one of the engine: page faults of new memory cost more than
 * blending.
 */
const spareCanvases = new WeakMap<NativeEngine, NativeCanvas>()
/** SR pixels kept at most: more on a GPU, where bands are larger and an allocation waits for the device. */
const spareAtMost = (engine: NativeEngine): number => (engine.device.hostMemory ? 1 << 23 : 1 << 24)

export class PicturePass {
  readonly totals: PassTotals = { flops: 0, networkSeconds: 0 }
  /** LR rows of context above and below the finished rows of a group. */
  readonly #margin: number
  readonly #state: ModelState
  readonly #grid: Grid
  readonly #channels: 1 | 2 | 3 | 4
  readonly #hasAlpha: boolean
  readonly #overlap: Overlap
  readonly #regionPixels: number
  readonly #cancellation: Cancellation
  readonly #target: PixelArray | null
  readonly #chosen: ((group: number) => readonly InferRegion[]) | null
  /** Weighted sums of the rows from #top on; created with the first group. */
  #canvas: NativeCanvas | null = null
  #top = 0
  #bottom = 0
  /** LR rows before this one are finished. */
  #finished = 0
  /** LR row at which the last group ends. */
  #end = 0
  #band: PixelBand | null = null

  /**
   * @param target pixels of the whole SR picture; strips are then views of it, else separate arrays
   * @param chosen regions of a group that run, at least one, in place of all; pixels outside of them are not valid then
   */
  constructor(
    state: ModelState,
    grid: Grid,
    channels: 1 | 2 | 3 | 4,
    overlap: Overlap,
    regionPixels: number,
    cancellation: Cancellation,
    target: PixelArray | null = null,
    chosen: ((group: number) => readonly InferRegion[]) | null = null,
  ) {
    this.#state = state
    this.#grid = grid
    this.#channels = channels
    this.#overlap = overlap
    this.#regionPixels = regionPixels
    this.#cancellation = cancellation
    this.#target = target
    this.#chosen = chosen
    this.#hasAlpha = hasAlpha(channels)
    this.#margin = Math.max(overlap.margin, this.#hasAlpha ? overlap.blend + CUBIC_REACH : 0)
  }

  /** LR rows that a group's band should hold. */
  bandOf(group: number): { top: number; bottom: number } {
    return groupBand(this.#state.engine, this.#grid, group, this.#margin)
  }

  /**
   * Whether run() may be called before the previous call settled (except the first), so that the device never idles.
   */
  get overlaps(): boolean {
    return !this.#hasAlpha
  }

  /**
   * Runs one group. Groups come in ascending order; one may be left out, then call finish() before the next.
   *
   * @param subnets of the group's tiles, row by row, -1 where a tile is missing
   * @returns the rows that it finishes, in order
   */
  async run(group: number, band: PixelBand, subnets: ArrayLike<number>): Promise<Strip[]> {
    const { engine } = this.#state
    const { width, height } = this.#grid
    const { y0, y1 } = groupSpan(this.#grid, group)
    const span = groupBand(this.#state.engine, this.#grid, group, this.#overlap.margin)
    const top = Math.max(span.top, band.top)
    const bottom = Math.min(span.bottom, band.bottom)
    checkUsable(this.#state)
    if (this.#finished < this.#end && this.#end !== y0)
      throw new Error('finish() comes before a group that does not follow the last')
    const canvas = this.#canvas ?? (await this.#takeCanvas())

    const mask = band.mask?.subarray((top - band.top) * width, (bottom - band.top) * width)
    const regions = this.#chosen
      ? [...this.#chosen(group)]
      : groupRegions(engine, this.#grid, group, { top, bottom, mask }, subnets, this.#overlap, this.#regionPixels)
    // Alpha as data: the network gets the colours alone.
    const seen = (band.colours ? this.#channels - 1 : this.#channels) as 1 | 2 | 3 | 4
    const data = rowsOf(band.colours ?? band.data, width * seen, top - band.top, bottom - band.top)
    // A band without halo may be too short to reach some of the unfinished rows; they are complete without it.
    const before = markHandled(this.#take(Math.min(top, this.#end)))
    if (this.#hasAlpha) await before
    // The engine now has all jobs of the group and runs them without interruption.
    const moved = markHandled(this.#moveTo(canvas, top, bottom, y0))
    const ran = markHandled(
      engine.infer({
        inputs: [
          {
            data,
            width,
            height: bottom - top,
            channels: seen,
            ...(band.picture && { picture: { ...band.picture, top } }),
          },
        ],
        outputs: [{ canvas }],
        regions,
        maxBatchPixels: 2 * this.#regionPixels,
        cancel: this.#cancellation.flag,
      }),
    )
    this.#end = y1
    this.#band = band
    const after = markHandled(this.#take(y1 === height ? y1 : y1 - this.#overlap.blend))
    // After a failure wait until the engine has no job of this group any more.
    const [report, first, last] = await allSettled([ran, before, after, moved] as const)
    this.#cancellation.check()
    this.totals.networkSeconds += report.networkSeconds
    for (const region of regions) this.totals.flops += regionFlops(region, engine.subnets[region.subnet]!)
    return [first, last].filter((strip) => strip.rows > 0)
  }

  /** The rows that the next group would have completed; none if the last group ended the picture. */
  async finish(): Promise<Strip[]> {
    const strip = await this.#take(this.#end)
    this.#cancellation.check()
    return strip.rows > 0 ? [strip] : []
  }

  /** Releases the canvas for the engine's next picture. No method may be called afterwards. */
  release(): void {
    const canvas = this.#canvas
    this.#canvas = null
    if (!canvas || this.#state.disposed) return
    spareCanvases.get(this.#state.engine)?.dispose()
    spareCanvases.delete(this.#state.engine)
    if (canvas.width * canvas.rows <= spareAtMost(this.#state.engine)) spareCanvases.set(this.#state.engine, canvas)
    else canvas.dispose()
  }

  async #takeCanvas(): Promise<NativeCanvas> {
    const { engine, network } = this.#state
    const width = this.#grid.width * network.scale
    const rows =
      Math.min(this.#grid.height, this.#grid.groupRows * this.#grid.tile + 2 * this.#overlap.margin) * network.scale
    const spare = spareCanvases.get(engine)
    spareCanvases.delete(engine)
    if (spare?.width === width && spare.rows >= rows) return (this.#canvas = spare)
    spare?.dispose()
    return (this.#canvas = await engine.createCanvas(width, rows))
  }

  /** Moves the canvas to rows [top, bottom), keeping what is not finished and clearing the rest. */
  #moveTo(canvas: NativeCanvas, top: number, bottom: number, y0: number): Promise<void> {
    const { scale } = this.#state.network
    const open = this.#finished < this.#end
    if (!open) this.#finished = y0
    const kept = open ? Math.max(0, Math.min(this.#bottom, bottom) - top) : 0
    const moved = canvas.move(kept > 0 ? (top - this.#top) * scale : 0, kept * scale, (bottom - top) * scale)
    this.#top = top
    this.#bottom = bottom
    return moved
  }

  /** LR rows [#finished, end) as SR pixels. Without alpha the job is queued before it returns. */
  async #take(end: number): Promise<Strip> {
    const { scale } = this.#state.network
    const { width } = this.#grid
    const first = this.#finished
    const band = this.#band
    if (!band || !this.#canvas || end <= first) return { data: new Uint8Array(0), firstRow: first * scale, rows: 0 }
    const bytes = isFloat32Array(band.data) ? 4 : isUint16Array(band.data) ? 2 : 1
    const from = (first - this.#top) * scale
    const rows = (end - first) * scale
    const stride = width * scale * this.#channels
    const into = this.#target?.subarray(first * scale * stride, end * scale * stride)
    this.#finished = end
    const alpha = this.#hasAlpha ? await this.#alpha(band, first, end) : null
    const data =
      band.colours && hasAlpha(this.#channels)
        ? joinAlpha(
            await this.#canvas.finish(from, rows, this.#channels - 1, null, bytes),
            alpha!,
            this.#channels,
            into,
          )
        : await this.#canvas.finish(from, rows, this.#channels, alpha, bytes, into)
    return { data, firstRow: first * scale, rows }
  }

  /** Alpha of LR rows [first, end), upscaled by bicubic interpolation as if the whole picture were there. */
  async #alpha(band: PixelBand, first: number, end: number): Promise<Float32Array> {
    const { scale } = this.#state.network
    const { width } = this.#grid
    const top = Math.max(band.top, first - CUBIC_REACH)
    const bottom = Math.min(band.bottom, end + CUBIC_REACH)
    const pixels = rowsOf(band.data, width * this.#channels, top - band.top, bottom - band.top)
    const plane = await native.toAlphaFloat(pixels, width, bottom - top, this.#channels)
    const large = (await native.resizeBicubic(
      plane,
      width,
      bottom - top,
      1,
      width * scale,
      (bottom - top) * scale,
      0,
    )) as Float32Array
    return large.subarray((first - top) * scale * width * scale, (end - top) * scale * width * scale)
  }
}
