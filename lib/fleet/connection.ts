// Redis, or PostgreSQL by BullMQ 6: what is connected to, and whether it can be trusted with a queue.
import type { FlowProducer, Processor, Queue, Worker, WorkerOptions } from 'bullmq'
import { invalidOption, WbsrError } from '../errors.js'
import { checkString } from '../options.js'
import { type Bullmq, loadBullmq } from './packages.js'

/** Options of ioredis, such as host, port, password, tls or sentinels. */
export type RedisConnection = Record<string, unknown>

/** The server that keeps the queues. */
export interface ConnectionOptions {
  /**
   * redis://host:port/database, rediss://, redis-sentinel://host:port,host:port/name of the master/database, postgres://, or
   * options of ioredis.
   */
  connection: string | RedisConnection
  /** Begins the names of all queues. Default 'wbsr'. */
  name?: string
}

/** Makes BullMQ's objects on one database. */
export interface Backend {
  /** Without a password. */
  readonly label: string
  readonly name: string
  readonly bullmq: Bullmq
  queue(name: string): Queue
  flows(): FlowProducer
  worker(name: string, processor: Processor, options: Omit<WorkerOptions, 'connection'>): Worker
}

const CONNECT_MS = 10_000

/** A failover leaves a connection to what became a replica: it is to be made anew. */
const reconnectOnError = ({ message }: Error) => (message.startsWith('READONLY') ? 2 : false)

/** @throws WbsrError WBSR_INVALID_OPTION, WBSR_NOT_FOUND: BullMQ is not installed */
export async function openBackend({ connection, name = 'wbsr' }: ConnectionOptions): Promise<Backend> {
  if (!/^[\w.-]{1,40}$/.test(checkString(name, 'name')))
    throw invalidOption('name', 'up to 40 letters, digits, dots, underscores and hyphens', name)
  const bullmq = await loadBullmq()
  const { label, options, postgres } = readConnection(connection)
  const factory = postgres ? [bullmq.createPostgresBackend] : []
  // The classes are generic in their backend, of which nothing but what all have is used here.
  const make = <T>(made: unknown, ...args: unknown[]): T =>
    new (made as new (...args: unknown[]) => T)(...args, ...factory)
  // A lost connection is reported by each object again and again until it is back; it is no failure of the process.
  const quiet = <T extends { on(event: 'error', listener: (error: Error) => void): unknown }>(object: T): T => {
    object.on('error', () => {})
    return object
  }
  return {
    label,
    name,
    bullmq,
    queue: (queue) => quiet(make<Queue>(bullmq.Queue, queue, { connection: options })),
    flows: () => quiet(make<FlowProducer>(bullmq.FlowProducer, { connection: options })),
    worker: (queue, processor, more) =>
      quiet(make<Worker>(bullmq.Worker, queue, processor, { ...more, connection: options })),
  }
}

interface Sentinels {
  sentinels?: { host?: string; port?: number }[]
  name?: string
}

const sentinelLabel = ({ sentinels = [], name = '' }: Sentinels): string =>
  `redis-sentinel://${sentinels.map(({ host = '127.0.0.1', port = 26379 }) => `${host}:${port}`).join(',')}/${name}`

/** redis-sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DATABASE as options of ioredis; null: it is something else. */
function readSentinels(text: string): (RedisConnection & Sentinels) | null {
  const whole = /^redis-sentinel:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^@/]+)\/([^/]+)(?:\/(\d+))?$/.exec(text)
  if (!whole) return null
  const [, username, password, hosts, name, database] = whole
  const places = hosts!.split(',').map((place) => /^([^:]+)(?::(\d+))?$/.exec(place))
  if (places.includes(null)) return null
  return {
    sentinels: places.map((place) => ({ host: place![1]!, port: Number(place![2] ?? 26379) })),
    name: decodeURIComponent(name!),
    ...(username && { username: decodeURIComponent(username) }),
    ...(password && { password: decodeURIComponent(password) }),
    ...(database && { db: Number(database) }),
  }
}

function readConnection(connection: unknown): { label: string; options: unknown; postgres: boolean } {
  const common = { reconnectOnError, maxRetriesPerRequest: null }
  if (typeof connection === 'object' && connection !== null) {
    const { host = '127.0.0.1', port = 6379, sentinels, name } = connection as RedisConnection & Sentinels
    const label = sentinels ? sentinelLabel({ sentinels, name }) : `redis://${host}:${port}`
    return { label, options: { ...common, ...connection }, postgres: false }
  }
  const expected =
    'redis://HOST:PORT, rediss://, redis-sentinel://HOST:PORT,.../NAME, postgres:// or options of ioredis'
  if (typeof connection === 'string' && connection.startsWith('redis-sentinel:')) {
    const options = readSentinels(connection)
    if (!options) throw invalidOption('connection', expected, connection)
    return { label: sentinelLabel(options), options: { ...common, ...options }, postgres: false }
  }
  let url: URL
  try {
    url = new URL(checkString(connection, 'connection'))
  } catch {
    throw invalidOption('connection', expected, connection)
  }
  const label = `${url.protocol}//${url.host}${url.pathname === '/' ? '' : url.pathname}`
  if (/^rediss?:$/.test(url.protocol)) return { label, options: { ...common, url: connection }, postgres: false }
  if (/^postgres(ql)?:$/.test(url.protocol))
    return { label, options: { connectionString: connection as string, migrate: true }, postgres: true }
  throw invalidOption('connection', expected, connection)
}

/**
 * Waits for the connection, and refuses a Redis that may throw jobs away when its memory is full.
 *
 * @throws WbsrError WBSR_IO: it cannot be reached; WBSR_INVALID_OPTION: its maxmemory-policy is not noeviction
 */
export async function checkBackend({ label }: Backend, queue: Queue): Promise<void> {
  let last: Error | null = null
  const listener = (error: Error) => {
    last = error
  }
  queue.on('error', listener)
  let timer: NodeJS.Timeout | undefined
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(last ?? new Error('no answer')), CONNECT_MS)
    })
    await Promise.race([queue.waitUntilReady(), late])
  } catch (cause) {
    const { message, code } = cause as Error & { code?: string }
    throw new WbsrError('WBSR_IO', `Cannot reach ${label}: ${message || code || 'no answer'}`, { cause })
  } finally {
    clearTimeout(timer)
    queue.off('error', listener)
  }
  const policy = await evictionPolicy(queue)
  if (policy !== null && policy !== 'noeviction')
    throw new WbsrError(
      'WBSR_INVALID_OPTION',
      `Expected maxmemory-policy noeviction of ${label} but it is ${policy}: when its memory is full Redis would remove jobs (redis-cli config set maxmemory-policy noeviction)`,
    )
}

/** null: another kind of database, which does not evict. */
async function evictionPolicy(queue: Queue): Promise<string | null> {
  const backend = queue.getBackend() as unknown as { client?: Promise<{ info?(): Promise<string> }> }
  const client = await backend.client
  if (typeof client?.info !== 'function') return null
  return /^maxmemory_policy:(\S+)/m.exec(await client.info())?.[1] ?? null
}
