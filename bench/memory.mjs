// Peak memory of the stream pipeline: a picture twice as high must not need more, a picture twice as wide may. Each
// picture goes through in a process of its own (this file with arguments: threads, picture, output), which reports its
// peak resident set; what it has before the pipeline starts (Node, libraries, weights) is measured in the same process.
import { execFile } from 'node:child_process'
import { rmSync } from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { picture, timingModel } from './model.mjs'

// High enough that the JavaScript heap and the buffers of zlib and sharp have reached their size.
const base = { width: 512, height: 2048 }
const maximumGrowth = 1.1

async function measured(threads, input, output) {
  const { stitchTo, tilesOf } = await import('../dist/index.js')
  const model = await timingModel(threads, { scale: 4, widths: [16], depths: [2] })
  const before = process.resourceUsage().maxRSS * 1024
  const start = performance.now()
  await pipeline(tilesOf(input, { size: 64 }), model.inferStream({ router: { subnet: 0 } }), stitchTo(output))
  const peak = process.resourceUsage().maxRSS * 1024
  model.dispose()
  return { before, peak, seconds: (performance.now() - start) / 1000 }
}

/** @param folder for the pictures */
export async function memory({ folder, threads }) {
  const results = {}
  /** @type {[string, number, number][]} */
  const pictures = [
    ['base', base.width, base.height],
    ['higher', base.width, 2 * base.height],
    ['wider', 2 * base.width, base.height],
  ]
  for (const [name, width, height] of pictures) {
    const { data } = await picture('french-alpine-landscape', width, height)
    const input = path.join(folder, `${name}.png`)
    await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toFile(input)
    const output = path.join(folder, `${name}-x4.png`)
    const { stdout } = await promisify(execFile)(process.execPath, [
      fileURLToPath(import.meta.url),
      String(threads),
      input,
      output,
    ])
    results[name] = { width, height, ...JSON.parse(stdout) }
    rmSync(output)
  }
  const own = (name) => results[name].peak - results[name].before
  const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`
  const row = (what, name, target, reached) => ({
    what,
    against: `${base.width}x${base.height}`,
    ratio: results[name].peak / results.base.peak,
    target,
    reached,
    checked: `peak ${megabytes(results[name].peak)} against ${megabytes(results.base.peak)}, of it by the pipeline ${megabytes(own(name))} against ${megabytes(own('base'))}`,
  })
  return {
    table: [
      row(
        'peak memory of a picture twice as high',
        'higher',
        `<= ${maximumGrowth}`,
        results.higher.peak / results.base.peak <= maximumGrowth,
      ),
      row('peak memory of a picture twice as wide', 'wider', '', undefined),
    ],
    details: { results },
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [threads, input, output] = process.argv.slice(2)
  console.log(JSON.stringify(await measured(Number(threads), input, output)))
}
