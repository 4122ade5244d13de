// wbsr fleet worker: until it is told to end.
import { once } from 'node:events'
import { startFleetWorker } from '../../fleet/start-worker.js'
import type { Store } from '../../fleet/store.js'
import { Ended } from '../exit.js'
import type { FleetFlags } from '../flags.js'
import { listenForInterrupts } from '../interrupt.js'
import { deviceOptions } from '../model.js'
import { duration, Terminal } from '../terminal.js'

export async function work(store: Store, connection: string, flags: FleetFlags): Promise<void> {
  const terminal = new Terminal({ quiet: flags.quiet ?? false, live: false })
  const interrupt = listenForInterrupts()
  const { name, model, lock, crashes, metrics } = flags
  const worker = await startFleetWorker({
    connection,
    store,
    ...deviceOptions(flags),
    ...(name !== undefined && { name }),
    ...(model !== undefined && { models: model }),
    ...(lock !== undefined && { lockSeconds: lock }),
    ...(crashes !== undefined && { crashes }),
    ...(metrics !== undefined && { metricsPort: metrics }),
  })
  const say = (event: string, facts: Record<string, unknown>, text: string) => {
    if (flags.json) process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
    else terminal.line(text)
  }
  const { id, numerics, metricsPort } = worker
  say(
    'ready',
    { id, numerics, metricsPort },
    `${id} works for ${connection.replace(/\/\/[^@/]*@/, '//')} as ${numerics}`,
  )
  worker.on('start', (job) => say('start', { ...job }, `${job.id} ${job.kind} begins`))
  worker.on('done', (job, result) =>
    say(
      'done',
      { ...job, ...result },
      `${job.id} ${job.kind} ${result.found ? 'was there' : duration(result.seconds)}`,
    ),
  )
  worker.on('failed', (job, { message }) =>
    say('failed', { ...job, message }, `${job.id} ${job.kind} failed: ${message}`),
  )
  worker.on('refused', (job, reason) => say('refused', { ...job, reason }, `${job.id} ${job.kind} refused: ${reason}`))
  worker.on('lost', (job) => say('lost', { ...job }, `${job.id} ${job.kind}: lock lost, given up`))
  let told = ''
  worker.on('error', ({ message }) => {
    // Each object of BullMQ reports the same lost connection again and again.
    if (message === told) return
    told = message
    say('error', { message }, `connection: ${message}`)
  })
  if (!interrupt.signal.aborted) await once(interrupt.signal, 'abort')
  const late = worker.eventLoopDelay()
  await worker.close(true)
  say(
    'end',
    { id, eventLoopDelay: late },
    `ended; timers were late by ${late.p99.toFixed(0)} ms at the 99th percentile`,
  )
  throw new Ended(interrupt.status()!)
}
