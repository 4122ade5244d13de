// How a command ends: exit status, and what is said of an error.
import { WbsrError } from '../errors.js'

/** Exit statuses; docs/cli.md and `wbsr --help` list them. */
export const EXIT = {
  done: 0,
  /** Nothing came of it: no model, no device, an error. */
  failed: 1,
  /** The command line or a configuration file. */
  usage: 2,
  /** Some inputs failed; the others are done. */
  partial: 3,
  /** 128 + SIGPIPE: whoever read the output went away. */
  pipe: 141,
} as const

/** As shells report a process that a signal ended. */
export const SIGNAL_STATUS: Partial<Record<NodeJS.Signals, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }

/** A mistake of the command line, in words. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Ends a command whose failures were reported already. */
export class Ended extends Error {
  override readonly name = 'Ended'
  readonly status: number
  constructor(status: number) {
    super(`exit status ${status}`)
    this.status = status
  }
}

/** What is printed of an error: for mistakes of ours with the stack, so that they can be reported. */
export function messageOf(error: unknown): string {
  if (error instanceof UsageError) return error.message
  if (error instanceof WbsrError)
    return error.code === 'WBSR_INTERNAL' ? `${error.message}\n${error.stack}` : error.message
  const { message, stack } = (error ?? {}) as { message?: unknown; stack?: unknown }
  return String(stack ?? message ?? error)
}

/** Of an error that ends the command. */
export function statusOf(error: unknown): number {
  if (error instanceof Ended) return error.status
  if (error instanceof UsageError) return EXIT.usage
  return error instanceof WbsrError && error.code === 'WBSR_INVALID_OPTION' ? EXIT.usage : EXIT.failed
}

/** Whether the disk is full, at the root of an error: no other file will fare better. */
export function isDiskFull(error: unknown): boolean {
  for (let cause = error; cause; cause = (cause as { cause?: unknown }).cause)
    if ((cause as { code?: unknown }).code === 'ENOSPC' || /no space left/i.test(String((cause as Error).message)))
      return true
  return false
}
