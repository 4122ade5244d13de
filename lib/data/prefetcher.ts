// Keeps the next batches ready while the device works, and measures how long the device had to wait for them.
import { performance } from 'node:perf_hooks'
import { WbsrError } from '../errors.js'

/**
 * Produces the values of steps `first` .. `end` - 1 ahead of their use, `depth` at a time, and hands them out in order.
 *
 *     const batches = new Prefetcher((step) => dataset.batch(step), { first: 0, end: 1000 })
 *     for (let step = 0; step < 1000; step++) await train(await batches.next())
 */
export class Prefetcher<T> {
  /** Seconds that next() has waited so far: the time the device had nothing to do. */
  waited = 0
  /** Seconds that the latest next() waited. */
  lastWait = 0
  readonly #produce: (step: number) => Promise<T>
  readonly #end: number
  readonly #depth: number
  readonly #ahead: Promise<T>[] = []
  #step: number
  #closed = false

  /** @param produce must not change what other steps get; calls for different steps overlap */
  constructor(produce: (step: number) => Promise<T>, range: { first: number; end: number; depth?: number }) {
    this.#produce = produce
    this.#step = range.first
    this.#end = range.end
    this.#depth = range.depth ?? 2
    this.#fill()
  }

  #fill(): void {
    while (!this.#closed && this.#ahead.length < this.#depth && this.#step < this.#end) {
      const value = this.#produce(this.#step++)
      // A failure is reported by the next() that reaches it, not as an unhandled rejection before.
      value.catch(() => {})
      this.#ahead.push(value)
    }
  }

  /**
   * The value of the next step; rejects with what `produce` rejected with.
   *
   * @throws WbsrError WBSR_INTERNAL: past the end or closed
   */
  async next(): Promise<T> {
    const value = this.#ahead.shift()
    if (!value) throw new WbsrError('WBSR_INTERNAL', 'Prefetcher.next() was called past the end')
    const from = performance.now()
    try {
      const result = await value
      this.#fill()
      return result
    } finally {
      this.lastWait = (performance.now() - from) / 1000
      this.waited += this.lastWait
    }
  }

  /** Starts nothing more and resolves when nothing is under way any more. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled(this.#ahead.splice(0))
  }
}
