// Which state of a run is its best, kept in best.safetensors beside the last one.
//
// With validation images: the one with the highest mean PSNR on Y of the smallest and the largest subnet. Without: of the
// states that a checkpoint was written of, the one with the lowest training loss, smoothed over about 50 steps. Losses before
// and after the sampler's switch from patches to classes cannot be compared (the patches become harder): the first checkpoint
// after it counts as better than all before.
import { copyFile, link, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { AtomicFile } from '../files/atomic.js'
import type { HistoryEntry } from './reports.js'

export const BEST_FILE = 'best.safetensors'

/** Share of the smoothed loss that a step leaves. */
const DECAY = 0.98

/** What a checkpoint keeps of it. Plain JSON. */
export interface BestState {
  /**
   * The best state so far: its step, and PSNR in dB or loss. null: none yet. stale: kept until the next one, with which it
   * cannot be compared.
   */
  best: { step: number; value: number; stale?: boolean } | null
  /** Of the smoothed loss: sum of weighted losses, and of the weights. */
  sum: number
  weight: number
}

export const noBest = (): BestState => ({ best: null, sum: 0, weight: 0 })

export class BestTracker {
  readonly #byPsnr: boolean
  #state: BestState

  constructor(byPsnr: boolean, state: BestState) {
    this.#byPsnr = byPsnr
    this.#state = { ...state }
  }

  state(): BestState {
    return { ...this.#state }
  }

  /** Step of the best state; null: none was kept. */
  get step(): number | null {
    return this.#state.best?.step ?? null
  }

  /** A step ended. restart: the first after the sampler's switch. */
  book(loss: number, restart: boolean): void {
    if (restart) {
      const { best } = this.#state
      this.#state = { ...noBest(), best: best && (this.#byPsnr ? best : { ...best, stale: true }) }
    }
    this.#state.sum = DECAY * this.#state.sum + (1 - DECAY) * loss
    this.#state.weight = DECAY * this.#state.weight + (1 - DECAY)
  }

  /** Whether the state of this step, which was validated, is the best so far. */
  validated({ step, smallest, largest }: HistoryEntry): boolean {
    // Equal pictures have infinite PSNR, which JSON does not hold.
    const value = Math.min((smallest.y + largest.y) / 2, 1000)
    return this.#offer(step, value, (best) => value > best)
  }

  /** Whether the state of this step, of which a checkpoint is written, is the best so far; false where PSNR decides. */
  saved(step: number): boolean {
    if (this.#byPsnr || this.#state.weight === 0) return false
    const value = this.#state.sum / this.#state.weight
    return this.#offer(step, value, (best) => value < best)
  }

  #offer(step: number, value: number, better: (best: number) => boolean): boolean {
    const { best } = this.#state
    if (!Number.isFinite(value) || (best && !best.stale && !better(best.value))) return false
    this.#state.best = { step, value }
    return true
  }
}

/**
 * Makes best.safetensors another name of a checkpoint file, which costs no room; a copy where the file system has no links.
 * The file of that name is replaced atomically.
 *
 * @throws WbsrError WBSR_IO
 */
export async function keepAsBest(checkpoint: string): Promise<void> {
  const best = path.join(path.dirname(checkpoint), BEST_FILE)
  const atomic = await AtomicFile.open(best)
  await atomic.discard()
  try {
    await link(checkpoint, atomic.temporary)
    await rename(atomic.temporary, best)
    // Renaming a link over another link of the same file leaves it.
    await rm(atomic.temporary, { force: true })
  } catch {
    const copy = await AtomicFile.open(best)
    await copyFile(checkpoint, copy.temporary)
    await copy.commit()
  }
}
