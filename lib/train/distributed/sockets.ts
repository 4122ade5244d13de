// A connection of ranks without MPI. Rank 0 listens and writes its address into a file that all can read; the others connect to
// it, and it passes on what is not for itself. It carries numbers and messages, kilobytes in each step; gradients travel from
// device to device.
//
// A rank whose connection ends has left: the others are told, as by mpirun, which ends them then.
import { randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { WbsrError } from '../../errors.js'
import type { Communicator, Message } from '../../native.js'
import { LEAVING } from './tags.js'

/** Where ranks meet. */
export interface Rendezvous {
  /** Its folder must be there, for all of them. Rank 0 writes it, and removes it when all are connected. */
  file: string
  rank: number
  ranks: number
}

/** What is in the file. */
interface Address {
  hosts: string[]
  port: number
  /** Known to those alone who can read the file. */
  token: string
}

type Data = Uint8Array | Float32Array | Float64Array

/** How long a rank waits for the others to start, and tries to reach one address. */
const MEETING_MS = 300_000
const CONNECT_MS = 5000
/** How often one that waits looks whether it shall. */
const LOOK_MS = 10

/** Before a message: its length, the ranks that it is from and for, its tag. */
const HEAD = 12
const HELLO = 65535
const WELCOME = 65534
/** Of a stranger's first message. */
const HELLO_BYTES = 64

export class SocketCommunicator implements Communicator {
  readonly #meeting: Rendezvous
  /** Of each rank on rank 0; of rank 0 on the others. */
  readonly #sockets = new Map<number, Socket>()
  readonly #messages: Message[] = []
  readonly #gone = new Set<number>()
  /** 'news': a message has come or gone, or a rank has left. */
  readonly #events = new EventEmitter()

  constructor(meeting: Rendezvous) {
    this.#meeting = meeting
  }

  async open(): Promise<{ rank: number; ranks: number; version: string }> {
    const { rank, ranks } = this.#meeting
    const limit = Date.now() + MEETING_MS
    if (ranks > 1) await (rank === 0 ? this.#gather(limit) : this.#join(limit))
    return { rank, ranks, version: '' }
  }

  async send(to: number, tag: number, data: Data, cancel: Int32Array): Promise<void> {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    let sent = false
    this.#write({ from: this.#meeting.rank, tag, data: bytes }, to, () => {
      sent = true
    })
    while (!sent) await this.#news(to, cancel)
  }

  async receive<T extends Data>(from: number, tag: number, into: T, cancel: Int32Array): Promise<T> {
    const { data } = await this.#next(from, [tag], cancel)
    if (data.byteLength !== into.byteLength)
      throw new WbsrError(
        'WBSR_INTERNAL',
        `rank ${from} sent ${data.byteLength} bytes where ${into.byteLength} were expected: the ranks do not do the same`,
      )
    new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(data)
    return into
  }

  async listen(from: number, tags: number[], cancel: Int32Array): Promise<Message> {
    return await this.#next(from, tags, cancel)
  }

  /** Those that still run hear of it by the end of the connection. */
  close(): void {
    for (const socket of this.#sockets.values()) socket.destroy()
  }

  async #next(from: number, tags: number[], cancel: Int32Array): Promise<Message> {
    for (;;) {
      const at = this.#messages.findIndex(
        (message) => tags.includes(message.tag) && (from < 0 || message.from === from),
      )
      if (at >= 0) return this.#messages.splice(at, 1)[0]!
      await this.#news(from, cancel)
    }
  }

  /** Waits for something of that rank to happen, not for long. */
  async #news(rank: number, cancel: Int32Array): Promise<void> {
    if (Atomics.load(cancel, 0) !== 0) throw new WbsrError('WBSR_ABORTED', 'waiting for another rank was cancelled')
    if (this.#gone.has(rank)) throw new WbsrError('WBSR_RANK_FAILED', `The connection to rank ${rank} has ended`)
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer)
        this.#events.off('news', done)
        resolve()
      }
      const timer = setTimeout(done, LOOK_MS)
      this.#events.once('news', done)
    })
  }

  /** A copy is sent, as the data may change. */
  #write({ from, tag, data }: Message, to: number, sent: () => void = () => {}): void {
    const socket = this.#sockets.get(this.#meeting.rank === 0 ? to : 0)
    if (!socket || this.#gone.has(to)) return
    const head = Buffer.alloc(HEAD)
    head.writeUInt32LE(data.byteLength, 0)
    head.writeUInt16LE(from, 4)
    head.writeUInt16LE(to, 6)
    head.writeUInt16LE(tag, 8)
    socket.write(Buffer.concat([head, data]), (error) => {
      if (!error) sent()
      this.#events.emit('news')
    })
  }

  /** Rank 0: until all others are there. */
  async #gather(limit: number): Promise<void> {
    const { file, ranks } = this.#meeting
    const token = randomBytes(24).toString('hex')
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy())
      frames(socket, HELLO_BYTES, (message) => {
        const { from, tag, data } = message
        const known = tag === HELLO && data.toString() === token && from > 0 && from < ranks && !this.#sockets.has(from)
        if (!known) return socket.destroy()
        this.#keep(from, socket)
      })
    })
    server.listen(0)
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const address: Address = { hosts: ownHosts(), port, token }
    const aside = `${file}.${token.slice(0, 8)}.tmp`
    try {
      await writeFile(aside, JSON.stringify(address), { mode: 0o600 })
      await rename(aside, file)
      while (this.#sockets.size < ranks - 1) {
        if (Date.now() > limit) {
          const late = Array.from({ length: ranks }, (_, rank) => rank).filter(
            (rank) => rank > 0 && !this.#sockets.has(rank),
          )
          throw new WbsrError('WBSR_RANK_FAILED', `Rank ${late.join(', ')} of ${ranks} has not come to ${file} in time`)
        }
        await delay(LOOK_MS)
      }
    } catch (error) {
      this.close()
      throw error instanceof WbsrError
        ? error
        : new WbsrError('WBSR_IO', `Cannot write ${file}, where ranks meet: ${(error as Error).message}`, {
            cause: error,
          })
    } finally {
      server.close()
      await rm(file, { force: true })
      await rm(aside, { force: true })
    }
    for (const to of this.#sockets.keys()) this.#write({ from: 0, tag: WELCOME, data: Buffer.alloc(0) }, to)
  }

  /** Another rank: until rank 0 says that all are there. A file that is left from an earlier run leads nowhere. */
  async #join(limit: number): Promise<void> {
    const { file, rank, ranks } = this.#meeting
    let last = 'it is not there'
    while (Date.now() < limit) {
      const text = await readFile(file, 'utf8').catch(() => null)
      if (text !== null) {
        const address = JSON.parse(text) as Address
        for (const host of hostsFrom(address)) {
          try {
            return await this.#enter(host, address, limit)
          } catch (error) {
            last = (error as Error).message
          }
        }
      }
      await delay(10 * LOOK_MS)
    }
    throw new WbsrError('WBSR_RANK_FAILED', `Rank ${rank} of ${ranks} has not met the others by ${file}: ${last}`)
  }

  async #enter(host: string, { port, token }: Address, limit: number): Promise<void> {
    const socket = connect({ host, port, timeout: CONNECT_MS })
    socket.on('error', () => {})
    socket.on('timeout', () => socket.destroy(new Error(`no answer from ${host}:${port}`)))
    await once(socket, 'connect')
    socket.setTimeout(0)
    let refused = false
    socket.once('close', () => {
      refused = true
    })
    this.#keep(0, socket)
    this.#write({ from: this.#meeting.rank, tag: HELLO, data: Buffer.from(token) }, 0)
    const welcome = () => this.#messages.findIndex(({ tag }) => tag === WELCOME)
    while (welcome() < 0) {
      if (refused || Date.now() > limit) {
        socket.destroy()
        this.#sockets.delete(0)
        this.#gone.clear()
        this.#messages.length = 0
        throw new Error(`${host}:${port} does not answer as rank 0 does`)
      }
      await delay(LOOK_MS)
    }
    this.#messages.splice(welcome(), 1)
  }

  /** Reads what comes from that rank, and hears of its end. */
  #keep(from: number, socket: Socket): void {
    this.#sockets.set(from, socket)
    socket.setNoDelay(true)
    // A process may end while it is connected.
    socket.unref()
    socket.removeAllListeners('data')
    frames(socket, 2 ** 31, (message, to) => {
      if (to === this.#meeting.rank) this.#messages.push(message)
      else if (this.#meeting.rank === 0) this.#write(message, to)
      this.#events.emit('news')
    })
    socket.once('close', () => this.#left(from))
  }

  #left(rank: number): void {
    const { ranks, rank: own } = this.#meeting
    // All others are reached through rank 0.
    const lost =
      own === 0 ? [rank] : Array.from({ length: ranks }, (_, other) => other).filter((other) => other !== own)
    for (const from of lost) {
      this.#gone.add(from)
      this.#messages.push({ from, tag: LEAVING, data: Buffer.alloc(0) })
    }
    if (own === 0)
      for (const to of this.#sockets.keys()) this.#write({ from: rank, tag: LEAVING, data: Buffer.alloc(0) }, to)
    this.#events.emit('news')
  }
}

/** Calls `heard` for each message of a socket; one that is longer ends the connection. */
function frames(
  socket: Socket,
  longest: number,
  heard: (message: Message & { data: Buffer }, to: number) => void,
): void {
  let rest: Buffer = Buffer.alloc(0)
  socket.on('data', (part: Buffer) => {
    rest = rest.length === 0 ? part : Buffer.concat([rest, part])
    while (rest.length >= HEAD) {
      const length = rest.readUInt32LE(0)
      if (length > longest) return socket.destroy()
      if (rest.length < HEAD + length) return
      const data = rest.subarray(HEAD, HEAD + length)
      const message = { from: rest.readUInt16LE(4), tag: rest.readUInt16LE(8), data }
      const to = rest.readUInt16LE(6)
      rest = rest.subarray(HEAD + length)
      heard(message, to)
    }
  })
}

function ownHosts(): string[] {
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, family }) => !internal && family === 'IPv4')
    .map(({ address }) => address)
  return [hostname(), ...addresses]
}

/** On the same machine the loopback address is right whatever its names lead to. */
const hostsFrom = ({ hosts }: Address): string[] => (hosts[0] === hostname() ? ['127.0.0.1', ...hosts] : hosts)
