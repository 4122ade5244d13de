// The last phase of a run: the router's table, measured on validation images or, without any, on training images.
import type { Dataset } from '../data/dataset.js'
import { type ValidationPair, ValidationSet } from '../data/validation.js'
import { WbsrError } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { permutation, randomFor } from '../random.js'
import { calibrate, measuredTiles } from '../routing/calibrate.js'
import type { TrainSettings } from './options.js'

// Keeps the choice of calibration images apart from the other random numbers of a seed.
const CALIBRATION_STREAM = 0xca11b

export class Calibration {
  readonly #settings: TrainSettings
  readonly #set: ValidationSet
  readonly #source: 'validation' | 'training'

  /** Chooses the images: all, or a seeded choice of `calibration.images`. */
  constructor(settings: TrainSettings, dataset: Dataset, validation: ValidationSet | null) {
    const { scale } = settings.network
    const all: readonly ValidationPair[] =
      validation?.files ??
      dataset.index.images.map(({ hr, lr, width, height }) => ({
        hr,
        lr,
        width: width / scale,
        height: height / scale,
      }))
    const order = permutation(all.length, randomFor(settings.seed, CALIBRATION_STREAM))
    const { images } = settings.calibration
    // In the order of the files where all are taken.
    const chosen = all.length > images ? [...order.subarray(0, images)].sort((a, b) => a - b).map((i) => all[i]!) : all
    this.#settings = settings
    this.#set = new ValidationSet(chosen, scale, settings.data.degradation)
    this.#source = validation ? 'validation' : 'training'
  }

  /** LR pixels on which every subnet will run, halo not counted. */
  get pixels(): number {
    const { tileSize, pixels } = this.#settings.calibration
    return Math.min(measuredTiles(this.#set.files, tileSize, pixels) * tileSize ** 2, this.#set.pixels)
  }

  /** What onProgress counts up to: pictures, and tiles times subnets. */
  units({ engine }: ModelState): number {
    const { tileSize, pixels } = this.#settings.calibration
    const { files } = this.#set
    return files.length + measuredTiles(files, tileSize, pixels) * engine.subnets.length
  }

  /**
   * Measures the table and puts it into the model. Returns the entry of the training record.
   *
   * @throws WbsrError WBSR_NON_FINITE: the weights give no finite pictures; WBSR_ABORTED; naming a file that became unreadable
   */
  async run(
    state: ModelState,
    steps: number,
    onProgress: (progress: { done: number; total: number }) => void,
  ): Promise<Record<string, unknown>> {
    const { seed, calibration } = this.#settings
    const { tileSize, pixels } = calibration
    const signal = this.#settings.signal ?? undefined
    const set = this.#set
    const pairs = async function* () {
      for await (const { lr, hr } of set.images(signal))
        yield { lr: { ...lr, channels: 3 as const }, hr: { ...hr, channels: 3 as const } }
    }
    const router = await calibrate(state, pairs(), { tileSize, pixels, seed, sizes: set.files, onProgress, signal })
    if (!router.squaredError.flat().every(Number.isFinite)) {
      throw new WbsrError(
        'WBSR_NON_FINITE',
        `The weights after step ${steps} give no finite pictures; a lower optimizer.learningRate may help`,
      )
    }
    state.router = router
    return { source: this.#source, images: set.files.length, tiles: router.tiles, tileSize, pixels }
  }
}
