// The options of trainSupernet: their types, defaults and checks. What comes out has every value filled in.
import { checkDataOptions, type DataOptions, type DataPlan } from '../data/options.js'
import { checkSamplerOptions, type SamplerOptions, type SamplerSettings } from '../data/sampler.js'
import { checkDeviceOptions, DEVICE_KEYS, type DeviceChoice, type DeviceOptions } from '../devices.js'
import { invalidOption } from '../errors.js'
import { SupernetModel } from '../models/model.js'
import { checkNetwork } from '../networks/check.js'
import type { Network } from '../networks/network.js'
import {
  checkChoice,
  checkFunction,
  checkInteger,
  checkNumber,
  checkObject,
  checkSignal,
  checkString,
} from '../options.js'
import { CALIBRATION_PIXELS } from '../routing/calibrate.js'
import { checkMicroBatches, DISTRIBUTED, type Distributed } from './distributed/options.js'
import { type CheckedLoss, checkLoss, type LossOptions } from './loss.js'
import { checkBelowOne, checkOptimizer, type OptimizerOptions } from './optimizer.js'
import type { ProgressReport } from './progress.js'
import type { EpochReport, StartReport, StepReport, ValidationReport } from './reports.js'
import { SUBNETS_PER_STEP, type SubnetsPerStep } from './schedule.js'

/** Where a run keeps its state, how often, and whether it goes on from there. */
export interface CheckpointOptions {
  /**
   * Holds `checkpoint.safetensors`, the last state, and `best.safetensors`, the best one: by the mean PSNR on Y of the
   * smallest and the largest subnet where there are validation images, else by the smoothed training loss (see Best). Made
   * when missing.
   */
  directory: string
  /** Also written at the end and on abort. Default 500. */
  everySteps?: number
  /** 'auto': continue if a checkpoint is there; true: it must be there; false: start anew; or a file to continue from. Default 'auto'. */
  resume?: 'auto' | boolean | string
}

/** On how much the router table is measured at the end of a run. */
export interface CalibrationOptions {
  /** Side of the LR tiles on which the router's table is measured, 16 .. 256; best what upscale will use. Default 64. */
  tileSize?: number
  /** At most this many images are read, a seeded choice. Default 50. */
  images?: number
  /**
   * LR pixels of tiles on which every subnet is measured, at most: a seeded choice of the tiles of those images, spread over
   * the difficulty classes. Default 2^20 (256 tiles of 64). Bounds the time of the calibration.
   */
  pixels?: number
}

/** The page that a training run writes about itself (docs/pages.md). */
export interface ReportOptions {
  /** The page, e.g. 'run/report.html'. */
  file: string
  /** Seconds between two writings at least; more where writing takes long. Default 20. */
  everySeconds?: number
  /** Photographs of which parts are shown: LR, bicubic, SR, HR, errors, subnets. 0 .. 12, default 4. */
  examples?: number
}

export interface TrainOptions extends DeviceOptions {
  /** E.g. srresnet({ scale: 4 }). Default: that of `from`, where it is a model. */
  network?: Network
  data: DataOptions
  /**
   * Weights to start from: a model, or what loadSupernet reads (a file of a model, a checkpoint, weights of another tool, or
   * 'wbsr:x2'). Of
   * another network the parameters of the same name and shape are taken, at least half of all, and the rest is initialised:
   * StartReport.from says which. Optimizer, schedule and step count start anew.
   */
  from?: SupernetModel | string
  /**
   * A checkpoint of a finished or stopped run, or the folder that holds it, to go on from: with all of its state (weights,
   * average, optimizer moments, steps done), but with these options. `steps` or `epochs` count what is added, and the
   * schedules (learning rate, classLevelFrom, a ramp of sigma) run over these steps. With the same data, seed and batch size
   * and constant schedules (finalLearningRate = learningRate, sampler 'uniform') the result is that of one longer run, to the
   * bit.
   */
  extend?: string
  /** Optimizer steps. Exactly one of steps and epochs; default epochs: 100. */
  steps?: number
  /** Passes over the patch index. */
  epochs?: number
  /** Patches per step. Default 16. */
  batchSize?: number
  /**
   * Into how many parts of equal size a batch is cut, 1 .. batchSize: their gradients are computed one after the other and
   * summed, which bounds the memory of a step. The numbers of a run depend on it in their last bits. Default 1; with
   * `distributed` the largest of 8, 4, 2 and 1 that divides batchSize.
   */
  microBatches?: number
  /**
   * 'mpi': the processes that `mpirun` of Open MPI started train one model together (docs/distributed.md); 'nccl': the same
   * with a GPU for each, whose gradients stay on the GPUs. Each computes some of the micro-batches; numbers and model are those of
   * one process with the same microBatches, to the bit.
   */
  distributed?: Distributed
  /** HR pixels, a multiple of the scale. Default 128. */
  patchSize?: number
  sampler?: SamplerOptions
  /** Default 'bd'. */
  loss?: LossOptions
  optimizer?: OptimizerOptions
  /** Decay of the moving average of the weights, which the finished model holds; false: off. Default 0.999. */
  ema?: number | false
  /**
   * Which subnets a step trains. 'sandwich' (default): the largest, the smallest and a random one. 'single': one, all as likely.
   * 'single-by-cost': one, with a probability proportional to the square of its cost, as ARM trains.
   */
  subnetsPerStep?: SubnetsPerStep
  /**
   * In-place distillation, 0 .. 1: the smaller subnets of a step aim at a mixture of HR and, with this share, what the largest
   * subnet made of the batch in the same step. Only with 'sandwich'. Default 0.
   */
  distillation?: number
  /** Default 1. */
  seed?: number
  /** Ends the run with WBSR_ABORTED; a checkpoint is written first when checkpointing is on. */
  signal?: AbortSignal
  checkpoint?: CheckpointOptions
  /** Default: after every epoch. Always after the last step. */
  validateEverySteps?: number
  calibration?: CalibrationOptions
  /**
   * A page about the run, one HTML file, written while it runs (docs/pages.md): a file, or an object; false (default): none.
   * A run that is resumed or extended goes on in the same page. It does not change the numbers of the run.
   */
  report?: string | false | ReportOptions
  /**
   * 'stop' (default): a run whose loss, or whose validation, stays far above that of bicubic interpolation ends with
   * WBSR_DIVERGED; 'ignore': it goes on.
   */
  divergence?: 'stop' | 'ignore'
  /** Callbacks may return a promise, which is awaited. One that throws ends the run with what it threw. */
  onStart?: (report: StartReport) => unknown
  /** After every step; awaited as onStart is. */
  onStep?: (report: StepReport) => unknown
  /** After every epoch; awaited as onStart is. */
  onEpoch?: (report: EpochReport) => unknown
  /** After every validation; awaited as onStart is. */
  onValidation?: (report: ValidationReport) => unknown
  /** In all phases of the run, at least once a second. The run does not wait for it, but ends with what it throws. */
  onProgress?: (report: ProgressReport) => unknown
}

/** Options with every default filled in. */
export interface TrainSettings {
  network: Network
  data: DataPlan
  from: SupernetModel | string | null
  extend: string | null
  length: { steps: number } | { epochs: number }
  batchSize: number
  microBatches: number
  distributed: Distributed | null
  patchSize: number
  sampler: SamplerSettings
  loss: CheckedLoss
  optimizer: Required<OptimizerOptions>
  /** 0: off. */
  ema: number
  subnetsPerStep: SubnetsPerStep
  distillation: number
  seed: number
  device: DeviceChoice
  signal: AbortSignal | null
  checkpoint: Required<CheckpointOptions> | null
  /** null: after every epoch. */
  validateEverySteps: number | null
  calibration: Required<CalibrationOptions>
  /** null: none. */
  report: Required<ReportOptions> | null
  divergence: 'stop' | 'ignore'
  onStart: ((report: StartReport) => unknown) | null
  onStep: ((report: StepReport) => unknown) | null
  onEpoch: ((report: EpochReport) => unknown) | null
  onValidation: ((report: ValidationReport) => unknown) | null
  onProgress: ((report: ProgressReport) => unknown) | null
}

const KEYS = [
  'network',
  'data',
  'steps',
  'epochs',
  'from',
  'extend',
  'batchSize',
  'microBatches',
  'distributed',
  'patchSize',
  'sampler',
  'loss',
  'optimizer',
  'ema',
  'subnetsPerStep',
  'distillation',
  'seed',
  ...DEVICE_KEYS,
  'signal',
  'checkpoint',
  'validateEverySteps',
  'calibration',
  'report',
  'divergence',
  'onStart',
  'onStep',
  'onEpoch',
  'onValidation',
  'onProgress',
] as const

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkTrainOptions(value: unknown): TrainSettings {
  const options = checkObject(value, 'options', KEYS)
  const given = <T>(key: (typeof KEYS)[number], check: (v: unknown, name: string) => T, fallback: T): T =>
    options[key] === undefined ? fallback : check(options[key], key)
  const from = given<SupernetModel | string | null>('from', checkFrom, null)
  const network =
    options['network'] === undefined && from instanceof SupernetModel
      ? from.network
      : checkNetwork(options['network'], 'network')
  if (options['steps'] !== undefined && options['epochs'] !== undefined)
    throw invalidOption('steps and epochs', 'only one', [options['steps'], options['epochs']])
  const patchSize = given('patchSize', (v, name) => checkInteger(v, name, 8, 4096), 128)
  if (patchSize % network.scale !== 0)
    throw invalidOption('patchSize', `a multiple of the scale ${network.scale}`, patchSize)
  if (
    options['validateEverySteps'] !== undefined &&
    (options['data'] as Partial<DataOptions> | undefined)?.validation === undefined
  ) {
    throw invalidOption('validateEverySteps', 'no value without data.validation', options['validateEverySteps'])
  }
  if (options['from'] !== undefined && options['extend'] !== undefined)
    throw invalidOption('extend', 'no value together with from', options['extend'])
  const distillation = given('distillation', (v, name) => checkNumber(v, name, 0, 1), 0)
  const subnetsPerStep = given('subnetsPerStep', (v, name) => checkChoice(v, name, SUBNETS_PER_STEP), 'sandwich')
  if (distillation > 0 && subnetsPerStep !== 'sandwich')
    throw invalidOption('distillation', `nothing with subnetsPerStep '${subnetsPerStep}'`, distillation)
  const batchSize = given('batchSize', (v, name) => checkInteger(v, name, 1, 4096), 16)
  const distributed = given<Distributed | null>('distributed', (v, name) => checkChoice(v, name, DISTRIBUTED), null)
  const callback = (key: 'onStart' | 'onStep' | 'onEpoch' | 'onValidation' | 'onProgress') =>
    given<((report: never) => unknown) | null>(key, checkFunction, null)
  return {
    network,
    data: checkDataOptions(options['data']),
    from,
    extend: given<string | null>('extend', checkString, null),
    length:
      options['steps'] !== undefined
        ? { steps: checkInteger(options['steps'], 'steps', 1, 2 ** 31 - 1) }
        : { epochs: given('epochs', (v, name) => checkInteger(v, name, 1, 2 ** 31 - 1), 100) },
    batchSize,
    microBatches: checkMicroBatches(options['microBatches'], batchSize, distributed),
    distributed,
    patchSize,
    sampler: checkSamplerOptions(options['sampler']),
    loss: checkLoss(options['loss']),
    optimizer: checkOptimizer(options['optimizer']),
    ema: options['ema'] === false ? 0 : given('ema', (v, name) => checkBelowOne(v, name, 'false or a number'), 0.999),
    subnetsPerStep,
    distillation,
    seed: given('seed', (v, name) => checkInteger(v, name, 0), 1),
    device: checkTrainingDevice(options),
    signal: given<AbortSignal | null>('signal', checkSignal, null),
    checkpoint: checkCheckpoint(options['checkpoint']),
    validateEverySteps: given<number | null>('validateEverySteps', (v, name) => checkInteger(v, name, 1), null),
    calibration: checkCalibration(options['calibration']),
    report: checkReport(options['report']),
    divergence: given('divergence', (v, name) => checkChoice(v, name, ['stop', 'ignore'] as const), 'stop'),
    onStart: callback('onStart') as TrainSettings['onStart'],
    onStep: callback('onStep') as TrainSettings['onStep'],
    onEpoch: callback('onEpoch') as TrainSettings['onEpoch'],
    onValidation: callback('onValidation') as TrainSettings['onValidation'],
    onProgress: callback('onProgress') as TrainSettings['onProgress'],
  }
}

function checkTrainingDevice(options: Parameters<typeof checkDeviceOptions>[0]): DeviceChoice {
  const device = checkDeviceOptions(options)
  if (device.precision === 'int8')
    throw invalidOption('precision', "'bf16', 'tf32' or 'fp32' in training ('int8' is for inference)", device.precision)
  return device
}

function checkFrom(value: unknown, name: string): SupernetModel | string {
  if (value instanceof SupernetModel || (typeof value === 'string' && value !== '')) return value
  throw invalidOption(name, 'a SupernetModel or a file', value)
}

function checkCheckpoint(value: unknown): Required<CheckpointOptions> | null {
  if (value === undefined) return null
  const checkpoint = checkObject(value, 'checkpoint', ['directory', 'everySteps', 'resume'])
  const resume = checkpoint['resume'] ?? 'auto'
  if (typeof resume !== 'boolean' && (typeof resume !== 'string' || resume === ''))
    throw invalidOption('checkpoint.resume', `'auto', a boolean or a file`, resume)
  return {
    directory: checkString(checkpoint['directory'], 'checkpoint.directory'),
    everySteps: checkInteger(checkpoint['everySteps'] ?? 500, 'checkpoint.everySteps', 1),
    resume,
  }
}

function checkReport(value: unknown): Required<ReportOptions> | null {
  if (value === undefined || value === false) return null
  const given =
    typeof value === 'string' ? { file: value } : checkObject(value, 'report', ['file', 'everySeconds', 'examples'])
  const { file, everySeconds = 20, examples = 4 } = given as Partial<ReportOptions>
  return {
    file: checkString(file, typeof value === 'string' ? 'report' : 'report.file'),
    everySeconds: checkNumber(everySeconds, 'report.everySeconds', 0, 86_400),
    examples: checkInteger(examples, 'report.examples', 0, 12),
  }
}

function checkCalibration(value: unknown): Required<CalibrationOptions> {
  const calibration = checkObject(value ?? {}, 'calibration', ['tileSize', 'images', 'pixels'])
  return {
    tileSize: checkInteger(calibration['tileSize'] ?? 64, 'calibration.tileSize', 16, 256),
    images: checkInteger(calibration['images'] ?? 50, 'calibration.images', 1),
    pixels: checkInteger(calibration['pixels'] ?? CALIBRATION_PIXELS, 'calibration.pixels', 1),
  }
}
