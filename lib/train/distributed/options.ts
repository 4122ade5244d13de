// The options of training in micro-batches and on several ranks.
import { invalidOption } from '../../errors.js'
import { checkInteger } from '../../options.js'

/** How ranks exchange gradients. */
export type Distributed = 'mpi' | 'nccl'
export const DISTRIBUTED = ['mpi', 'nccl'] as const satisfies readonly Distributed[]

/** Default with `distributed`: the largest that divides the batch. It must not depend on the number of ranks. */
const COUNTS = [8, 4, 2, 1] as const

/** @throws WbsrError WBSR_INVALID_OPTION */
export function checkMicroBatches(value: unknown, batchSize: number, distributed: Distributed | null): number {
  if (value === undefined) return distributed ? COUNTS.find((count) => batchSize % count === 0)! : 1
  const count = checkInteger(value, 'microBatches', 1, batchSize)
  if (batchSize % count !== 0)
    throw invalidOption('microBatches', `a number that divides batchSize (${batchSize})`, count)
  return count
}
