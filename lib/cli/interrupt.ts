// Ctrl+C, SIGTERM, SIGHUP and readers that go away: the first time the work in hand is discarded and the command ends, the
// second time the process does.
import { EXIT, SIGNAL_STATUS } from './exit.js'

export interface Interrupt {
  signal: AbortSignal
  /** What the process is to end with; undefined: nothing happened. */
  status(): number | undefined
}

export function listenForInterrupts(): Interrupt {
  const controller = new AbortController()
  let status: number | undefined
  for (const [name, code] of Object.entries(SIGNAL_STATUS) as [NodeJS.Signals, number][]) {
    process.on(name, () => {
      // Temporary files are removed as the process exits.
      if (status !== undefined) process.exit(code)
      status = code
      controller.abort(new Error(name))
    })
  }
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    status ??= error.code === 'EPIPE' ? EXIT.pipe : EXIT.failed
    controller.abort(error)
  })
  // Without anybody to tell there is nothing to say.
  process.stderr.on('error', () => {})
  return { signal: controller.signal, status: () => status }
}
