// Work on many files, several at a time.
import { availableParallelism } from 'node:os'
import { aborted, wrapError } from '../errors.js'

/**
 * Runs `work` on every item, as many at a time as there are cores but at most 8, and returns the results in the order of the
 * items. The first failure ends it; nothing goes on in the background then.
 *
 * @param what for the message of an abort
 * @param onDone called after each item
 * @throws WbsrError WBSR_ABORTED; what `work` threw
 */
export async function mapParallel<T, R>(
  items: readonly T[],
  what: string,
  work: (item: T) => Promise<R>,
  options: { signal?: AbortSignal; onDone?: (done: number) => void },
): Promise<R[]> {
  const { signal, onDone } = options
  const results: R[] = []
  let next = 0
  let done = 0
  const worker = async (): Promise<void> => {
    try {
      while (next < items.length) {
        if (signal?.aborted) throw aborted(what, signal)
        const i = next++
        results[i] = await work(items[i]!)
        onDone?.(++done)
      }
    } catch (error) {
      next = items.length
      throw error
    }
  }
  const workers = await Promise.allSettled(
    Array.from({ length: Math.min(items.length, availableParallelism(), 8) }, worker),
  )
  for (const result of workers) if (result.status === 'rejected') throw wrapError(result.reason, 'WBSR_INTERNAL', what)
  return results
}
