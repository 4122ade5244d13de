// What a client is told while its picture waits and runs: each change, but not too many of them, and something now and then.

export type ProgressEvent = { event: 'waiting'; ahead: number } | { event: 'running'; share: number }

/** Between two shares of one picture, between two looks at the queue, and the longest silence on a connection. */
const SHARE_MS = 150
const LOOK_MS = 500
const HEARTBEAT_MS = 10_000

export class ProgressReports {
  readonly #tell: (event: ProgressEvent) => void
  readonly #timer: NodeJS.Timeout
  #current: ProgressEvent
  #told = ''
  #at = Number.NEGATIVE_INFINITY

  /** @param ahead pictures that come before, while it waits */
  constructor(tell: (event: ProgressEvent) => void, ahead: () => number) {
    this.#tell = tell
    this.#current = { event: 'waiting', ahead: ahead() }
    this.#report()
    this.#timer = setInterval(() => {
      if (this.#current.event === 'waiting') this.#current = { event: 'waiting', ahead: ahead() }
      this.#report()
    }, LOOK_MS)
  }

  /** @param share 0 .. 1 of the network's work */
  running(share: number): void {
    const first = this.#current.event === 'waiting'
    this.#current = { event: 'running', share }
    if (first || share === 1 || performance.now() - this.#at >= SHARE_MS) this.#report()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #report(): void {
    const text = JSON.stringify(this.#current)
    const now = performance.now()
    if (text === this.#told && now - this.#at < HEARTBEAT_MS) return
    this.#told = text
    this.#at = now
    this.#tell(this.#current)
  }
}
