// Options of upscale and of the infer stream: what they mean, their defaults and their checks.
import { aborted, invalidOption, WbsrError } from '../errors.js'
import type { ModelState } from '../model-state.js'
import { checkChoice, checkFunction, checkInteger, checkNumber, checkObject, checkSignal } from '../options.js'
import type { Router } from '../routing/routers.js'

/** How each tile's subnet is chosen. */
export interface RoutingOptions {
  /** Default: 'calibrated' where the model has a router table, else 'projection'. See {@link Router}. */
  router?: Router
  /**
   * Mean cost wanted, as a share (0..1] of what the largest subnet costs on the whole picture; halo is included.
   * 1 sets no limit. Where not even the smallest subnet everywhere is within the budget, that is what runs. Not used
   * by 'projection' and { subnet }. Default 0.6.
   */
  budget?: number
  /** alpha of 'projection-budget'. Default 1. */
  alpha?: number
  /**
   * LR pixels around what is kept of a tile that the network sees in addition (never more than its receptive field).
   * With at least the receptive field and one subnet the result is that of the whole picture. Default 'auto': 4.
   */
  halo?: 'auto' | number
  /** Upper bound of LR pixels that same-subnet tiles are merged to; memory follows it. Default 32768, on CUDA 262144. */
  regionPixels?: number
  /** Tile rows that are in memory together; by default as many as make about 256 LR pixels. */
  groupRows?: number
  signal?: AbortSignal
}

export interface UpscaleProgress {
  /** Tiles finished. */
  done: number
  total: number
  /** Since the start. */
  seconds: number
}

export interface UpscaleOptions extends RoutingOptions {
  /** Edge of a tile in LR pixels, 16..4096, or 'image': the whole picture is one tile. Default 64. */
  tile?: number | 'image'
  /**
   * - 'full' (default): every pixel, blended in float.
   * - 'paper': 32x32 tiles at step 28 on 8-bit grey or RGB, each rounded, overlaps averaged, the remainder at the right
   *   and bottom dropped, so the result is smaller than the picture; for comparing with published figures only.
   */
  protocol?: 'full' | 'paper'
  /**
   * Whose difficulties the budget is met for. 'picture' (default): this picture's, exactly. 'dataset': the router
   * table's, with an estimated halo, as a stream has to do it (the result then equals the stream's).
   */
  budgetScope?: 'picture' | 'dataset'
  /** Awaited; what it throws or rejects with ends the picture. */
  onProgress?: (progress: UpscaleProgress) => unknown
}

export interface StreamOptions extends RoutingOptions {
  /** Most tiles without `picture` that go to the device at once. Default 16. */
  batchTiles?: number
  /** Of the readable side, in tiles. Default 16. */
  highWaterMark?: number
}

/** Checked options with defaults. */
export interface RoutingSettings {
  router: Router
  budget: number
  alpha: number
  halo: 'auto' | number
  regionPixels: number
  groupRows: number | undefined
  signal: AbortSignal | undefined
}

export interface UpscaleSettings extends RoutingSettings {
  tile: number | 'image'
  protocol: 'full' | 'paper'
  budgetScope: 'picture' | 'dataset'
  onProgress: ((progress: UpscaleProgress) => unknown) | undefined
}

const ROUTING_KEYS = ['router', 'budget', 'alpha', 'halo', 'regionPixels', 'groupRows', 'signal']
const ROUTERS = ['projection', 'projection-budget', 'calibrated'] as const

/** @throws WbsrError WBSR_DISPOSED */
export function checkUsable(state: ModelState): void {
  if (state.disposed) throw new WbsrError('WBSR_DISPOSED', 'Cannot use a model after dispose()')
}

function checkRouter(value: unknown, state: ModelState): Router {
  if (value === undefined) return state.router ? 'calibrated' : 'projection'
  if (typeof value === 'object' && value !== null) {
    const { subnet } = checkObject(value, 'router', ['subnet'])
    return { subnet: checkInteger(subnet, 'router.subnet', 0, state.engine.subnets.length - 1) }
  }
  if (typeof value !== 'string' || !(ROUTERS as readonly string[]).includes(value))
    throw invalidOption('router', "'projection', 'projection-budget', 'calibrated' or { subnet }", value)
  if (value === 'calibrated' && !state.router)
    throw invalidOption(
      'router',
      "'projection', 'projection-budget' or { subnet } (this model has no router table: checkpoints and weights of other tools have none)",
      value,
    )
  return checkChoice(value, 'router', ROUTERS)
}

/** A GPU needs much work at once, and halo costs it as much as anything else. */
export function defaultRegionPixels(state: ModelState): number {
  return state.engine.device.regular ? 1 << 18 : 1 << 15
}

function checkRouting(options: Record<string, unknown>, state: ModelState): RoutingSettings {
  const {
    budget = 0.6,
    alpha = 1,
    halo = 'auto',
    regionPixels = defaultRegionPixels(state),
    groupRows,
    signal,
  } = options
  if (typeof halo !== 'number' && halo !== 'auto')
    throw invalidOption('halo', "'auto' or an integer of at least 0", halo)
  if (typeof budget !== 'number' || !(budget > 0 && budget <= 1))
    throw invalidOption('budget', 'a number above 0 and at most 1', budget)
  if (typeof alpha !== 'number' || !(alpha > 0 && alpha < Infinity))
    throw invalidOption('alpha', 'a number above 0', alpha)
  return {
    router: checkRouter(options.router, state),
    budget: checkNumber(budget, 'budget', 0, 1),
    alpha,
    halo: halo === 'auto' ? halo : checkInteger(halo, 'halo', 0, 4096),
    regionPixels: checkInteger(regionPixels, 'regionPixels', 256, 1 << 26),
    groupRows: groupRows === undefined ? undefined : checkInteger(groupRows, 'groupRows', 1, 4096),
    signal: signal === undefined ? undefined : checkSignal(signal, 'signal'),
  }
}

export function checkUpscaleOptions(value: unknown, state: ModelState): UpscaleSettings {
  const options = checkObject(value, 'upscale options', [
    ...ROUTING_KEYS,
    'tile',
    'protocol',
    'budgetScope',
    'onProgress',
  ])
  const { tile = 64, protocol = 'full', budgetScope = 'picture', onProgress } = options
  if (typeof tile !== 'number' && tile !== 'image')
    throw invalidOption('tile', "an integer between 16 and 4096 or 'image'", tile)
  if (protocol === 'paper') {
    for (const key of ['tile', 'halo', 'budgetScope', 'groupRows', 'regionPixels']) {
      if (options[key] !== undefined) throw invalidOption(key, "nothing with protocol 'paper'", options[key])
    }
  }
  return {
    ...checkRouting(options, state),
    tile: tile === 'image' ? tile : checkInteger(tile, 'tile', 16, 4096),
    protocol: checkChoice(protocol, 'protocol', ['full', 'paper']),
    budgetScope: checkChoice(budgetScope, 'budgetScope', ['picture', 'dataset']),
    onProgress: onProgress === undefined ? undefined : checkFunction(onProgress, 'onProgress'),
  }
}

export function checkStreamOptions(
  value: unknown,
  state: ModelState,
): RoutingSettings & { batchTiles: number; highWaterMark: number } {
  const options = checkObject(value, 'infer stream options', [...ROUTING_KEYS, 'batchTiles', 'highWaterMark'])
  return {
    ...checkRouting(options, state),
    batchTiles: checkInteger(options.batchTiles ?? 16, 'batchTiles', 1, 65536),
    highWaterMark: checkInteger(options.highWaterMark ?? 16, 'highWaterMark', 1, 1 << 20),
  }
}

/** An AbortSignal as the flag that native jobs look at. `check` throws WBSR_ABORTED once it fired. */
export class Cancellation {
  readonly flag = new Int32Array(1)
  readonly #what: string
  readonly #signal: AbortSignal | undefined
  readonly #listener = () => this.cancel()

  constructor(what: string, signal: AbortSignal | undefined) {
    this.#what = what
    this.#signal = signal
    if (signal?.aborted) this.cancel()
    signal?.addEventListener('abort', this.#listener, { once: true })
  }

  cancel(): void {
    Atomics.store(this.flag, 0, 1)
  }

  check(): void {
    if (this.#signal?.aborted) throw aborted(this.#what, this.#signal)
  }

  /** The signal's own error in place of whatever a cancelled job rejected with. */
  explain(error: unknown): unknown {
    return this.#signal?.aborted ? aborted(this.#what, this.#signal) : error
  }

  release(): void {
    this.#signal?.removeEventListener('abort', this.#listener)
  }
}
