// The tiling of ClassSR, ARM and WBSR (protocol.md, 'paper'): only for comparing with their figures.
import type { Cancellation } from '../cancellation.js'
import { WbsrError } from '../errors.js'
import { cutPixels } from '../images/pixels.js'
import type { ModelState } from '../model-state.js'
import { type InferRegion, native } from '../native.js'
import { expectationOf, frequencyOfTiles, mapForPaper } from '../routing/class-map.js'
import { classOf } from '../routing/classes.js'
import { difficultiesOf, routedState } from '../routing/measure.js'
import type { RawImage } from '../types.js'
import type { UpscaleSettings } from './options.js'
import type { PixelResult } from './result.js'

const TILE = 32
const STEP = 28
/** Tiles per call of the engine: its pictures are separate, since each tile is rounded before it is averaged. */
const BATCH = 64

/** 32x32 tiles at step 28, each rounded to 8 bits, overlaps averaged; the remainder is dropped. */
export async function upscalePaper(
  state: ModelState,
  image: RawImage,
  settings: UpscaleSettings,
  cancellation: Cancellation,
  start: number,
): Promise<PixelResult> {
  const { width, height, channels } = image
  const { engine, network } = state
  if (image.data.BYTES_PER_ELEMENT !== 1 || channels === 2 || channels === 4)
    throw new WbsrError('WBSR_INVALID_IMAGE', "Expected 8-bit grey or RGB pixels for protocol 'paper'")
  if (width < TILE || height < TILE)
    throw new WbsrError(
      'WBSR_INVALID_IMAGE',
      `Expected an image of at least ${TILE}x${TILE} pixels for protocol 'paper' but it has ${width}x${height}`,
    )
  const columns = Math.floor((width - TILE) / STEP) + 1
  const rows = Math.floor((height - TILE) / STEP) + 1
  const count = columns * rows
  const position = (i: number) => ({ x: (i % columns) * STEP, y: Math.floor(i / columns) * STEP })

  const rects = new Int32Array(4 * count)
  for (let i = 0; i < count; i++) rects.set([position(i).x, position(i).y, TILE, TILE], 4 * i)
  const { classes: table } = routedState(state, settings)
  const difficulties = await difficultiesOf(table, image, rects)
  cancellation.check()
  const classes = Int32Array.from(difficulties, (difficulty) => classOf(table, difficulty))
  const map = mapForPaper(state, settings, classes)

  const edge = TILE * network.scale
  const tiles = new Uint8Array(count * edge * edge * channels)
  const histogram = new Array<number>(engine.subnets.length).fill(0)
  const largest = engine.subnets.at(-1)!.flops
  let flops = 0
  let networkSeconds = 0
  for (let first = 0; first < count; first += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, count - first) }, (_, i) => first + i)
    const inputs = batch.map((i) => ({
      data: cutPixels(image.data, width, channels, position(i).x, position(i).y, TILE, TILE),
      width: TILE,
      height: TILE,
      channels,
    }))
    const outputs = batch.map(() => ({ sum: new Float32Array(edge * edge * 3), weight: new Float32Array(edge * edge) }))
    const regions = batch.map(
      (i, picture): InferRegion => ({
        picture,
        subnet: map[classes[i]! - 1]!,
        x: 0,
        y: 0,
        width: TILE,
        height: TILE,
        keepX: 0,
        keepY: 0,
        keepWidth: TILE,
        keepHeight: TILE,
        rampLeft: 0,
        rampTop: 0,
        rampRight: 0,
        rampBottom: 0,
      }),
    )
    const report = await engine.infer({
      inputs,
      outputs,
      regions,
      maxBatchPixels: settings.regionPixels,
      cancel: cancellation.flag,
    })
    cancellation.check()
    networkSeconds += report.networkSeconds
    for (const region of regions) {
      histogram[region.subnet]!++
      flops += engine.subnets[region.subnet]!.flops
    }
    const finished = await Promise.all(
      outputs.map(({ sum, weight }) => native.finishRows(sum, weight, edge, 0, edge, channels, null, 1)),
    )
    finished.forEach((tile, i) => tiles.set(tile, (first + i) * edge * edge * channels))
    await settings.onProgress?.({
      done: first + batch.length,
      total: count,
      seconds: (performance.now() - start) / 1000,
    })
  }

  const data = await native.averageTiles(tiles, columns, rows, edge, STEP * network.scale, channels)
  cancellation.check()
  const seconds = (performance.now() - start) / 1000
  return {
    data,
    width: ((columns - 1) * STEP + TILE) * network.scale,
    height: ((rows - 1) * STEP + TILE) * network.scale,
    channels,
    allocation: {
      tiles: Array.from(classes, (k, i) => ({
        ...position(i),
        width: TILE,
        height: TILE,
        difficulty: difficulties[i]!,
        class: k,
        subnet: map[k - 1]!,
      })),
      flops,
      flopsOfLargest: largest * count,
      spent: flops / (largest * count),
      expected: expectationOf(state, settings, map, frequencyOfTiles(state, settings, classes)),
      expectedOverall: expectationOf(state, settings, map),
      histogram,
    },
    seconds,
    timings: { network: networkSeconds, other: seconds - networkSeconds },
  }
}
