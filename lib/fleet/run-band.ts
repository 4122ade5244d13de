// One band of a picture: LR rows from the store, SR rows into the store, the same bytes as upscale() has there.
import { Cancellation } from '../cancellation.js'
import { WbsrError } from '../errors.js'
import { hasAlpha, splitColours } from '../images/alpha.js'
import { PicturePass, type Strip } from '../infer/picture-pass.js'
import { checkUsable, type ModelState } from '../model-state.js'
import { markHandled } from '../promises.js'
import type { PixelBand } from '../routing/route-group.js'
import { type Grid, groupSpan, makeGrid } from '../tiling/grid.js'
import type { Overlap } from '../tiling/overlap.js'
import { type Band, regionsOf, seamRegions } from './bands.js'
import { type BandsManifest, bandKey } from './manifest.js'
import { rowBytes, StoredRows } from './rows.js'
import type { Store } from './store.js'

/** What was done, for rates and reports. */
export interface BandReport {
  /** 2 x MAC that ran. */
  flops: number
  seconds: number
  /** The band was in the store already. */
  found: boolean
}

export function gridOfManifest({ shape, tile, groupRows }: BandsManifest): Grid {
  return makeGrid(shape.width, shape.height, tile, groupRows)
}

/** LR rows [top, bottom) of the result that a band makes: its last rows need the group below, which makes them. */
export function rowsOfBand(grid: Grid, { first, end }: Band, { blend }: Overlap): { top: number; bottom: number } {
  return {
    top: first === 0 ? 0 : groupSpan(grid, first).y0 - blend,
    bottom: end === grid.groups ? grid.height : groupSpan(grid, end).y0 - blend,
  }
}

/** Bytes of a band's object. */
export function bandBytes(manifest: BandsManifest, band: Band): number {
  const { top, bottom } = rowsOfBand(gridOfManifest(manifest), band, manifest.overlap)
  return (bottom - top) * manifest.scale ** 2 * rowBytes(manifest.shape)
}

/** Runs a band and writes it, unless it is there. `onGroup` gets the share that is done. */
export async function runBand(
  state: ModelState,
  store: Store,
  manifest: BandsManifest,
  index: number,
  signal: AbortSignal,
  onGroup: (share: number) => void = () => {},
): Promise<BandReport> {
  const band = manifest.bands[index]
  if (!band) throw new WbsrError('WBSR_INVALID_FILE', `Job ${manifest.id} has no band ${index}`)
  const start = performance.now()
  const key = bandKey(manifest.id, band)
  const seconds = () => (performance.now() - start) / 1000
  if ((await store.size(key)) === bandBytes(manifest, band)) return { flops: 0, seconds: seconds(), found: true }
  checkUsable(state)
  const cancellation = new Cancellation('upscaling a band', signal)
  const run = new BandRun(state, store, manifest, band, cancellation, onGroup)
  try {
    cancellation.check()
    await store.write(key, run.rows())
    return { flops: band.flops, seconds: seconds(), found: false }
  } catch (error) {
    throw cancellation.explain(error)
  } finally {
    await run.end()
    cancellation.release()
  }
}

class BandRun {
  readonly #manifest: BandsManifest
  readonly #band: Band
  readonly #grid: Grid
  readonly #source: StoredRows
  readonly #pass: PicturePass
  readonly #subnets: Uint8Array
  readonly #cancellation: Cancellation
  readonly #onGroup: (share: number) => void
  /** Groups under way, in order. */
  readonly #running: Promise<Strip[]>[] = []
  /** Resolves when the last of them was given to the engine. */
  #given: Promise<unknown> = Promise.resolve()

  constructor(
    state: ModelState,
    store: Store,
    manifest: BandsManifest,
    band: Band,
    cancellation: Cancellation,
    onGroup: (share: number) => void,
  ) {
    const { shape, overlap, regionPixels } = manifest
    this.#manifest = manifest
    this.#band = band
    this.#grid = gridOfManifest(manifest)
    this.#source = new StoredRows(store, manifest.rows, shape)
    this.#subnets = new Uint8Array(Buffer.from(manifest.subnets, 'base64'))
    this.#cancellation = cancellation
    this.#onGroup = onGroup
    const chosen = (group: number) => {
      const all = regionsOf(state, this.#grid, group, this.#subnets, overlap, regionPixels)
      if (group >= band.first) return all.regions
      return seamRegions(all, groupSpan(this.#grid, group).y1 - overlap.blend)
    }
    this.#pass = new PicturePass(state, this.#grid, shape.channels, overlap, regionPixels, cancellation, null, chosen)
  }

  /** The band's SR rows, group by group; one group is read and queued while another runs. */
  async *rows(): AsyncGenerator<Uint8Array> {
    const { first, end } = this.#band
    const { scale, overlap } = this.#manifest
    const { top, bottom } = rowsOfBand(this.#grid, this.#band, overlap)
    const from = Math.max(0, first - 1)
    const ahead = this.#pass.overlaps ? 2 : 1
    let next = from
    // The first group creates the canvas that the others use.
    this.#start(next++)
    for (let done = 1; done <= end - from; done++) {
      const strips = await this.#running[0]!
      this.#running.shift()
      while (next < end && this.#running.length < ahead) this.#start(next++)
      for (const strip of strips) {
        const bytes = rowsWithin(strip, top * scale, bottom * scale)
        if (bytes) yield bytes
      }
      this.#onGroup(done / (end - from))
    }
  }

  /** Reads a group at once and gives it to the engine after the one before. */
  #start(group: number): void {
    const reading = markHandled(this.#read(group))
    const given = this.#given.then(async () => {
      const band = await reading
      this.#cancellation.check()
      const { firstRow, endRow } = groupSpan(this.#grid, group)
      const subnets = this.#subnets.subarray(firstRow * this.#grid.columns, endRow * this.#grid.columns)
      // An object, so that `given` does not wait for the group itself.
      return { strips: markHandled(this.#pass.run(group, band, subnets)) }
    })
    this.#given = given
    this.#running.push(markHandled(given.then(({ strips }) => strips)))
  }

  async #read(group: number): Promise<PixelBand> {
    const { shape, alpha } = this.#manifest
    const { top, bottom } = this.#pass.bandOf(group)
    const data = await this.#source.read(top, bottom - top)
    const colours = alpha === 'data' && hasAlpha(shape.channels) ? splitColours(data, shape.channels) : undefined
    return { data, top, bottom, ...(colours && { colours }) }
  }

  /** Waits for what runs, as its jobs use the canvas. */
  async end(): Promise<void> {
    await Promise.allSettled(this.#running)
    this.#pass.release()
  }
}

/** The bytes of those rows of a strip that are in [top, bottom); null: none. */
function rowsWithin({ data, firstRow, rows }: Strip, top: number, bottom: number): Uint8Array | null {
  const first = Math.max(firstRow, top)
  const end = Math.min(firstRow + rows, bottom)
  if (first >= end) return null
  const stride = data.byteLength / rows
  return new Uint8Array(data.buffer, data.byteOffset + (first - firstRow) * stride, (end - first) * stride)
}
