// What the addon exports: engines, devices, and the functions on pixels and numbers that belong to no device
// (lib/native.ts has the conventions).
import type {
  BatchSource,
  DeviceKind,
  EngineOptions,
  FoundDevice,
  NativeEngine,
  NativeGraph,
  NativeLoss,
  PixelArray,
} from './native-engine.js'

/** A message between ranks. */
export interface Message {
  from: number
  tag: number
  data: Uint8Array
}

/**
 * The ranks that mpirun started (native/distributed/mpi.h). A process has one, and after close() can have no other. Transfers
 * happen one after the other; setting cancel[0] to 1 ends one that waits with WBSR_ABORTED. Tags are 0 .. 32767.
 */
export interface Communicator {
  /** Waits for all ranks. @throws an Error with code WBSR_NO_DEVICE: there is no usable Open MPI */
  open(): Promise<{ rank: number; ranks: number; version: string }>
  send(to: number, tag: number, data: Uint8Array | Float32Array | Float64Array, cancel: Int32Array): Promise<void>
  /** Resolves with `into`, which must have the length of what was sent. */
  receive<T extends Uint8Array | Float32Array | Float64Array>(
    from: number,
    tag: number,
    into: T,
    cancel: Int32Array,
  ): Promise<T>
  /** The next message with one of the tags, of the rank or (-1) of any; beside send() and receive(). */
  listen(from: number, tags: number[], cancel: Int32Array): Promise<Message>
  /** Blocks until all ranks have come to it. */
  close(): void
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
  /** Input rows [top, bottom) that output rows first .. first + rows - 1 of a resize are made of. */
  resizeSpan(height: number, outHeight: number, first: number, rows: number, border: 0 | 1): [number, number]
  /**
   * Output rows first .. first + rows - 1 of resizeBicubic from `fullHeight` to `outHeight` rows, bit for bit. `data` has
   * `height` input rows from `top` on, at least those of resizeSpan. weighted: colour is weighted by alpha (2 or 4 channels),
   * as resizeBicubic does where the picture is not opaque; else all channels alike.
   */
  resizeBicubicRows(
    data: PixelArray,
    width: number,
    height: number,
    channels: number,
    top: number,
    fullHeight: number,
    outWidth: number,
    outHeight: number,
    first: number,
    rows: number,
    border: 0 | 1,
    weighted: boolean,
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
  Communicator: new () => Communicator
  /** The MPI library that would be used, or the reason why there is none. */
  findMpi(): { version: string; reason: string }
  /** into += values, of equal length; resolves with `into`. */
  addFloats(into: Float32Array, values: Float32Array): Promise<Float32Array>
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
  /** Loss and gradients of predictions against targets, (pixels, D) interleaved, without the frequency term. */
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
  /**
   * Frees the memory of an array that nothing reads any more, without waiting for the garbage collector: its length is 0 then.
   * A part of a larger buffer is left as it is.
   */
  releasePixels(data: PixelArray): void
}
