// The options of trainSupernet: their types, defaults and checks. What comes out has every value filled in.
import { checkDataOptions, type DataOptions } from '../data/options.js'
import { checkSamplerOptions, type SamplerOptions } from '../data/sampler.js'
import { checkDeviceOptions, DEVICE_KEYS, type DeviceChoice, type DeviceOptions } from '../devices.js'
import { invalidOption } from '../errors.js'
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
import { type CheckedLoss, checkLoss, type LossOptions } from './loss.js'
import type { EpochReport, StartReport, StepReport, ValidationReport } from './reports.js'
import type { SubnetsPerStep } from './schedule.js'

export interface OptimizerOptions {
  /** Adam's learning rate at the first step. Default 2e-4. */
  learningRate?: number
  /** At the last step, reached along a cosine. Default 1e-7. */
  finalLearningRate?: number
  /** Default [0.9, 0.999]. */
  betas?: readonly [number, number]
  /** Default 1e-8. */
  epsilon?: number
  /** Decoupled (AdamW), the paper's lambda. Default 0. */
  weightDecay?: number
}

export interface CheckpointOptions {
  /** Holds `checkpoint.safetensors`; made when missing. */
  directory: string
  /** Also written at the end and on abort. Default 500. */
  everySteps?: number
  /** 'auto': continue if a checkpoint is there; true: it must be there; false: start anew; or a file to continue from. Default 'auto'. */
  resume?: 'auto' | boolean | string
}

export interface CalibrationOptions {
  /** Side of the LR tiles on which the router's table is measured, 16 .. 256; best what upscale will use. Default 64. */
  tileSize?: number
  /** At most this many images, a seeded choice. Default 50. */
  images?: number
}

export interface TrainOptions extends DeviceOptions {
  /** E.g. srresnet({ scale: 4 }). */
  network: Network
  data: DataOptions
  /** Optimizer steps. Exactly one of steps and epochs; default epochs: 100. */
  steps?: number
  /** Passes over the patch index. */
  epochs?: number
  /** Patches per step. Default 16. */
  batchSize?: number
  /** HR pixels, a multiple of the scale. Default 128. */
  patchSize?: number
  sampler?: SamplerOptions
  /** Default 'bd'. */
  loss?: LossOptions
  optimizer?: OptimizerOptions
  /** Decay of the moving average of the weights, which the finished model holds; false: off. Default 0.999. */
  ema?: number | false
  /** Default 'sandwich'. */
  subnetsPerStep?: SubnetsPerStep
  /** Default 1. */
  seed?: number
  /** Ends the run with WBSR_ABORTED; a checkpoint is written first when checkpointing is on. */
  signal?: AbortSignal
  checkpoint?: CheckpointOptions
  /** Default: after every epoch. Always after the last step. */
  validateEverySteps?: number
  calibration?: CalibrationOptions
  /** Callbacks may return a promise, which is awaited. One that throws ends the run with what it threw. */
  onStart?: (report: StartReport) => unknown
  onStep?: (report: StepReport) => unknown
  onEpoch?: (report: EpochReport) => unknown
  onValidation?: (report: ValidationReport) => unknown
}

/** Options with every default filled in. */
export interface TrainPlan {
  network: Network
  data: DataOptions
  length: { steps: number } | { epochs: number }
  batchSize: number
  patchSize: number
  sampler: Required<SamplerOptions>
  loss: CheckedLoss
  optimizer: Required<OptimizerOptions>
  /** 0: off. */
  ema: number
  subnetsPerStep: SubnetsPerStep
  seed: number
  device: DeviceChoice
  signal: AbortSignal | null
  checkpoint: Required<CheckpointOptions> | null
  /** null: after every epoch. */
  validateEverySteps: number | null
  calibration: Required<CalibrationOptions>
  onStart: ((report: StartReport) => unknown) | null
  onStep: ((report: StepReport) => unknown) | null
  onEpoch: ((report: EpochReport) => unknown) | null
  onValidation: ((report: ValidationReport) => unknown) | null
}

const KEYS = [
  'network',
  'data',
  'steps',
  'epochs',
  'batchSize',
  'patchSize',
  'sampler',
  'loss',
  'optimizer',
  'ema',
  'subnetsPerStep',
  'seed',
  ...DEVICE_KEYS,
  'signal',
  'checkpoint',
  'validateEverySteps',
  'calibration',
  'onStart',
  'onStep',
  'onEpoch',
  'onValidation',
] as const

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkTrainOptions(value: unknown): TrainPlan {
  const options = checkObject(value, 'options', KEYS)
  const given = <T>(key: (typeof KEYS)[number], check: (v: unknown, name: string) => T, fallback: T): T =>
    options[key] === undefined ? fallback : check(options[key], key)
  const network = checkNetwork(options['network'], 'network')
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
  const callback = (key: 'onStart' | 'onStep' | 'onEpoch' | 'onValidation') =>
    given<((report: never) => unknown) | null>(key, checkFunction, null)
  return {
    network,
    data: checkDataOptions(options['data']),
    length:
      options['steps'] !== undefined
        ? { steps: checkInteger(options['steps'], 'steps', 1, 2 ** 31 - 1) }
        : { epochs: given('epochs', (v, name) => checkInteger(v, name, 1, 2 ** 31 - 1), 100) },
    batchSize: given('batchSize', (v, name) => checkInteger(v, name, 1, 4096), 16),
    patchSize,
    sampler: checkSamplerOptions(options['sampler']),
    loss: checkLoss(options['loss']),
    optimizer: checkOptimizer(options['optimizer']),
    ema: options['ema'] === false ? 0 : given('ema', (v, name) => checkBelowOne(v, name, 'false or a number'), 0.999),
    subnetsPerStep: given(
      'subnetsPerStep',
      (v, name) => checkChoice(v, name, ['sandwich', 'single'] as const),
      'sandwich',
    ),
    seed: given('seed', (v, name) => checkInteger(v, name, 0), 1),
    device: checkDeviceOptions(options),
    signal: given<AbortSignal | null>('signal', checkSignal, null),
    checkpoint: checkCheckpoint(options['checkpoint']),
    validateEverySteps: given<number | null>('validateEverySteps', (v, name) => checkInteger(v, name, 1), null),
    calibration: checkCalibration(options['calibration']),
    onStart: callback('onStart') as TrainPlan['onStart'],
    onStep: callback('onStep') as TrainPlan['onStep'],
    onEpoch: callback('onEpoch') as TrainPlan['onEpoch'],
    onValidation: callback('onValidation') as TrainPlan['onValidation'],
  }
}

function checkBelowOne(value: unknown, name: string, what = 'a number'): number {
  if (typeof value !== 'number' || !(value >= 0 && value < 1))
    throw invalidOption(name, `${what} of at least 0 and below 1`, value)
  return value
}

function checkOptimizer(value: unknown): Required<OptimizerOptions> {
  const optimizer = checkObject(value ?? {}, 'optimizer', [
    'learningRate',
    'finalLearningRate',
    'betas',
    'epsilon',
    'weightDecay',
  ])
  const learningRate = checkNumber(optimizer['learningRate'] ?? 2e-4, 'optimizer.learningRate', 0)
  const betas = optimizer['betas'] ?? [0.9, 0.999]
  if (!Array.isArray(betas) || betas.length !== 2) throw invalidOption('optimizer.betas', 'two numbers', betas)
  return {
    learningRate,
    finalLearningRate: checkNumber(
      optimizer['finalLearningRate'] ?? Math.min(1e-7, learningRate),
      'optimizer.finalLearningRate',
      0,
      learningRate,
    ),
    betas: [checkBelowOne(betas[0], 'optimizer.betas[0]'), checkBelowOne(betas[1], 'optimizer.betas[1]')],
    epsilon: checkNumber(optimizer['epsilon'] ?? 1e-8, 'optimizer.epsilon', Number.MIN_VALUE),
    weightDecay: checkNumber(optimizer['weightDecay'] ?? 0, 'optimizer.weightDecay', 0),
  }
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

function checkCalibration(value: unknown): Required<CalibrationOptions> {
  const calibration = checkObject(value ?? {}, 'calibration', ['tileSize', 'images'])
  return {
    tileSize: checkInteger(calibration['tileSize'] ?? 64, 'calibration.tileSize', 16, 256),
    images: checkInteger(calibration['images'] ?? 50, 'calibration.images', 1),
  }
}
