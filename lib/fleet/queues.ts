// Names of queues, and how jobs are kept, tried again and given up.
import type { JobsOptions } from 'bullmq'
import { version } from '../version.js'

/** What a job carries through Redis: references, never pixels. */
export interface JobData {
  run: string
  /** Of bands and segments. */
  index?: number
}

/** What a worker answers. */
export interface WorkDone {
  flops: number
  seconds: number
  worker: string
}

/** Kinds of jobs, by their names in BullMQ. */
export type JobName = 'band' | 'picture' | 'assemble' | 'folder' | 'segment' | 'video'

/** Jobs that need a model, which only machines of one arithmetic share; and jobs that put files together. */
export const workQueue = (name: string, numerics: string): string => `${name}.work.${numerics}`
export const fileQueue = (name: string): string => `${name}.files.${version()}`

const HOUR = 3600

/**
 * Of jobs that work. Finished ones are kept for a look at them, but neither long nor many: a parent has the results of its
 * children in its own keys, so that none is missed.
 */
export function workOptions(run: string, index: number | null, attempts: number): JobsOptions {
  return {
    jobId: index === null ? run : `${run}-${index}`,
    attempts,
    backoff: { type: 'exponential', delay: 1000 },
    removeOnComplete: { age: HOUR, count: 1000 },
    removeOnFail: { age: 7 * 24 * HOUR, count: 1000 },
  }
}

/** Of jobs whose result users ask for. */
export function fileOptions(run: string, attempts: number): JobsOptions {
  return {
    ...workOptions(run, null, attempts),
    removeOnComplete: { age: 7 * 24 * HOUR, count: 1000 },
    removeOnFail: { age: 30 * 24 * HOUR, count: 1000 },
  }
}
