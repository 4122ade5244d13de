// Where a run is: its phases, how far each has come, and the seconds to go. Reports come with every advance, at most ten a
// second, and once a second in between, so that a run is never silent, however long one picture or step takes.
import { performance } from 'node:perf_hooks'
import type { Estimate, Phase } from './estimate.js'

/** How far a training run is, in the phase that it is in. */
export interface ProgressReport {
  phase: Phase
  /** 0 .. total. */
  done: number
  total: number
  /**
   * Seconds to go until the model is there: what is left of this phase and of all that follow, at the speeds measured so
   * far. null before the first step, since the speed of the device is not known yet.
   */
  eta: number | null
}

const SHORTEST_MS = 100
const HEARTBEAT_MS = 1000

export class RunProgress {
  readonly #callback: ((report: ProgressReport) => unknown) | null
  readonly #fail: (error: unknown) => void
  readonly #estimate: Estimate
  #phase: Phase | null = null
  #done = 0
  #total = 0
  /** When `done` last changed, and when a report was last made. */
  #advanced = 0
  #told = 0
  /** Reports that wait for the callback to return. Those of the start and the end of a phase are kept, of others the last. */
  #waiting: { report: ProgressReport; boundary: boolean }[] = []
  #busy = false
  #timer: NodeJS.Timeout | null = null

  /** @param fail gets what the callback throws, once; no report follows */
  constructor(
    callback: ((report: ProgressReport) => unknown) | null,
    estimate: Estimate,
    fail: (error: unknown) => void,
  ) {
    this.#callback = callback
    this.#estimate = estimate
    this.#fail = (error) => {
      this.close()
      fail(error)
    }
  }

  /** null: none yet, or all over. */
  get phase(): Phase | null {
    return this.#phase
  }

  /** Enters a phase, or goes back to one that was interrupted. */
  enter(phase: Phase, total: number, done = 0): void {
    this.#phase = phase
    this.#total = total
    this.#set(done)
    this.#tell(true)
    if (!this.#callback || this.#timer) return
    this.#timer = setInterval(() => {
      if (performance.now() - this.#told >= HEARTBEAT_MS - SHORTEST_MS) this.#tell(false)
    }, HEARTBEAT_MS)
    this.#timer.unref()
  }

  /** So much of the phase is done. */
  advance(done: number): void {
    this.#set(done)
    if (done >= this.#total) this.#tell(true)
    else if (performance.now() - this.#told >= SHORTEST_MS) this.#tell(false)
  }

  /** No report follows. */
  close(): void {
    if (this.#timer) clearInterval(this.#timer)
    this.#timer = null
    this.#phase = null
    this.#waiting = []
  }

  #set(done: number): void {
    this.#done = Math.min(done, this.#total)
    this.#advanced = performance.now()
    this.#estimate.at(this.#phase!, this.#done, this.#total)
  }

  #tell(boundary: boolean): void {
    if (!this.#callback || this.#phase === null) return
    this.#told = performance.now()
    const left = this.#estimate.seconds()
    // What has passed since the last advance is part of what was left then.
    const since = (this.#told - this.#advanced) / 1000
    const report = {
      phase: this.#phase,
      done: this.#done,
      total: this.#total,
      eta: left === null ? null : Math.max(left - since, 0),
    }
    const last = this.#waiting.at(-1)
    if (last && !last.boundary && last.report.phase === report.phase) this.#waiting.pop()
    this.#waiting.push({ report, boundary })
    if (!this.#busy) void this.#deliver()
  }

  async #deliver(): Promise<void> {
    this.#busy = true
    try {
      for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) await this.#callback!(next.report)
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#busy = false
    }
  }
}
