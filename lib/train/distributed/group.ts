// The ranks of a run: processes that train one model together. A run of one process is a group of one, which sends nothing.
//
// When a rank ends with an error it tells all others, whatever they are doing (`signal` fires there), and waits a while for
// each of them to say that it has ended too: until then a launcher that sees the process exit would kill the others, perhaps
// before rank 0 has written its checkpoint.
import { WbsrError, wrapError } from '../../errors.js'
import type { Communicator, Message } from '../../native.js'
import { openCommunicator } from './launch.js'
import type { Distributed } from './options.js'
import { LEAVING } from './tags.js'

/** Tags of messages. Each run in a process has tags of its own, so that a message of one that ended cannot reach the next. */
const TAGS = { gradient: 0, numbers: 1, value: 2, ended: 3 } as const
const TAGS_OF_RUN = 4
const RUNS = 8000

/** How long a rank that ended with an error waits for the others to end. */
const PATIENCE_MS = 30_000

const REASON_MS = 2000

/** How a rank ended: what it tells the others. */
interface Ending {
  code: string | null
  message: string
}

export class Group {
  readonly rank: number
  readonly ranks: number
  /** Fires when another rank has ended; its reason is the error to end with. */
  readonly signal: AbortSignal
  readonly #communicator: Communicator | null
  readonly #run: number
  readonly #failure = new AbortController()
  readonly #cancelTransfers = new Int32Array(1)
  readonly #cancelListening = new Int32Array(1)
  /** Ranks that have ended. */
  readonly #ended = new Set<number>()
  #listening: Promise<void> = Promise.resolve()
  #allEnded = (): void => {}

  private constructor(place: { rank: number; ranks: number }, communicator: Communicator | null, run: number) {
    this.rank = place.rank
    this.ranks = place.ranks
    this.signal = this.#failure.signal
    this.#communicator = communicator
    this.#run = run
    if (communicator) this.#listening = this.#listen(communicator)
  }

  /** The group of a run in one process. */
  static single(): Group {
    return new Group({ rank: 0, ranks: 1 }, null, 0)
  }

  /** All ranks that were started together; waits for them. @throws WbsrError WBSR_NO_DEVICE: there is no usable MPI */
  static async open(how: Distributed): Promise<Group> {
    const { communicator, rank, ranks, run } = await openCommunicator(how)
    return new Group({ rank, ranks }, ranks > 1 ? communicator : null, run % RUNS)
  }

  /** Whether this rank decides, reports and writes. */
  get leads(): boolean {
    return this.rank === 0
  }

  async send(to: number, what: 'gradient' | 'numbers', values: Float32Array | Float64Array): Promise<void> {
    await this.#transfer((communicator) => communicator.send(to, this.#tag(what), values, this.#cancelTransfers))
  }

  async receive<T extends Float32Array | Float64Array>(
    from: number,
    what: 'gradient' | 'numbers',
    into: T,
  ): Promise<T> {
    return await this.#transfer((communicator) =>
      communicator.receive(from, this.#tag(what), into, this.#cancelTransfers),
    )
  }

  /** Brings what rank 0 has to all: in log2(ranks) rounds, from those that have it to those that do not. */
  async spread(send: (to: number) => Promise<unknown>, receive: (from: number) => Promise<unknown>): Promise<void> {
    for (let have = 1; have < this.ranks; have *= 2) {
      if (this.rank < have && this.rank + have < this.ranks) await send(this.rank + have)
      else if (this.rank >= have && this.rank < 2 * have) await receive(this.rank - have)
    }
  }

  /** An exchange that the devices make themselves; `cancel[0]` becomes 1 when this rank gives the run up. */
  async direct<T>(work: (cancel: Int32Array) => Promise<T>): Promise<T> {
    return await this.#transfer(() => work(this.#cancelTransfers))
  }

  /** Gives all ranks the JSON value that `make` returns on rank 0; it is not called elsewhere. */
  async share<T>(make: () => Promise<T> | T): Promise<T> {
    if (!this.#communicator) return await make()
    if (this.leads) {
      const value = await make()
      const text = Buffer.from(JSON.stringify(value))
      const size = Float64Array.of(text.length)
      for (let to = 1; to < this.ranks; to++) {
        await this.send(to, 'numbers', size)
        await this.#transfer((communicator) => communicator.send(to, this.#tag('value'), text, this.#cancelTransfers))
      }
      return value
    }
    const [length] = await this.receive(0, 'numbers', new Float64Array(1))
    const text = await this.#transfer((communicator) =>
      communicator.receive(0, this.#tag('value'), new Uint8Array(length!), this.#cancelTransfers),
    )
    return JSON.parse(Buffer.from(text).toString()) as T
  }

  /**
   * Compares what must be the same on all ranks, by name; waits for all of them.
   *
   * @throws WbsrError WBSR_INVALID_OPTION naming what differs from rank 0
   */
  async agree(read: () => Record<string, unknown>): Promise<void> {
    if (this.ranks === 1) return
    const facts = read()
    const there = await this.share(() => facts)
    for (const [name, value] of Object.entries(facts)) {
      const [a, b] = [JSON.stringify(there[name]), JSON.stringify(value)]
      if (a !== b)
        throw new WbsrError(
          'WBSR_INVALID_OPTION',
          `All ranks of a run need the same ${name}: expected ${a} as on rank 0 but received ${b} on rank ${this.rank}`,
        )
    }
    const none = new Float64Array(1)
    for (let from = 1; from < this.ranks; from++) {
      if (this.leads) await this.receive(from, 'numbers', none)
      else if (this.rank === from) await this.send(0, 'numbers', none)
    }
    await this.spread(
      (to) => this.send(to, 'numbers', none),
      (from) => this.receive(from, 'numbers', none),
    )
  }

  /** Ends what waits for other ranks with WBSR_ABORTED: this rank gives the run up. */
  stop(): void {
    Atomics.store(this.#cancelTransfers, 0, 1)
  }

  /** This rank ends with an error: tells the others, and waits until they have ended too. */
  async fail(error: unknown): Promise<void> {
    const communicator = this.#communicator
    if (!communicator) return
    this.stop()
    const { code, message } = wrapError(error)
    const own: Ending = { code: error instanceof WbsrError ? code : null, message }
    const text = Buffer.from(JSON.stringify(own))
    const cancel = new Int32Array(1)
    let timer: NodeJS.Timeout | undefined
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, PATIENCE_MS)
    })
    const told = (async () => {
      for (let to = 0; to < this.ranks; to++)
        if (to !== this.rank) await communicator.send(to, this.#tag('ended'), text, cancel).catch(() => {})
      if (this.#ended.size < this.ranks - 1)
        await new Promise<void>((resolve) => {
          this.#allEnded = resolve
        })
    })()
    await Promise.race([told, patience])
    clearTimeout(timer)
    Atomics.store(cancel, 0, 1)
  }

  /** Nothing is exchanged any more. */
  async close(): Promise<void> {
    this.stop()
    Atomics.store(this.#cancelListening, 0, 1)
    await this.#listening
  }

  #tag(what: keyof typeof TAGS): number {
    return this.#run * TAGS_OF_RUN + TAGS[what]
  }

  async #transfer<T>(work: (communicator: Communicator) => Promise<T>): Promise<T> {
    try {
      return await work(this.#communicator!)
    } catch (error) {
      // A connection may break before its rank has told why it ends.
      if ((error as { code?: unknown }).code === 'WBSR_RANK_FAILED') await this.#reason(REASON_MS)
      if (this.signal.aborted) throw this.signal.reason
      throw wrapError(error, 'WBSR_INTERNAL', 'Exchange between ranks')
    }
  }

  /** Waits until another rank has said why it ends, but not for long. */
  async #reason(milliseconds: number): Promise<void> {
    if (this.signal.aborted) return
    const { signal } = this
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds)
      const told = () => {
        clearTimeout(timer)
        resolve()
      }
      signal.addEventListener('abort', told, { once: true })
    })
  }

  /** Hears of ranks that end, until close(). */
  async #listen(communicator: Communicator): Promise<void> {
    while (this.#cancelListening[0] === 0) {
      let message: Message
      try {
        message = await communicator.listen(-1, [this.#tag('ended'), LEAVING], this.#cancelListening)
      } catch {
        return
      }
      this.#heard(message)
    }
  }

  #heard({ from, tag, data }: Message): void {
    this.#ended.add(from)
    if (!this.#failure.signal.aborted) {
      const { code, message }: Ending =
        tag === LEAVING
          ? { code: null, message: 'its process ended before the run did' }
          : (JSON.parse(Buffer.from(data).toString()) as Ending)
      this.#failure.abort(
        code === 'WBSR_ABORTED'
          ? new WbsrError('WBSR_ABORTED', `Rank ${from} ended the run: ${message}`)
          : new WbsrError('WBSR_RANK_FAILED', `Rank ${from} ended the run: ${message}`, {
              cause: code === null ? message : { code, message },
            }),
      )
      this.stop()
    }
    if (this.#ended.size === this.ranks - 1) this.#allEnded()
  }
}
