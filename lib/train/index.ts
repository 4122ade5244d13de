// trainSupernet: options -> data, engine, checkpoint -> Trainer -> a calibrated model. Everything that holds memory or files
// is released here, whatever happens.
import { createHash } from 'node:crypto'
import path from 'node:path'
import type { Dataset } from '../data/dataset.js'
import { createEngine, requireDevice } from '../devices.js'
import { aborted, invalidOption, WbsrError, wrapError } from '../errors.js'
import { AtomicFile } from '../files/atomic.js'
import type { ModelState } from '../model-state.js'
import { SupernetModel } from '../models/model.js'
import type { NativeEngine } from '../native.js'
import { Calibration } from './calibration.js'
import { DeviceGradients, deviceOfRank, HostGradients } from './distributed/gradients.js'
import { Group } from './distributed/group.js'
import { launchedLocalRank } from './distributed/launch.js'
import { Estimate, workOf } from './estimate.js'
import { interruptible } from './interruptible.js'
import { LossController } from './loss.js'
import { checkTrainOptions, type TrainOptions, type TrainSettings } from './options.js'
import { RunProgress } from './progress.js'
import { endOf, type RunReport } from './report/report.js'
import { fitMixture, openData, openReport, type RunData } from './run-data.js'
import { CHECKPOINT_FILE, type FromReport, Start } from './start.js'
import { MicroBatches, type Stepper, WholeBatch } from './stepper.js'
import { Trainer } from './trainer.js'

/**
 * Trains a supernet (WBSR, NeurIPS 2024): HES batches, sandwich steps, BDLoss, Adam along a cosine. The model that comes back
 * holds the moving average of the weights (unless `ema` is false) and a calibrated router. docs/training.md is the guide.
 *
 * @throws WbsrError WBSR_INVALID_OPTION; WBSR_NOT_FOUND, WBSR_NO_DATA, WBSR_INVALID_IMAGE: the images; WBSR_NO_DEVICE;
 *   WBSR_INVALID_FILE: a checkpoint that is damaged or of another run; WBSR_NON_FINITE naming the step, WBSR_DIVERGED saying
 *   what was seen: the last good checkpoint and the best one stay; WBSR_IO: a checkpoint could not be written, the one before
 *   it stays; WBSR_RANK_FAILED: of another rank, with `distributed`; WBSR_ABORTED; and whatever a callback throws, as it is
 */
export async function trainSupernet(options: TrainOptions): Promise<SupernetModel> {
  const checked = checkTrainOptions(options)
  if (checked.signal?.aborted) throw aborted('Training', checked.signal)
  const asked = checked.distributed === 'nccl' ? onOwnDevice(checked, checked.distributed) : checked
  // Before hours of indexing, not after.
  requireDevice(asked.device.device)
  const group = asked.distributed ? await interruptible(Group.open(asked.distributed), asked.signal) : Group.single()
  try {
    return await trainIn(group, group.leads ? asked : followerOf(asked))
  } catch (error) {
    await group.fail(error)
    throw error
  } finally {
    await group.close()
  }
}

/** Each rank of a machine has a device of its own. */
function onOwnDevice(settings: TrainSettings, library: string): TrainSettings {
  const device = deviceOfRank(settings.device.device, library, launchedLocalRank())
  return { ...settings, device: { ...settings.device, device } }
}

/** The settings of a rank that follows: rank 0 alone validates, reports and writes. */
function followerOf(settings: TrainSettings): TrainSettings {
  const silent = { onStart: null, onStep: null, onEpoch: null, onValidation: null, onProgress: null, report: null }
  return { ...settings, ...silent, data: { ...settings.data, validation: undefined } }
}

async function trainIn(group: Group, asked: TrainSettings): Promise<SupernetModel> {
  if (group.ranks > asked.microBatches)
    throw invalidOption('microBatches', `at least ${group.ranks}, the number of ranks,`, asked.microBatches)
  // What onProgress throws ends the run like an abort, and is thrown then.
  const failure = new AbortController()
  const others = group.ranks > 1 ? group.signal : null
  const signals = [asked.signal, asked.onProgress && failure.signal, others].filter((signal) => signal !== null)
  const signal = signals.length > 1 ? AbortSignal.any(signals) : (signals[0] ?? null)
  signal?.addEventListener('abort', () => group.stop(), { once: true })
  const settings: TrainSettings = { ...asked, signal }
  const estimate = new Estimate()
  const progress = new RunProgress(settings.onProgress, estimate, (error) => failure.abort(error))
  let dataset: Dataset | null = null
  try {
    progress.enter('index', 0)
    const start = await interruptible(Start.read(settings), signal)
    const opened = openData(settings, start, progress, group)
    // After an abort no caller waits for it.
    opened.then((data) => signal?.aborted && data.dataset.close()).catch(() => {})
    const data = await interruptible(opened, signal)
    dataset = data.dataset
    const report = await openReport(settings, start, data)
    try {
      return await train(settings, start, data, { progress, estimate, report }, group)
    } catch (error) {
      await report?.end(...endOf(error, signal))
      throw error
    }
  } catch (error) {
    if (failure.signal.aborted) throw failure.signal.reason
    // After an abort all errors are consequences of it, except those that the user must see nevertheless.
    const own = error instanceof WbsrError && ['WBSR_IO', 'WBSR_NON_FINITE', 'WBSR_DIVERGED'].includes(error.code)
    if (signal?.aborted && !own) throw signal.reason === others?.reason ? signal.reason : aborted('Training', signal)
    throw error
  } finally {
    progress.close()
    dataset?.close()
  }
}

interface Telling {
  progress: RunProgress
  estimate: Estimate
  report: RunReport | null
}

async function train(
  settings: TrainSettings,
  start: Start,
  { dataset, validation }: RunData,
  { progress, estimate, report }: Telling,
  group: Group,
): Promise<SupernetModel> {
  const { network, batchSize, patchSize, subnetsPerStep } = settings
  const checkpoint = group.leads ? settings.checkpoint : null
  const checkpointFile = checkpoint && path.join(checkpoint.directory, CHECKPOINT_FILE)
  // Known now, and not when the first checkpoint is due.
  if (checkpointFile) await (await AtomicFile.open(checkpointFile)).discard()
  const mixture =
    start.keptMixture() ??
    (await interruptible(
      group.share(() => fitMixture(settings, dataset, progress)),
      settings.signal,
    ))
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
    await group.agree(() => ({
      options: start.fingerprint,
      'divergence option': settings.divergence,
      'first step': start.progress().step,
      'state at the start': digestOf(engine.getArena('weights')),
      device: engine.device,
    }))
    if (group.leads) await announce(settings, start, { dataset, validation }, from)
    const trainer = new Trainer({
      settings: { ...settings, checkpoint },
      dataset,
      validation,
      state,
      loss,
      stepper: await stepperOf(engine, group, settings),
      checkpointFile,
      fingerprint: start.fingerprint,
      from: start.progress(),
      progress,
      estimate,
      report,
    })
    await trainer.run()
    weights = engine.getArena(settings.ema > 0 ? 'ema' : 'weights')
    await group.agree(() => ({ 'weights at the end': digestOf(weights) }))
    history = trainer.history
  } finally {
    engine.dispose()
  }
  // An engine without the training's gradients and moments.
  const finished: ModelState = { ...state, engine: createEngine(network, settings.device).engine }
  try {
    finished.engine.setArena('weights', weights)
    const measured = await group.share(async () => {
      progress.enter('calibration', calibration.units(finished))
      const calibrated = await calibration.run(finished, dataset.steps, ({ done }) => progress.advance(done))
      await report?.makeExamples(finished, dataset.steps)
      await report?.end('finished', null)
      return { router: finished.router, calibration: calibrated, history }
    })
    finished.router = measured.router
    finished.training = {
      steps: dataset.steps,
      stepsPerEpoch: dataset.stepsPerEpoch,
      images: dataset.index.images.length,
      patches: dataset.index.difficulties.length,
      skipped: dataset.skipped.map(({ file }) => path.basename(file)),
      options: start.fingerprint,
      history: measured.history,
      calibration: measured.calibration,
    }
    return new SupernetModel(finished)
  } catch (error) {
    finished.engine.dispose()
    throw wrapError(error)
  }
}

async function stepperOf(engine: NativeEngine, group: Group, settings: TrainSettings): Promise<Stepper> {
  const { batchSize, microBatches, distributed } = settings
  if (microBatches === 1) return new WholeBatch(engine)
  const micro = { count: microBatches, size: batchSize / microBatches }
  return distributed === 'nccl'
    ? new MicroBatches(engine, group, await DeviceGradients.connect(engine, group), micro)
    : new MicroBatches(engine, group, new HostGradients(engine, group), micro)
}

const digestOf = ({ buffer, byteOffset, byteLength }: Float32Array): string =>
  createHash('sha256')
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest('hex')

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
