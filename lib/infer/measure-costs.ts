// Measures how fast this machine runs every subnet on regions of several sizes: the table behind the option `costs`.
import { Cancellation } from '../cancellation.js'
import { WbsrError, wrapError } from '../errors.js'
import { checkUsable, type ModelState } from '../model-state.js'
import type { InferRegion } from '../native.js'
import { checkInteger, checkObject, checkSignal } from '../options.js'
import { type CostTable, TILES } from '../routing/cost-table.js'
import { regionFlops } from '../tiling/flops.js'
import { isGlobal } from '../tiling/overlap.js'

export type { CostTable }

/** Options of `model.measureCosts`. */
export interface MeasureCostsOptions {
  /** How often every region is measured; the median counts. 1 .. 100. Default 3. */
  rounds?: number
  signal?: AbortSignal
}

/** LR pixels at each side of a region's kept part, as the default halo gives it. */
const MARGIN = 6
/** Edges of regions, margin included: a tile of 32, 64 and 128 LR pixels, and the default of regionPixels. */
const EDGES = [44, 76, 140, 193]

/**
 * FLOP/s of every subnet on this device, by size of region. Takes six seconds for wbsr:x2 on two cores; run it while
 * nothing else runs.
 *
 * @throws WbsrError WBSR_INVALID_OPTION, also where the network or the device sets the shape of regions (CUDA, attention over
 *   the whole picture); WBSR_ABORTED, WBSR_DISPOSED
 */
export async function measureCosts(state: ModelState, options: MeasureCostsOptions = {}): Promise<CostTable> {
  checkUsable(state)
  const { rounds = 3, signal } = checkObject(options, 'measureCosts options', ['rounds', 'signal'])
  checkInteger(rounds, 'rounds', 1, 100)
  checkMeasurable(state)
  const cancellation = new Cancellation(
    'measureCosts',
    signal === undefined ? undefined : checkSignal(signal, 'signal'),
  )
  try {
    return await measure(state, rounds as number, cancellation)
  } catch (error) {
    throw wrapError(cancellation.explain(error))
  } finally {
    cancellation.release()
  }
}

/** @throws WbsrError WBSR_INVALID_OPTION where regions cannot be chosen freely */
export function checkMeasurable({ engine }: ModelState): void {
  const reason = engine.device.regular
    ? `the device ${engine.device.kind} has regions of fixed shapes`
    : isGlobal(engine) || (engine.sizeMultiple ?? 1) > 1 || (engine.minimumSize ?? 1) > Math.min(...EDGES)
      ? 'the network sets the shape of its regions'
      : null
  if (reason) throw new WbsrError('WBSR_INVALID_OPTION', `Costs of regions are of no use here: ${reason}`)
}

async function measure(
  { engine, network }: ModelState,
  rounds: number,
  cancellation: Cancellation,
): Promise<CostTable> {
  const { threads } = engine.device
  const edge = EDGES.at(-1)!
  const [width, height] = [edge, edge]
  const data = Float32Array.from({ length: width * height * 3 }, (_, i) => ((i * 7919) % 1000) / 1000)
  const { scale } = network
  const canvas = await engine.createCanvas(width * scale, height * scale)
  try {
    /** Seconds of `count` equal regions, the median of the rounds. */
    const secondsOf = async (subnet: number, size: number, count: number) => {
      const region = regionOfEdge(subnet, size)
      const all: number[] = []
      for (let round = 0; round < rounds; round++) {
        await canvas.move(0, 0, height * scale)
        const { networkSeconds } = await engine.infer({
          inputs: [{ data, width, height }],
          outputs: [{ canvas }],
          regions: Array.from({ length: count }, () => region),
          maxBatchPixels: count * size * size,
          cancel: cancellation.flag,
        })
        cancellation.check()
        all.push(networkSeconds)
      }
      return { seconds: median(all), flops: count * regionFlops(region, engine.subnets[subnet]!) }
    }
    const apart: number[][] = []
    const together: number[] = []
    for (const { index } of engine.subnets) {
      const rates: number[] = []
      for (const size of EDGES) {
        const { seconds, flops } = await secondsOf(index, size, 2 * threads)
        rates.push(flops / seconds / threads)
      }
      apart.push(rates)
      const { seconds, flops } = await secondsOf(index, edge, 1)
      together.push(flops / seconds)
    }
    return { threads, edges: [...EDGES], apart, together, perPixel: await perPixel() }
  } finally {
    canvas.dispose()
  }

  /**
   * Of upscale(), all but the network: difficulties of the tiles that fastestPlan() tries, conversion of 8-bit pixels, clearing
   * and finishing of rows.
   */
  async function perPixel(): Promise<number> {
    const pixels = Uint8Array.from(data, (value) => 255 * value)
    const all: number[] = []
    for (let round = 0; round < rounds; round++) {
      const start = performance.now()
      for (const tile of [...TILES, edge])
        await engine.route({ data: pixels, width, height, channels: 3, tile, thresholds: [] })
      await canvas.move(0, 0, height * scale)
      const region = regionOfEdge(0, EDGES[0]!)
      const { networkSeconds } = await engine.infer({
        inputs: [{ data: pixels, width, height }],
        outputs: [{ canvas }],
        regions: [region],
        maxBatchPixels: width * height,
      })
      await canvas.finish(0, height * scale, 3, null, 1)
      all.push((performance.now() - start) / 1000 - networkSeconds)
    }
    return median(all) / (width * height)
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!
}

/** A region in the top left corner, whose kept part lacks the margin at all sides. */
function regionOfEdge(subnet: number, edge: number): InferRegion {
  const keep = { keepX: MARGIN, keepY: MARGIN, keepWidth: edge - 2 * MARGIN, keepHeight: edge - 2 * MARGIN }
  const ramps = { rampLeft: 4, rampTop: 4, rampRight: 4, rampBottom: 4 }
  return { picture: 0, subnet, x: 0, y: 0, width: edge, height: edge, ...keep, ...ramps }
}
