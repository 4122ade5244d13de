// Upscales one whole picture: difficulties of all tiles first (only numbers are kept), then the map that meets the
// budget for exactly this picture, then group after group through the engine.
import { isFloat32Array, isUint16Array } from 'node:util/types'
import { Cancellation } from '../cancellation.js'
import { wrapError } from '../errors.js'
import { hasAlpha, judgeAlpha, splitColours } from '../images/alpha.js'
import { readImage } from '../images/images.js'
import { scaleMetadata } from '../images/metadata.js'
import { continueImage, Unwrapper, wrapPixels } from '../images/wrap.js'
import { checkUsable, type ModelState } from '../model-state.js'
import type { RouteResult } from '../native.js'
import { allSettled, markHandled } from '../promises.js'
import { routedState } from '../routing/measure.js'
import { newPicture, type PixelBand, routeGroup, rowsOf } from '../routing/route-group.js'
import { pictureFlops } from '../tiling/flops.js'
import { type Grid, groupSpan, tileArea } from '../tiling/grid.js'
import { overlapOf } from '../tiling/overlap.js'
import type { ImageInput, PixelArray, RawImage } from '../types.js'
import { fastestPlan } from './fastest-plan.js'
import { checkUpscaleOptions, type UpscaleOptions, type UpscaleSettings } from './options.js'
import { cropResult, padPicture } from './padding.js'
import { upscalePaper } from './paper.js'
import { PicturePass } from './picture-pass.js'
import { planOf } from './plan.js'
import type { PixelResult, UpscaleResult } from './result.js'

function newPixels(like: PixelArray, length: number): PixelArray {
  if (isFloat32Array(like)) return new Float32Array(length)
  return isUint16Array(like) ? new Uint16Array(length) : new Uint8Array(length)
}

/** Jobs that are queued before the first of them is done, so that the engine never idles. */
const AHEAD = 2

/** Difficulties and classes of all tiles of a picture, group by group, so that an abort takes effect between groups. */
async function routePicture(
  state: ModelState,
  image: Pick<PixelBand, 'data' | 'colours' | 'picture'> & { channels: RawImage['channels'] },
  grid: Grid,
  cancellation: Cancellation,
): Promise<RouteResult> {
  const result: RouteResult = {
    difficulties: new Float64Array(grid.columns * grid.rows),
    classes: new Int32Array(grid.columns * grid.rows),
  }
  await ahead(grid.groups, AHEAD, async (group) => {
    const { difficulties, classes } = await routeGroup(state, { ...image, top: 0 }, image.channels, grid, group)
    cancellation.check()
    const first = groupSpan(grid, group).firstRow * grid.columns
    result.difficulties.set(difficulties, first)
    result.classes.set(classes, first)
  })
  return result
}

/** Calls start(0) .. start(count - 1) in order, at most `most` of them not settled. Rejects with the first failure once all have settled. */
async function ahead(count: number, most: number, start: (index: number) => Promise<void>): Promise<void> {
  const running: Promise<void>[] = []
  for (let index = 0; index < count; index++) {
    if (running.length >= most) {
      const [oldest] = await Promise.allSettled([running[0]])
      if (oldest.status === 'rejected') break
      running.shift()
    }
    running.push(markHandled(start(index)))
  }
  await allSettled(running)
}

/** upscaleFull of the picture padded to sides that the network accepts, cropped to the picture. */
async function upscalePadded(
  state: ModelState,
  image: RawImage,
  settings: UpscaleSettings,
  cancellation: Cancellation,
  start: number,
): Promise<PixelResult> {
  const padded = padPicture(image, state.engine)
  return cropResult(await upscaleFull(state, padded, settings, cancellation, start), image, state.network.scale)
}

async function upscaleFull(
  state: ModelState,
  image: RawImage,
  settings: UpscaleSettings,
  cancellation: Cancellation,
  start: number,
): Promise<PixelResult> {
  const { width, height, channels } = image
  const { scale } = state.network
  const overlap = overlapOf(settings.halo, state.engine, state.source !== undefined)
  const colours =
    hasAlpha(channels) && settings.alphaChannel === 'data' ? splitColours(image.data, channels) : undefined
  const picture = { id: newPicture(), rows: height }
  const route = (grid: Grid) =>
    routePicture(routedState(state, settings), { data: image.data, channels, colours, picture }, grid, cancellation)
  const { costs } = settings
  const plan = await (costs
    ? fastestPlan(state, settings, costs, image, overlap, route, cancellation)
    : planOf(state, settings, image, overlap, route))
  const { grid, difficulties, classes, subnets } = plan

  const stride = width * channels
  const data = newPixels(image.data, width * scale * height * scale * channels)
  const pass = new PicturePass(state, grid, channels, overlap, plan.regionPixels, cancellation, data)
  const runGroup = async (group: number) => {
    const { firstRow, endRow } = groupSpan(grid, group)
    const { top, bottom } = pass.bandOf(group)
    const band = {
      data: image.data.subarray(top * stride, bottom * stride),
      colours: colours && rowsOf(colours, width * (channels - 1), top, bottom),
      top,
      bottom,
      picture,
    }
    await pass.run(group, band, subnets.subarray(firstRow * grid.columns, endRow * grid.columns))
    await settings.onProgress?.({
      done: endRow * grid.columns,
      total: grid.rows * grid.columns,
      seconds: (performance.now() - start) / 1000,
    })
  }
  try {
    await runGroup(0)
    await ahead(grid.groups - 1, pass.overlaps ? AHEAD : 1, (index) => runGroup(index + 1))
  } finally {
    // After a failure wait for the picture's jobs, so that none is left when the next picture starts.
    pass.release()
  }

  const histogram = new Array<number>(state.engine.subnets.length).fill(0)
  const tiles = Array.from(classes, (k, i) => {
    const subnet = subnets[i]!
    histogram[subnet]!++
    return {
      ...tileArea(grid, i % grid.columns, Math.floor(i / grid.columns)),
      difficulty: difficulties[i]!,
      class: k,
      subnet,
    }
  })
  const seconds = (performance.now() - start) / 1000
  const network = pass.totals.networkSeconds
  const { flops } = pass.totals
  const flopsOfLargest = pictureFlops(state.engine.subnets.at(-1)!, width, height)
  return {
    data,
    width: width * scale,
    height: height * scale,
    channels,
    allocation: {
      tiles,
      flops,
      flopsOfLargest,
      spent: flops / flopsOfLargest,
      expected: plan.expected,
      expectedOverall: plan.expectedOverall,
      histogram,
    },
    seconds,
    timings: { network, other: seconds - network, ...(plan.seconds !== null && { predicted: plan.seconds }) },
  }
}

/** A texture: upscaled with its opposite sides around it, which are then cropped. */
async function upscaleTexture(
  state: ModelState,
  image: RawImage,
  settings: UpscaleSettings,
  cancellation: Cancellation,
  start: number,
): Promise<PixelResult> {
  const { scale } = state.network
  const pixels = wrapPixels(overlapOf(settings.halo, state.engine, state.source !== undefined).margin)
  const pad = { x: settings.wrap.x ? pixels : 0, y: settings.wrap.y ? pixels : 0 }
  const result = await upscalePadded(state, await continueImage(image, pad), settings, cancellation, start)
  const unwrapper = new Unwrapper(result, { x: pad.x * scale, y: pad.y * scale })
  const data = unwrapper.push(result.data)!
  const { width, height } = image
  const tiles = result.allocation.tiles.flatMap((tile) => {
    const [x, y] = [Math.max(0, tile.x - pad.x), Math.max(0, tile.y - pad.y)]
    const right = Math.min(width, tile.x - pad.x + tile.width)
    const bottom = Math.min(height, tile.y - pad.y + tile.height)
    return right > x && bottom > y ? [{ ...tile, x, y, width: right - x, height: bottom - y }] : []
  })
  const histogram = new Array<number>(state.engine.subnets.length).fill(0)
  for (const { subnet } of tiles) histogram[subnet]!++
  return {
    ...result,
    data,
    width: unwrapper.width,
    height: unwrapper.height,
    allocation: { ...result.allocation, tiles, histogram },
  }
}

/**
 * Upscales a picture of any size from 1x1. Grey stays grey, alpha is resized separately (bicubic; see alphaChannel),
 * 16-bit and float pixels keep their type.
 *
 * @param input a file path or file: URL, the bytes of an encoded image, or { data, width, height, channels }
 * @throws WbsrError WBSR_INVALID_OPTION, WBSR_INVALID_IMAGE, WBSR_NOT_FOUND, WBSR_IO, WBSR_ABORTED, WBSR_DISPOSED,
 *   WBSR_OUT_OF_MEMORY; and whatever onProgress throws, as it is
 */
export async function upscale(
  state: ModelState,
  input: ImageInput,
  options: UpscaleOptions = {},
): Promise<UpscaleResult> {
  checkUsable(state)
  const settings = checkUpscaleOptions(options, state)
  const cancellation = new Cancellation('upscale', settings.signal)
  let thrown: { error: unknown } | null = null
  const { onProgress } = settings
  if (onProgress) {
    // After a failure it is not called any more.
    settings.onProgress = async (progress) => {
      if (thrown) return
      try {
        await onProgress(progress)
      } catch (error) {
        thrown = { error }
        throw error
      }
    }
  }
  try {
    cancellation.check()
    const { image, header } = await readImage(input, 'input', settings.read)
    cancellation.check()
    checkUsable(state)
    const start = performance.now()
    if (settings.alphaChannel === 'auto') settings.alphaChannel = judgeAlpha(image.data, image.channels)
    const result = await (settings.protocol === 'paper'
      ? upscalePaper(state, image, settings, cancellation, start)
      : settings.wrap.x || settings.wrap.y
        ? upscaleTexture(state, image, settings, cancellation, start)
        : upscalePadded(state, image, settings, cancellation, start))
    const { metadata, pages, page, warnings } = header
    return {
      ...result,
      metadata: metadata && scaleMetadata(metadata, state.network.scale, result.width, result.height),
      pages,
      page,
      warnings,
    }
  } catch (error) {
    if (thrown) throw (thrown as { error: unknown }).error
    throw wrapError(cancellation.explain(error))
  } finally {
    cancellation.release()
  }
}
