// The whole native surface, typed by hand. No other file of lib/ loads the addon.
//
// Conventions: images are interleaved (height, width, channels). Float images are RGB in [0, 1]. Batches are
// float32 NCHW. Typed arrays given to a job must not be changed before its promise settles. Jobs run on threads of
// their own and reject with an Error whose `code` is a WbsrErrorCode (see wrapError).
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { WbsrError } from './errors.js'

export type PixelArray = Uint8Array | Uint8ClampedArray | Uint16Array | Float32Array

/** Channels of a convolution: a fixed count, or floor(num * width / den). */
export type NativeChannels = { fixed: number } | { num: number; den: number }

/** One node of a network: an operator of native/core/operators, its inputs and its attributes. */
export interface NativeNode {
  op: string
  /** Earlier nodes. */
  inputs: number[]
  [attribute: string]: string | number | boolean | number[] | NativeChannels
}

export interface NativeGraph {
  scale: number
  widths: number[]
  depths: number[]
  nodes: NativeNode[]
  output: number
}

export interface NativeSubnet {
  index: number
  width: number
  depth: number
  /** 2 x MAC of the convolution weights on one 32x32 LR patch. */
  flops: number
  parameters: number
  /** Radius in LR pixels. */
  receptiveField: number
  /** Radius in LR pixels of the upsampling tail alone. */
  tailField: number
  /** The tail's share of flops. */
  tailFlops: number
}

export interface NativeParameter {
  name: string
  shape: number[]
  /** Position in the flat arena, in floats. */
  offset: number
  count: number
}

/** 'weights' and the three arenas of the same layout that training keeps beside them. */
export type Arena = 'weights' | 'ema' | 'm' | 'v' | 'gradient'

export interface InferRegion {
  /** Index into inputs and outputs. */
  picture: number
  subnet: number
  /** The input of the network, in LR pixels of the input buffer. */
  x: number
  y: number
  width: number
  height: number
  /** The part whose output is added to the sums, in LR pixels of the input buffer; inside the input. */
  keepX: number
  keepY: number
  keepWidth: number
  keepHeight: number
  /** Length in LR pixels of the linear blending ramp inside the kept part, at each side (0: none). */
  rampLeft: number
  rampTop: number
  rampRight: number
  rampBottom: number
}

/** Pixels of any type; `channels` defaults to 3. */
export interface NativePixels {
  data: PixelArray
  width: number
  height: number
  channels?: 1 | 2 | 3 | 4
}

/**
 * Weighted sums of a band of SR rows in the device's memory. Rows are undefined until move() has cleared them. Jobs run
 * in the order of the calls, together with those of the engine.
 */
export interface NativeCanvas {
  /** SR pixels. */
  readonly width: number
  readonly rows: number
  /** Rows [from, from + kept) become rows [0, kept); rows [kept, rows) are cleared. */
  move(from: number, kept: number, rows: number): Promise<void>
  /** As Addon.finishRows. alpha: (rows, width), with 2 or 4 channels. */
  finish(
    first: number,
    rows: number,
    channels: number,
    alpha: Float32Array | null,
    bytes: 1 | 2 | 4,
    into?: PixelArray,
  ): Promise<PixelArray>
  /** Its memory is freed with the last job that uses it. */
  dispose(): void
}

export interface InferJob {
  inputs: NativePixels[]
  /**
   * Per input weighted sums (height * scale, width * scale, 3) and weights (height * scale, width * scale), or a canvas
   * as wide and at least as high, whose row 0 is the picture's.
   */
  outputs: ({ sum: Float32Array; weight: Float32Array } | { canvas: NativeCanvas })[]
  regions: InferRegion[]
  /** Upper bound of LR pixels per batch. */
  maxBatchPixels: number
  /** Set cancel[0] to 1 to stop with WBSR_ABORTED between steps. */
  cancel?: Int32Array
}

export interface InferReport {
  /** Seconds of the device's work; on the CPU without gathering and blending. */
  networkSeconds: number
  /** Seconds of the host: on the CPU gathering and blending, on CUDA preparing the job. */
  otherSeconds: number
  batches: number
  /** 2 x MAC over all regions, halo included (the tail runs on the kept part). */
  flops: number
  /** How often a batch was halved because the device's memory was full. */
  halvings: number
}

/** Tiles of tile x tile pixels from the top left on, the last of each row and column clipped. */
export interface RouteJob extends NativePixels {
  tile: number
  /** K - 1, ascending. */
  thresholds: readonly number[]
}

/** Row by row. */
export interface RouteResult {
  difficulties: Float64Array
  /** 1 .. K. */
  classes: Int32Array
}

export interface NativeLoss {
  /** An element loss of native/core/losses/, or 'bd': that of `fidelity` and the balancing term. */
  kind: string
  fidelity: string
  /** 1 or 3. */
  dimension: number
  sigma: number
  /** Factor of |e| in the bd loss with l1 fidelity (see native/core/math/bdloss.h). */
  fidelityScale: number
  /** Mixture: weights (K), means (K, D), covariances (K, D, D). */
  mixture?: { weights: Float64Array; means: Float64Array; covariances: Float64Array }
}

export interface CropSpec {
  /** Index into images. */
  image: number
  /** Top left in HR pixels. */
  x: number
  y: number
  flipX: boolean
  flipY: boolean
  transpose: boolean
}

/** Crops of uint8 RGB images for a batch (see Addon.assembleBatch). */
export interface BatchSource {
  images: { data: Uint8Array; width: number; height: number }[]
  lrImages?: { data: Uint8Array; width: number; height: number }[]
  crops: CropSpec[]
}

export interface GradientSettings {
  batch: number
  /** LR size. */
  width: number
  height: number
  subnets: number[]
  loss: NativeLoss
  /** 0 .. 1, default 0: share of the first subnet's output in what the others aim at. */
  distillation?: number
  cancel?: Int32Array
}

/** Float planes: LR (N, 3, height, width) and HR; or `batch` crops (width = height), which the device cuts. */
export type TrainData = { lr: Float32Array; hr: Float32Array } | { source: BatchSource }

export type GradientJob = GradientSettings & TrainData

/** One optimizer step. */
export interface UpdateJob {
  /** Weights that one of these uses are updated; the others keep weight, moments, average and step count. */
  subnets: number[]
  learningRate: number
  beta1: number
  beta2: number
  epsilon: number
  /** Decoupled. */
  weightDecay: number
  /** EMA decay of this step, 0: none. */
  emaDecay: number
}

export interface UpdateReport {
  /** False: a gradient was not finite, and nothing was updated (see TrainReport.finite). */
  finite: boolean
  seconds: number
}

export type TrainJob = GradientSettings & UpdateJob & TrainData

export interface TrainReport {
  /**
   * False: the loss or a gradient, of this step or an earlier one, was not finite. Then neither this step nor any later
   * one updates anything until weights are set or initialised.
   */
  finite: boolean
  /** Means over pixels and subnets. */
  loss: number
  data: number
  balance: number
  /** Mean absolute gradients dL/dy of the two terms. */
  dataGradient: number
  balanceGradient: number
  /** dL/dsigma, mean over subnets. */
  sigmaGradient: number
  /** Loss of each subnet of the step, in the order of `subnets`. */
  losses: Float64Array
  seconds: number
  /** In how many parts the batch was run because the device's memory was full. */
  parts: number
}

export interface NativeDevice {
  /** DeviceKind.name */
  kind: string
  name: string
  /** Host threads that it computes with; 0: none. */
  threads: number
  details: string
  precision: Precision
  /** Faster with regions of few different shapes. */
  regular: boolean
  /** train() of the next step may be called before this one's promise settles. */
  pipelined: boolean
  /** Its canvases lie in the host's memory. */
  hostMemory: boolean
}

/** Precision of convolutions. Weights and sums are always float32. */
export type Precision = 'bf16' | 'tf32' | 'fp32'

export interface EngineOptions {
  threads: number
  /** DeviceKind.name. Default: the last of deviceKinds(). */
  device?: string
  /** FoundDevice.index. Default 0. */
  index?: number
  /** One of DeviceKind.precisions. Default: the first. */
  precision?: Precision
  /** If DeviceKind.autotunes: how many engines are timed for each convolution; 0 (default): the heuristics' choice. */
  autotune?: number
}

/** A kind of device that this build has. */
export interface DeviceKind {
  /** Its name in the option `device`. */
  name: string
  /** Its name in messages. */
  label: string
  /** Supported; the first is the default. */
  precisions: Precision[]
  /** Several devices, addressed as `name:N`. */
  numbered: boolean
  /** Supports the option autotune. */
  autotunes: boolean
}

/** A device that can run wbsr. */
export interface FoundDevice {
  /** The driver's own number: the N of `kind:N`. */
  index: number
  name: string
  details: string
  /** Bytes of its own; 0: it uses the host's. */
  memory: number
  /** Host threads that it can use; 0: none. */
  threads: number
}

export interface NativeEngine {
  readonly device: NativeDevice
  /** Smallest LR side for which every value of the network has a pixel. */
  readonly minimumSize?: number
  /** LR sides must be multiples of it. */
  readonly sizeMultiple?: number
  readonly subnets: NativeSubnet[]
  readonly parameters: NativeParameter[]
  readonly parameterCount: number
  /** Kaiming normal times each convolution's gain; biases 0. Also fills 'ema'. */
  initialise(seed: number): void
  /** Copies one whole arena in or out. Training arenas exist after the first training step or set. */
  setArena(which: Arena, values: Float32Array): void
  getArena(which: Arena): Float32Array
  /** The weights between two jobs. May be called while jobs run, unlike getArena. */
  readWeights(): Promise<Float32Array>
  /** Adam's steps per parameter and width shell: (parameters x widths). */
  getSteps(): Int32Array
  setSteps(steps: Int32Array): void
  /** Any NCHW batch through one subnet. */
  forward(subnet: number, input: Float32Array, batch: number, height: number, width: number): Promise<Float32Array>
  /** Difficulty and class of every tile. */
  route(job: RouteJob): Promise<RouteResult>
  createCanvas(width: number, rows: number): Promise<NativeCanvas>
  infer(job: InferJob): Promise<InferReport>
  /**
   * Overwrites the 'gradient' arena with the gradient of the mean loss, summed over the subnets. Jobs of gradients(),
   * apply() and train() run and their promises settle in the order of the calls.
   */
  gradients(job: GradientJob): Promise<TrainReport>
  /** One optimizer step with the 'gradient' arena as it is: from gradients(), or averaged over several engines. */
  apply(job: UpdateJob): Promise<UpdateReport>
  /** gradients(), then apply(). */
  train(job: TrainJob): Promise<TrainReport>
  /** Bytes held natively, canvases included. */
  memory(): number
  /** Also disposes all canvases. */
  dispose(): void
}

export interface Rect {
  x: number
  y: number
  width: number
  height: number
}

export interface Addon {
  /** @throws an Error with code WBSR_NO_DEVICE, WBSR_DEVICE_FAILED, WBSR_OUT_OF_MEMORY, WBSR_INVALID_OPTION */
  Engine: new (
    graph: NativeGraph,
    options: EngineOptions,
  ) => NativeEngine
  /**
   * Stops running jobs between two steps and drops queued ones; their promises never settle. For the end of the
   * process.
   */
  stopJobs(): void
  /** The kinds of device that this build has, best first; the last one is always usable. */
  deviceKinds(): DeviceKind[]
  /** The devices of that kind that can run wbsr, or the reason why there are none. Looks once in a process. */
  findDevices(kind: string): { devices: FoundDevice[]; reason: string }

  /**
   * Antialiased bicubic, a = -0.5 (protocol.md); output has the input's type. border: 0 symmetric, 1 replicate. With 2
   * or 4 channels colour is weighted by alpha; images that are opaque everywhere give the same colours as without
   * alpha.
   */
  resizeBicubic(
    data: PixelArray,
    width: number,
    height: number,
    channels: number,
    outWidth: number,
    outHeight: number,
    border: 0 | 1,
  ): Promise<PixelArray>
  /**
   * dB (Infinity: equal) and mean SSIM of uint8 images after shaving. y: on Y of the protocol (1 or 3 channels; a grey
   * value is Y itself, as in the published Set14 figures). ssim needs 11 x 11 pixels after shaving.
   */
  psnr(
    a: Uint8Array,
    b: Uint8Array,
    width: number,
    height: number,
    channels: number,
    y: boolean,
    shave: number,
  ): Promise<number>
  ssim(
    a: Uint8Array,
    b: Uint8Array,
    width: number,
    height: number,
    channels: number,
    y: boolean,
    shave: number,
  ): Promise<number>
  /**
   * Gradient vectors (rects.length / 4 of them, 4 numbers each); rects = x, y, width, height. Any pixel type, 1..4
   * channels; colour is premultiplied by alpha.
   */
  gradientVectors(
    data: PixelArray,
    width: number,
    height: number,
    channels: number,
    rects: Int32Array,
  ): Promise<Float64Array>
  /**
   * Crops of uint8 RGB images -> HR (N, 3, patch, patch) and, by antialiased bicubic rounded to 8 bits as the protocol's
   * files are, LR; the kernel reads the picture around the crop, so that LR is a crop of the picture's LR file. Flips
   * come before the transpose. With `lrImages` LR is cropped instead, and x and y must be multiples of scale.
   */
  assembleBatch(
    spec: BatchSource & { patchSize: number; scale: number },
  ): Promise<{ lr: Float32Array; hr: Float32Array }>
  /** EM fit of a Gaussian mixture. samples (N, D) in [0, 1]; weights optional (histogram counts). */
  fitMixture(
    samples: Float32Array,
    weights: Float32Array | null,
    dimension: number,
    components: number,
    iterations: number,
    minStd: number,
    seed: number,
  ): Promise<{
    weights: Float64Array
    means: Float64Array
    covariances: Float64Array
    logLikelihood: number
  }>
  /** Loss and gradients of predictions against targets, (pixels, D) interleaved: for tests. */
  evaluateLoss(
    prediction: Float32Array,
    target: Float32Array,
    loss: NativeLoss,
  ): Promise<{
    loss: number
    data: number
    balance: number
    dataGradient: number
    balanceGradient: number
    sigmaGradient: number
    gradient: Float32Array
  }>
  /**
   * NativeLoss.fidelityScale for this sigma and mixture (kind 'bd'; loss.fidelityScale is not read): max(typicalResidual,
   * 1.1 x the balancing term's largest slope).
   */
  fidelityScale(loss: NativeLoss, typicalResidual: number): Promise<number>
  /** Any pixel type and 1..4 channels -> float RGB in [0, 1], premultiplied where there is alpha. */
  toRgbFloat(data: PixelArray, width: number, height: number, channels: number): Promise<Float32Array>
  /** Alpha in [0, 1] (height, width); 1 where the image has none. */
  toAlphaFloat(data: PixelArray, width: number, height: number, channels: number): Promise<Float32Array>
  /**
   * Blended sums -> pixels. Rows [firstRow, firstRow + rows) of sum / weight, unpremultiplied with `alpha` (float, same rows
   * and width, [0, 1]) when channels is 2 or 4; grey output is the luma of RGB. bytes: 1 uint8, 2 uint16, 4 float32. If
   * `into` is given, it receives the pixels.
   */
  finishRows(
    sum: Float32Array,
    weight: Float32Array,
    width: number,
    firstRow: number,
    rows: number,
    channels: number,
    alpha: Float32Array | null,
    bytes: 1 | 2 | 4,
    into?: PixelArray,
  ): Promise<PixelArray>
  /** Sums over the samples of each rectangle of (clamp(a, 0, 1) - b)^2; a, b float RGB; rects = x, y, width, height. */
  squaredErrors(
    a: Float32Array,
    b: Float32Array,
    width: number,
    height: number,
    rects: Int32Array,
  ): Promise<Float64Array>
  /**
   * Tiles (columns * rows, size, size, channels) at multiples of `step` -> the picture, overlaps averaged, rounded half
   * up.
   */
  averageTiles(
    tiles: Uint8Array,
    columns: number,
    rows: number,
    size: number,
    step: number,
    channels: number,
  ): Promise<Uint8Array>
  /**
   * PNG filter bytes and filtered rows (minimum sum of absolute differences per row). previous: the row above or null.
   * 16-bit input is native-endian.
   */
  pngFilterRows(
    data: Uint8Array | Uint16Array,
    width: number,
    rows: number,
    channels: number,
    previous: Uint8Array | Uint16Array | null,
  ): Promise<Uint8Array>
}

function load(): Addon {
  // libgomp reads this once, when it is loaded. Threads that spin while they wait for each other starve the event loop
  // and other processes: two to three times slower on a busy two-core machine, no gain on an idle one.
  const policy = process.env['OMP_WAIT_POLICY']
  if (policy === undefined) process.env['OMP_WAIT_POLICY'] = 'passive'
  try {
    return loadBinary()
  } finally {
    if (policy === undefined) delete process.env['OMP_WAIT_POLICY']
  }
}

function loadBinary(): Addon {
  const require = createRequire(import.meta.url)
  const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
  const built = path.join(root, 'build', 'Release', 'wbsr.node')
  try {
    // A local build takes precedence over a prebuilt binary.
    if (existsSync(built)) return require(built) as Addon
    return (require('node-gyp-build') as (dir: string) => Addon)(root)
  } catch (cause) {
    throw new WbsrError(
      'WBSR_INTERNAL',
      [
        `Could not load the wbsr native addon for ${process.platform}-${process.arch}: ${(cause as Error).message}`,
        'Possible solutions:',
        '- install wbsr again, if its prebuilds/ folder is missing or damaged',
        '- the prebuilt binary is for Linux on x86-64 with glibc 2.36 or newer (Debian 12, Ubuntu 23.04)',
        '- a bundler has copied wbsr away from its addon: mark wbsr and sharp as external (esbuild --external:wbsr, vite ssr.external, webpack externals, serverExternalPackages of Next)',
        '- elsewhere build from a clone of the repository: npm ci && npm run build (needs g++, cmake, ninja and oneDNN, libdnnl-dev on Debian)',
      ].join('\n'),
      { cause },
    )
  }
}

export const native: Addon = load()

// process.exit() runs the destructors of oneDNN, CUDA and cuDNN; no thread may be running their code then.
process.once('exit', () => native.stopJobs())
