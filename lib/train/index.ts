// trainSupernet: options -> data, engine, checkpoint -> Trainer -> a calibrated model. Everything that holds memory or files
// is released here, whatever happens.
import path from 'node:path'
import { Dataset } from '../data/dataset.js'
import { permutation, randomFor } from '../data/random.js'
import { ValidationSet } from '../data/validation.js'
import { createEngine, requireDevice } from '../devices.js'
import { aborted, WbsrError, wrapError } from '../errors.js'
import { AtomicFile } from '../files/atomic.js'
import type { Mixture, ModelState } from '../model-state.js'
import { SupernetModel } from '../models/model.js'
import type { ModelFile } from '../models/model-file.js'
import { calibrate } from '../routing/calibrate.js'
import { type Fingerprint, type Progress, readCheckpoint, restoreArenas } from './checkpoint.js'
import { interruptible } from './interruptible.js'
import { LossController } from './loss.js'
import { fitPixelMixture } from './mixture.js'
import { checkTrainOptions, type TrainOptions, type TrainPlan } from './options.js'
import { noSums } from './reports.js'
import { Trainer } from './trainer.js'

export const CHECKPOINT_FILE = 'checkpoint.safetensors'
const MIXTURE_PIXELS = 2 ** 18
// Keeps the choice of calibration images apart from the other random numbers of a seed.
const CALIBRATION_STREAM = 0xca11b

/**
 * Trains a supernet (WBSR, NeurIPS 2024): HES batches, sandwich steps, BDLoss, Adam along a cosine. The model that comes back
 * holds the moving average of the weights (unless `ema` is false) and a calibrated router.
 *
 * @throws WbsrError WBSR_INVALID_OPTION; WBSR_NOT_FOUND, WBSR_NO_DATA, WBSR_INVALID_IMAGE: the images; WBSR_NO_DEVICE;
 *   WBSR_INVALID_FILE: a checkpoint that is damaged or of another run; WBSR_NON_FINITE naming the step: the last good
 *   checkpoint stays; WBSR_IO: a checkpoint could not be written, the one before it stays; WBSR_ABORTED; and whatever a
 *   callback throws, as it is
 */
export async function trainSupernet(options: TrainOptions): Promise<SupernetModel> {
  const plan = checkTrainOptions(options)
  const signal = plan.signal ?? undefined
  if (signal?.aborted) throw aborted('Training', signal)
  // Before hours of indexing, not after.
  requireDevice(plan.device.device)
  const { network, data, batchSize, patchSize, sampler, seed } = plan
  const dataset = await interruptible(
    Dataset.open({ data, scale: network.scale, patchSize, batchSize, ...plan.length, sampler, seed, signal }),
    plan.signal,
  )
  try {
    const validation =
      data.validation === undefined
        ? null
        : await interruptible(
            ValidationSet.open(data.validation, { scale: network.scale, lr: data.validationLr, signal }),
            plan.signal,
          )
    return await train(plan, dataset, validation)
  } catch (error) {
    // Whatever ends up here after an abort was caused by it, except for what a user must know of all the same.
    const own = error instanceof WbsrError && (error.code === 'WBSR_IO' || error.code === 'WBSR_NON_FINITE')
    if (signal?.aborted && !own) throw aborted('Training', signal)
    throw error
  } finally {
    dataset.close()
  }
}

async function train(plan: TrainPlan, dataset: Dataset, validation: ValidationSet | null): Promise<SupernetModel> {
  const { network } = plan
  const fingerprint = fingerprintOf(plan, dataset)
  const checkpointFile = plan.checkpoint && path.join(plan.checkpoint.directory, CHECKPOINT_FILE)
  const resumed = await openCheckpoint(plan, fingerprint)
  // Known now, and not when the first checkpoint is due.
  if (checkpointFile) await (await AtomicFile.open(checkpointFile)).discard()
  const progress = resumed?.progress
  const mixture = progress ? progress.mixture : await interruptible(fitMixture(plan, dataset), plan.signal)
  const loss = new LossController(plan.loss, mixture)
  if (progress) loss.restore(progress.loss)
  await announce(plan, dataset, validation, progress?.step ?? 0)

  const { engine, fallbackReason } = createEngine(network, plan.device)
  const state: ModelState = {
    engine,
    network,
    classes: dataset.classes,
    router: null,
    mixture,
    training: null,
    fallbackReason,
    disposed: false,
  }
  let weights: Float32Array
  let history: unknown[]
  try {
    if (resumed) restoreArenas(resumed.file, engine, network, plan.ema > 0, resumed.contents)
    else engine.initialise(plan.seed)
    const from = { step: progress?.step ?? 0, history: progress?.history ?? [], epoch: progress?.epoch ?? noSums() }
    const trainer = new Trainer({ plan, dataset, validation, state, loss, checkpointFile, fingerprint, from })
    await trainer.run()
    weights = engine.getArena(plan.ema > 0 ? 'ema' : 'weights')
    history = trainer.history
  } finally {
    engine.dispose()
  }
  // An engine without the training's gradients and moments.
  const finished: ModelState = { ...state, engine: createEngine(network, plan.device).engine }
  try {
    finished.engine.setArena('weights', weights)
    const calibration = await calibrateOn(plan, dataset, validation, finished)
    finished.training = {
      steps: dataset.steps,
      stepsPerEpoch: dataset.stepsPerEpoch,
      images: dataset.index.images.length,
      patches: dataset.index.difficulties.length,
      skipped: dataset.skipped.map(({ file }) => path.basename(file)),
      options: fingerprint,
      history,
      calibration,
    }
    return new SupernetModel(finished)
  } catch (error) {
    finished.engine.dispose()
    throw wrapError(error)
  }
}

/** p_train(y) of BDLoss, from a sample of the training pixels; null for losses that need none. */
async function fitMixture({ loss, seed }: TrainPlan, dataset: Dataset): Promise<Mixture | null> {
  if (loss.kind !== 'bd') return null
  const { dimension, components, minStd } = loss
  return fitPixelMixture(await dataset.pixelSample(MIXTURE_PIXELS, seed), { dimension, components, minStd, seed })
}

/** All that decides the numbers of a run; what it leaves out (device, checkpointing, callbacks) does not, but for rounding. */
function fingerprintOf(plan: TrainPlan, dataset: Dataset): Fingerprint {
  const { batchSize, patchSize, sampler, loss, optimizer, ema, subnetsPerStep, seed } = plan
  return {
    data: dataset.index.fingerprint,
    steps: dataset.steps,
    batchSize,
    patchSize,
    sampler,
    loss,
    optimizer,
    ema,
    subnetsPerStep,
    seed,
  }
}

async function openCheckpoint(
  plan: TrainPlan,
  fingerprint: Fingerprint,
): Promise<{ file: string; contents: ModelFile; progress: Progress } | null> {
  const { checkpoint } = plan
  if (!checkpoint || checkpoint.resume === false) return null
  const named = typeof checkpoint.resume === 'string' && checkpoint.resume !== 'auto'
  const file = named ? (checkpoint.resume as string) : path.join(checkpoint.directory, CHECKPOINT_FILE)
  const found = await readCheckpoint(file, plan.network, fingerprint)
  if (!found && checkpoint.resume !== 'auto')
    throw new WbsrError('WBSR_NOT_FOUND', `${file}: there is no checkpoint to resume from`)
  return found && { file, ...found }
}

async function announce(
  plan: TrainPlan,
  dataset: Dataset,
  validation: ValidationSet | null,
  resumedFrom: number,
): Promise<void> {
  const skipped = [...dataset.skipped, ...(validation?.skipped ?? [])]
  if (!plan.onStart) {
    for (const { file, reason } of skipped) process.emitWarning(`${file} is left out: ${reason}`, 'WbsrWarning')
    return
  }
  const report = {
    steps: dataset.steps,
    epochs: Math.ceil(dataset.steps / dataset.stepsPerEpoch),
    resumedFrom,
    images: dataset.index.images.length,
    patches: dataset.index.difficulties.length,
    validationImages: validation?.files.length ?? 0,
    skipped,
    classCounts: dataset.sampler.members.map((members) => members.length),
  }
  await interruptible(Promise.resolve(plan.onStart(report)), plan.signal)
}

/** Measures the router's table on validation images, or, without any, on a seeded choice of training images. */
async function calibrateOn(
  plan: TrainPlan,
  dataset: Dataset,
  validation: ValidationSet | null,
  state: ModelState,
): Promise<Record<string, unknown>> {
  const { seed, data, network } = plan
  const signal = plan.signal ?? undefined
  const { tileSize, images } = plan.calibration
  let set = validation
  const candidates = validation ? validation.files.map(({ hr }) => hr) : dataset.index.images.map(({ hr }) => hr)
  if (!validation || candidates.length > images) {
    const order = permutation(candidates.length, randomFor(seed, CALIBRATION_STREAM))
    const chosen = [...order.subarray(0, images)].map((i) => candidates[i]!)
    set = await ValidationSet.open(chosen, {
      scale: network.scale,
      lr: validation ? data.validationLr : data.lr,
      signal,
    })
  }
  const pairs = async function* () {
    for await (const { lr, hr } of set!.images(signal))
      yield { lr: { ...lr, channels: 3 as const }, hr: { ...hr, channels: 3 as const } }
  }
  const router = await calibrate(state, pairs(), { tileSize, signal })
  if (!router.squaredError.flat().every(Number.isFinite)) {
    throw new WbsrError(
      'WBSR_NON_FINITE',
      `The weights after step ${dataset.steps} give no finite pictures; a lower optimizer.learningRate may help`,
    )
  }
  state.router = router
  return { source: validation ? 'validation' : 'training', images: set!.files.length, tiles: router.tiles, tileSize }
}
