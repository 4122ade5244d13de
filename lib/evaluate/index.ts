// evaluate(): models on sets of pictures, by several settings of the router. Everything random or slow is decided elsewhere;
// here is the loop over sets, pictures and runs, and what is kept between two calls.
import path from 'node:path'
import { readBytes } from '../data/decode.js'
import { type ValidationPair, ValidationSet } from '../data/validation.js'
import { aborted } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { type SupernetModel, stateOf } from '../models/model.js'
import { classesOf, openPictures, tableOf } from './calibrate.js'
import { haveMaps, writeMaps } from './maps.js'
import {
  type CheckedRun,
  type CheckedSet,
  checkEvaluateOptions,
  type EvaluateOptions,
  type EvaluationPlan,
} from './options.js'
import { evaluateBicubic, evaluatePicture, type Made, type Picture, preparePicture, shaveOf } from './picture.js'
import { type EvaluatedPicture, type EvaluatedSet, type Evaluation, type PictureResult, summarise } from './results.js'
import { digestOf, PictureStore } from './store.js'

const BICUBIC = 'bicubic'

/** LR sides that the paper's tiles need. */
const PAPER_TILE = 32

interface OpenSet {
  set: CheckedSet
  files: { name: string; pair: ValidationPair }[]
  skipped: { file: string; reason: string }[]
}

/**
 * Measures a model on sets of pictures: PSNR and SSIM of every run (a setting of the router) and of bicubic, on each picture,
 * set and difficulty class, with FLOPs, seconds and the tiles of each subnet. With `directory` results are kept, and an
 * evaluation that was stopped goes on where it was. See docs/evaluation.md.
 *
 * @throws WbsrError WBSR_INVALID_OPTION; WBSR_NOT_FOUND, WBSR_NO_DATA, WBSR_INVALID_IMAGE: the pictures; WBSR_IO;
 *   WBSR_ABORTED; WBSR_DISPOSED; and what onProgress throws, as it is
 */
export async function evaluate(model: SupernetModel, options: EvaluateOptions): Promise<Evaluation> {
  const state = stateOf(model)
  const plan = checkEvaluateOptions(options, state)
  const sets: OpenSet[] = []
  for (const set of plan.sets) sets.push(await openSet(set, state.network.scale, plan))
  return await new Evaluator(state, plan, sets).run()
}

async function openSet(set: CheckedSet, scale: number, plan: EvaluationPlan): Promise<OpenSet> {
  const signal = plan.signal && { signal: plan.signal }
  const found = await openPictures({ ...set, name: `sets.${set.name}` }, scale, { ...signal })
  const skipped = [...found.skipped]
  const usable = found.files.filter((pair) => {
    if (plan.protocol !== 'paper' || Math.min(pair.width, pair.height) >= PAPER_TILE) return true
    skipped.push({ file: pair.hr, reason: `smaller than a tile of protocol 'paper' (${PAPER_TILE} LR pixels)` })
    return false
  })
  const names = new Map<string, number>()
  const files = usable.map((pair) => {
    const name = path.parse(pair.hr).name
    const count = (names.get(name) ?? 0) + 1
    names.set(name, count)
    return { name: count > 1 ? `${name}-${count}` : name, pair }
  })
  return { set, files, skipped }
}

/** Files of a picture, as part of a key. */
async function sourceDigest({ hr, lr }: ValidationPair, degradation: unknown): Promise<string> {
  const files = await Promise.all([hr, lr].map((file) => (file === null ? Buffer.alloc(0) : readBytes(file))))
  return digestOf(...files, JSON.stringify(degradation ?? null), path.basename(hr))
}

class Evaluator {
  readonly #state: ModelState
  readonly #plan: EvaluationPlan
  readonly #sets: OpenSet[]
  readonly #started = performance.now()
  readonly #total: number
  /** States with other classes, by K. */
  readonly #variants = new Map<number, Promise<ModelState>>()
  #digest = ''
  #done = 0

  constructor(state: ModelState, plan: EvaluationPlan, sets: OpenSet[]) {
    this.#state = state
    this.#plan = plan
    this.#sets = sets
    this.#total = sets.reduce((sum, { files }) => sum + files.length, 0) * (plan.runs.length + 1)
  }

  async run(): Promise<Evaluation> {
    const { engine, network, classes, router, arm, tileRouters } = this.#state
    const weights = await engine.readWeights()
    this.#digest = digestOf(
      new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength),
      JSON.stringify([network, classes, router, ...(arm ? [arm] : []), ...(tileRouters ? [tileRouters] : [])]),
    )
    const plan = this.#plan
    const sets: EvaluatedSet[] = []
    for (const open of this.#sets) sets.push(await this.#evaluateSet(open))
    return {
      model: {
        network: network.name,
        scale: network.scale,
        subnets: engine.subnets.map(({ width, depth, flops, parameters }) => ({ width, depth, flops, parameters })),
        digest: this.#digest,
      },
      protocol: plan.protocol,
      shave: shaveOf(plan, network.scale),
      runs: [
        { name: BICUBIC, settings: null },
        ...plan.runs.map(({ name, classes: k, upscale, rival }) => ({
          name,
          settings: { ...upscale, ...(k !== null && { classes: k }), ...(rival && { rival }) },
        })),
      ],
      sets,
    }
  }

  async #evaluateSet({ set, files, skipped }: OpenSet): Promise<EvaluatedSet> {
    const pictures: EvaluatedPicture[] = []
    for (const { name, pair } of files) {
      const results = await this.#evaluateFile(set, name, pair)
      pictures.push({ name, file: pair.hr, width: pair.width, height: pair.height, results })
    }
    const names = [BICUBIC, ...this.#plan.runs.map(({ name }) => name)]
    const summary = names.map((name) => [name, summarise(pictures.map(({ results }) => results[name]!))] as const)
    const degraded = set.degradation
      ? `, degraded: ${JSON.stringify({ ...set.degradation, validation: undefined })}`
      : ''
    return {
      name: set.name,
      lr: `${set.lr === undefined ? 'bicubic' : 'files'}${degraded}`,
      pictures,
      skipped,
      summary: pictures.length > 0 ? Object.fromEntries(summary) : {},
    }
  }

  async #evaluateFile(set: CheckedSet, name: string, pair: ValidationPair): Promise<Record<string, PictureResult>> {
    const { directory, runs, pictures } = this.#plan
    const store = directory === null ? null : await PictureStore.open(directory, set.name, name)
    const source = store ? await sourceDigest(pair, set.degradation) : ''
    // Decoded when the first run needs it.
    let picture: Promise<Picture> | null = null
    const results: Record<string, PictureResult> = {}
    for (const run of [null, ...runs]) {
      const runName = run?.name ?? BICUBIC
      await this.#tell(set.name, name, runName)
      const key = store ? this.#key(source, run) : ''
      const kept = store?.get(key)
      if (kept && (await haveMaps(directory!, set.name, name, runName, pictures))) results[runName] = kept
      else {
        picture ??= this.#read(set, pair)
        const ready = await picture
        const made = await this.#make(run, ready)
        results[runName] = made.result
        if (directory !== null) await writeMaps(directory, set.name, name, runName, pictures, made, ready.hr)
        await store?.set(key, runName, made.result)
      }
      this.#done++
    }
    if (this.#done === this.#total) await this.#tell(set.name, name, runs.at(-1)!.name)
    return results
  }

  async #read(set: CheckedSet, pair: ValidationPair): Promise<Picture> {
    const degradation = set.degradation && { ...set.degradation, validation: true }
    const one = new ValidationSet([pair], this.#state.network.scale, degradation)
    for await (const images of one.images(this.#plan.signal))
      return await preparePicture(this.#state, images, this.#plan)
    throw new Error('a set of one picture has one')
  }

  async #make(run: CheckedRun | null, picture: Picture): Promise<Made> {
    if (run === null) return await evaluateBicubic(this.#state, picture, this.#plan)
    const state = run.classes === null ? this.#state : await this.#variant(run.classes)
    return await evaluatePicture(state, run, picture, this.#plan)
  }

  /** The model with other classes, measured when a run first needs them. */
  #variant(classes: number): Promise<ModelState> {
    let state = this.#variants.get(classes)
    if (!state) {
      state = this.#measureClasses(classes)
      this.#variants.set(classes, state)
    }
    return state
  }

  async #measureClasses(count: number): Promise<ModelState> {
    const { calibration, signal } = this.#plan
    const settings = { ...calibration!, ...(signal && { signal }) }
    const pictures = await openPictures(calibration!, this.#state.network.scale, settings)
    const wanted = { classes: count, thresholds: this.#state.classes.kind }
    const state = { ...this.#state, classes: await classesOf(pictures, wanted, settings) }
    return { ...state, router: await tableOf(state, pictures, settings) }
  }

  #key(source: string, run: CheckedRun | null): string {
    const { protocol, ssim, calibration } = this.#plan
    const settings =
      run === null
        ? null
        : {
            ...run.upscale,
            ...(run.classes !== null && { classes: run.classes, calibration }),
            ...(run.rival && { rival: run.rival }),
          }
    return digestOf(source, this.#digest, JSON.stringify([protocol, ssim, settings]))
  }

  async #tell(set: string, picture: string, run: string): Promise<void> {
    const { signal, onProgress } = this.#plan
    if (signal?.aborted) throw aborted('The evaluation', signal)
    const seconds = (performance.now() - this.#started) / 1000
    await onProgress?.({ done: this.#done, total: this.#total, set, picture, run, seconds })
  }
}
