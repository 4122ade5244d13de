// A worker of a fleet that kills itself. Arguments: connection, folder of the store, processes that may die over one job, and
// when: 'middle', after it wrote the first rows of a band; 'band-0', as it begins to write that band, and no other one.
import { type FileChunks, folderStore, startFleetWorker } from '../../lib/fleet/index.js'

const [connection, folder, crashes, when] = process.argv.slice(2) as [string, string, string, 'middle' | 'band-0']
const store = folderStore(folder)
const write = store.write.bind(store)

function die(): never {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('killed')
}

async function* untilKilled(content: FileChunks): AsyncGenerator<Uint8Array> {
  for await (const chunk of content as AsyncIterable<Uint8Array>) {
    if (when === 'band-0') die()
    yield chunk
    die()
  }
}

let index: number | undefined
store.write = (key, content) =>
  write(key, /\.rows$/.test(key) && (when === 'middle' || index === 0) ? untilKilled(content) : content)
const worker = await startFleetWorker({ connection, store, lockSeconds: 1, crashes: Number(crashes) })
worker.on('start', (job) => {
  index = job.index
})
