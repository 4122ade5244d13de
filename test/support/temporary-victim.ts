// Run by test/files/temporaries.test.ts: opens a temporary file for the target given and ends in the way given.
import { AtomicFile } from '../../lib/files/atomic.js'

const [target, way] = process.argv.slice(2) as [string, string]
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
