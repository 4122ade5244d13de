// Networks, devices and their jobs on the native side: the types of the engine (lib/native.ts has the conventions).

/** Samples of a picture, interleaved: 8 bits, 16 bits, or floats in [0, 1]. */
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

/** A network as plain data: nodes in order, and the widths and depths of its subnets. */
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
  /**
   * Where the rows lie in a picture of several jobs: from row `top` of `rows` on. Its pixels must not change between jobs
   * with its id: a device with memory of its own copies each row once.
   */
  picture?: { id: number; top: number; rows: number }
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
  /** Weight of the frequency term (native/core/math/frequency.h), default 0: none. */
  frequency?: number
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
  frequency: number
  /** Mean absolute gradients dL/dy of the data term and the balancing term. */
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

/**
 * What happens to gradients that stay in the device's memory, by numbers 0 .. 63 (native/core/gradient_exchange.h). cancel: as
 * in InferJob.
 */
export type ExchangeJob =
  | { action: 'connect'; id: Uint8Array; rank: number; ranks: number; cancel: Int32Array }
  /** held = the 'gradient' arena; held += other; the 'gradient' arena = held * factor. */
  | { action: 'hold'; held: number }
  | { action: 'add'; held: number; other: number }
  | { action: 'use'; held: number; factor: number }
  | { action: 'send'; held: number; to: number; cancel: Int32Array }
  | { action: 'receive'; held: number; from: number; cancel: Int32Array }

/**
 * Precision of convolutions. Weights and sums are float32; of int8 the products are of 8-bit integers, their sums exact, and
 * what lies between convolutions is float32.
 */
export type Precision = 'bf16' | 'tf32' | 'fp32' | 'int8'

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
  /** The library by which gradients reach the devices of other ranks without the host ('nccl'); '': none. */
  exchange: string
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
  /** Copies the 'gradient' arena, after the jobs before; resolves with `into`. */
  readGradient(into: Float32Array): Promise<Float32Array>
  /** Multiplies `values` by `factor` in place and copies them into the 'gradient' arena, before the jobs that follow. */
  writeGradient(values: Float32Array, factor: number): Promise<Float32Array>
  /** One optimizer step with the 'gradient' arena as it is: from gradients(), or averaged over several engines. */
  apply(job: UpdateJob): Promise<UpdateReport>
  /** gradients(), then apply(). */
  train(job: TrainJob): Promise<TrainReport>
  /**
   * On devices whose kind has an exchange; in turn with gradients() and apply(). Rejects with code WBSR_NO_DEVICE (connect),
   * WBSR_RANK_FAILED, WBSR_ABORTED.
   */
  exchange(job: ExchangeJob): Promise<void>
  /** Names a connection, for all ranks. @throws an Error with code WBSR_NO_DEVICE: there is no usable library */
  exchangeId(): Promise<Uint8Array>
  /** Bytes held natively, canvases included. */
  memory(): number
  /** Also disposes all canvases. */
  dispose(): void
}
