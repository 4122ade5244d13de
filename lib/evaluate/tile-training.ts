// Trains the networks that see tiles, with the model's subnets as they are: what each subnet makes of a tile is measured first
// (method.md section 6, Rivals).
import { Cancellation } from '../cancellation.js'
import type { ValidationSet } from '../data/validation.js'
import { WbsrError, wrapError } from '../errors.js'
import { type ModelState, TILE_POOLED, type TileNetwork, type TileRouters } from '../model-state.js'
import { native } from '../native.js'
import { type RandomStream, randomFor } from '../random.js'
import { defaultRegionPixels } from '../routing/options.js'
import { lossOf } from '../routing/tile-loss.js'
import { TileSample } from '../routing/tile-sample.js'
import { chunksOf, cutWindow, type MadeWindow, runWindows, type TileWindow } from '../routing/tile-windows.js'
import { makeGrid, tileArea } from '../tiling/grid.js'
import { spread } from './runs.js'
import { absoluteLoss, type BatchLoss, classsrLoss } from './tile-losses.js'
import { newTileNetwork, patchesOf, somePatches, TileRunner } from './tile-network.js'

/** A tile, and the errors of every subnet on it. */
export interface MeasuredTile {
  /** See patchesOf. */
  patches: Float32Array
  /** Mean squared and mean absolute error of RGB in [0, 1]. */
  squared: number[]
  absolute: number[]
}

export interface TileTrainingSettings {
  tileSize: number
  pixels: number
  seed?: number
  /** Of the network's training, default 300. */
  steps?: number
  signal?: AbortSignal
  onProgress?: (progress: { done: number; total: number }) => void
}

type TrainingSettings = Pick<TileTrainingSettings, 'seed' | 'steps' | 'signal'>

// Keeps these draws apart from others of the same seed.
const TILES = 0x711e6
const TRAINING = 0x711e7

/** ClassSR's classifier has 128; with so small subnets that would cost as much as they do. */
const FEATURES = 16
export const STEPS = 300
const BATCH = 32
/** Patches that a step sees of a tile, a random choice: a tile of 32 LR pixels has 64. */
const PATCHES = 32
const LEARNING_RATE = 1e-2

/** A uniform choice of tiles of the pictures, and what every subnet makes of them. @throws WbsrError WBSR_NO_DATA, WBSR_ABORTED */
export async function measureTiles(
  state: ModelState,
  pictures: ValidationSet,
  { tileSize, pixels, seed = 1, signal, onProgress }: TileTrainingSettings,
): Promise<MeasuredTile[]> {
  const { scale } = state.network
  const sample = new TileSample<TileWindow>(1, Math.max(1, Math.floor(pixels / tileSize ** 2)))
  const sizes = { tile: tileSize, multiple: state.engine.sizeMultiple ?? 1 }
  const cancellation = new Cancellation('training of a router', signal)
  try {
    let read = 0
    for await (const { lr, hr } of pictures.images(signal)) {
      cancellation.check()
      const grid = makeGrid(lr.width, lr.height, tileSize)
      const classes = new Int32Array(grid.columns * grid.rows).fill(1)
      await sample.add(classes, randomFor(seed, TILES, read), (i) => {
        const area = tileArea(grid, i % grid.columns, Math.floor(i / grid.columns))
        return cutWindow({ ...lr, channels: 3 }, { ...hr, channels: 3 }, scale, area, sizes)
      })
      read++
    }
    const tiles = sample.tiles().map(({ tile }) => ({ tile, errors: newErrors(tile) }))
    if (tiles.length === 0) throw new WbsrError('WBSR_NO_DATA', 'Expected at least one picture to train the router on')
    const total = tiles.length * state.engine.subnets.length
    let done = 0
    for (const chunk of chunksOf(tiles, defaultRegionPixels(state))) {
      const windows = chunk.map(({ tile }) => tile)
      const onSubnet = () => onProgress?.({ done: (done += chunk.length), total })
      await runWindows(state, windows, cancellation, onSubnet, async (i, _, made) => {
        const { width, height } = windows[i]!
        await addErrors(chunk[i]!.errors, made, width * scale, height * scale)
      })
    }
    return tiles.map(({ errors }) => errors)
  } catch (error) {
    throw wrapError(cancellation.explain(error))
  } finally {
    cancellation.release()
  }
}

function newErrors({ lr, x, y, tileWidth, tileHeight }: TileWindow): MeasuredTile {
  return { patches: patchesOf(lr, { x, y, width: tileWidth, height: tileHeight }), squared: [], absolute: [] }
}

async function addErrors(
  { squared, absolute }: MeasuredTile,
  { prediction, target, rect }: MadeWindow,
  width: number,
  height: number,
): Promise<void> {
  const [left, top, columns, rows] = rect as unknown as [number, number, number, number]
  const samples = 3 * columns * rows
  squared.push((await native.squaredErrors(prediction, target, width, height, rect))[0]! / samples)
  let sum = 0
  for (let row = top; row < top + rows; row++)
    for (let i = 3 * (row * width + left); i < 3 * (row * width + left + columns); i++)
      sum += Math.abs(Math.min(1, Math.max(0, prediction[i]!)) - target[i]!)
  absolute.push(sum / samples)
}

/** The three subnets that ClassSR's classes have: of three widths at the largest depth, or spread evenly by cost. */
export function classsrSubnets({ engine, network }: Pick<ModelState, 'engine' | 'network'>): number[] {
  const { subnets } = engine
  if (network.widths.length < 3) return spread(Math.min(3, subnets.length), subnets.length)
  const depth = Math.max(...network.depths)
  const widths = [...network.widths].sort((a, b) => a - b)
  return spread(3, widths.length)
    .map((i) => subnets.findIndex((subnet) => subnet.width === widths[i] && subnet.depth === depth))
    .sort((a, b) => a - b)
}

/** Trains ClassSR's classifier. */
export async function trainClassSr(
  state: ModelState,
  tiles: readonly MeasuredTile[],
  settings: TrainingSettings,
): Promise<NonNullable<TileRouters['classsr']>> {
  const subnets = classsrSubnets(state)
  const errors = tiles.map(({ absolute }) => subnets.map((m) => absolute[m]!))
  const network = await train(tiles, subnets.length, settings, (outputs, chosen) =>
    classsrLoss(
      outputs,
      chosen.map((i) => errors[i]!),
    ),
  )
  return { network, subnets }
}

/** Trains the predictor: outputs are learned in units of their deviation over the tiles, then in dB. */
export async function trainPredictor(
  state: ModelState,
  tiles: readonly MeasuredTile[],
  settings: TrainingSettings,
): Promise<NonNullable<TileRouters['predictor']>> {
  const smaller = state.engine.subnets.length - 1
  const losses = tiles.map(({ squared }) => squared.slice(0, smaller).map((error) => lossOf(error, squared.at(-1)!)))
  const means = Array.from({ length: smaller }, (_, m) => losses.reduce((sum, row) => sum + row[m]!, 0) / losses.length)
  const deviations = means.map((mean, m) =>
    Math.max(1e-6, Math.sqrt(losses.reduce((sum, row) => sum + (row[m]! - mean) ** 2, 0) / losses.length)),
  )
  const targets = losses.map((row) => row.map((loss, m) => (loss - means[m]!) / deviations[m]!))
  const network = await train(tiles, smaller, settings, (outputs, chosen) =>
    absoluteLoss(
      outputs,
      chosen.map((i) => targets[i]!),
    ),
  )
  return { network: inUnits(network, means, deviations) }
}

/** The same network with outputs times deviations plus means: its last weights are [from][output], then biases. */
function inUnits(network: TileNetwork, means: readonly number[], deviations: readonly number[]): TileNetwork {
  const { outputs } = network
  const weights = [...network.weights]
  const biases = weights.length - outputs
  const first = biases - TILE_POOLED * outputs
  for (let i = first; i < weights.length; i++) weights[i]! *= deviations[(i - first) % outputs]!
  for (let m = 0; m < outputs; m++) weights[biases + m]! += means[m]!
  return { ...network, weights: weights.map(Math.fround) }
}

/** Adam along a cosine to 0, batches drawn with replacement. @throws WbsrError WBSR_ABORTED */
async function train(
  tiles: readonly MeasuredTile[],
  outputs: number,
  { seed = 1, steps = STEPS, signal }: TrainingSettings,
  lossOfBatch: (outputs: Float32Array[], tiles: number[]) => BatchLoss,
): Promise<TileNetwork> {
  const random = randomFor(seed, TRAINING)
  const network = newTileNetwork(FEATURES, outputs, random)
  const runner = new TileRunner(network)
  const adam = new Adam(runner.weights)
  const cancellation = new Cancellation('training of a router', signal)
  try {
    for (let step = 0; step < steps; step++) {
      // Other work of the process goes on between steps.
      await new Promise((resolve) => setImmediate(resolve))
      cancellation.check()
      trainStep(
        runner,
        adam,
        tiles,
        random,
        lossOfBatch,
        0.5 * LEARNING_RATE * (1 + Math.cos((Math.PI * step) / steps)),
      )
    }
  } finally {
    cancellation.release()
  }
  return { ...network, weights: Array.from(runner.weights) }
}

function trainStep(
  runner: TileRunner,
  adam: Adam,
  tiles: readonly MeasuredTile[],
  random: RandomStream,
  lossOfBatch: (outputs: Float32Array[], tiles: number[]) => BatchLoss,
  rate: number,
): void {
  const chosen = Array.from({ length: BATCH }, () => random.integer(tiles.length))
  const seen = chosen.map((i) => somePatches(tiles[i]!.patches, PATCHES, random))
  const passes = seen.map((patches) => runner.forward(patches))
  const { slopes } = lossOfBatch(
    passes.map(({ outputs }) => outputs),
    chosen,
  )
  const gradient = new Float32Array(runner.weights.length)
  for (const [b, pass] of passes.entries()) runner.addGradient(pass, slopes[b]!, gradient)
  adam.step(gradient, rate)
}

class Adam {
  readonly #weights: Float32Array
  readonly #first: Float32Array
  readonly #second: Float32Array
  #steps = 0

  constructor(weights: Float32Array) {
    this.#weights = weights
    this.#first = new Float32Array(weights.length)
    this.#second = new Float32Array(weights.length)
  }

  step(gradient: Float32Array, rate: number): void {
    this.#steps++
    const [first, second] = [1 - 0.9 ** this.#steps, 1 - 0.99 ** this.#steps]
    for (let i = 0; i < gradient.length; i++) {
      const g = gradient[i]!
      this.#first[i] = 0.9 * this.#first[i]! + 0.1 * g
      this.#second[i] = 0.99 * this.#second[i]! + 0.01 * g * g
      this.#weights[i]! -= (rate * this.#first[i]!) / first / (Math.sqrt(this.#second[i]! / second) + 1e-8)
    }
  }
}
