// The options of evaluate(): sets of pictures, settings of the router to compare, and what is written.
import { checkDegradation, type Degradation, type DegradationOptions } from '../data/degradation.js'
import type { FileSpec } from '../data/files.js'
import { invalidOption } from '../errors.js'
import { checkUpscaleOptions, type UpscaleOptions } from '../infer/options.js'
import type { ModelState } from '../model-state.js'
import {
  checkBoolean,
  checkChoice,
  checkFunction,
  checkInteger,
  checkNumber,
  checkObject,
  checkSignal,
  checkString,
} from '../options.js'
import { checkBudget, DEFAULT_BUDGET, DEFAULT_LOSS } from '../routing/options.js'
import type { Rival } from './rivals.js'
import { defaultRuns, type EvaluationRun, nameOf, type RivalName, type Sweep, sweepRuns } from './runs.js'

/** Pictures to measure on. */
export interface EvaluationSet {
  /** HR pictures: a folder, a pattern, a file, or a list of these. */
  hr: FileSpec
  /** Their LR files, paired as data.lr of trainSupernet; default: made by antialiased bicubic. */
  lr?: FileSpec
  /** What happens to LR then, as data.degradation of trainSupernet: to each picture always the same. */
  degradation?: 'photo' | DegradationOptions
}

/** Pictures on which thresholds and router table of another K are measured. */
export interface EvaluationCalibration extends EvaluationSet {
  /** LR pixels of a tile, 16 .. 256. Default 64. */
  tileSize?: number
  /** LR pixels of tiles on which every subnet is measured, at most. Default 2^20. */
  pixels?: number
}

/** 'sr': the enlarged picture; 'error': its distance from HR; 'allocation': which subnet ran where. */
export type EvaluationPicture = 'sr' | 'error' | 'allocation'

/** What {@link evaluate} measures, on which pictures, and where results are kept. */
export interface EvaluateOptions {
  /** By name. A FileSpec is short for { hr }. */
  sets: Record<string, FileSpec | EvaluationSet>
  /** Default: the smallest subnet, budgets 0.4, 0.6 and 0.8 (without a router table: 'projection'), the largest subnet. */
  runs?: readonly EvaluationRun[]
  /** More runs: one for each number of classes (K) or of subnets that the router may choose (M). */
  sweep?: Sweep
  /** For runs with `classes`. */
  calibration?: EvaluationCalibration
  /** 'full' (default): what users get. 'paper': 32/28 tiles, shave 4, as ClassSR, ARM and WBSR measured. See docs/protocol.md. */
  protocol?: 'full' | 'paper'
  /** Whether SSIM is measured too. Default true. */
  ssim?: boolean
  /**
   * Keeps the results of every picture there, and pictures: what is there already, of the same model, pictures and settings,
   * is not measured again.
   */
  directory?: string
  /** Pictures to write as PNG into `directory`. Default: none. */
  pictures?: readonly EvaluationPicture[]
  /** Before every picture of a run and at the end; awaited. */
  onProgress?: (progress: EvaluationProgress) => unknown
  signal?: AbortSignal
}

/** What {@link evaluate} reports after every picture and run. */
export interface EvaluationProgress {
  /** Pictures times runs; those that were measured earlier count. */
  done: number
  total: number
  set: string
  picture: string
  run: string
  /** Since the start. */
  seconds: number
}

export interface CheckedSet {
  name: string
  hr: FileSpec
  lr?: FileSpec
  degradation?: Degradation
}

export interface CheckedRun {
  name: string
  /** null: the model's K. */
  classes: number | null
  upscale: UpscaleOptions
  /** null: upscale's own router. */
  rival: Rival | null
}

export interface EvaluationPlan {
  sets: CheckedSet[]
  runs: CheckedRun[]
  calibration: (CheckedSet & { tileSize: number; pixels: number }) | null
  protocol: 'full' | 'paper'
  ssim: boolean
  directory: string | null
  pictures: readonly EvaluationPicture[]
  onProgress: ((progress: EvaluationProgress) => unknown) | null
  signal: AbortSignal | undefined
}

const KEYS = [
  'sets',
  'runs',
  'sweep',
  'calibration',
  'protocol',
  'ssim',
  'directory',
  'pictures',
  'onProgress',
  'signal',
] as const
const RUN_KEYS = [
  'name',
  'classes',
  'router',
  'seed',
  'loss',
  'budget',
  'guarantee',
  'alpha',
  'subnets',
  'halo',
  'tile',
  'budgetScope',
]

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkEvaluateOptions(value: unknown, state: ModelState): EvaluationPlan {
  const options = checkObject(value, 'evaluate options', KEYS) as unknown as EvaluateOptions
  const sets = Object.entries(checkRecord(options.sets, 'sets')).map(([name, set]) =>
    checkSet(set, `sets.${name}`, name),
  )
  if (sets.length === 0) throw invalidOption('sets', 'at least one set of pictures', options.sets)
  const protocol = checkChoice(options.protocol ?? 'full', 'protocol', ['full', 'paper'] as const)
  const given: unknown = options.runs ?? (options.sweep === undefined ? defaultRuns(state) : [])
  if (!Array.isArray(given)) throw invalidOption('runs', 'a list of runs', given)
  const swept = options.sweep === undefined ? [] : sweepRuns(options.sweep, state)
  const runs = [...given, ...swept].map((run, i) => checkRun(run, `runs[${i}]`, state, protocol))
  if (runs.length === 0) throw invalidOption('runs', 'at least one run', options.runs)
  const names = runs.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i || name === 'bicubic')
  if (twice !== undefined) throw invalidOption('runs', "distinct names other than 'bicubic'", twice)
  const calibration = options.calibration === undefined ? null : checkCalibration(options.calibration)
  const needing = runs.find(({ classes }) => classes !== null)
  if (needing && !calibration)
    throw invalidOption('calibration', `pictures to measure K = ${needing.classes} on (runs with classes)`, undefined)
  const directory = options.directory === undefined ? null : checkString(options.directory, 'directory')
  const pictures: unknown = options.pictures ?? []
  if (!Array.isArray(pictures)) throw invalidOption('pictures', "a list of 'sr', 'error', 'allocation'", pictures)
  if (pictures.length > 0 && directory === null)
    throw invalidOption('pictures', 'nothing without directory', options.pictures)
  return {
    sets,
    runs,
    calibration,
    protocol,
    ssim: options.ssim === undefined ? true : checkBoolean(options.ssim, 'ssim'),
    directory,
    pictures: pictures.map((kind, i) => checkChoice(kind, `pictures[${i}]`, ['sr', 'error', 'allocation'] as const)),
    onProgress: options.onProgress === undefined ? null : checkFunction(options.onProgress, 'onProgress'),
    signal: options.signal === undefined ? undefined : checkSignal(options.signal, 'signal'),
  }
}

function checkRecord(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidOption(name, 'an object of sets by name', value)
  return value as Record<string, unknown>
}

/** File patterns are checked when they are searched. */
export function checkSet(value: unknown, at: string, name = at): CheckedSet {
  const given = typeof value === 'string' || Array.isArray(value) ? { hr: value as FileSpec } : value
  const { hr, lr, degradation } = checkObject(given, at, ['hr', 'lr', 'degradation']) as unknown as EvaluationSet
  if (hr === undefined) throw invalidOption(`${at}.hr`, 'a folder, a pattern or a list of image files', hr)
  return {
    name,
    hr,
    ...(lr !== undefined && { lr }),
    ...(degradation !== undefined && { degradation: checkDegradation(degradation, `${at}.degradation`) }),
  }
}

function checkCalibration(value: unknown): EvaluationPlan['calibration'] {
  const { tileSize, pixels, ...set } = checkObject(value, 'calibration', [
    'hr',
    'lr',
    'degradation',
    'tileSize',
    'pixels',
  ])
  return {
    ...checkSet(set, 'calibration'),
    tileSize: checkInteger(tileSize ?? 64, 'calibration.tileSize', 16, 256),
    pixels: checkInteger(pixels ?? 2 ** 20, 'calibration.pixels', 1),
  }
}

const NO_TABLE = {
  squaredError: [],
  bicubicSquaredError: [],
  frequency: [],
  tiles: 0,
  tileSize: 64,
  tileLosses: { tiles: [], quantiles: [] },
}

function checkRun(value: unknown, at: string, state: ModelState, protocol: 'full' | 'paper'): CheckedRun {
  const { name, classes, seed, ...rest } = checkObject(value, at, RUN_KEYS) as EvaluationRun
  const rival = checkRival(rest, seed, at, protocol, state)
  const upscale = (rival ? { halo: rest.halo, tile: rival.tile } : rest) as UpscaleOptions
  if (upscale.halo === undefined) delete upscale.halo
  const settings: UpscaleOptions = { ...upscale, ...(protocol === 'paper' && { protocol }) }
  const checked = classes === undefined ? null : checkInteger(classes, `${at}.classes`, 2, 1000)
  // With classes of its own a run has a router table.
  const used: ModelState = checked === null ? state : { ...state, router: state.router ?? NO_TABLE }
  // For the checks alone.
  checkUpscaleOptions(settings, used)
  return {
    name: name === undefined ? nameOf(value as EvaluationRun, used) : checkString(name, `${at}.name`),
    classes: checked,
    upscale: settings,
    rival,
  }
}

const RIVALS: readonly RivalName[] = ['random', 'oracle', 'classsr', 'predictor']

/** Options of a run that each rival has no use for. */
const UNUSED = {
  random: ['loss', 'alpha'],
  oracle: ['alpha'],
  classsr: ['loss', 'alpha'],
  predictor: ['loss'],
} as const satisfies Record<RivalName, readonly (keyof EvaluationRun)[]>

/** The router of a run that evaluate() alone has; null: another one. */
function checkRival(
  run: Omit<EvaluationRun, 'name' | 'classes' | 'seed'>,
  seed: number | undefined,
  at: string,
  protocol: 'full' | 'paper',
  state: ModelState,
): Rival | null {
  const { router, loss, budget, alpha, tile = 64 } = run
  if (router !== 'random' && seed !== undefined)
    throw invalidOption(`${at}.seed`, "nothing without router 'random'", seed)
  const kind = RIVALS.find((name) => name === router)
  if (kind === undefined) return null
  if (protocol === 'paper') throw invalidOption('protocol', `'full' with router '${kind}'`, protocol)
  for (const key of ['guarantee', 'subnets', 'budgetScope', ...UNUSED[kind]] as const)
    if (run[key] !== undefined) throw invalidOption(`${at}.${key}`, `nothing with router '${kind}'`, run[key])
  if ((kind === 'classsr' || kind === 'predictor') && !state.tileRouters?.[kind])
    throw invalidOption(
      `${at}.router`,
      `a router that the model has (calibrateRouter(model, { router: '${kind}', hr }) trains this one)`,
      kind,
    )
  const edge = checkInteger(tile, `${at}.tile`, 16, 4096)
  if (budget !== undefined) checkBudget(budget, `${at}.budget`)
  if (kind === 'random')
    return { kind, budget: budget ?? null, seed: checkInteger(seed ?? 1, `${at}.seed`, 0), tile: edge }
  if (kind === 'classsr') return { kind, budget: budget ?? null, tile: edge }
  const other = kind === 'oracle' ? 'loss' : 'alpha'
  if (budget !== undefined && run[other] !== undefined)
    throw invalidOption(`${at}.budget and ${at}.${other}`, 'only one', [budget, run[other]])
  if (kind === 'predictor')
    return {
      kind,
      goal:
        alpha === undefined
          ? { budget: budget ?? DEFAULT_BUDGET }
          : { alpha: checkNumber(alpha, `${at}.alpha`, 0, 1e9) },
      tile: edge,
    }
  const goal = budget !== undefined ? { budget } : { loss: checkNumber(loss ?? DEFAULT_LOSS, `${at}.loss`, 0, 100) }
  return { kind, goal, tile: edge }
}
