// Temporary files go when the process does: on process.exit, a throw, SIGINT, SIGTERM and SIGHUP. What SIGKILL or a power
// cut leaves behind is removed by the next run that writes the same file; the name of a temporary file says whose it is.
//
// Signals keep their meaning for the application: while it listens to a signal itself nothing is removed before it lets
// the process exit; where nobody else listens, the files are removed and the signal is raised again.
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync, rmSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { isMainThread } from 'node:worker_threads'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** Longest part of the file's own name (names may have 255 bytes). */
const NAME_BYTES = 200

interface Registry {
  paths: Set<string>
  armed: boolean
  hooked: boolean
}

// Shared by all copies of wbsr in the process, or each would take the others' handlers for the application's.
const registryKey = Symbol.for('wbsr.temporaries.1')
const holder = globalThis as unknown as Record<symbol, Registry | undefined>
const registry: Registry = (holder[registryKey] ??= { paths: new Set(), armed: false, hooked: false })

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** When a process started, in clock ticks; null: there is no such process (or no /proc). */
export function processStart(pid: number): string | null {
  // The name in brackets may hold anything.
  return textOf(`/proc/${pid}/stat`).split(')').at(-1)!.split(' ')[20] ?? null
}

/** Machine and, in containers, the namespace that process numbers belong to. */
function machine(): string {
  let namespace = ''
  try {
    namespace = readlinkSync('/proc/self/ns/pid')
  } catch {
    // No /proc: the machine has to do.
  }
  return createHash('sha256')
    .update(`${hostname()} ${textOf('/etc/machine-id')} ${namespace}`)
    .digest('hex')
    .slice(0, 8)
}

let own: { machine: string; start: string } | null = null
const self = () => (own ??= { machine: machine(), start: processStart(process.pid) ?? '0' })

function prefixOf(target: string): string {
  const name = Buffer.from(path.basename(target)).subarray(0, NAME_BYTES).toString().replaceAll('\ufffd', '')
  return `.${name}.`
}

/** A name for a temporary file beside `target`, which no other process uses. */
export function temporaryName(target: string): string {
  const { machine, start } = self()
  const owner = `${machine}-${process.pid}-${start}`
  return path.join(path.dirname(target), `${prefixOf(target)}${owner}.${randomBytes(6).toString('hex')}.tmp`)
}

/** Has `file` removed when the process ends, until `forgetTemporary`. */
export function rememberTemporary(file: string): void {
  registry.paths.add(file)
  if (!registry.hooked) {
    registry.hooked = true
    // Before the application's own listeners, which may look at the folder.
    process.prependListener('exit', removeAll)
  }
  // Signals reach the main thread only.
  if (!registry.armed && isMainThread) {
    registry.armed = true
    // First: handlers that are to be called once are still there to be counted.
    for (const signal of SIGNALS) process.prependListener(signal, onSignal)
  }
}

export function forgetTemporary(file: string): void {
  registry.paths.delete(file)
  if (registry.paths.size === 0) disarm()
}

function disarm(): void {
  if (!registry.armed) return
  registry.armed = false
  for (const signal of SIGNALS)
    for (const listener of process.listeners(signal))
      if ((listener as { wbsr?: boolean }).wbsr) process.removeListener(signal, listener)
}

function removeAll(): void {
  for (const file of registry.paths) rmSync(file, { force: true })
  registry.paths.clear()
}

/** Listeners of the package signal-exit, which raises a signal again when no others are there. */
function signalExitListeners(): number {
  const four = (globalThis as Record<symbol, unknown>)[Symbol.for('signal-exit emitter')]
  const three = (process as unknown as Record<string, unknown>)['__signal_exit_emitter__']
  const count = (emitter: unknown) => Number((emitter as { count?: number } | undefined)?.count ?? 0)
  return count(four) + count(three)
}

function onSignal(signal: NodeJS.Signals): void {
  const others = process.listeners(signal).filter((listener) => !(listener as { wbsr?: boolean }).wbsr).length
  const neutral = Math.min(others, signalExitListeners())
  if (others > neutral) return
  removeAll()
  disarm()
  if (neutral === 0) process.kill(process.pid, signal)
}
onSignal.wbsr = true

/** By folder: names of temporary files, by prefix, as they were when the folder was last looked at. */
const listings = new Map<string, { at: number; names: Promise<string[]> }>()
const LISTING_MS = 60_000
const OWNER = /^([0-9a-f]{8})-(\d+)-(\d+)\.[0-9a-f]{12}\.tmp$/

/** Removes temporary files of `target` whose process is gone; those of this machine only. Never throws. */
export async function sweepTemporaries(target: string): Promise<void> {
  const folder = path.dirname(target)
  const now = Date.now()
  let listing = listings.get(folder)
  // A folder may hold thousands of results: it is not listed again for each of them.
  if (!listing || now - listing.at > LISTING_MS) {
    const names = readdir(folder).then(
      (all) => all.filter((name) => name.startsWith('.') && name.endsWith('.tmp')),
      () => [],
    )
    listing = { at: now, names }
    listings.set(folder, listing)
    for (const [key, { at }] of listings) if (now - at > LISTING_MS) listings.delete(key)
  }
  const prefix = prefixOf(target)
  for (const name of await listing.names) {
    if (!name.startsWith(prefix)) continue
    const [, machine, pid, start] = OWNER.exec(name.slice(prefix.length)) ?? []
    if (machine !== self().machine || processStart(Number(pid)) === start) continue
    await rm(path.join(folder, name), { force: true }).catch(() => {})
  }
}
