// Runs one picture through the engine, group by group: pixels of a band in, finished SR rows out. Both upscale() and
// the infer stream are loops around this class, which is why they give the same pixels.
//
// Groups overlap by a few blended rows. Their weighted sums are carried from one group to the next, so a group
// finishes its rows but for the last ones, which the next group (or finish()) completes.
import type { ModelState } from '../model-state.js'
import { native, type InferReport, type NativeEngine } from '../native.js'
import type { PixelArray } from '../types.js'
import { bandSpan, groupSpan, tileRects, type Grid } from './grid.js'
import { regionFlops } from './merge.js'
import type { Cancellation } from './options.js'
import { groupRegions, type Context } from './plan.js'
import { difficultyOf } from './routers.js'

/** Rows of context that cubic interpolation needs. */
const CUBIC_REACH = 3

/** Pixels of the picture's rows [top, bottom), and which of them are there. */
export interface PixelBand {
  data: PixelArray
  top: number
  bottom: number
  mask?: Uint8Array
}

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

function rowsOf(data: PixelArray, stride: number, first: number, end: number): PixelArray {
  return data.subarray(first * stride, end * stride)
}

/** Difficulties of all tiles in tile rows [firstRow, endRow), of a band whose first row is `top`. */
export async function tileDifficulties(band: Pick<PixelBand, 'data' | 'top' | 'bottom'>, channels: number, grid: Grid, firstRow: number, endRow: number): Promise<Float64Array> {
  const vectors = await native.gradientVectors(band.data, grid.width, band.bottom - band.top, channels, tileRects(grid, firstRow, endRow, band.top))
  return Float64Array.from({ length: vectors.length / 4 }, (_, i) => difficultyOf(vectors, i))
}

/**
 * The sums of the last picture, for the next one of the same engine: writing to fresh pages costs more than blending does.
 * At most this many floats are kept.
 */
const spareSums = new WeakMap<NativeEngine, { sum: Float32Array; weight: Float32Array }>()
const SPARE_AT_MOST = 1 << 25

export class PicturePass {
  readonly totals: PassTotals = { flops: 0, networkSeconds: 0 }
  /** LR rows of context that a group's band should have above and below. */
  readonly margin: number
  readonly #state: ModelState
  readonly #grid: Grid
  readonly #channels: 1 | 2 | 3 | 4
  readonly #context: Context
  readonly #regionPixels: number
  readonly #cancellation: Cancellation
  readonly #target: PixelArray | null
  /** Sums and weights of the rows from #top on; allocated once. */
  #sum: Float32Array = new Float32Array(0)
  #weight: Float32Array = new Float32Array(0)
  #top = 0
  #bottom = 0
  /** LR rows before this one are finished. */
  #finished = 0
  /** Where the last group ends. */
  #end = 0
  #band: PixelBand | null = null

  /** @param target pixels of the whole SR picture; strips are then views of it, else arrays of their own */
  constructor(state: ModelState, grid: Grid, channels: 1 | 2 | 3 | 4, context: Context, regionPixels: number, cancellation: Cancellation, target: PixelArray | null = null) {
    this.#state = state
    this.#grid = grid
    this.#channels = channels
    this.#context = context
    this.#regionPixels = regionPixels
    this.#cancellation = cancellation
    this.#target = target
    const hasAlpha = channels === 2 || channels === 4
    this.margin = Math.max(context.margin, hasAlpha ? context.blend + CUBIC_REACH : 0)
  }

  /**
   * Runs one group. Groups come in ascending order; one may be left out, then call finish() before the next.
   *
   * @param subnets of the group's tiles, row by row, -1 where a tile is missing
   * @returns the rows that are finished by it, in order
   */
  async run(group: number, band: PixelBand, subnets: ArrayLike<number>): Promise<Strip[]> {
    const { engine, network } = this.#state
    const { width, height } = this.#grid
    const { y0, y1 } = groupSpan(this.#grid, group)
    const span = bandSpan(this.#grid, group, this.#context.margin)
    const top = Math.max(span.top, band.top)
    const bottom = Math.min(span.bottom, band.bottom)
    if (this.#finished < this.#end && this.#end !== y0) throw new Error('finish() comes before a group that does not follow the last')
    // Rows that this group's band is too short to reach (tiles without halo) get nothing more from it.
    const strips = [await this.#take(Math.min(top, this.#end))]
    this.#moveTo(top, bottom, y0)

    const stride = width * this.#channels
    const pixels = rowsOf(band.data, stride, top - band.top, bottom - band.top)
    const rgb = await native.toRgbFloat(pixels, width, bottom - top, this.#channels)
    this.#cancellation.check()
    const mask = band.mask?.subarray((top - band.top) * width, (bottom - band.top) * width)
    const regions = groupRegions(this.#state, this.#grid, group, { top, bottom, mask }, subnets, this.#context, this.#regionPixels)
    const report: InferReport = await engine.infer({
      inputs: [{ data: rgb, width, height: bottom - top }],
      outputs: [this.#views(network.scale)],
      regions,
      maxBatchPixels: 2 * this.#regionPixels,
      cancel: this.#cancellation.flag,
    })
    this.#cancellation.check()
    this.totals.networkSeconds += report.networkSeconds
    for (const region of regions) this.totals.flops += regionFlops(region, engine.subnets[region.subnet]!)
    this.#end = y1
    this.#band = band
    strips.push(await this.#take(y1 === height ? y1 : y1 - this.#context.blend))
    return strips.filter((strip) => strip.rows > 0)
  }

  /** The rows that waited for a next group; none when the last one ended the picture. */
  async finish(): Promise<Strip[]> {
    return [await this.#take(this.#end)].filter((strip) => strip.rows > 0)
  }

  /** Leaves the sums to the engine's next picture. Only after run() and finish() have settled. */
  release(): void {
    if (this.#sum.length > 0 && this.#sum.length + this.#weight.length <= SPARE_AT_MOST) spareSums.set(this.#state.engine, { sum: this.#sum, weight: this.#weight })
    this.#sum = this.#weight = new Float32Array(0)
  }

  #views(scale: number): { sum: Float32Array; weight: Float32Array } {
    const count = (this.#bottom - this.#top) * scale * this.#grid.width * scale
    return { sum: this.#sum.subarray(0, 3 * count), weight: this.#weight.subarray(0, count) }
  }

  /** Moves the window of sums to rows [top, bottom), keeping what is not finished and clearing the rest. */
  #moveTo(top: number, bottom: number, y0: number): void {
    const { scale } = this.#state.network
    const row = this.#grid.width * scale * scale
    const rowsAtMost = Math.min(this.#grid.height, this.#grid.groupRows * this.#grid.tile + 2 * this.#context.margin)
    let fresh = false
    if (this.#sum.length === 0) {
      const spare = spareSums.get(this.#state.engine)
      spareSums.delete(this.#state.engine)
      fresh = !spare || spare.weight.length < rowsAtMost * row
      this.#sum = fresh ? new Float32Array(rowsAtMost * row * 3) : spare!.sum
      this.#weight = fresh ? new Float32Array(rowsAtMost * row) : spare!.weight
    }
    const open = this.#finished < this.#end
    if (!open) this.#finished = y0
    const kept = open ? Math.min(this.#bottom, bottom) - top : 0
    for (const [values, unit] of [[this.#sum, row * 3], [this.#weight, row]] as const) {
      if (kept > 0) values.copyWithin(0, (top - this.#top) * unit, (top - this.#top + kept) * unit)
      if (!fresh) values.fill(0, Math.max(kept, 0) * unit, (bottom - top) * unit)
    }
    this.#top = top
    this.#bottom = bottom
  }

  /** LR rows [#finished, end) as SR pixels. */
  async #take(end: number): Promise<Strip> {
    const { scale } = this.#state.network
    const { width } = this.#grid
    const first = this.#finished
    const band = this.#band
    if (!band || end <= first) return { data: new Uint8Array(0), firstRow: first * scale, rows: 0 }
    const bytes = band.data instanceof Float32Array ? 4 : band.data instanceof Uint16Array ? 2 : 1
    const alpha = this.#channels === 2 || this.#channels === 4 ? await this.#alpha(band, first, end) : null
    const { sum, weight } = this.#views(scale)
    const stride = width * scale * this.#channels
    const into = this.#target?.subarray(first * scale * stride, end * scale * stride)
    const data = await native.finishRows(sum, weight, width * scale, (first - this.#top) * scale, (end - first) * scale, this.#channels, alpha, bytes, into)
    this.#cancellation.check()
    this.#finished = end
    return { data, firstRow: first * scale, rows: (end - first) * scale }
  }

  /** Alpha of LR rows [first, end), upscaled by bicubic interpolation as if the whole picture were there. */
  async #alpha(band: PixelBand, first: number, end: number): Promise<Float32Array> {
    const { scale } = this.#state.network
    const { width } = this.#grid
    const top = Math.max(band.top, first - CUBIC_REACH)
    const bottom = Math.min(band.bottom, end + CUBIC_REACH)
    const pixels = rowsOf(band.data, width * this.#channels, top - band.top, bottom - band.top)
    const plane = await native.toAlphaFloat(pixels, width, bottom - top, this.#channels)
    const large = (await native.resizeBicubic(plane, width, bottom - top, 1, width * scale, (bottom - top) * scale, 0)) as Float32Array
    return large.subarray((first - top) * scale * width * scale, (end - top) * scale * width * scale)
  }
}
