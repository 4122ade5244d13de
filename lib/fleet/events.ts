// What a worker tells of its jobs.
import type { JobName } from './queues.js'

/** Events of a worker: what to log. */
export interface FleetWorkerEvents {
  start: [job: FleetJob]
  done: [job: FleetJob, result: { flops: number; seconds: number; found: boolean }]
  failed: [job: FleetJob, error: Error]
  refused: [job: FleetJob, reason: string]
  /** The lock of a running job could not be renewed: it was given up, another worker does it. */
  lost: [job: FleetJob]
  /** Of the connection; BullMQ tries again. */
  error: [error: Error]
}

/** A job as a worker sees it. */
export interface FleetJob {
  id: string
  kind: JobName
  run: string
  index: number | undefined
}
