// The server behind `wbsr serve`: node:http and six addresses. A framework would bring some forty packages for that, and what
// matters here (bytes as they come, slow clients, connections that break off) is its caller's work anyhow.
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { WbsrError } from '../../errors.js'
import { type Asset, asset } from '../../pages/document.js'
import { Access, isLoopback } from './access.js'
import { enlarge, type PixelLimits } from './enlarge.js'
import { HttpError, publicError, refuse, secure } from './http.js'
import type { ModelPool } from './model-pool.js'
import { servePage } from './page.js'
import { ProgressReports } from './progress.js'
import { FairQueue, type QueueLimits, type Ticket } from './queue.js'
import { parseRequest, type Wanted } from './request.js'
import { Results } from './results.js'
import { checkLength, receive, type UploadLimits } from './upload.js'

export interface ServeOptions {
  host: string
  /** 0: any that is free. */
  port: number
  /** Names under which the server is reached besides. */
  names: readonly string[]
  pool: ModelPool
  /** Whether the pool has a model that the command line named. */
  own: boolean
  queue: QueueLimits
  upload: UploadLimits
  pixels: PixelLimits
  /** For one picture, from its turn on. */
  jobSeconds: number
  results: { bytes: number; seconds: number }
  /** What happens, for the terminal. */
  log: (event: ServeEvent) => void
}

export type ServeEvent =
  | { event: 'done'; name: string; seconds: number; size: [number, number] }
  | { event: 'failed'; name: string; error: unknown }

const ASSETS: Record<string, { name: Asset; type: string }> = Object.fromEntries(
  (['page.css', 'viewer.css', 'serve.css', 'viewer.js', 'serve.js'] as const).map((name) => [
    `/assets/${name}`,
    { name, type: name.endsWith('.css') ? 'text/css; charset=utf-8' : 'text/javascript; charset=utf-8' },
  ]),
)
const RESULT = /^\/results\/([0-9a-f]{32})\/(result|before|after)$/
const MOST_CONNECTIONS = 512

export class PictureServer {
  readonly #options: ServeOptions
  readonly #access: Access
  readonly #queue: FairQueue
  readonly #results: Results
  readonly #server: Server
  readonly #jobs = new Set<AbortController>()
  readonly #page: string

  private constructor(options: ServeOptions, results: Results) {
    const { host, names, queue, pool, own, upload, pixels } = options
    this.#options = options
    this.#results = results
    this.#access = new Access(host, names)
    this.#queue = new FairQueue(queue)
    this.#page = servePage({
      models: pool.choices,
      own,
      loopback: isLoopback(host),
      limits: {
        megabytes: upload.bytes / 1e6,
        megapixels: pixels.pixels / 1e6,
        resultMegapixels: pixels.resultPixels / 1e6,
      },
    })
    this.#server = createServer(
      // The time of a body is bounded in receive(), where the client gets an answer.
      { headersTimeout: 10_000, requestTimeout: 0, keepAliveTimeout: 5000, connectionsCheckingInterval: 2000 },
      (request, response) => void this.#answer(request, response),
    )
    this.#server.maxConnections = MOST_CONNECTIONS
  }

  /** Listens. @throws WbsrError WBSR_IO: the port is taken or may not be used */
  static async start(options: ServeOptions): Promise<PictureServer> {
    const server = new PictureServer(options, await Results.open(options.results))
    const { host, port } = options
    try {
      await new Promise<void>((resolve, reject) => {
        server.#server.once('error', reject)
        server.#server.listen(port, host, resolve)
      })
    } catch (cause) {
      await server.#results.close()
      throw new WbsrError('WBSR_IO', `Cannot listen on ${host}, port ${port}: ${(cause as Error).message}`, { cause })
    }
    return server
  }

  get url(): string {
    const { address, port, family } = this.#server.address() as AddressInfo
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}/`
  }

  /** Pictures that are uploaded, wait or run. */
  get pending(): number {
    return this.#queue.size
  }

  /** Ends connections and work, and removes all files. */
  async close(): Promise<void> {
    for (const job of this.#jobs) job.abort(new Error('the server ends'))
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
    while (this.#queue.size > 0) await new Promise((resolve) => setTimeout(resolve, 10))
    await this.#results.close()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    secure(response)
    // An answer that nobody reads any more is no fault.
    response.on('error', () => {})
    request.on('error', () => {})
    try {
      this.#access.check(request)
      const url = addressOf(request)
      if (request.method === 'POST' && url.pathname === '/pictures') await this.#picture(request, response, url)
      else if (request.method === 'GET' || request.method === 'HEAD') await this.#file(request, response, url)
      else throw new HttpError(405, 'WBSR_NOT_FOUND', 'Expected GET or POST /pictures')
    } catch (error) {
      if (error instanceof HttpError) refuse(response, error)
      else {
        this.#options.log({ event: 'failed', name: request.url ?? '', error })
        refuse(response, new HttpError(500, 'WBSR_INTERNAL', 'The server failed; its terminal says why'))
      }
    }
  }

  async #file(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const text = (body: string, type: string) => {
      response.setHeader('Content-Type', type)
      response.end(request.method === 'HEAD' ? undefined : body)
    }
    if (url.pathname === '/') return text(this.#page, 'text/html; charset=utf-8')
    const known = Object.hasOwn(ASSETS, url.pathname) ? ASSETS[url.pathname] : undefined
    if (known) return text(asset(known.name), known.type)
    const [, id, kind] = RESULT.exec(url.pathname) ?? []
    const result = id === undefined ? undefined : this.#results.get(id)
    if (!result) throw new HttpError(404, 'WBSR_NOT_FOUND', 'There is nothing here, or not any more')
    const { file, type } = result.files[kind as keyof typeof result.files]
    const { size } = await stat(file)
    response.setHeader('Content-Type', type)
    response.setHeader('Content-Length', size)
    if (url.searchParams.has('download'))
      response.setHeader('Content-Disposition', `attachment; filename*=UTF-8''${encodeName(result.name)}`)
    if (request.method === 'HEAD') response.end()
    // A reader that goes away.
    else await pipeline(createReadStream(file), response).catch(() => {})
  }

  /** A picture comes, and on the same connection go its progress and its end, one JSON object a line. */
  async #picture(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const { pool, upload } = this.#options
    const client = this.#access.client(request)
    const names = pool.choices.map(({ name }) => name)
    const wanted = parseRequest(url.searchParams, names)
    checkLength(request, upload)
    const ticket = this.#queue.enter(client)
    if (ticket === 'full') throw new HttpError(503, 'WBSR_BUSY', 'Too many pictures are waiting, try again later')
    if (ticket === 'client full')
      throw new HttpError(429, 'WBSR_BUSY', 'Too many of your pictures are waiting, try again later')
    const job = new AbortController()
    this.#jobs.add(job)
    response.on('close', () => {
      if (!response.writableFinished) job.abort(new Error('the client went away'))
    })
    const { id, folder } = await this.#results.begin()
    let kept = false
    try {
      const input = path.join(folder, 'input')
      await receive(request, input, upload)
      kept = await this.#run(response, ticket, { id, folder, input, wanted }, job)
    } catch (error) {
      // Of a connection that broke off while the picture came.
      if (!(error instanceof HttpError) && (job.signal.aborted || request.destroyed)) return
      throw error
    } finally {
      this.#jobs.delete(job)
      ticket.leave()
      if (!kept) await this.#results.drop(id)
    }
  }

  /** Waits, enlarges and tells. Returns whether there is a result. */
  async #run(
    response: ServerResponse,
    ticket: Ticket,
    { id, folder, input, wanted }: { id: string; folder: string; input: string; wanted: Wanted },
    job: AbortController,
  ): Promise<boolean> {
    const { pool, pixels, jobSeconds, log } = this.#options
    response.setHeader('Content-Type', 'application/x-ndjson')
    response.flushHeaders()
    const tell = (event: object) => {
      if (!response.destroyed) response.write(`${JSON.stringify(event)}\n`)
    }
    let progress: ProgressReports | undefined
    let limit: NodeJS.Timeout | undefined
    try {
      const turn = ticket.turn(job.signal)
      progress = new ProgressReports(tell, () => ticket.ahead)
      await turn
      progress.running(0)
      limit = setTimeout(
        () => job.abort(new HttpError(503, 'WBSR_TIMEOUT', `Expected at most ${jobSeconds} s for a picture`)),
        jobSeconds * 1000,
      )
      const { result, facts } = await enlarge(input, folder, wanted, pool, pixels, job.signal, (share) =>
        progress?.running(share),
      )
      job.signal.throwIfAborted()
      await this.#results.keep(id, result)
      const { size } = await stat(result.files.result.file)
      const address = (kind: string) => `/results/${id}/${kind}`
      tell({
        event: 'done',
        ...facts,
        bytes: size,
        result: address('result'),
        before: address('before'),
        after: address('after'),
      })
      log({ event: 'done', name: wanted.name, seconds: facts.seconds, size: facts.size })
      return true
    } catch (error) {
      // Nobody is left to tell.
      if (response.destroyed) return false
      const reason: unknown = job.signal.aborted ? job.signal.reason : error
      const shown = publicError(reason, [input, folder], wanted.name)
      if (shown.code === 'WBSR_INTERNAL') log({ event: 'failed', name: wanted.name, error: reason })
      tell({ event: 'failed', ...shown })
      return false
    } finally {
      progress?.close()
      clearTimeout(limit)
      response.end()
    }
  }
}

/** @throws HttpError 404 */
function addressOf({ url = '/' }: IncomingMessage): URL {
  try {
    return new URL(url, 'http://host')
  } catch {
    throw new HttpError(404, 'WBSR_NOT_FOUND', 'There is nothing here')
  }
}

/** For a header: all but what RFC 8187 allows as %XX. */
const encodeName = (name: string): string =>
  encodeURIComponent(name).replace(/['()*]/g, (character) => `%${character.charCodeAt(0).toString(16)}`)
