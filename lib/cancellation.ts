// An AbortSignal on its way to jobs of the native side.
import { aborted } from './errors.js'

/**
 * An AbortSignal as the flag that native jobs read between two steps. Call release() when the work is over: until then the
 * signal holds a listener.
 */
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

  /** @throws WbsrError WBSR_ABORTED when the signal has fired */
  check(): void {
    if (this.#signal?.aborted) throw aborted(this.#what, this.#signal)
  }

  /** After an abort: the error of the abort instead of whatever a cancelled job rejected with. */
  explain(error: unknown): unknown {
    return this.#signal?.aborted ? aborted(this.#what, this.#signal) : error
  }

  release(): void {
    this.#signal?.removeEventListener('abort', this.#listener)
  }
}
