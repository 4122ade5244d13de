// Waiting that an AbortSignal ends at once.
import { aborted } from '../errors.js'

/** Waits for `promise`, or rejects with WBSR_ABORTED as soon as the signal fires; the promise's own end is then ignored. */
export async function interruptible<T>(promise: Promise<T>, signal: AbortSignal | null): Promise<T> {
  if (!signal) return promise
  let stop: () => void
  const fired = new Promise<never>((_, reject) => {
    stop = () => reject(aborted('Training', signal))
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([promise, fired])
  } finally {
    signal.removeEventListener('abort', stop!)
    promise.catch(() => {})
  }
}
