// Run by test/files/temporaries.test.ts: opens a temporary file for the target given and ends in the way given.
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { AtomicFile } from '../../lib/files/atomic.js'

const [target, way] = process.argv.slice(2) as [string, string]
// An application's own look at the folder at the end finds nothing.
process.on('exit', () => {
  if (readdirSync(path.dirname(target)).some((name) => name.includes(`-${process.pid}-`))) process.exitCode = 9
})
const atomic = await AtomicFile.open(target)
await atomic.write(Buffer.from('half'))
process.stdout.write('ready\n')
if (way === 'exit') process.exit(3)
if (way === 'throw')
  setImmediate(() => {
    throw new Error('broke')
  })
if (way === 'handled') process.once('SIGINT', () => setTimeout(() => process.exit(5), 50))
setTimeout(() => {}, 60_000)
