// The one error of this library.

/** Stable codes of {@link WbsrError}. */
export type WbsrErrorCode =
  | 'WBSR_INVALID_OPTION' // an option, argument or key of the wrong type or range
  | 'WBSR_INVALID_IMAGE' // unreadable, truncated or unsuitable image
  | 'WBSR_INVALID_FILE' // model or checkpoint that is truncated, of another format or of another network
  | 'WBSR_NOT_FOUND' // a file or folder that does not exist
  | 'WBSR_NO_DATA' // no usable training image is left
  | 'WBSR_NO_DEVICE' // the wanted device cannot run here
  | 'WBSR_DEVICE_FAILED' // a GPU call failed; the model is unusable, make a new one
  | 'WBSR_NON_FINITE' // the loss became NaN or infinite
  | 'WBSR_DIVERGED' // the loss stayed far above that of bicubic interpolation
  | 'WBSR_IO' // reading or writing failed (full disk, permissions)
  | 'WBSR_RANK_FAILED' // another rank of a distributed training ended, its error in the message
  | 'WBSR_ABORTED' // an AbortSignal fired
  | 'WBSR_BUSY' // too many calls of the model wait
  | 'WBSR_DISPOSED' // the model was disposed
  | 'WBSR_OUT_OF_MEMORY'
  | 'WBSR_INTERNAL' // a bug in wbsr: please report it

/** Every error that wbsr throws or rejects with. `code` is stable, `cause` is the underlying error. */
export class WbsrError extends Error {
  override readonly name = 'WbsrError'
  readonly code: WbsrErrorCode
  constructor(code: WbsrErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** Long strings are shortened in the middle: most are paths, whose end identifies the file. */
function shorten(text: string): string {
  return text.length > 120 ? `${text.slice(0, 37)}...${text.slice(-80)}` : text
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(shorten(value))
  if (value === null || value === undefined) return String(value)
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value))
    return value.length <= 12 && value.every((v) => typeof v !== 'object')
      ? `[${value.map(show).join(', ')}]`
      : `an array of ${value.length}`
  if (typeof value === 'object') return `an object (${value.constructor?.name ?? 'no prototype'})`
  return String(value)
}

/** "Expected X for name but received Y" (the form of all option errors). */
export function invalidOption(name: string, expected: string, received: unknown): WbsrError {
  return new WbsrError('WBSR_INVALID_OPTION', `Expected ${expected} for ${name} but received ${show(received)}`)
}

/** The error of a job that an AbortSignal ended; the signal's reason is the cause. */
export function aborted(what: string, signal: AbortSignal): WbsrError {
  return new WbsrError('WBSR_ABORTED', `${what} was aborted`, { cause: signal.reason })
}

/** Turns an error of the native side (property `code` starts with WBSR_) or of the system into a WbsrError. */
export function wrapError(error: unknown, fallback: WbsrErrorCode = 'WBSR_INTERNAL', context?: string): WbsrError {
  if (error instanceof WbsrError) return error
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown }
  const text = context ? `${context}: ${String(message ?? error)}` : String(message ?? error)
  if (typeof code === 'string' && code.startsWith('WBSR_'))
    return new WbsrError(code as WbsrErrorCode, text, { cause: error })
  if (code === 'ENOENT') return new WbsrError('WBSR_NOT_FOUND', text, { cause: error })
  if (typeof code === 'string' && /^E[A-Z]+$/.test(code)) return new WbsrError('WBSR_IO', text, { cause: error })
  return new WbsrError(fallback, text, { cause: error })
}
