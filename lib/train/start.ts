// Where a run starts: anew, with the weights of a model (from), at the end of another run (extend), or where it was stopped
// (its own checkpoint).

import { createHash } from 'node:crypto'
import { realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { isFloat32Array } from 'node:util/types'
import { WbsrError } from '../errors.js'
import type { Tensor } from '../files/safetensors.js'
import type { Mixture } from '../model-state.js'
import { SupernetModel, stateOf } from '../models/model.js'
import { arenaTensors, invalidFile, modelTensors, readModelFile } from '../models/model-file.js'
import { modelFile } from '../models/shipped.js'
import type { NativeEngine } from '../native.js'
import {
  type Fingerprint,
  optionDifferences,
  type Progress,
  readCheckpoint,
  requireSameRun,
  restoreArenas,
  type StoredCheckpoint,
  tensorsDigest,
} from './checkpoint.js'
import type { TrainSettings } from './options.js'
import { noSums } from './reports.js'
import { learningRateAt } from './schedule.js'

/** An extension that begins with more than this many times the last learning rate is a warm restart. */
const WARM_RESTART = 4

export const CHECKPOINT_FILE = 'checkpoint.safetensors'

/** What is known of the data when the first step is decided on. */
export interface DataFacts {
  fingerprint: string
  stepsPerEpoch: number
}

/** Weights to start from, by parameter name. */
interface Source {
  title: string
  tensors: Map<string, Tensor>
  digest: string
}

export interface FromReport {
  taken: number
  initialised: string[]
}

export class Start {
  /** The run's own checkpoint, which it continues. */
  resumed: StoredCheckpoint | null = null
  /** The checkpoint of the run that is extended, where this run does not continue a checkpoint of its own. */
  extended: StoredCheckpoint | null = null
  /** Steps done before the run: those of the run that it extends. */
  first = 0
  /** All that decides the numbers of the run; what it leaves out (device, checkpointing, callbacks) does not, but for rounding. */
  fingerprint: Fingerprint = {}
  readonly #settings: TrainSettings
  readonly #own: StoredCheckpoint | null
  readonly #base: StoredCheckpoint | null
  readonly #source: Source | null

  private constructor(
    settings: TrainSettings,
    own: StoredCheckpoint | null,
    base: StoredCheckpoint | null,
    source: Source | null,
  ) {
    this.#settings = settings
    this.#own = own
    this.#base = base
    this.#source = source
  }

  /** Reads the files that the run may start from. @throws WbsrError WBSR_NOT_FOUND, WBSR_INVALID_FILE, WBSR_DISPOSED */
  static async read(settings: TrainSettings): Promise<Start> {
    const { checkpoint, extend, network } = settings
    const named = typeof checkpoint?.resume === 'string' && checkpoint.resume !== 'auto'
    let own: StoredCheckpoint | null = null
    if (checkpoint && checkpoint.resume !== false) {
      const file = named ? (checkpoint.resume as string) : path.join(checkpoint.directory, CHECKPOINT_FILE)
      own = await readCheckpoint(file, network)
      if (!own && checkpoint.resume !== 'auto')
        throw new WbsrError('WBSR_NOT_FOUND', `${file}: there is no checkpoint to resume from`)
    }
    let base: StoredCheckpoint | null = null
    if (extend !== null) {
      const file = (await isFolder(extend)) ? path.join(extend, CHECKPOINT_FILE) : extend
      base = own && (await sameFile(own.file, file)) ? own : await readCheckpoint(file, network)
      if (!base) throw new WbsrError('WBSR_NOT_FOUND', `${file}: there is no checkpoint to extend`)
    }
    return new Start(settings, own, base, settings.from === null ? null : await readSource(settings.from, settings))
  }

  /**
   * Decides how the run starts, once the data is known; returns `first`.
   *
   * @throws WbsrError WBSR_INVALID_FILE: the checkpoint in the directory is that of another run
   */
  decide(facts: DataFacts): number {
    const own = this.#own
    if (!this.#base) {
      this.fingerprint = this.#fingerprintOf(facts, 0)
      if (own) requireSameRun(own, this.fingerprint)
      this.resumed = own
      return 0
    }
    const extended = own?.options['extends'] as { step: number; digest: string } | undefined
    if (own && extended) {
      // A checkpoint of this very extension: it is continued, and a finished one has nothing left to do.
      const fingerprint = this.#fingerprintOf(facts, extended.step, extended)
      const sameBase = own === this.#base || extended.digest === tensorsDigest(this.#base.contents.tensors)
      if (sameBase && optionDifferences(own, fingerprint).length === 0) {
        this.fingerprint = fingerprint
        this.resumed = own
        this.first = extended.step
        return this.first
      }
    }
    if (own && own !== this.#base)
      throw invalidFile(own.file, 'is the checkpoint of another run than this extension (resume: false starts anew)')
    this.extended = this.#base
    this.first = this.#base.progress.step
    const digest = tensorsDigest(this.#base.contents.tensors)
    this.fingerprint = this.#fingerprintOf(facts, this.first, { step: this.first, digest })
    return this.first
  }

  /**
   * Whether an extension begins with a learning rate far above that at which the run ended. The moments of Adam belong to the
   * small steps of its end then, and the first large ones destroyed a network (DISP x2, 1e-5 to 1e-3: loss tenfold within ten
   * steps, never recovered), so they begin anew.
   */
  get newMoments(): boolean {
    if (!this.extended) return false
    const { options, progress } = this.extended
    const ended = options['optimizer'] as { learningRate: number; finalLearningRate: number } | undefined
    if (!ended) return false
    const begin = (options['extends'] as { step: number } | undefined)?.step ?? 0
    const steps = (options['steps'] as number) - begin
    const last = learningRateAt(progress.step - 1 - begin, steps, ended.learningRate, ended.finalLearningRate)
    return this.#settings.optimizer.learningRate > WARM_RESTART * last
  }

  /** Puts the weights, and what else the start has, into the engine. @throws WbsrError WBSR_INVALID_FILE */
  apply(engine: NativeEngine): FromReport | null {
    const { network, ema, seed } = this.#settings
    const stored = this.resumed ?? this.extended
    if (stored) {
      restoreArenas(stored, engine, network, ema > 0)
      if (this.newMoments) {
        const zeros = new Float32Array(engine.getArena('weights').length)
        engine.setArena('m', zeros)
        engine.setArena('v', zeros)
        engine.setSteps(new Int32Array(engine.parameters.length * network.widths.length))
      }
      return null
    }
    engine.initialise(seed)
    if (!this.#source) return null
    const { tensors, title } = this.#source
    const weights = engine.getArena('weights')
    const initialised: string[] = []
    for (const { name, shape, offset } of engine.parameters) {
      const tensor = tensors.get(name)
      if (isFloat32Array(tensor?.data) && JSON.stringify(tensor.shape) === JSON.stringify(shape))
        weights.set(tensor.data, offset)
      else initialised.push(name)
    }
    const all = engine.parameters.length
    if (initialised.length > all / 2)
      throw invalidFile(
        title,
        `does not fit the network: only ${all - initialised.length} of ${all} parameters have the same name and shape, missing are ${initialised.slice(0, 3).join(', ')}${initialised.length > 3 ? ' ...' : ''}`,
      )
    engine.setArena('weights', weights)
    if (ema > 0) engine.setArena('ema', weights)
    return { taken: engine.parameters.length - initialised.length, initialised }
  }

  /** Step count, history and the like that the run goes on with. */
  progress(): Pick<Progress, 'step' | 'history' | 'epoch' | 'best' | 'guard'> {
    if (this.resumed) return this.resumed.progress
    if (!this.extended) return { step: 0, history: [], epoch: noSums(), best: null, guard: null }
    const { step, history, epoch, best, guard } = this.extended.progress
    const { checkpoint } = this.#settings
    const inPlace =
      checkpoint !== null && path.resolve(checkpoint.directory) === path.dirname(path.resolve(this.extended.file))
    return {
      step,
      history,
      epoch: this.#same('data') && this.#same('batchSize') ? epoch : noSums(),
      // Another folder has no best checkpoint yet, and losses of other data cannot be compared.
      best:
        best &&
        inPlace &&
        this.#same('degradation') &&
        (history.length > 0 || (this.#same('data') && this.#same('loss')))
          ? best
          : null,
      guard,
    }
  }

  /** The mixture that was fitted already; null: it is to be fitted, or the loss needs none. */
  keptMixture(): Mixture | null {
    if (this.resumed) return this.resumed.progress.mixture
    return this.extended && this.#same('data') && this.#same('loss') ? this.extended.progress.mixture : null
  }

  /** State of a learned sigma; undefined: a new one. */
  keptLoss(): unknown {
    const stored = this.resumed ?? (this.#same('loss') ? this.extended : null)
    return stored ? stored.progress.loss : undefined
  }

  /** Whether an option is that of the run that is extended. */
  #same(key: string): boolean {
    const [there, here] = [this.extended?.options[key], this.fingerprint[key]]
    return JSON.stringify(there) === JSON.stringify(here)
  }

  #fingerprintOf(facts: DataFacts, first: number, extended?: { step: number; digest: string }): Fingerprint {
    const { length, data, batchSize, microBatches, patchSize, sampler, loss, optimizer, ema } = this.#settings
    const { subnetsPerStep, seed, distillation } = this.#settings
    return {
      data: facts.fingerprint,
      steps: first + ('steps' in length ? length.steps : length.epochs * facts.stepsPerEpoch),
      batchSize,
      ...(microBatches > 1 && { microBatches }),
      patchSize,
      sampler,
      loss,
      optimizer,
      ema,
      subnetsPerStep,
      seed,
      ...(distillation > 0 && { distillation }),
      ...(data.degradation && { degradation: data.degradation }),
      ...(this.#source && { from: this.#source.digest }),
      ...(extended && { extends: extended }),
    }
  }
}

async function isFolder(file: string): Promise<boolean> {
  return (await stat(file).catch(() => null))?.isDirectory() ?? false
}

async function sameFile(a: string, b: string): Promise<boolean> {
  const [one, other] = await Promise.all([a, b].map((file) => realpath(file).catch(() => null)))
  return one !== null && one === other
}

async function readSource(from: SupernetModel | string, { network }: TrainSettings): Promise<Source> {
  let tensors: Map<string, Tensor>
  let title = 'from'
  if (from instanceof SupernetModel) {
    const { engine } = stateOf(from)
    tensors = new Map(
      arenaTensors(engine.parameters, await engine.readWeights()).map((tensor) => [tensor.name, tensor]),
    )
  } else {
    title = from
    tensors = modelTensors(await readModelFile(modelFile(from)), network)
  }
  const hash = createHash('sha256').update(tensorsDigest(tensors))
  return { title, tensors, digest: hash.digest('hex') }
}
