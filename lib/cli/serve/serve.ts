// wbsr serve: options -> a server that runs until it is interrupted.
import { isIP } from 'node:net'
import { Ended, EXIT, messageOf, UsageError } from '../exit.js'
import type { ServeFlags } from '../flags.js'
import { listenForInterrupts } from '../interrupt.js'
import { duration, Terminal } from '../terminal.js'
import { isLoopback } from './access.js'
import { ModelPool } from './model-pool.js'
import { PictureServer } from './server.js'

/** Bytes of results that are kept at most. */
const KEPT_BYTES = 4e9
const UPLOAD_SECONDS = 120
const IDLE_SECONDS = 20

export async function serve(flags: ServeFlags): Promise<void> {
  const { host } = flags
  if (isIP(host) === 0 && host !== 'localhost')
    throw new UsageError(`Expected an address, such as 127.0.0.1 or 0.0.0.0, for --host but received ${host}`)
  const terminal = new Terminal({ quiet: flags.quiet ?? false, live: false })
  const interrupt = listenForInterrupts()
  await using pool = await ModelPool.open(flags.model, flags)
  const server = await PictureServer.start({
    host,
    port: flags.port,
    names: flags.allowHost ?? [],
    pool,
    own: flags.model !== undefined,
    queue: { total: flags.queue, perClient: Math.min(flags.perClient, flags.queue) },
    upload: { bytes: Math.floor(flags.maxBytes * 1e6), seconds: UPLOAD_SECONDS, idleSeconds: IDLE_SECONDS },
    pixels: { pixels: Math.floor(flags.maxPixels * 1e6), resultPixels: Math.floor(flags.maxResult * 1e6) },
    jobSeconds: flags.timeLimit,
    results: { bytes: KEPT_BYTES, seconds: flags.keep * 60 },
    log: (event) => {
      if (event.event === 'failed') terminal.error(`${event.name}: ${messageOf(event.error)}`)
      else terminal.line(`${event.name}: ${event.size[0]}x${event.size[1]} in ${duration(event.seconds)}`)
    },
  })
  try {
    process.stdout.write(`${server.url}\n`)
    terminal.line('Open this address in a browser; Ctrl+C ends the server.')
    if (!isLoopback(host))
      terminal.warn('whoever reaches this computer in the network can use the page; there is no password')
    await new Promise<void>((resolve) => {
      if (interrupt.signal.aborted) resolve()
      interrupt.signal.addEventListener('abort', () => resolve(), { once: true })
    })
  } finally {
    await server.close()
  }
  throw new Ended(interrupt.status() ?? EXIT.done)
}
