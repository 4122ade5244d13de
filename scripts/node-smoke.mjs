// What scripts/node-versions.mjs runs under each Node: the built package by its own name, by import and by require(), a
// picture, a stream, a training, a worker thread and the program. The last line is JSON: what was done, a hash of the pixels.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import sharp from 'sharp'
import { loadSupernet, srresnet, stitchTo, tilesOf, trainSupernet, WbsrError } from 'wbsr'

const [width, height] = [80, 60]
const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => 128 + 100 * Math.sin(i / 7) * Math.cos(i / 1900))
/** @type {string[]} */
const done = []
const hash = createHash('sha256')
const folder = mkdtempSync(path.join(os.tmpdir(), 'wbsr-smoke-'))
const at = (/** @type {string} */ name) => path.join(folder, name)

/** @param {boolean} right @param {string} what */
function step(right, what) {
  if (!right) throw new Error(`${what}: the result is not what was expected`)
  done.push(what)
}

try {
  step(createRequire(import.meta.url)('wbsr').WbsrError === WbsrError, 'import and require()')

  const model = await loadSupernet('wbsr:x2', { threads: 1 })
  const sr = await model.upscale({ data, width, height, channels: 3 })
  hash.update(sr.data)
  step(sr.width === 2 * width && sr.height === 2 * height, 'upscale')

  await sharp(data, { raw: { width, height, channels: 3 } }).toFile(at('in.png'))
  await pipeline(tilesOf(at('in.png'), { size: 32 }), model.inferStream({ budget: 0.6 }), stitchTo(at('out.png')))
  const streamed = await sharp(at('out.png')).raw().toBuffer()
  hash.update(streamed)
  step(streamed.length === sr.data.length, 'stream')
  model.dispose()

  const trained = await trainSupernet({
    network: srresnet({ scale: 2, widths: [8], depths: [1] }),
    data: { train: at('in.png') },
    steps: 2,
    batchSize: 2,
    patchSize: 32,
    threads: 1,
  })
  step(trained.subnets.length === 1, 'training')
  trained.dispose()

  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import('wbsr').then(async ({ loadSupernet }) => {
      const model = await loadSupernet('wbsr:x2', { threads: 1 })
      const { data } = await model.upscale(workerData)
      model.dispose()
      parentPort.postMessage(data)
    })`
  const worker = new Worker(code, { eval: true, workerData: { data, width, height, channels: 3 } })
  const pixels = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
  step(Buffer.from(sr.data).equals(pixels), 'worker thread')

  const program = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
  execFileSync(process.execPath, [
    program,
    'upscale',
    at('in.png'),
    '--out',
    at('cli.png'),
    '--quiet',
    '--threads',
    '1',
  ])
  const written = await sharp(readFileSync(at('cli.png'))).metadata()
  step(written.width === 2 * width, 'wbsr upscale')
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(JSON.stringify({ version: process.version, pixels: hash.digest('hex'), done }))
