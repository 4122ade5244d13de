// trainSupernet: options -> data, engine, checkpoint -> Trainer -> a calibrated model. Everything that holds memory or files
// is released here, whatever happens.
import path from 'node:path'
import { Dataset } from '../data/dataset.js'
import { ValidationSet } from '../data/validation.js'
import { createEngine, requireDevice } from '../devices.js'
import { aborted, WbsrError, wrapError } from '../errors.js'
import { AtomicFile } from '../files/atomic.js'
import type { Mixture, ModelState } from '../model-state.js'
import { SupernetModel } from '../models/model.js'
import { Calibration } from './calibration.js'
import { Estimate, workOf } from './estimate.js'
import { interruptible } from './interruptible.js'
import { LossController } from './loss.js'
import { fitPixelMixture } from './mixture.js'
import { checkTrainOptions, type TrainOptions, type TrainSettings } from './options.js'
import { RunProgress } from './progress.js'
import { endOf, RunReport } from './report/report.js'
import { CHECKPOINT_FILE, type FromReport, Start } from './start.js'
import { Trainer } from './trainer.js'

const MIXTURE_PIXELS = 2 ** 18

/**
 * Trains a supernet (WBSR, NeurIPS 2024): HES batches, sandwich steps, BDLoss, Adam along a cosine. The model that comes back
 * holds the moving average of the weights (unless `ema` is false) and a calibrated router. docs/training.md is the guide.
 *
 * @throws WbsrError WBSR_INVALID_OPTION; WBSR_NOT_FOUND, WBSR_NO_DATA, WBSR_INVALID_IMAGE: the images; WBSR_NO_DEVICE;
 *   WBSR_INVALID_FILE: a checkpoint that is damaged or of another run; WBSR_NON_FINITE naming the step, WBSR_DIVERGED saying
 *   what was seen: the last good checkpoint and the best one stay; WBSR_IO: a checkpoint could not be written, the one before
 *   it stays; WBSR_ABORTED; and whatever a callback throws, as it is
 */
export async function trainSupernet(options: TrainOptions): Promise<SupernetModel> {
  const asked = checkTrainOptions(options)
  if (asked.signal?.aborted) throw aborted('Training', asked.signal)
  // Before hours of indexing, not after.
  requireDevice(asked.device.device)
  // What onProgress throws ends the run like an abort, and is thrown then.
  const failure = new AbortController()
  const signals = [asked.signal, asked.onProgress && failure.signal].filter((signal) => signal !== null)
  const signal = signals.length > 1 ? AbortSignal.any(signals) : (signals[0] ?? null)
  const settings: TrainSettings = { ...asked, signal }
  const estimate = new Estimate()
  const progress = new RunProgress(settings.onProgress, estimate, (error) => failure.abort(error))
  let dataset: Dataset | null = null
  try {
    progress.enter('index', 0)
    const start = await interruptible(Start.read(settings), signal)
    const opened = openData(settings, start, progress)
    // After an abort no caller waits for it.
    opened.then((data) => signal?.aborted && data.dataset.close()).catch(() => {})
    const data = await interruptible(opened, signal)
    dataset = data.dataset
    const report = await openReport(settings, start, data)
    try {
      const model = await train(settings, start, data, { progress, estimate, report })
      await report?.end('finished', null)
      return model
    } catch (error) {
      await report?.end(...endOf(error, signal))
      throw error
    }
  } catch (error) {
    if (failure.signal.aborted) throw failure.signal.reason
    // After an abort all errors are consequences of it, except those that the user must see nevertheless.
    const own = error instanceof WbsrError && ['WBSR_IO', 'WBSR_NON_FINITE', 'WBSR_DIVERGED'].includes(error.code)
    if (signal?.aborted && !own) throw aborted('Training', signal)
    throw error
  } finally {
    progress.close()
    dataset?.close()
  }
}

interface RunData {
  dataset: Dataset
  validation: ValidationSet | null
}

interface Telling {
  progress: RunProgress
  estimate: Estimate
  report: RunReport | null
}

/** Phase 'index': training and validation images. */
async function openData(settings: TrainSettings, start: Start, progress: RunProgress): Promise<RunData> {
  const { network, data, batchSize, patchSize, sampler, seed } = settings
  const { scale } = network
  const signal = settings.signal ?? undefined
  const found =
    data.validation === undefined ? null : await ValidationSet.find(data.validation, { scale, lr: data.validationLr })
  const later = found?.pairs.length ?? 0
  let indexed = 0
  const dataset = await Dataset.open({
    data,
    scale,
    patchSize,
    batchSize,
    ...settings.length,
    first: (facts) => start.decide(facts),
    sampler,
    seed,
    signal,
    onProgress: ({ done, total }) => {
      if (indexed === 0) progress.enter('index', total + later)
      indexed = total
      progress.advance(done)
    },
  })
  const onProgress = ({ done }: { done: number }): void => progress.advance(indexed + done)
  const { maxPixels, degradation } = data
  const validation = found && (await ValidationSet.check(found, { signal, maxPixels, degradation, onProgress }))
  return { dataset, validation }
}

/** The page about the run, if it is wanted. @throws WbsrError WBSR_INVALID_FILE, WBSR_IO: it cannot be there */
async function openReport(settings: TrainSettings, start: Start, data: RunData): Promise<RunReport | null> {
  if (!settings.report) return null
  const { network, batchSize, patchSize, subnetsPerStep } = settings
  const { dataset, validation } = data
  const { images } = dataset.index
  const facts: [string, string][] = [
    [
      'network',
      `${network.name} ×${network.scale}, widths ${network.widths.join(', ')}, depths ${network.depths.join(', ')}`,
    ],
    [
      'photographs',
      `${images.length}, ${dataset.index.difficulties.length} patches; ${validation?.files.length ?? 0} to validate on`,
    ],
    ['left out', `${dataset.skipped.length + (validation?.skipped.length ?? 0)} photographs`],
    ['a step', `${batchSize} patches of ${patchSize} × ${patchSize} HR pixels, subnets: ${subnetsPerStep}`],
  ]
  return await RunReport.open({
    settings,
    dataset,
    validation,
    fingerprint: start.fingerprint,
    facts: { rows: facts, options: start.fingerprint },
    first: start.progress().step,
  })
}

async function train(
  settings: TrainSettings,
  start: Start,
  { dataset, validation }: RunData,
  { progress, estimate, report }: Telling,
): Promise<SupernetModel> {
  const { network } = settings
  const checkpointFile = settings.checkpoint && path.join(settings.checkpoint.directory, CHECKPOINT_FILE)
  // Known now, and not when the first checkpoint is due.
  if (checkpointFile) await (await AtomicFile.open(checkpointFile)).discard()
  const mixture = start.keptMixture() ?? (await interruptible(fitMixture(settings, dataset, progress), settings.signal))
  const loss = new LossController(settings.loss, mixture)
  const lossState = start.keptLoss()
  if (lossState !== undefined) loss.restore(lossState)

  const { engine, fallbackReason } = createEngine(network, settings.device)
  report?.addFact('device', `${engine.device.kind}: ${engine.device.name}`)
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
  const calibration = new Calibration(settings, dataset, validation)
  const { batchSize, patchSize, subnetsPerStep } = settings
  estimate.plan(
    workOf(engine.subnets, subnetsPerStep, {
      step: batchSize * (patchSize / network.scale) ** 2,
      validation: validation?.pixels ?? 0,
      calibration: calibration.pixels,
    }),
  )
  let weights: Float32Array
  let history: unknown[]
  try {
    const from = start.apply(engine)
    await announce(settings, start, { dataset, validation }, from)
    const trainer = new Trainer({
      settings,
      dataset,
      validation,
      state,
      loss,
      checkpointFile,
      fingerprint: start.fingerprint,
      from: start.progress(),
      progress,
      estimate,
      report,
    })
    await trainer.run()
    weights = engine.getArena(settings.ema > 0 ? 'ema' : 'weights')
    history = trainer.history
  } finally {
    engine.dispose()
  }
  // An engine without the training's gradients and moments.
  const finished: ModelState = { ...state, engine: createEngine(network, settings.device).engine }
  try {
    finished.engine.setArena('weights', weights)
    progress.enter('calibration', calibration.units(finished))
    const calibrated = await calibration.run(finished, dataset.steps, ({ done }) => progress.advance(done))
    await report?.makeExamples(finished, dataset.steps)
    finished.training = {
      steps: dataset.steps,
      stepsPerEpoch: dataset.stepsPerEpoch,
      images: dataset.index.images.length,
      patches: dataset.index.difficulties.length,
      skipped: dataset.skipped.map(({ file }) => path.basename(file)),
      options: start.fingerprint,
      history,
      calibration: calibrated,
    }
    return new SupernetModel(finished)
  } catch (error) {
    finished.engine.dispose()
    throw wrapError(error)
  }
}

/** p_train(y) of BDLoss, from a sample of the training pixels; null for losses that need none. */
async function fitMixture(
  { loss, seed }: TrainSettings,
  dataset: Dataset,
  progress: RunProgress,
): Promise<Mixture | null> {
  if (loss.kind !== 'bd') return null
  const { dimension, components, minStd } = loss
  progress.enter('mixture', 1)
  const pixels = await dataset.pixelSample(MIXTURE_PIXELS, seed, ({ done, total }) => {
    if (done === 0) progress.enter('mixture', total)
    else progress.advance(done)
  })
  return fitPixelMixture(pixels, { dimension, components, minStd, seed })
}

async function announce(
  settings: TrainSettings,
  start: Start,
  { dataset, validation }: RunData,
  from: FromReport | null,
): Promise<void> {
  const skipped = [...dataset.skipped, ...(validation?.skipped ?? [])]
  if (!settings.onStart) {
    const warn = (message: string): void => process.emitWarning(message, 'WbsrWarning')
    for (const { file, reason } of skipped) warn(`${file} is left out: ${reason}`)
    if (from && from.initialised.length > 0)
      warn(`from: ${from.taken} parameters are taken, ${from.initialised.join(', ')} are initialised`)
    return
  }
  const report = {
    steps: dataset.steps,
    epochs: Math.ceil(dataset.steps / dataset.stepsPerEpoch),
    resumedFrom: start.progress().step,
    ...(from && { from }),
    ...(settings.extend !== null && { extendedFrom: start.first, newMoments: start.newMoments }),
    images: dataset.index.images.length,
    patches: dataset.index.difficulties.length,
    validationImages: validation?.files.length ?? 0,
    skipped,
    classCounts: dataset.sampler.members.map((members) => members.length),
  }
  await interruptible(Promise.resolve(settings.onStart(report)), settings.signal)
}
