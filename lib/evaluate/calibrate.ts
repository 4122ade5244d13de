// Difficulty classes and router table of a model, measured on pictures that the user names.
import { buildClasses } from '../data/sampler.js'
import { ValidationSet } from '../data/validation.js'
import { invalidOption } from '../errors.js'
import type { ArmTable, ClassTable, ModelState, RouterTable, TileRouters } from '../model-state.js'
import { type SupernetModel, stateOf } from '../models/model.js'
import { checkChoice, checkFunction, checkInteger, checkObject, checkSignal } from '../options.js'
import { permutation, randomFor } from '../random.js'
import { ARM_CLASSES } from '../routing/arm.js'
import { CALIBRATION_PIXELS, calibrate } from '../routing/calibrate.js'
import { difficultiesOf } from '../routing/measure.js'
import { makeGrid, tileRects } from '../tiling/grid.js'
import { type CheckedSet, checkSet, type EvaluationSet } from './options.js'
import { measureTiles, STEPS, type TileTrainingSettings, trainClassSr, trainPredictor } from './tile-training.js'

// Keeps the choice of pictures apart from the other random numbers of a seed.
const PICTURES = 0xca1

export interface CalibrateRouterOptions extends EvaluationSet {
  /**
   * Whose table it is: 'calibrated' (default). Or a rival (method.md section 6), which has no options `classes` and `thresholds`:
   * 'arm', the lookup table of ARM over 30 intervals of the edge score; 'classsr' and 'predictor', networks of evaluate(), which
   * are trained on tiles.
   */
  router?: 'calibrated' | 'arm' | 'classsr' | 'predictor'
  /** Training steps of 'classsr' and 'predictor', of 32 tiles each. Default 300. */
  steps?: number
  /** Number of difficulty classes, K; thresholds are made anew then. Default: the model's classes, 10 where it has none. */
  classes?: number
  /** How they are cut, as sampler.thresholds of trainSupernet. Default: as the model's. */
  thresholds?: 'interval' | 'quantile'
  /** LR pixels of a tile, 16 .. 256; best what upscale will use. Default 64; of 'classsr' and 'predictor' 32. */
  tileSize?: number
  /** LR pixels of tiles on which every subnet is measured, at most. Default 2^20; of 'classsr' and 'predictor' 2^22. */
  pixels?: number
  /** At most this many pictures are read, a seeded choice. Default 50. */
  images?: number
  /** Of these choices. Default 1. */
  seed?: number
  /** Counts pictures read, then tiles times subnets. */
  onProgress?: (progress: { done: number; total: number }) => void
  signal?: AbortSignal
}

/**
 * Measures the table of router 'calibrated' (or 'arm') on pictures and puts it into the model, in place of the one that it has:
 * for training checkpoints and models of other tools, which have none, or for pictures of another kind.
 *
 * @throws WbsrError WBSR_INVALID_OPTION; WBSR_NOT_FOUND, WBSR_NO_DATA, WBSR_INVALID_IMAGE: the pictures; WBSR_ABORTED;
 *   WBSR_DISPOSED
 */
export async function calibrateRouter(model: SupernetModel, options: CalibrateRouterOptions): Promise<void> {
  const state = stateOf(model)
  const given = checkObject(options, 'options', [
    'hr',
    'lr',
    'degradation',
    'router',
    'steps',
    'classes',
    'thresholds',
    'tileSize',
    'pixels',
    'images',
    'seed',
    'onProgress',
    'signal',
  ]) as unknown as CalibrateRouterOptions
  const { hr, lr, degradation, classes, thresholds, signal, onProgress } = given
  const set: CheckedSet = checkSet(
    { hr, ...(lr !== undefined && { lr }), ...(degradation !== undefined && { degradation }) },
    'options',
  )
  const router = checkChoice(given.router ?? 'calibrated', 'router', [
    'calibrated',
    'arm',
    'classsr',
    'predictor',
  ] as const)
  const trained = router === 'classsr' || router === 'predictor'
  const settings = {
    tileSize: checkInteger(given.tileSize ?? (trained ? 32 : 64), 'tileSize', 16, 256),
    pixels: checkInteger(given.pixels ?? (trained ? 2 ** 22 : CALIBRATION_PIXELS), 'pixels', 1),
    images: checkInteger(given.images ?? 50, 'images', 1),
    seed: checkInteger(given.seed ?? 1, 'seed', 0),
    ...(signal !== undefined && { signal: checkSignal(signal, 'signal') }),
    ...(onProgress !== undefined && { onProgress: checkFunction<typeof onProgress>(onProgress, 'onProgress') }),
  }
  if (!trained && given.steps !== undefined)
    throw invalidOption('steps', "nothing without router 'classsr' or 'predictor'", given.steps)
  if (router !== 'calibrated') {
    for (const [key, value] of Object.entries({ classes, thresholds }))
      if (value !== undefined) throw invalidOption(key, `nothing with router '${router}'`, value)
    const steps = checkInteger(given.steps ?? STEPS, 'steps', 1, 1_000_000)
    const pictures = await openPictures(set, state.network.scale, settings)
    if (router === 'arm') stateOf(model).arm = await armTableOf(state, pictures, settings)
    else stateOf(model).tileRouters = await tileRoutersOf(router, state, pictures, { ...settings, steps })
    return
  }
  const anew = classes !== undefined || thresholds !== undefined || state.classes.count === 1
  const wanted = {
    classes: checkInteger(classes ?? (state.classes.count === 1 ? 10 : state.classes.count), 'classes', 2, 1000),
    thresholds: checkChoice(thresholds ?? state.classes.kind, 'thresholds', ['interval', 'quantile'] as const),
  }
  const pictures = await openPictures(set, state.network.scale, settings)
  const table = anew ? await classesOf(pictures, wanted, settings) : state.classes
  const measured = await tableOf({ ...state, classes: table, router: null }, pictures, settings)
  // The model may be in use: both change together.
  Object.assign(stateOf(model), { classes: table, router: measured })
}

/** The model's networks for tiles with this one trained. */
async function tileRoutersOf(
  router: 'classsr' | 'predictor',
  state: ModelState,
  pictures: ValidationSet,
  settings: TileTrainingSettings,
): Promise<TileRouters> {
  if (state.engine.subnets.length < 2)
    throw invalidOption('router', "'calibrated' or 'arm' with a model of one subnet", router)
  const tiles = await measureTiles(state, pictures, settings)
  const made =
    router === 'classsr'
      ? { classsr: await trainClassSr(state, tiles, settings) }
      : { predictor: await trainPredictor(state, tiles, settings) }
  return { ...state.tileRouters, ...made }
}

/** The lookup table of ARM: equal intervals between the smallest and the largest edge score of all tiles. */
async function armTableOf(state: ModelState, pictures: ValidationSet, settings: Settings): Promise<ArmTable> {
  const scores = await tileDifficulties(pictures, { measure: 'edge' }, settings)
  const low = scores.reduce((least, score) => Math.min(least, score), Infinity)
  const high = scores.reduce((most, score) => Math.max(most, score), 0)
  const thresholds = Array.from({ length: ARM_CLASSES - 1 }, (_, i) => low + ((i + 1) / ARM_CLASSES) * (high - low))
  const classes: ClassTable = { count: ARM_CLASSES, thresholds, kind: 'interval', measure: 'edge' }
  return { classes, table: await tableOf({ ...state, classes, router: null }, pictures, settings) }
}

interface Settings {
  tileSize: number
  pixels: number
  images?: number
  seed?: number
  signal?: AbortSignal
  onProgress?: (progress: { done: number; total: number }) => void
}

/** Finds the pictures, at most `images` of them. */
export async function openPictures(
  set: CheckedSet,
  scale: number,
  settings: Pick<Settings, 'images' | 'seed' | 'signal'>,
): Promise<ValidationSet> {
  const { hr, lr, degradation, name } = set
  const { images = Infinity, seed = 1, signal } = settings
  const found = await ValidationSet.find(hr, { scale, name, ...(lr !== undefined && { lr }) })
  const order = permutation(found.pairs.length, randomFor(seed, PICTURES))
  const pairs =
    found.pairs.length > images
      ? [...order.subarray(0, images)].sort((a, b) => a - b).map((i) => found.pairs[i]!)
      : found.pairs
  return await ValidationSet.check(
    { ...found, pairs },
    { ...(signal && { signal }), ...(degradation && { degradation: { ...degradation, validation: true } }) },
  )
}

/** Thresholds by the difficulties of all tiles of the pictures. */
export async function classesOf(
  pictures: ValidationSet,
  options: { classes: number; thresholds: 'interval' | 'quantile' },
  settings: Pick<Settings, 'tileSize' | 'signal'>,
): Promise<ClassTable> {
  return buildClasses(await tileDifficulties(pictures, {}, settings), options)
}

/** Difficulties of all tiles of the pictures. */
async function tileDifficulties(
  pictures: ValidationSet,
  measure: Pick<ClassTable, 'measure'>,
  { tileSize, signal }: Pick<Settings, 'tileSize' | 'signal'>,
): Promise<number[]> {
  const difficulties: number[] = []
  for await (const { lr } of pictures.images(signal)) {
    const grid = makeGrid(lr.width, lr.height, tileSize)
    difficulties.push(...(await difficultiesOf(measure, { ...lr, channels: 3 }, tileRects(grid, 0, grid.rows, 0))))
  }
  return difficulties
}

/** The router table of a state whose classes are set. */
export async function tableOf(
  state: ModelState,
  pictures: ValidationSet,
  { tileSize, pixels, seed = 1, signal, onProgress }: Settings,
): Promise<RouterTable> {
  const pairs = async function* () {
    for await (const { lr, hr } of pictures.images(signal))
      yield { lr: { ...lr, channels: 3 as const }, hr: { ...hr, channels: 3 as const } }
  }
  return await calibrate(state, pairs(), {
    tileSize,
    pixels,
    seed,
    sizes: pictures.files,
    ...(signal && { signal }),
    ...(onProgress && { onProgress }),
  })
}
