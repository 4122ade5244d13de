// Why jobs failed, in words that name the band.
import type { Queue } from 'bullmq'
import { type Manifest, partsOf } from './manifest.js'

/** Why a job failed. */
export interface Failure {
  code: string
  message: string
}

/** The code of a WbsrError and its message, from the text that BullMQ keeps. */
export function parseFailure(reason: string): Failure {
  const [, code, message] = /^(WBSR_\w+): ([\s\S]*)$/.exec(reason) ?? []
  return { code: code ?? 'WBSR_INTERNAL', message: message ?? reason }
}

/** What BullMQ says of a job that failed because of a child of it: the child's own reason, and which it is. */
export async function explainFailure(
  manifest: Manifest,
  reason: string,
  work: (numerics: string) => Queue,
): Promise<Failure> {
  const child = /child \S*:([\w.-]+) failed/.exec(reason)?.[1]
  if (child === undefined || !('numerics' in manifest)) return parseFailure(reason)
  const job = await work(manifest.numerics).getJob(child)
  if (!job) return parseFailure(reason)
  const { code, message } = parseFailure(job.failedReason ?? reason)
  const { index } = job.data as { index?: number }
  const part = manifest.kind === 'video' ? 'segment' : 'band'
  const crashed = /stalled more than/.test(message) ? ` (every worker that ran it died or lost it)` : ''
  return {
    code,
    message: `${part} ${index} of ${partsOf(manifest)}, after ${job.attemptsMade} attempts: ${message}${crashed}`,
  }
}
