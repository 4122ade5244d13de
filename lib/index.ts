// The public surface of wbsr.

export { comparePictures } from './compare/index.js'
export type { ComparedPicture, CompareFigures, CompareOptions, Comparison } from './compare/options.js'
export type { DegradationOptions, Range } from './data/degradation.js'
export type { FileSpec, SkippedImage } from './data/files.js'
export type { DataOptions } from './data/options.js'
export type { SamplerKind, SamplerOptions } from './data/sampler.js'
export {
  type DeviceDescription,
  type DeviceOption,
  type DeviceOptions,
  listDevices,
  type ModelDevice,
} from './devices.js'
export { WbsrError, type WbsrErrorCode } from './errors.js'
export { type CalibrateRouterOptions, calibrateRouter } from './evaluate/calibrate.js'
export { evaluate } from './evaluate/index.js'
export type {
  EvaluateOptions,
  EvaluationCalibration,
  EvaluationPicture,
  EvaluationProgress,
  EvaluationSet,
} from './evaluate/options.js'
export { evaluationCsv, evaluationTable, type TableOptions } from './evaluate/report.js'
export type {
  ClassQuality,
  EvaluatedPicture,
  EvaluatedSet,
  Evaluation,
  PictureResult,
  Quality,
  SetSummary,
} from './evaluate/results.js'
export type { EvaluationRun, RivalName, Sweep } from './evaluate/runs.js'
export type { AlphaUse } from './images/alpha.js'
export type { EncodeOptions } from './images/encode.js'
export { type ImageHeader, type PageInfo, pagesOf, type ReadOptions } from './images/images.js'
export type { Wrap } from './images/wrap.js'
export type { MeasureCostsOptions } from './infer/measure-costs.js'
export type { AlphaChannel, ChosenTiles, UpscaleOptions, UpscaleProgress } from './infer/options.js'
export { allocationOverlay } from './infer/overlay.js'
export type { AllocatedTile, Allocation, UpscaleResult } from './infer/result.js'
export { type GradientVector, gradientVector } from './measure/gradient.js'
export { type MeasureOptions, psnr, ssim } from './measure/quality.js'
export { type ResizeOptions, resizeBicubic } from './measure/resize.js'
export type { ClassTable, Mixture, RouterTable, TileLosses } from './model-state.js'
export type { ExportOptions } from './models/export.js'
export { type LoadModelOptions, loadModel } from './models/load.js'
export {
  type LoadOptions,
  loadSupernet,
  type ModelArchitecture,
  type SaveOptions,
  type Subnet,
  SupernetModel,
} from './models/model.js'
export type { WeightPrecision } from './models/model-file.js'
export {
  type DefaultModelOptions,
  defaultModelFor,
  type ModelScore,
  type ShippedModel,
  shippedModels,
} from './models/shipped.js'
export { type AverageOptions, averageModels } from './models/slim/average.js'
export { type SlimOptions, slimFrom } from './models/slim/slim.js'
export type { NativeChannels, NativeGraph, NativeNode, Precision } from './native.js'
export { type CarnOptions, carn } from './networks/carn.js'
export { type DispOptions, disp } from './networks/disp.js'
export { type EdsrOptions, edsr } from './networks/edsr.js'
export { type EspcnOptions, espcn } from './networks/espcn.js'
export { type FmenOptions, fmen } from './networks/fmen.js'
export { type FsrcnnOptions, fsrcnn } from './networks/fsrcnn.js'
export type { ImageConvention } from './networks/image.js'
export { type ImdnOptions, imdn } from './networks/imdn.js'
export { type Channels, type ConvOptions, GraphBuilder, type Network, type Value } from './networks/network.js'
export { type PlainusrBlock, type PlainusrOptions, plainusr } from './networks/plainusr.js'
export { type RcanOptions, rcan } from './networks/rcan.js'
export { type RfdnOptions, rfdn } from './networks/rfdn.js'
export { type RlfnOptions, rlfn } from './networks/rlfn.js'
export { type RrdbOptions, rrdb } from './networks/rrdb.js'
export { type SafmnOptions, safmn } from './networks/safmn.js'
export { type SpanOptions, span } from './networks/span.js'
export { type SpanfOptions, spanf } from './networks/spanf.js'
export { type Spanv2Options, spanv2 } from './networks/spanv2.js'
export { type SrresnetOptions, srresnet, srresnetPresets } from './networks/srresnet.js'
export { type SrresnetPreluOptions, srresnetPrelu } from './networks/srresnet-prelu.js'
export { type SrvggOptions, srvgg } from './networks/srvgg.js'
export type { Expectation } from './routing/class-map.js'
export type { CostTable } from './routing/cost-table.js'
export type { RoutingOptions } from './routing/options.js'
export type { Guarantee } from './routing/router.js'
export type { Router } from './routing/routers.js'
export type { UpscaleFileOptions } from './stream/file-options.js'
export type { StreamOptions } from './stream/options.js'
export type { PictureFileResult } from './stream/picture-file.js'
export { type ResizeStreamOptions, type RowResize, resizeStream } from './stream/row-resize.js'
export type { RowStream, RowStreamOptions } from './stream/row-stream.js'
export { type Stitcher, type StitchOptions, type StitchResult, stitchTo } from './stream/stitch.js'
export { type TileReader, type TilesOptions, tilesOf } from './stream/tile-reader.js'
export type { UpscaleFileResult } from './stream/upscale-file.js'
export { launchedRank } from './train/distributed/launch.js'
export type { Distributed } from './train/distributed/options.js'
export type { Phase } from './train/estimate.js'
export { trainSupernet } from './train/index.js'
export type { BalancedLossOptions, LossOptions, PlainLossOptions, SigmaOptions } from './train/loss.js'
export type { ElementLoss } from './train/loss-names.js'
export type { OptimizerOptions } from './train/optimizer.js'
export type { CalibrationOptions, CheckpointOptions, ReportOptions, TrainOptions } from './train/options.js'
export type { ProgressReport } from './train/progress.js'
export type { EpochReport, Psnr, StartReport, StepReport, ValidationReport } from './train/reports.js'
export type { SubnetsPerStep } from './train/schedule.js'
export type {
  EncodedInput,
  ImageInput,
  PictureMetadata,
  PixelArray,
  RawImage,
  Tile,
  TilePictureInfo,
  UpscaledTile,
} from './types.js'
export type { VideoOptions, VideoProgress, VideoStreamOptions } from './video/options.js'
export { type UpscaledFrame, type VideoFrame, videoStream } from './video/stream.js'
export { upscaleVideo, type VideoResult } from './video/upscale-video.js'
