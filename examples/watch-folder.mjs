// Watches a folder and enlarges twice whatever appears in it, once it is completely written.
//
//   npm install wbsr
//   node watch-folder.mjs inbox/ large/       # until Ctrl+C; SETTLE (seconds, 2) and POLL (seconds, 0.5)
//
// The folder is looked through again and again, since network drives report no changes. A file counts as written when its size
// and time have not changed for SETTLE seconds. A file that cannot be read is reported and tried again when it changes.
// After a restart, files that have a result which is not older than they are not done again.
import { mkdir, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { loadSupernet, WbsrError } from 'wbsr'

const [inbox, results] = process.argv.slice(2)
if (inbox === undefined || results === undefined || path.resolve(inbox) === path.resolve(results)) {
  console.error('usage: node watch-folder.mjs FOLDER RESULTS (another folder)')
  process.exit(2)
}
const settle = Number(process.env.SETTLE ?? 2) * 1000
const poll = Number(process.env.POLL ?? 0.5) * 1000

const stop = new AbortController()
for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => stop.abort())

await mkdir(results, { recursive: true })
const model = await loadSupernet('wbsr:x2')

/** What is known of each file: its version (size and time of change), since when, and whether that version was dealt with. */
const known = new Map()

/** The files that are completely written and have not been dealt with. */
async function ready() {
  const names = (await readdir(inbox)).filter((name) => /\.(avif|jpe?g|png|tiff?|webp)$/i.test(name)).sort()
  for (const name of known.keys()) if (!names.includes(name)) known.delete(name)
  const found = []
  for (const name of names) {
    const status = await stat(path.join(inbox, name)).catch(() => null) // it may be gone again
    if (!status?.isFile()) continue
    const version = `${status.size} ${status.mtimeMs}`
    let file = known.get(name)
    if (file?.version !== version) {
      const result = await stat(path.join(results, name)).catch(() => null)
      file = { version, since: Date.now(), done: result !== null && result.mtimeMs >= status.mtimeMs }
      known.set(name, file)
    }
    if (!file.done && Date.now() - file.since >= settle) found.push({ name, file })
  }
  return found
}

console.log(`watching ${inbox}`)
while (!stop.signal.aborted) {
  for (const { name, file } of await ready()) {
    const output = path.join(results, name)
    try {
      // strict: what is cut off because its writer paused is refused, and tried again when it changes. The result appears whole.
      const { width, height } = await model.upscaleFile(path.join(inbox, name), output, {
        scale: 2,
        strict: true,
        signal: stop.signal,
      })
      console.log(`${output}: ${width} x ${height}`)
    } catch (error) {
      if (!(error instanceof WbsrError)) throw error
      if (error.code === 'WBSR_ABORTED') break
      if (error.code === 'WBSR_NOT_FOUND') continue // taken away meanwhile
      console.error(`${name}: ${error.message}`)
    }
    file.done = true
  }
  await sleep(poll, undefined, { signal: stop.signal }).catch(() => {})
}
model.dispose()
console.log('stopped')
