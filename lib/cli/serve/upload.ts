// The body of a request as a file: bounded in bytes and time, and only of the kinds of pictures that are taken.

import { open } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { HttpError } from './http.js'

export interface UploadLimits {
  bytes: number
  /** For all of the body. */
  seconds: number
  /** Between two parts of it. */
  idleSeconds: number
}

/** Bytes that a file begins with. SVG and the like, which say what is to be drawn or read, are not taken. */
const SIGNATURES: readonly [kind: string, test: (start: Buffer) => boolean][] = [
  ['png', (start) => start.subarray(0, 8).equals(Buffer.from('89504e470d0a1a0a', 'hex'))],
  ['jpeg', (start) => start.subarray(0, 3).equals(Buffer.from('ffd8ff', 'hex'))],
  ['webp', (start) => start.toString('latin1', 0, 4) === 'RIFF' && start.toString('latin1', 8, 12) === 'WEBP'],
  ['gif', (start) => /^GIF8[79]a/.test(start.toString('latin1', 0, 6))],
  ['tiff', (start) => /^(II[*+]\0|MM\0[*+])/.test(start.toString('latin1', 0, 4))],
  ['avif', (start) => /^ftyp(avif|avis|heic|heix|mif1|msf1)/.test(start.toString('latin1', 4, 12))],
]

/** @throws HttpError 415 */
function checkKind(start: Buffer): void {
  if (SIGNATURES.some(([, test]) => test(start))) return
  throw new HttpError(415, 'WBSR_INVALID_IMAGE', 'Expected a PNG, JPEG, WebP, GIF, TIFF, AVIF or HEIC picture')
}

/** @throws HttpError 411, 413 */
export function checkLength(request: IncomingMessage, { bytes }: UploadLimits): void {
  const length = request.headers['content-length']
  if (length !== undefined && Number(length) > bytes) throw tooLarge(bytes)
}

const tooLarge = (bytes: number) =>
  new HttpError(413, 'WBSR_TOO_LARGE', `Expected at most ${(bytes / 1e6).toFixed(0)} MB of a picture`)

/**
 * Writes the body into a new file.
 *
 * @throws HttpError 400 (nothing in it), 408, 413, 415; what the connection ended with
 */
export async function receive(request: IncomingMessage, file: string, limits: UploadLimits): Promise<void> {
  const late = () => timeout.abort(new HttpError(408, 'WBSR_TIMEOUT', 'The picture came too slowly'))
  const timeout = new AbortController()
  const whole = setTimeout(late, limits.seconds * 1000)
  let idle = setTimeout(late, limits.idleSeconds * 1000)
  const handle = await open(file, 'wx', 0o600)
  let total = 0
  let start = Buffer.alloc(0)
  let checked = false
  try {
    for await (const chunk of until(request, timeout.signal)) {
      clearTimeout(idle)
      idle = setTimeout(late, limits.idleSeconds * 1000)
      total += chunk.length
      if (total > limits.bytes) throw tooLarge(limits.bytes)
      if (!checked) {
        start = Buffer.concat([start, chunk.subarray(0, 16)])
        if (start.length >= 12) {
          checkKind(start)
          checked = true
        }
      }
      for (let done = 0; done < chunk.length; ) done += (await handle.write(chunk, done)).bytesWritten
    }
    if (total === 0) throw new HttpError(400, 'WBSR_INVALID_IMAGE', 'Expected a picture but received nothing')
    if (!checked) checkKind(start)
  } finally {
    clearTimeout(whole)
    clearTimeout(idle)
    await handle.close()
  }
}

/** The parts of a request until the signal fires; the request itself stays open for an answer. */
async function* until(request: IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer, void> {
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  aborted.catch(() => {})
  const parts = request.iterator({ destroyOnReturn: false })
  try {
    for (;;) {
      const next = await Promise.race([parts.next(), aborted])
      if (next.done) return
      yield next.value as Buffer
    }
  } finally {
    if (!signal.aborted) await parts.return?.()
  }
}
