// An engine without a network: nearest-neighbour upscaling with the regions, ramps and sums of the real one. A mistake in
// routing, merging, blending or streaming shows as a pixel that differs from plain nearest upscaling.
import type { ModelState } from '../../lib/model-state.js'
import {
  type InferJob,
  type InferReport,
  type NativeCanvas,
  type NativeEngine,
  type NativeSubnet,
  native,
  type PixelArray,
  type RouteJob,
  type RouteResult,
} from '../../lib/native.js'
import { classOf, difficultyOf } from '../../lib/routing/classes.js'

export interface FakeOptions {
  scale?: number
  /** Relative costs of the subnets; the largest last. */
  costs?: number[]
  /** Added to the output, by subnet, to show which subnet ran. Default 0. */
  offset?: (subnet: number) => number
  /** Radius in LR pixels of a zero-padded box blur before upscaling: makes the result depend on the halo. */
  blur?: number
  receptiveField?: number
  thresholds?: number[]
  router?: ModelState['router']
  /** NativeDevice.regular. Default false. */
  regular?: boolean
  /** Called at the start of each infer(). */
  onInfer?: (job: InferJob) => void | Promise<void>
}

export interface FakeState extends ModelState {
  /** Jobs so far. */
  calls: InferJob[]
}

function weightAt(position: number, length: number, before: number, after: number): number {
  const first = before > 0 ? Math.min(1, (position + 0.5) / before) : 1
  const last = after > 0 ? Math.min(1, (length - position - 0.5) / after) : 1
  return first * last
}

/** A canvas in host memory. A new one holds garbage, as a real one may. */
class FakeCanvas implements NativeCanvas {
  readonly sum: Float32Array
  readonly weight: Float32Array
  constructor(
    readonly width: number,
    readonly rows: number,
  ) {
    this.sum = new Float32Array(3 * width * rows).fill(77)
    this.weight = new Float32Array(width * rows).fill(5)
  }

  async move(from: number, kept: number, rows: number): Promise<void> {
    if (from < 0 || kept < 0 || kept > rows || rows > this.rows || from + kept > this.rows)
      throw new Error(`bad move ${from}, ${kept}, ${rows} of ${this.rows}`)
    for (const [values, row] of [
      [this.sum, 3 * this.width],
      [this.weight, this.width],
    ] as const) {
      values.copyWithin(0, from * row, (from + kept) * row)
      values.fill(0, kept * row, rows * row)
    }
  }

  finish(
    first: number,
    rows: number,
    channels: number,
    alpha: Float32Array | null,
    bytes: 1 | 2 | 4,
    into?: PixelArray,
  ): Promise<PixelArray> {
    return native.finishRows(this.sum, this.weight, this.width, first, rows, channels, alpha, bytes, into)
  }

  dispose(): void {}
}

async function fakeRoute({ data, width, height, channels = 3, tile, thresholds }: RouteJob): Promise<RouteResult> {
  const rects: number[] = []
  for (let y = 0; y < height; y += tile)
    for (let x = 0; x < width; x += tile) rects.push(x, y, Math.min(tile, width - x), Math.min(tile, height - y))
  const vectors = await native.gradientVectors(data, width, height, channels, Int32Array.from(rects))
  const difficulties = Float64Array.from({ length: rects.length / 4 }, (_, i) => difficultyOf(vectors, i))
  const table = { count: thresholds.length + 1, thresholds: [...thresholds], kind: 'interval' as const }
  return { difficulties, classes: Int32Array.from(difficulties, (s) => classOf(table, s)) }
}

/** Sums and weights of the job's pictures. */
function outputsOf(job: InferJob): { sum: Float32Array; weight: Float32Array }[] {
  return job.outputs.map((output) => ('canvas' in output ? (output.canvas as FakeCanvas) : output))
}

function check(job: InferJob, scale: number): void {
  for (const r of job.regions) {
    const input = job.inputs[r.picture]!
    const output = job.outputs[r.picture]!
    const { sum, weight } = outputsOf(job)[r.picture]!
    const inside =
      r.x >= 0 &&
      r.y >= 0 &&
      r.x + r.width <= input.width &&
      r.y + r.height <= input.height &&
      r.width > 0 &&
      r.height > 0
    const kept =
      r.keepX >= r.x &&
      r.keepY >= r.y &&
      r.keepX + r.keepWidth <= r.x + r.width &&
      r.keepY + r.keepHeight <= r.y + r.height &&
      r.keepWidth > 0 &&
      r.keepHeight > 0
    const ramps =
      r.rampLeft <= r.keepWidth &&
      r.rampRight <= r.keepWidth &&
      r.rampTop <= r.keepHeight &&
      r.rampBottom <= r.keepHeight
    if (!inside || !kept || !ramps) throw new Error(`bad region ${JSON.stringify(r)} of ${input.width}x${input.height}`)
    if (input.data.length !== input.width * input.height * (input.channels ?? 3)) throw new Error('bad input length')
    const wanted = input.width * input.height * scale * scale
    if (
      'canvas' in output
        ? output.canvas.width !== input.width * scale || weight.length < wanted
        : weight.length !== wanted || sum.length !== 3 * wanted
    )
      throw new Error('bad output length')
  }
}

export function fakeState(options: FakeOptions = {}): FakeState {
  const {
    scale = 2,
    costs = [0.25, 0.5, 1],
    offset = () => 0,
    blur = 0,
    receptiveField = blur,
    thresholds = [0.02, 0.05, 0.1],
  } = options
  const subnets: NativeSubnet[] = costs.map((cost, index) => ({
    index,
    width: 8 * (index + 1),
    depth: 1,
    flops: cost * 1024 * 1000,
    tailFlops: cost * 1024 * 400,
    parameters: 1,
    receptiveField,
    tailField: 0,
  }))
  const calls: InferJob[] = []
  const infer = async (job: InferJob): Promise<InferReport> => {
    const cancelled = () => {
      if (job.cancel?.[0]) throw Object.assign(new Error('cancelled'), { code: 'WBSR_ABORTED' })
    }
    cancelled()
    calls.push(job)
    check(job, scale)
    await options.onInfer?.(job)
    await new Promise((resolve) => setImmediate(resolve))
    cancelled()
    const colours = await Promise.all(
      job.inputs.map(({ data, width, height, channels = 3 }) => native.toRgbFloat(data, width, height, channels)),
    )
    for (const r of job.regions) {
      const { width } = job.inputs[r.picture]!
      const data = colours[r.picture]!
      const { sum, weight } = outputsOf(job)[r.picture]!
      const at = (x: number, y: number, c: number) => {
        let total = 0
        for (let v = Math.max(r.y, y - blur); v <= Math.min(r.y + r.height - 1, y + blur); v++) {
          for (let u = Math.max(r.x, x - blur); u <= Math.min(r.x + r.width - 1, x + blur); u++)
            total += data[(v * width + u) * 3 + c]!
        }
        return total / (2 * blur + 1) ** 2
      }
      for (let y = 0; y < r.keepHeight * scale; y++) {
        const wy = weightAt(y, r.keepHeight * scale, r.rampTop * scale, r.rampBottom * scale)
        const v = r.keepY + Math.floor(y / scale)
        for (let x = 0; x < r.keepWidth * scale; x++) {
          const w = wy * weightAt(x, r.keepWidth * scale, r.rampLeft * scale, r.rampRight * scale)
          const out = (r.keepY * scale + y) * width * scale + r.keepX * scale + x
          weight[out]! += w
          for (let c = 0; c < 3; c++)
            sum[3 * out + c]! += w * (at(r.keepX + Math.floor(x / scale), v, c) + offset(r.subnet))
        }
      }
    }
    return { networkSeconds: 0.001, otherSeconds: 0, batches: 1, flops: 0, halvings: 0 }
  }
  // Jobs run one after the other in the order of the calls, as in the real engine.
  let last: Promise<unknown> = Promise.resolve()
  const queued =
    <A extends unknown[], R>(job: (...args: A) => Promise<R>) =>
    (...args: A): Promise<R> => {
      const result = last.then(() => job(...args))
      last = result.catch(() => {})
      return result
    }
  const createCanvas = async (width: number, rows: number): Promise<NativeCanvas> => {
    const canvas = new FakeCanvas(width, rows)
    return Object.assign(canvas, { move: queued(canvas.move.bind(canvas)), finish: queued(canvas.finish.bind(canvas)) })
  }
  const device = {
    kind: 'cpu',
    name: 'fake',
    threads: 1,
    details: '',
    precision: 'fp32',
    regular: options.regular ?? false,
    pipelined: false,
    hostMemory: true,
  }
  const engine = {
    device,
    subnets,
    infer: queued(infer),
    route: queued(fakeRoute),
    createCanvas: queued(createCanvas),
  } as unknown as NativeEngine
  return {
    engine,
    network: {
      name: 'fake',
      scale,
      widths: [8],
      depths: [1],
      graph: { scale, widths: [8], depths: [1], nodes: [], output: 0 },
    },
    classes: { count: thresholds.length + 1, thresholds, kind: 'interval' },
    router: options.router === undefined ? fakeTable(thresholds.length + 1, costs.length) : options.router,
    mixture: null,
    training: null,
    fallbackReason: null,
    disposed: false,
    calls,
  }
}

/** A table in which larger subnets have a smaller error, with a larger difference for harder classes. */
export function fakeTable(classes: number, subnets: number): NonNullable<ModelState['router']> {
  return {
    squaredError: Array.from({ length: classes }, (_, k) =>
      Array.from({ length: subnets }, (_, m) => (k + 1) * (1 + 1 / (m + 1))),
    ),
    bicubicSquaredError: Array.from({ length: classes }, (_, k) => 3 * (k + 1)),
    frequency: Array.from({ length: classes }, () => 1 / classes),
    tiles: 100,
    tileSize: 64,
  }
}
