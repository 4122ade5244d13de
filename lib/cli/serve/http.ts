// Answers, and the headers that all of them have.
import type { ServerResponse } from 'node:http'
import { WbsrError } from '../../errors.js'

/** An answer other than 200. */
export class HttpError extends Error {
  override readonly name = 'HttpError'
  readonly status: number
  readonly code: string
  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

export function secure(response: ServerResponse): void {
  response.setHeader('Content-Security-Policy', POLICY)
  response.setHeader('X-Content-Type-Options', 'nosniff')
  response.setHeader('Referrer-Policy', 'no-referrer')
  response.setHeader('Cross-Origin-Resource-Policy', 'same-origin')
  response.setHeader('Cross-Origin-Opener-Policy', 'same-origin')
  response.setHeader('X-Frame-Options', 'DENY')
  response.setHeader('Cache-Control', 'no-store')
}

/** Ends with JSON { code, message }. What is left of the request is not read for long. */
export function refuse(response: ServerResponse, { status, code, message }: HttpError): void {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  response.statusCode = status
  response.setHeader('Content-Type', 'application/json')
  response.setHeader('Connection', 'close')
  if (status === 503 || status === 429) response.setHeader('Retry-After', '3')
  response.end(JSON.stringify({ code, message }))
  const { req } = response
  if (req.complete) return
  // A client that still sends sees the answer only once it is read.
  req.resume()
  setTimeout(() => req.destroy(), 1000).unref()
}

/** What a client is told of an error: nothing of the machine, and the picture by its own name. */
export function publicError(error: unknown, paths: readonly string[], name: string): { code: string; message: string } {
  if (error instanceof HttpError) return { code: error.code, message: error.message }
  if (!(error instanceof WbsrError) || error.code === 'WBSR_INTERNAL')
    return {
      code: 'WBSR_INTERNAL',
      message: 'This picture could not be enlarged; the server has said why on its terminal',
    }
  const message = paths.reduce((text, file) => text.replaceAll(file, name), error.message)
  return { code: error.code, message }
}
