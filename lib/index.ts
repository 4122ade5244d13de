// The public surface of wbsr.

export type { FileSpec, SkippedImage } from './data/files.js'
export type { DataOptions } from './data/options.js'
export type { SamplerOptions } from './data/sampler.js'
export {
  type DeviceDescription,
  type DeviceOption,
  type DeviceOptions,
  listDevices,
  type ModelDevice,
} from './devices.js'
export { WbsrError, type WbsrErrorCode } from './errors.js'
export type { EncodeOptions } from './images/encode.js'
export { type ImageHeader, type PageInfo, pagesOf, type ReadOptions } from './images/images.js'
export type { PictureMetadata } from './images/metadata.js'
export type { UpscaleOptions, UpscaleProgress } from './infer/options.js'
export { allocationOverlay } from './infer/overlay.js'
export type { AllocatedTile, Allocation, UpscaleResult } from './infer/result.js'
export { type GradientVector, gradientVector } from './measure/gradient.js'
export { type MeasureOptions, psnr, ssim } from './measure/quality.js'
export { type ResizeOptions, resizeBicubic } from './measure/resize.js'
export type { ClassTable, Mixture, RouterTable } from './model-state.js'
export { type LoadOptions, loadSupernet, type Subnet, SupernetModel } from './models/model.js'
export type { NativeChannels, NativeGraph, NativeNode, Precision } from './native.js'
export { GraphBuilder, type Network, type Value } from './networks/network.js'
export { type RcanOptions, rcan } from './networks/rcan.js'
export { type SrresnetOptions, srresnet, srresnetPresets } from './networks/srresnet.js'
export type { RoutingOptions } from './routing/options.js'
export type { Router } from './routing/routers.js'
export type { StreamOptions } from './stream/options.js'
export { type Stitcher, type StitchOptions, type StitchResult, stitchTo } from './stream/stitch.js'
export { type TileReader, type TilesOptions, tilesOf } from './stream/tile-reader.js'
export { trainSupernet } from './train/index.js'
export type { BalancedLossOptions, LossOptions, PlainLossOptions, SigmaOptions } from './train/loss.js'
export type { OptimizerOptions } from './train/optimizer.js'
export type { CalibrationOptions, CheckpointOptions, TrainOptions } from './train/options.js'
export type { Phase, ProgressReport } from './train/progress.js'
export type { EpochReport, Psnr, StartReport, StepReport, ValidationReport } from './train/reports.js'
export type { SubnetsPerStep } from './train/schedule.js'
export type { EncodedInput, ImageInput, PixelArray, RawImage, Tile, UpscaledTile } from './types.js'
