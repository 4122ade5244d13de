// Who may ask: names under which the server is reached, against DNS rebinding, and where requests come from, against pages of
// other sites. There are no cookies and no passwords.

import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { HttpError } from './http.js'

/** A header that browsers send to other sites only after asking them, which this server never allows. */
export const CLIENT_HEADER = 'x-wbsr-client'

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]']

export const isLoopback = (host: string): boolean => ['localhost', '127.0.0.1', '::1'].includes(host)

/** Without port; an address of IPv6 in brackets. */
const nameOf = (host: string): string => host.toLowerCase().replace(/:\d+$/, '')

export class Access {
  readonly #names: Set<string>
  readonly #anyAddress: boolean

  /** @param host that the server listens on; names under which it is reached besides */
  constructor(host: string, names: readonly string[]) {
    this.#names = new Set([...LOOPBACK, ...names.map((name) => name.toLowerCase())])
    // A name can be made to mean another machine, an address cannot.
    this.#anyAddress = !isLoopback(host)
  }

  /** @throws HttpError 403 */
  check(request: IncomingMessage): void {
    const { host, origin } = request.headers
    const name = nameOf(host ?? '')
    if (!this.#names.has(name) && !(this.#anyAddress && isIP(name.replace(/^\[|\]$/g, '')) !== 0))
      throw new HttpError(403, 'WBSR_FORBIDDEN', `Expected a known name of this server but received Host: ${name}`)
    const site = request.headers['sec-fetch-site']
    const foreign = origin !== undefined && hostOf(origin) !== host?.toLowerCase()
    if (foreign || site === 'cross-site' || site === 'same-site') {
      // A link from elsewhere may open the page itself.
      if (request.method === 'GET' && request.url === '/' && request.headers['sec-fetch-mode'] === 'navigate') return
      throw new HttpError(403, 'WBSR_FORBIDDEN', 'Expected a request of the own page')
    }
  }

  /** Who sends a picture: the address, on this machine also the tab. @throws HttpError 403 */
  client(request: IncomingMessage): string {
    const tab = request.headers[CLIENT_HEADER]
    if (typeof tab !== 'string' || !/^[\w-]{1,64}$/.test(tab))
      throw new HttpError(403, 'WBSR_FORBIDDEN', `Expected the header ${CLIENT_HEADER}`)
    const address = request.socket.remoteAddress ?? ''
    return isLoopback(address.replace(/^::ffff:/, '')) ? `${address} ${tab}` : address
  }
}

function hostOf(origin: string): string | null {
  try {
    return new URL(origin).host
  } catch {
    return null
  }
}
