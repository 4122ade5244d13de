// The figures of a worker for Prometheus, by its usual client library.

import type { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WbsrError } from '../errors.js'
import type { FleetWorkerEvents } from './events.js'
import { loadPrometheus } from './packages.js'

export interface Metrics {
  port: number
  close(): Promise<void>
}

/** Serves /metrics. @throws WbsrError WBSR_NOT_FOUND: prom-client is not installed; WBSR_IO: the port is taken */
export async function serveMetrics(
  port: number,
  worker: EventEmitter<FleetWorkerEvents> & { id: string },
): Promise<Metrics> {
  const { Registry, Counter, Histogram, Gauge, collectDefaultMetrics } = await loadPrometheus()
  const registry = new Registry()
  registry.setDefaultLabels({ worker: worker.id })
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const jobs = new Counter({
    name: 'wbsr_fleet_jobs_total',
    help: 'Jobs of this worker by kind and by what became of them',
    labelNames: ['kind', 'outcome'],
    registers,
  })
  const flops = new Counter({ name: 'wbsr_fleet_flops_total', help: '2 x multiply-adds done', registers })
  const seconds = new Histogram({
    name: 'wbsr_fleet_job_seconds',
    help: 'Seconds of jobs that were done',
    labelNames: ['kind'],
    buckets: [0.1, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 1200],
    registers,
  })
  const running = new Gauge({
    name: 'wbsr_fleet_jobs_running',
    help: 'Jobs under way',
    labelNames: ['kind'],
    registers,
  })
  worker.on('start', ({ kind }) => running.inc({ kind }))
  const ended = (kind: string, outcome: string) => {
    jobs.inc({ kind, outcome })
    running.dec({ kind })
  }
  worker.on('done', ({ kind }, result) => {
    ended(kind, result.found ? 'found' : 'done')
    flops.inc(result.flops)
    seconds.observe({ kind }, result.seconds)
  })
  worker.on('refused', ({ kind }) => ended(kind, 'refused'))
  worker.on('lost', ({ kind }) => ended(kind, 'lost'))
  worker.on('failed', ({ kind }) => ended(kind, 'failed'))
  const server = createServer((request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end()
      return
    }
    registry.metrics().then(
      (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
      (error: Error) => response.writeHead(500).end(error.message),
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new WbsrError('WBSR_IO', `Cannot serve metrics at port ${port}: ${cause.message}`, { cause })),
    )
    server.listen(port, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
