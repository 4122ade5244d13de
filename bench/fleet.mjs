// Part `fleet` of `npm run bench -- --only fleet`: a picture of 100 megapixels on four worker processes, each of which is killed
// at random twenty times, against the bytes of one process; then the same picture on one and two workers, and what the cost
// model says of more. Needs redis-server. Workers have one thread each. Each stage has a limit, so that all of it ends within six
// minutes; what did not end in time is a row that says so. `--lines` and `--kills` make it smaller.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import sharp from 'sharp'
import { folderStore, openFleet, planPicture, predict } from '../dist/fleet/index.js'
import { loadSupernet } from '../dist/index.js'
import { root } from '../scripts/run.mjs'

const MODEL = 'wbsr:x4'
/** LR pixels; with 6250 lines the result has 100 megapixels. */
const WIDTH = 1000
const LINES = 6250
const TILE = 64
const WORKERS = 4
const KILLS = 20
/** Seconds: of the run with kills, and of each without. */
const KILL_LIMIT = 180
const RUN_LIMIT = 60
/** ms from a job's begin to the end of its process, at most: about as long as a band takes. */
const LONGEST_LIFE = 1500
const OPTIONS = /** @type {const} */ ({ router: { subnet: 0 }, groupRows: 1, compressionLevel: 1 })
/** Seconds: short, so that the work of a killed process does not wait; and as users have it. */
const SHORT_LOCK = 2
const USUAL_LOCK = 30
const MOST_REDIS = 50e6
const LATE = 50

/** A picture with flat, smooth and noisy parts. */
function testPicture(height) {
  const data = new Uint8Array(WIDTH * height * 3)
  let seed = 1
  for (let i = 0; i < data.length; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    const [x, y] = [Math.floor(i / 3) % WIDTH, Math.floor(i / (3 * WIDTH))]
    data[i] = 100 + 60 * Math.sin(x / 9 + (i % 3)) * Math.cos(y / 31) + (((x >> 7) + (y >> 7)) % 3) * (seed >>> 27)
  }
  return { data, width: WIDTH, height, channels: /** @type {const} */ (3) }
}

const hash = (data) => createHash('sha256').update(data).digest('hex')

async function startRedis(folder) {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  server.close()
  await once(server, 'close')
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''], {
    stdio: 'ignore',
  })
  const ask = (...words) => spawnSync('redis-cli', ['-p', String(port), ...words], { encoding: 'utf8' }).stdout
  while (ask('ping').trim() !== 'PONG') await setTimeout(50)
  return { url: `redis://127.0.0.1:${port}`, ask, stop: () => child.kill('SIGKILL') }
}

/** A worker process; `onEvent` gets what it tells. */
function startWorker(redis, store, lock, onEvent) {
  const args = [
    'fleet',
    'worker',
    '--redis',
    redis.url,
    '--store',
    store.label,
    '--threads',
    '1',
    '--lock',
    String(lock),
  ]
  const more = ['--crashes', '1000', '--json']
  const child = spawn(process.execPath, [path.join(root, 'dist/cli/main.js'), ...args, ...more], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  createInterface({ input: child.stdout }).on('line', (line) => onEvent(JSON.parse(line), child))
  return child
}

async function endWorker(child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
}

/** Waits for a job; null: it did not end in time, and was given up. */
async function resultOf(run, limit, onProgress) {
  try {
    return await run.result({ onProgress, signal: AbortSignal.timeout(1000 * limit) })
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'WBSR_ABORTED') throw error
    return null
  }
}

/** Runs the job on workers that are killed; tells how often, and what Redis took at most. */
async function withKills(redis, store, run, wanted) {
  const kills = new Array(WORKERS).fill(0)
  const children = new Array(WORKERS)
  let over = false
  const begin = (slot) => {
    if (over) return
    children[slot] = startWorker(redis, store, SHORT_LOCK, ({ event }, child) => {
      if (event !== 'start' || kills[slot] >= wanted) return
      void setTimeout(Math.random() * LONGEST_LIFE).then(() => {
        if (child.exitCode !== null || !child.kill('SIGKILL')) return
        kills[slot]++
      })
    })
    children[slot].once('exit', () => begin(slot))
  }
  for (let slot = 0; slot < WORKERS; slot++) begin(slot)
  let most = 0
  const result = await resultOf(run, KILL_LIMIT, () => {
    const [, used] = /used_memory:(\d+)/.exec(redis.ask('info', 'memory')) ?? []
    most = Math.max(most, Number(used))
  })
  const during = [...kills]
  over = true
  await Promise.all(children.map(endWorker))
  return { result, kills: during, most }
}

/** Runs the job on workers that live; gives seconds, and how late their timers were; null: it did not end in time. */
async function withWorkers(redis, store, count, submit) {
  const delays = []
  let ready = 0
  const children = Array.from({ length: count }, () =>
    startWorker(redis, store, USUAL_LOCK, ({ event, eventLoopDelay }) => {
      if (event === 'ready') ready++
      if (event === 'end') delays.push(eventLoopDelay.p99)
    }),
  )
  while (ready < count) await setTimeout(50)
  const start = performance.now()
  const run = await submit()
  const submitted = performance.now()
  let bandsDone = submitted
  const result = await resultOf(run, RUN_LIMIT, ({ state }) => {
    if (state === 'running' || state === 'waiting') bandsDone = performance.now()
  })
  const end = performance.now()
  await Promise.all(children.map(endWorker))
  if (!result) {
    await run.cancel()
    return null
  }
  const part = (from, to) => (to - from) / 1000
  return {
    workers: count,
    seconds: part(start, end),
    splitting: part(start, submitted),
    bands: part(submitted, bandsDone),
    assembly: part(bandsDone, end),
    late: Math.max(...delays),
  }
}

/** Part `fleet`. */
export async function fleet({ folder, lines = LINES, kills: wantedKills = KILLS }) {
  if (spawnSync('redis-server', ['--version']).status !== 0)
    return { table: [{ what: 'fleet', against: '', skipped: 'redis-server is not installed' }], details: {} }
  const redis = await startRedis(folder)
  const store = folderStore(path.join(folder, 'store'))
  const connected = await openFleet({ connection: redis.url, store })
  const model = await loadSupernet(MODEL, { threads: 1 })
  try {
    const image = testPicture(lines)
    const begun = performance.now()
    const { data } = await model.upscale(image, { router: OPTIONS.router, groupRows: OPTIONS.groupRows })
    const alone = (performance.now() - begun) / 1000
    const wanted = hash(data)
    const submit = (name, options) => connected.submit(model, image, name, { ...OPTIONS, ...options })

    const start = performance.now()
    // A band for each row of tiles.
    const run = await submit('killed.png', { bands: Math.ceil(lines / TILE) })
    const { result, kills, most } = await withKills(redis, store, run, wantedKills)
    const seconds = (performance.now() - start) / 1000
    console.log(
      `killed ${kills.join(', ')} times in ${seconds.toFixed(0)} s, Redis at most ${(most / 1e6).toFixed(1)} MB`,
    )
    const file = store.file('killed.png')
    const same = result !== null && hash(await sharp(file, { limitInputPixels: false }).raw().toBuffer()) === wanted
    if (!result) await run.cancel()
    // Its folder goes a moment after its result is there.
    await setTimeout(500)
    const left = readdirSync(store.label, { recursive: true, encoding: 'utf8' }).filter((name) =>
      /\.tmp$|^runs\/./.test(name),
    )

    const price = await planPicture(model, image, { ...OPTIONS, bands: 16 })
    const measured = []
    for (const count of [1, 2]) {
      const one = await withWorkers(redis, store, count, () => submit(`${count}.png`, { bands: 16 }))
      if (one) measured.push(one)
      else console.log(`${count} workers: not done in ${RUN_LIMIT} s`)
    }
    // Assumed of more workers: each is as fast as the one that was measured, whatever the others do; bands are taken longest
    // first; the submitter and the parent are as fast as measured; the time beside the work of a band is that of `plan`.
    const [single] = measured
    const speeds = single && {
      rate: price.flops / single.bands,
      assembly: price.bytes.result / single.assembly,
      splitting: price.bytes.input / single.splitting,
    }
    const modelled = speeds ? [1, 2, 4, 8, 16, 32, 64].map((count) => predict([price], count, speeds)) : []
    const p99 = Math.max(...measured.map(({ late }) => late))
    const row = (what, checked, reached, target = '') => ({ what, against: '', target, reached, checked })
    return {
      table: [
        row(
          `fleet: ${((WIDTH * lines * 16) / 1e6).toFixed(0)} megapixels, ${WORKERS} workers killed at random`,
          `${kills.join(', ')} kills in ${seconds.toFixed(0)} s`,
          result !== null && Math.min(...kills) >= wantedKills,
          `${wantedKills} each, done in ${KILL_LIMIT} s`,
        ),
        row('fleet: the bytes of one process', result ? `${result.width}x${result.height}` : '', same, 'equal'),
        row(
          'fleet: partial files and bands that are left',
          left.join(' '),
          left.length === 0 && existsSync(file),
          'none',
        ),
        row('fleet: memory of Redis', `${(most / 1e6).toFixed(1)} MB`, most < MOST_REDIS, '< 50 MB'),
        ...(single
          ? [row('fleet: event loop of workers', `p99 ${p99.toFixed(1)} ms`, p99 < LATE, `p99 < ${LATE} ms`)]
          : [{ ...row('fleet: one worker', ''), skipped: `not done in ${RUN_LIMIT} s` }]),
        ...measured.map(({ workers, seconds: all, splitting, bands, assembly: last }) =>
          row(
            `fleet: ${workers} worker${workers > 1 ? 's' : ''}, measured`,
            `${all.toFixed(1)} s (splitting ${splitting.toFixed(1)}, bands ${bands.toFixed(1)}, assembly ${last.toFixed(1)}); one process ${alone.toFixed(1)} s without a file`,
            undefined,
          ),
        ),
        ...modelled.map(({ workers, seconds: all, parts, busy }) =>
          row(
            `fleet: ${workers} workers, modelled`,
            `${all.toFixed(1)} s (bands ${parts.bands.toFixed(1)}), ${(100 * busy).toFixed(0)} % busy`,
            undefined,
          ),
        ),
      ],
      details: {
        kills,
        seconds,
        most,
        alone,
        measured,
        modelled,
        speeds,
        perBand: price.speeds?.perBand,
        overhead: price.overhead,
      },
    }
  } finally {
    model.dispose()
    await connected.close()
    redis.stop()
  }
}
