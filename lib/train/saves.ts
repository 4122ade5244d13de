// Writes the checkpoints of a run: the last one, and the best one beside it.

import path from 'node:path'
import { isFloat32Array } from 'node:util/types'
import { BEST_FILE, keepAsBest } from './best.js'
import { type Snapshot, writeSnapshot } from './checkpoint.js'

export class Saves {
  readonly #file: string | null
  /** Taken after a step, written once the next one shows that its weights give a finite loss. */
  #pending: { snapshot: Snapshot; best: boolean } | null = null

  /** @param file of the last checkpoint; null: nothing is written */
  constructor(file: string | null) {
    this.#file = file
  }

  /** Whether anything is written. */
  get enabled(): boolean {
    return this.#file !== null
  }

  /** Keeps a snapshot for writePending(). best: it is the best state so far. */
  hold(snapshot: Snapshot, best: boolean): void {
    this.#pending = { snapshot, best }
  }

  /** Writes the held snapshot, if there is one. @throws WbsrError WBSR_IO */
  async writePending(): Promise<void> {
    const pending = this.#pending
    this.#pending = null
    if (!pending || !this.#file) return
    await writeSnapshot(this.#file, pending.snapshot)
    if (pending.best) await keepAsBest(this.#file)
  }

  /** As writePending(), if all weights are finite: after the last step no further loss shows it. @throws WbsrError WBSR_IO */
  async writePendingIfFinite(): Promise<void> {
    if (this.#pending && allFinite(this.#pending.snapshot)) await this.writePending()
  }

  /** Replaces the last checkpoint, if all weights are finite. @throws WbsrError WBSR_IO */
  async write(snapshot: Snapshot): Promise<void> {
    if (this.#file && allFinite(snapshot)) await writeSnapshot(this.#file, snapshot)
  }

  /** Replaces the best checkpoint, if all weights are finite. @throws WbsrError WBSR_IO */
  async writeBest(snapshot: Snapshot): Promise<void> {
    if (this.#file && allFinite(snapshot)) await writeSnapshot(this.#bestFile(this.#file), snapshot)
  }

  /** For messages: the state that a new run can start from. bestStep: step of the best state, null if there is none. */
  describe(bestStep: number | null): string {
    if (!this.#file) return 'no checkpoints were asked for'
    if (bestStep === null) return 'no state was good enough for a best checkpoint'
    return `the best checkpoint, of step ${bestStep}, is ${this.#bestFile(this.#file)}`
  }

  #bestFile(file: string): string {
    return path.join(path.dirname(file), BEST_FILE)
  }
}

/** Tens of millions of values: 0 x a finite value is 0, and a sum is ten times faster than a call per value. */
function allFinite({ tensors }: Snapshot): boolean {
  return tensors.every(({ data }) => {
    if (!isFloat32Array(data)) return true
    let zero = 0
    for (let i = 0; i < data.length; i++) zero += 0 * data[i]!
    return zero === 0
  })
}
