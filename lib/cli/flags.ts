// The options of the commands as they come from the command line.
import type { OutputFormat } from '../images/formats.js'
import type { DeviceOptions, Distributed, EvaluationRun, Router, UpscaleOptions } from '../index.js'

export interface DeviceFlags {
  device?: string
  threads?: number
  precision?: DeviceOptions['precision']
}

export interface UpscaleFlags extends DeviceFlags {
  model?: string
  out?: string
  scale?: number
  size?: { width?: number; height?: number }
  format?: OutputFormat
  quality?: number
  compression?: number
  tileSize?: number
  bigtiff?: boolean
  metadata: 'keep' | 'strip'
  router?: Router
  loss?: number
  budget?: number
  alpha?: UpscaleOptions['alphaChannel']
  wrap?: boolean
  page?: number
  map?: boolean
  memory?: number
  skipExisting?: boolean
  json?: boolean
  quiet?: boolean
}

export interface TrainFlags extends DeviceFlags {
  config?: string
  out?: string
  network?: string
  scale?: number
  preset?: string
  widths?: number[]
  depths?: number[]
  validation?: string[]
  lr?: string[]
  steps?: number
  epochs?: number
  batch?: number
  microBatches?: number
  distributed?: Distributed
  patch?: number
  learningRate?: number
  loss?: string
  frequency?: number
  seed?: number
  from?: string
  extend?: string
  /** false: --no-checkpoint */
  checkpoint?: string | boolean
  /** false: --no-report */
  report?: string | boolean
  resume?: string
  json?: boolean
  quiet?: boolean
}

export interface ModelsFlags {
  json?: boolean
}

export interface ImportFlags {
  scale?: number
  range?: number
}

export interface ExportFlags {
  subnet?: number
}

export interface BenchFlags extends DeviceFlags {
  model?: string
  seconds?: number
  json?: boolean
  quiet?: boolean
}

export interface DoctorFlags extends DeviceFlags {
  json?: boolean
}

/** What a video becomes. */
export interface VideoSizeFlags {
  scale?: number
  size?: { width?: number; height?: number }
  router?: Router
  loss?: number
  budget?: number
  threshold?: number
  encoder?: string
  encoderOptions?: string
  segment?: number
}

export interface VideoFlags extends DeviceFlags, VideoSizeFlags {
  model?: string
  /** false: --no-resume */
  resume: boolean
  json?: boolean
  quiet?: boolean
}

export interface CompareFlags extends DeviceFlags {
  out?: string
  model?: string
  labels?: string
  title?: string
  router?: Router
  loss?: number
  budget?: number
  map?: string
  json?: boolean
  quiet?: boolean
}

export interface ServeFlags extends DeviceFlags {
  model?: string
  host: string
  port: number
  allowHost?: string[]
  queue: number
  perClient: number
  maxBytes: number
  maxPixels: number
  maxResult: number
  timeLimit: number
  keep: number
  quiet?: boolean
}

export interface EvaluateFlags extends DeviceFlags {
  model: string
  lr?: string
  directory?: string
  protocol?: 'full' | 'paper'
  by?: 'set' | 'picture' | 'class'
  runs?: EvaluationRun[]
  pictures?: string
  /** false: --no-ssim */
  ssim: boolean
  csv?: boolean
  json?: boolean
  quiet?: boolean
}

export interface FleetFlags extends DeviceFlags, VideoSizeFlags {
  redis?: string
  store?: string
  name?: string
  model?: string[]
  out?: string
  wait?: boolean
  save?: string
  bandSeconds?: number
  bands?: number
  attempts?: number
  workers?: number[]
  lock?: number
  crashes?: number
  metrics?: number
  hours?: number
  json?: boolean
  quiet?: boolean
}
