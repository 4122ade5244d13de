// Calls of one model that hold pictures: a few run, the others wait in order without holding anything, and no more than a bound.
import { aborted, WbsrError } from '../errors.js'
import { checkInteger } from '../options.js'

/** How calls of upscale() and upscaleFile() share a model. */
export interface QueueOptions {
  /**
   * Calls that run at once, each with its pictures in memory; they take turns on the device, group by group. Default 2: one
   * decodes while the other computes.
   */
  concurrency?: number
  /** Calls that wait, first come, first served. One more is refused with WBSR_BUSY. Default 1000. */
  maxWaiting?: number
}

export const QUEUE_KEYS = ['concurrency', 'maxWaiting'] as const

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkQueueOptions({ concurrency, maxWaiting }: QueueOptions): Required<QueueOptions> {
  return {
    concurrency: concurrency === undefined ? 2 : checkInteger(concurrency, 'concurrency', 1, 1024),
    maxWaiting: maxWaiting === undefined ? 1000 : checkInteger(maxWaiting, 'maxWaiting', 0),
  }
}

export class CallQueue {
  readonly #options: Required<QueueOptions>
  /** Each gives its call the turn. A Set keeps the order of arrival, and lets go of one in the middle. */
  readonly #waiting = new Set<() => void>()
  #running = 0

  constructor(options: Required<QueueOptions>) {
    this.#options = options
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Runs `work` when its turn has come.
   *
   * @param what names the call in errors
   * @throws WbsrError WBSR_BUSY: too many wait; WBSR_ABORTED: before its turn came
   */
  async run<T>(what: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#options.concurrency) this.#running++
    else await this.#turn(what, signal)
    try {
      return await work()
    } finally {
      const [next] = this.#waiting
      if (next) next()
      else this.#running--
    }
  }

  /** Resolves when a call that ends hands its place over. */
  #turn(what: string, signal: AbortSignal | undefined): Promise<void> {
    const { maxWaiting, concurrency } = this.#options
    if (signal?.aborted) throw aborted(what, signal)
    if (this.#waiting.size >= maxWaiting)
      throw new WbsrError(
        'WBSR_BUSY',
        `${concurrency} calls of this model run and ${maxWaiting} wait: ${what} was refused (maxWaiting)`,
      )
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#waiting.delete(start)
        reject(aborted(what, signal!))
      }
      const start = () => {
        this.#waiting.delete(start)
        signal?.removeEventListener('abort', abort)
        resolve()
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#waiting.add(start)
    })
  }
}
