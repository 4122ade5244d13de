// Tiles that are separate pictures: one call of the engine for a batch of them, each with its own halo as context.
import { isFloat32Array, isUint16Array } from 'node:util/types'
import type { Cancellation } from '../cancellation.js'
import { hasAlpha, joinAlpha, splitColours } from '../images/alpha.js'
import { cutPixels } from '../images/pixels.js'
import type { ModelState } from '../model-state.js'
import { type InferRegion, native, type PixelArray } from '../native.js'
import { mapForDataset } from '../routing/class-map.js'
import { classOf } from '../routing/classes.js'
import { difficultiesOf, routedState } from '../routing/measure.js'
import type { RoutingSettings } from '../routing/options.js'
import type { ClassMap } from '../routing/router.js'
import type { Tile, UpscaledTile } from '../types.js'
import { haloOf } from './check-tile.js'
import { type TileDecision, upscaledTile } from './tile-rows.js'

/** The pixels of a tile that the network gets: the colours alone if alpha is data. */
function seenPixels({ data, channels, alpha }: Tile): { data: PixelArray; channels: 1 | 2 | 3 | 4 } {
  if (alpha !== 'data' || !hasAlpha(channels)) return { data, channels }
  return { data: splitColours(data, channels), channels: (channels - 1) as 1 | 3 }
}

/** All pixels of a tile, halo included. */
function seenSize(tile: Tile): { width: number; height: number } {
  const { left, top, right, bottom } = haloOf(tile)
  return { width: left + tile.width + right, height: top + tile.height + bottom }
}

async function finishTile(
  tile: Tile,
  output: { sum: Float32Array; weight: Float32Array },
  scale: number,
): Promise<PixelArray> {
  const { width, height } = seenSize(tile)
  const { left, top } = haloOf(tile)
  const { data, channels } = tile
  const bytes = isFloat32Array(data) ? 4 : isUint16Array(data) ? 2 : 1
  const alpha = hasAlpha(channels)
    ? ((await native.resizeBicubic(
        await native.toAlphaFloat(data, width, height, channels),
        width,
        height,
        1,
        width * scale,
        height * scale,
        0,
      )) as Float32Array)
    : null
  const first = top * scale * width * scale
  const rows = tile.height * scale
  const plane = alpha && alpha.subarray(first, first + rows * width * scale)
  const apart = tile.alpha === 'data' && hasAlpha(channels)
  const finished = await native.finishRows(
    output.sum,
    output.weight,
    width * scale,
    top * scale,
    rows,
    apart ? channels - 1 : channels,
    apart ? null : plane,
    bytes,
  )
  const strip = apart ? joinAlpha(finished, plane!, channels) : finished
  return cutPixels(strip, width * scale, channels, left * scale, 0, tile.width * scale, rows)
}

export class SingleTiles {
  readonly #state: ModelState
  readonly #settings: RoutingSettings
  readonly #halo: number
  readonly #cancellation: Cancellation
  /** By tile edge; kept, because planning again for every tile would not be cheap. */
  readonly #maps = new Map<number, ClassMap>()

  constructor(state: ModelState, settings: RoutingSettings, halo: number, cancellation: Cancellation) {
    this.#state = state
    this.#settings = settings
    this.#halo = halo
    this.#cancellation = cancellation
  }

  /** Upscales tiles of any sizes; the result of each depends on no other. */
  async run(tiles: readonly Tile[]): Promise<UpscaledTile[]> {
    const { engine, network } = this.#state
    const { scale } = network
    const decisions = await Promise.all(tiles.map((tile) => this.#decide(tile)))
    const inputs = tiles.map((tile) => ({ ...seenPixels(tile), ...seenSize(tile) }))
    const outputs = inputs.map(({ width, height }) => ({
      sum: new Float32Array(width * height * scale * scale * 3),
      weight: new Float32Array(width * height * scale * scale),
    }))
    const regions = decisions.map(({ tile, subnet }, picture) => this.#region(tile, subnet, picture))
    await engine.infer({
      inputs,
      outputs,
      regions,
      maxBatchPixels: 2 * this.#settings.regionPixels,
      cancel: this.#cancellation.flag,
    })
    this.#cancellation.check()
    return Promise.all(
      decisions.map(async (decision, i) =>
        upscaledTile(decision, await finishTile(decision.tile, outputs[i]!, scale), scale),
      ),
    )
  }

  async #decide(tile: Tile): Promise<TileDecision> {
    const { left, top } = haloOf(tile)
    const { width, height } = seenSize(tile)
    const { data, channels } = seenPixels(tile)
    const { classes } = routedState(this.#state, this.#settings)
    const rect = Int32Array.of(left, top, tile.width, tile.height)
    const difficulty = (await difficultiesOf(classes, { data, width, height, channels }, rect))[0]!
    const k = classOf(classes, difficulty)
    const edge = Math.max(tile.width, tile.height)
    const map =
      this.#maps.get(edge) ??
      mapForDataset(this.#state, this.#settings, edge, { halo: this.#halo, blend: 0, margin: this.#halo })
    this.#maps.set(edge, map)
    return { tile, difficulty, class: k, subnet: map[k - 1]! }
  }

  #region(tile: Tile, subnet: number, picture: number): InferRegion {
    const halo = haloOf(tile)
    const { subnets, sizeMultiple = 1 } = this.#state.engine
    const reach = Math.min(this.#halo, subnets[subnet]!.receptiveField)
    const [left, top, right, bottom] = [halo.left, halo.top, halo.right, halo.bottom].map(
      (n) => Math.floor(Math.min(n, reach) / sizeMultiple) * sizeMultiple,
    ) as [number, number, number, number]
    return {
      picture,
      subnet,
      x: halo.left - left,
      y: halo.top - top,
      width: left + tile.width + right,
      height: top + tile.height + bottom,
      keepX: halo.left,
      keepY: halo.top,
      keepWidth: tile.width,
      keepHeight: tile.height,
      rampLeft: 0,
      rampTop: 0,
      rampRight: 0,
      rampBottom: 0,
    }
  }
}
