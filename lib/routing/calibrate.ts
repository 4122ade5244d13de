// Measures what the calibrated router needs: the squared error of every subnet in every gradient class, on validation
// pictures (method.md section 6).
import { Cancellation } from '../cancellation.js'
import { WbsrError, wrapError } from '../errors.js'
import { checkUsable, type ModelState, type RouterTable } from '../model-state.js'
import { native } from '../native.js'
import { checkInteger, checkObject, checkSignal } from '../options.js'
import { groupSpan, makeGrid, tileRects } from '../tiling/grid.js'
import { AUTO_HALO, BLEND } from '../tiling/overlap.js'
import { groupBand, groupRegions } from '../tiling/regions.js'
import type { RawImage } from '../types.js'
import { defaultRegionPixels } from './options.js'
import { routeGroup } from './route-group.js'

export interface CalibrateOptions {
  /** Edge of a tile in LR pixels, 16..4096. Default 64. */
  tileSize?: number
  /** Stops after about this many tiles (whole groups of tile rows). Default: all. */
  maxTiles?: number
  signal?: AbortSignal
}

/** Context beyond a tile's edge, as upscaling has it. */
const HALO = AUTO_HALO + BLEND

/** Sums over the tiles of each class. */
class Sums {
  readonly error: number[][]
  readonly bicubic: number[]
  readonly samples: number[]
  tiles = 0

  constructor(classes: number, subnets: number) {
    this.error = Array.from({ length: classes }, () => new Array<number>(subnets).fill(0))
    this.bicubic = new Array<number>(classes).fill(0)
    this.samples = new Array<number>(classes).fill(0)
  }
}

/**
 * Fills in values of classes without tiles: linear in the class index between two classes with tiles, constant beyond the
 * outermost ones. A column that is monotone stays monotone.
 */
export function fillUnseen(values: readonly (number | null)[]): number[] {
  const seen = values.flatMap((v, k) => (v === null ? [] : [k]))
  return values.map((value, k) => {
    if (value !== null) return value
    const before = seen.filter((s) => s < k).at(-1)
    const after = seen.find((s) => s > k)
    if (before === undefined) return values[after!]!
    if (after === undefined) return values[before]!
    return values[before]! + ((values[after]! - values[before]!) * (k - before)) / (after - before)
  })
}

async function addPicture(
  state: ModelState,
  lr: RawImage,
  hr: RawImage,
  tileSize: number,
  maxTiles: number,
  sums: Sums,
  cancellation: Cancellation,
): Promise<void> {
  const { engine, network } = state
  const { scale } = network
  const regionPixels = defaultRegionPixels(state)
  const { width, height } = lr
  if (hr.width !== width * scale || hr.height !== height * scale) {
    throw new WbsrError(
      'WBSR_INVALID_IMAGE',
      `Expected a HR image of ${width * scale}x${height * scale} pixels for a LR image of ${width}x${height} but it has ${hr.width}x${hr.height}`,
    )
  }
  const grid = makeGrid(width, height, tileSize)
  const overlap = { halo: HALO, blend: 0, margin: HALO }
  for (let group = 0; group < grid.groups && sums.tiles < maxTiles; group++) {
    const { firstRow, endRow } = groupSpan(grid, group)
    const { top, bottom } = groupBand(engine, grid, group, overlap.margin)
    const rows = bottom - top
    const band = { data: lr.data.subarray(top * width * lr.channels, bottom * width * lr.channels), top, bottom }
    const { classes } = await routeGroup(state, band, lr.channels, grid, group)
    const input = await native.toRgbFloat(band.data, width, rows, lr.channels)
    const stride = width * scale * hr.channels
    const target = await native.toRgbFloat(
      hr.data.subarray(top * scale * stride, bottom * scale * stride),
      width * scale,
      rows * scale,
      hr.channels,
    )
    const rects = tileRects(grid, firstRow, endRow, top).map((n) => n * scale)
    const errorsOf = (prediction: Float32Array) =>
      native.squaredErrors(prediction, target, width * scale, rows * scale, rects)
    cancellation.check()

    const classOfTile = Array.from(classes, (k) => k - 1)
    const bicubic = await errorsOf(
      (await native.resizeBicubic(input, width, rows, 3, width * scale, rows * scale, 0)) as Float32Array,
    )
    classOfTile.forEach((k, i) => {
      sums.bicubic[k]! += bicubic[i]!
      sums.samples[k]! += 3 * rects[4 * i + 2]! * rects[4 * i + 3]!
    })
    for (const { index } of engine.subnets) {
      const subnets = new Int32Array(classes.length).fill(index)
      const regions = groupRegions(engine, grid, group, { top, bottom }, subnets, overlap, regionPixels)
      // Regions do not overlap here, so the weighted sum is the prediction.
      const sum = new Float32Array(width * scale * rows * scale * 3)
      const weight = new Float32Array(width * scale * rows * scale)
      await engine.infer({
        inputs: [{ data: input, width, height: rows }],
        outputs: [{ sum, weight }],
        regions,
        maxBatchPixels: 2 * regionPixels,
        cancel: cancellation.flag,
      })
      cancellation.check()
      const errors = await errorsOf(sum)
      classOfTile.forEach((k, i) => (sums.error[k]![index]! += errors[i]!))
    }
    sums.tiles += classes.length
  }
}

/**
 * Runs every subnet over pictures and measures the mean squared error per RGB sample in [0, 1] of each gradient class.
 * Frequencies are shares of the area. Classes without tiles are filled in, see {@link fillUnseen}.
 *
 * @throws WbsrError WBSR_NO_DATA when no picture came, WBSR_INVALID_IMAGE when HR is not LR times scale, WBSR_ABORTED
 */
export async function calibrate(
  state: ModelState,
  images: AsyncIterable<{ lr: RawImage; hr: RawImage }>,
  options: CalibrateOptions = {},
): Promise<RouterTable> {
  checkUsable(state)
  checkObject(options, 'calibrate options', ['tileSize', 'maxTiles', 'signal'])
  const tileSize = checkInteger(options.tileSize ?? 64, 'tileSize', 16, 4096)
  const maxTiles = options.maxTiles === undefined ? Infinity : checkInteger(options.maxTiles, 'maxTiles', 1)
  const cancellation = new Cancellation(
    'calibration',
    options.signal === undefined ? undefined : checkSignal(options.signal, 'signal'),
  )
  const sums = new Sums(state.classes.count, state.engine.subnets.length)
  try {
    cancellation.check()
    for await (const { lr, hr } of images) {
      cancellation.check()
      await addPicture(state, lr, hr, tileSize, maxTiles, sums, cancellation)
      if (sums.tiles >= maxTiles) break
    }
  } catch (error) {
    throw wrapError(cancellation.explain(error))
  } finally {
    cancellation.release()
  }
  if (sums.tiles === 0)
    throw new WbsrError('WBSR_NO_DATA', 'Expected at least one picture to calibrate the router with')
  const total = sums.samples.reduce((a, b) => a + b)
  const means = (column: (k: number) => number) =>
    fillUnseen(sums.samples.map((n, k) => (n > 0 ? column(k) / n : null)))
  const columns = state.engine.subnets.map(({ index }) => means((k) => sums.error[k]![index]!))
  return {
    squaredError: sums.samples.map((_, k) => columns.map((column) => column[k]!)),
    bicubicSquaredError: means((k) => sums.bicubic[k]!),
    frequency: sums.samples.map((n) => n / total),
    tiles: sums.tiles,
    tileSize,
  }
}
