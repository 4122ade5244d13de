// Measures what the calibrated router needs: the squared error of every subnet in every gradient class, on tiles of
// validation pictures (method.md section 6). All pictures count for how frequent the classes are; every subnet runs on a
// bounded, seeded choice of their tiles only, spread over the classes.
import { Cancellation } from '../cancellation.js'
import { WbsrError, wrapError } from '../errors.js'
import { checkUsable, MOST_PICTURES, type ModelState, type RouterTable } from '../model-state.js'
import { checkFunction, checkInteger, checkObject, checkSignal } from '../options.js'
import { randomFor } from '../random.js'
import { groupSpan, makeGrid, tileArea } from '../tiling/grid.js'
import type { RawImage } from '../types.js'
import { defaultRegionPixels } from './options.js'
import { routeGroup } from './route-group.js'
import { quantilesOf } from './tile-loss.js'
import { TileSample } from './tile-sample.js'
import { chunksOf, cutWindow, ErrorSums, measureWindows, type TileWindow } from './tile-windows.js'

export interface CalibrateOptions {
  /** Edge of a tile in LR pixels, 16..4096. Default 64. */
  tileSize?: number
  /** LR pixels of the tiles that all subnets run on, at most, halo not counted; at least one tile. Default 2^20. */
  pixels?: number
  /** Of the choice of tiles, default 1. */
  seed?: number
  /** LR sizes of the pictures that will come, for the total of onProgress. */
  sizes?: readonly { width: number; height: number }[]
  /** After every picture read, and after every subnet's run on some tiles; counts pictures, then tiles times subnets. */
  onProgress?: (progress: { done: number; total: number }) => void
  signal?: AbortSignal
}

/** Default of {@link CalibrateOptions.pixels}. */
export const CALIBRATION_PIXELS = 2 ** 20

// Keeps the choice of tiles apart from the other random numbers of a seed.
const TILE_STREAM = 0x711e5

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

const mostTiles = (tileSize: number, pixels: number): number => Math.max(1, Math.floor(pixels / tileSize ** 2))

/** On how many tiles of pictures of these LR sizes calibrate() runs every subnet. */
export function measuredTiles(
  sizes: readonly { width: number; height: number }[],
  tileSize: number,
  pixels: number,
): number {
  const all = sizes.reduce(
    (sum, { width, height }) => sum + Math.ceil(width / tileSize) * Math.ceil(height / tileSize),
    0,
  )
  return Math.min(all, mostTiles(tileSize, pixels))
}

/** Classes of all tiles of a picture, row by row, and the area of each class in pixels. */
async function classesOf(
  state: ModelState,
  lr: RawImage,
  grid: ReturnType<typeof makeGrid>,
): Promise<{ classes: number[]; areas: number[] }> {
  const areas = new Array<number>(state.classes.count).fill(0)
  const classes: number[] = []
  for (let group = 0; group < grid.groups; group++) {
    const { y0, y1 } = groupSpan(grid, group)
    const stride = lr.width * lr.channels
    const band = { data: lr.data.subarray(y0 * stride, y1 * stride), top: y0 }
    classes.push(...(await routeGroup(state, band, lr.channels, grid, group)).classes)
  }
  classes.forEach((k, i) => {
    const { width, height } = tileArea(grid, i % grid.columns, Math.floor(i / grid.columns))
    areas[k - 1]! += width * height
  })
  return { classes, areas }
}

/**
 * Runs every subnet over tiles of pictures and measures the mean squared error per RGB sample in [0, 1] of each gradient
 * class. The tiles are a seeded choice of at most `pixels` LR pixels, as many of each class as there are and fit. Frequencies
 * are shares of the area of all pictures. Classes without tiles are filled in, see {@link fillUnseen}.
 *
 * @throws WbsrError WBSR_NO_DATA when no picture came, WBSR_INVALID_IMAGE when HR is not LR times scale, WBSR_ABORTED
 */
export async function calibrate(
  state: ModelState,
  images: AsyncIterable<{ lr: RawImage; hr: RawImage }>,
  options: CalibrateOptions = {},
): Promise<RouterTable> {
  checkUsable(state)
  const { signal, onProgress } = options
  checkObject(options, 'calibrate options', ['tileSize', 'pixels', 'seed', 'sizes', 'onProgress', 'signal'])
  const tileSize = checkInteger(options.tileSize ?? 64, 'tileSize', 16, 4096)
  const pixels = checkInteger(options.pixels ?? CALIBRATION_PIXELS, 'pixels', 1)
  const seed = checkInteger(options.seed ?? 1, 'seed', 0)
  if (onProgress !== undefined) checkFunction(onProgress, 'onProgress')
  const cancellation = new Cancellation('calibration', signal === undefined ? undefined : checkSignal(signal, 'signal'))
  const { network, engine } = state
  const { scale } = network
  const sample = new TileSample<TileWindow>(state.classes.count, mostTiles(tileSize, pixels))
  const pictures: number[][] = []
  const sums = new ErrorSums(state.classes.count, engine.subnets.length)
  const sizes = { tile: tileSize, multiple: engine.sizeMultiple ?? 1 }
  let read = 0
  const { sizes: expected = [] } = options
  const total = expected.length + measuredTiles(expected, tileSize, pixels) * engine.subnets.length
  const tell = (measured: number): void =>
    onProgress?.({ done: read + measured, total: Math.max(total, read + measured) })
  try {
    cancellation.check()
    for await (const { lr, hr } of images) {
      cancellation.check()
      if (hr.width !== lr.width * scale || hr.height !== lr.height * scale) {
        throw new WbsrError(
          'WBSR_INVALID_IMAGE',
          `Expected a HR image of ${lr.width * scale}x${lr.height * scale} pixels for a LR image of ${lr.width}x${lr.height} but it has ${hr.width}x${hr.height}`,
        )
      }
      const grid = makeGrid(lr.width, lr.height, tileSize)
      const { classes, areas } = await classesOf(state, lr, grid)
      pictures.push(areas)
      await sample.add(classes, randomFor(seed, TILE_STREAM, read), (i) =>
        cutWindow(lr, hr, scale, tileArea(grid, i % grid.columns, Math.floor(i / grid.columns)), sizes),
      )
      read++
      tell(0)
    }
    const tiles = sample.tiles()
    let measured = 0
    for (const chunk of chunksOf(tiles, defaultRegionPixels(state))) {
      await measureWindows(state, chunk, sums, cancellation, () => {
        measured += chunk.length
        tell(measured)
      })
    }
    if (tiles.length === 0)
      throw new WbsrError('WBSR_NO_DATA', 'Expected at least one picture to calibrate the router with')
    const table = tableOf(sums, pictures, tiles.length, tileSize)
    return state.classes.measure === 'edge' ? { ...table, psnr: meanPsnr(sums) } : table
  } catch (error) {
    throw wrapError(cancellation.explain(error))
  } finally {
    cancellation.release()
  }
}

function sharesOf(areas: readonly number[]): number[] {
  const area = areas.reduce((a, b) => a + b)
  return areas.map((n) => n / area)
}

/** [class - 1][subnet]: mean PSNR over the tiles of each class. */
function meanPsnr({ psnr, tileLosses }: ErrorSums): number[][] {
  const tiles = tileLosses.map(({ length }) => length)
  const columns = psnr[0]!.map((_, m) => fillUnseen(psnr.map((row, k) => (tiles[k]! > 0 ? row[m]! / tiles[k]! : null))))
  return psnr.map((_, k) => columns.map((column) => column[k]!))
}

/** @param pictures area of each class in each picture */
function tableOf(
  sums: ErrorSums,
  pictures: readonly (readonly number[])[],
  tiles: number,
  tileSize: number,
): RouterTable {
  const stored = Math.min(pictures.length, MOST_PICTURES)
  const every = pictures.length / stored
  const means = (values: readonly number[]): number[] =>
    fillUnseen(sums.samples.map((n, k) => (n > 0 ? values[k]! / n : null)))
  const columns = sums.error[0]!.map((_, subnet) => means(sums.error.map((row) => row[subnet]!)))
  return {
    squaredError: sums.samples.map((_, k) => columns.map((column) => column[k]!)),
    bicubicSquaredError: means(sums.bicubic),
    frequency: sharesOf(sums.samples.map((_, k) => pictures.reduce((sum, areas) => sum + areas[k]!, 0))),
    tiles,
    tileSize,
    // Four digits: what a tile more or less of a picture changes is more.
    pictures: Array.from({ length: stored }, (_, i) =>
      sharesOf(pictures[Math.floor(i * every)]!).map((share) => Math.round(share * 1e4) / 1e4),
    ),
    tileLosses: {
      tiles: sums.tileLosses.map(({ length }) => length),
      quantiles: sums.tileLosses.map((losses) => quantilesOf(losses, columns.length)),
    },
  }
}
