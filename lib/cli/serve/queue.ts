// Who is next: pictures of several clients, one after the other, bounded in all and for each client. A client that sends many
// pictures does not keep the others waiting: the one who was served longest ago is next.

export interface QueueLimits {
  /** Pictures that are uploaded, wait or run, of all clients together. */
  total: number
  perClient: number
}

interface Client {
  tickets: number
  waiting: Ticket[]
  /** When it was served last; smaller: longer ago. */
  served: number
}

/** A place in the queue. It counts from the start of an upload; the order is that of the calls of turn(). */
export class Ticket {
  readonly #queue: FairQueue
  readonly client: string
  /** @internal */
  start: (() => void) | null = null

  /** @internal */
  constructor(queue: FairQueue, client: string) {
    this.#queue = queue
    this.client = client
  }

  /** Resolves when the picture may run; then nothing else runs until leave(). Rejects with the signal's reason. */
  async turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await new Promise<void>((resolve, reject) => {
      const aborted = () => {
        this.#queue.withdraw(this)
        reject(signal.reason)
      }
      signal.addEventListener('abort', aborted, { once: true })
      this.start = () => {
        signal.removeEventListener('abort', aborted)
        resolve()
      }
      this.#queue.wait(this)
    })
  }

  /** How many pictures come before this one, if nobody else comes. */
  get ahead(): number {
    return this.#queue.ahead(this)
  }

  /** Gives the place back. Twice does no harm. */
  leave(): void {
    this.#queue.leave(this)
  }
}

export class FairQueue {
  readonly #limits: QueueLimits
  readonly #clients = new Map<string, Client>()
  readonly #tickets = new Set<Ticket>()
  #running: Ticket | null = null
  #clock = 0

  constructor(limits: QueueLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#tickets.size
  }

  /** A place, or why there is none. */
  enter(name: string): Ticket | 'full' | 'client full' {
    if (this.#tickets.size >= this.#limits.total) return 'full'
    // Before the client that was served last, after those who have waited longer.
    const client = this.#clients.get(name) ?? { tickets: 0, waiting: [], served: this.#clock - 0.5 }
    if (client.tickets >= this.#limits.perClient) return 'client full'
    client.tickets++
    this.#clients.set(name, client)
    const ticket = new Ticket(this, name)
    this.#tickets.add(ticket)
    return ticket
  }

  /** @internal */
  wait(ticket: Ticket): void {
    this.#clients.get(ticket.client)!.waiting.push(ticket)
    this.#next()
  }

  /** @internal */
  withdraw(ticket: Ticket): void {
    const client = this.#clients.get(ticket.client)
    if (client) client.waiting = client.waiting.filter((other) => other !== ticket)
  }

  /** @internal */
  leave(ticket: Ticket): void {
    if (!this.#tickets.delete(ticket)) return
    this.withdraw(ticket)
    const client = this.#clients.get(ticket.client)!
    if (--client.tickets === 0) this.#clients.delete(ticket.client)
    if (this.#running === ticket) this.#running = null
    this.#next()
  }

  /** @internal */
  ahead(ticket: Ticket): number {
    const mine = this.#clients.get(ticket.client)?.waiting.indexOf(ticket) ?? -1
    if (mine < 0) return 0
    // In each round every client has one picture.
    let before = this.#running ? 1 : 0
    for (const [name, { waiting, served }] of this.#clients) {
      const own = this.#clients.get(ticket.client)!
      const first = name === ticket.client ? 0 : served < own.served ? 1 : 0
      before += name === ticket.client ? mine : Math.min(waiting.length, mine + first)
    }
    return before
  }

  #next(): void {
    if (this.#running) return
    let chosen: Client | null = null
    for (const client of this.#clients.values())
      if (client.waiting.length > 0 && (!chosen || client.served < chosen.served)) chosen = client
    const ticket = chosen?.waiting.shift()
    if (!chosen || !ticket) return
    chosen.served = ++this.#clock
    this.#running = ticket
    ticket.start!()
  }
}
