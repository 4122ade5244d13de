// The parts of a model: lib/train makes them, lib/models stores and loads them, lib/infer and lib/stream run them.
import { WbsrError } from './errors.js'
import type { NativeEngine } from './native.js'
import type { Network } from './networks/network.js'

/** Gradient classes (method.md section 3). */
export interface ClassTable {
  /** K. */
  count: number
  /** K - 1 ascending inner thresholds t_1 .. t_{K-1}: class = 1 + number of thresholds smaller than the difficulty. */
  thresholds: number[]
  kind: 'interval' | 'quantile'
  /** What difficulty is: absent, the length of the gradient vector (method.md section 2); 'edge', the edge score of ARM. */
  measure?: 'edge'
}

/** Values that TileLosses holds of a class and subnet at most. */
export const MOST_QUANTILES = 128

/** Pictures whose class shares a router table holds at most. */
export const MOST_PICTURES = 256

/** How much single tiles lose, for the option `guarantee`. */
export interface TileLosses {
  /** By class - 1: tiles measured. */
  tiles: number[]
  /**
   * [class - 1][subnet]: dB of PSNR that tiles lose against the largest subnet with this subnet or any that costs more,
   * ascending; of more than MOST_QUANTILES tiles the values at evenly spaced ranks.
   */
  quantiles: number[][][]
}

/** Table of the calibrated router (method.md section 6), measured on validation tiles. */
export interface RouterTable {
  /** [class - 1][subnet]: mean squared error per RGB sample in [0, 1]. */
  squaredError: number[][]
  /** By class - 1: the same for bicubic interpolation, for reports. */
  bicubicSquaredError: number[]
  /** By class - 1: share of validation tiles, sums to 1. */
  frequency: number[]
  tiles: number
  tileSize: number
  /**
   * [picture][class - 1]: shares of each picture's area, sum 1; of many pictures MOST_PICTURES evenly spaced ones. Absent in
   * tables of older versions.
   */
  pictures?: number[][]
  /** Absent in tables of older versions. */
  tileLosses?: TileLosses
  /** [class - 1][subnet]: mean over tiles of their PSNR in dB. Of ARM's table only. */
  psnr?: number[][]
}

/** Lookup table of router 'arm': intervals of the edge score, and each subnet's PSNR in them. */
export interface ArmTable {
  classes: ClassTable
  table: RouterTable
}

/** The weights of a small network that sees one tile (method.md section 6, Rivals). */
export interface TileNetwork {
  /** Channels of its layers on patches. */
  features: number
  outputs: number
  weights: number[]
}

/** Channels that the network averages over the tile. */
export const TILE_POOLED = 32

/** Rows of input and output of its layers: 4x4 patches of RGB, three more layers on them, and one on the mean over the tile. */
export const tileLayers = (features: number, outputs: number): [from: number, to: number][] => [
  [48, features],
  [features, features],
  [features, features],
  [features, features],
  [features, TILE_POOLED],
  [TILE_POOLED, outputs],
]

/** How many weights it has, biases included. */
export function tileWeights(features: number, outputs: number): number {
  return tileLayers(features, outputs).reduce((sum, [from, to]) => sum + (from + 1) * to, 0)
}

/** Rivals of the routers, trained on tiles: evaluate() compares them. */
export interface TileRouters {
  /** ClassSR: the classifier, and the subnet of each of its classes, cheapest first. */
  classsr?: { network: TileNetwork; subnets: number[] }
  /** As in ENAF: a network whose outputs are dB that each subnet but the largest loses against it. */
  predictor?: { network: TileNetwork }
}

/** The mixture that models p_train(y) for BDLoss. */
export interface Mixture {
  dimension: 1 | 3
  weights: number[]
  means: number[][]
  covariances: number[][][]
}

/** The file of another tool, as loadModel recognised it. */
export interface SourceDescription {
  format: 'pth' | 'safetensors' | 'ncnn' | 'onnx'
  /** For people, e.g. 'RRDBNet (ESRGAN)'. */
  title: string
  features: number
  blocks: number
  /** The network's input is in 0..range. */
  range: number
  /** Subtracted from R, G and B in 0..1 first. */
  mean: number[]
  /** 3: RGB, 1: luma. */
  channels: number
}

export interface ModelState {
  engine: NativeEngine
  network: Network
  classes: ClassTable
  router: RouterTable | null
  /** Absent: router 'arm' is not available. */
  arm?: ArmTable | undefined
  /** Absent: evaluate() has no routers 'classsr' and 'predictor' for the model. */
  tileRouters?: TileRouters | undefined
  mixture: Mixture | null
  /** Free-form record of how it was trained, stored in the file. */
  training: Record<string, unknown> | null
  fallbackReason: string | null
  /** Absent in models that wbsr trained. */
  source?: SourceDescription | undefined
  disposed: boolean
}

/** @throws WbsrError WBSR_DISPOSED */
export function checkUsable(state: ModelState): void {
  if (state.disposed) throw new WbsrError('WBSR_DISPOSED', 'Cannot use a model after dispose()')
}
