// Damaged pictures, model files and checkpoints through loading, enlarging, the stream and training: whatever is in a
// file, the only failure is a WbsrError that is no WBSR_INTERNAL; no crash, no hang, no growth.
//
//   node scripts/fuzz.mjs [--count 1000] [--seed 1]
//
// Needs dist/ and the addon (node scripts/setup.mjs). Prints a report as JSON; exit status 1 on a failure, whose input is
// kept in the folder that the report names.
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { loadSupernet, srresnet, tilesOf, trainSupernet, WbsrError } from '../dist/index.js'

const { values } = parseArgs({
  options: { count: { type: 'string', default: '1000' }, seed: { type: 'string', default: '1' } },
})
const count = Number(values.count)
const seed = Number(values.seed)
/** An input that takes longer counts as a hang. */
const SLOWEST_SECONDS = 60
/** Resident memory may grow by this between the first fifth of the run and its end. */
const MOST_GROWTH_MB = 150
const MAX_PIXELS = 1 << 18

let state = (seed * 2654435761) >>> 0 || 1
/** xorshift32: an integer of 0 .. n - 1. */
function random(n) {
  state ^= state << 13
  state >>>= 0
  state ^= state >>> 17
  state ^= state << 5
  state >>>= 0
  return state % n
}

const folder = mkdtempSync(path.join(tmpdir(), 'wbsr-fuzz-'))
const network = () => srresnet({ scale: 2, widths: [4, 8], depths: [1, 2] })

async function pictures() {
  const data = Buffer.from(
    Uint8Array.from({ length: 48 * 40 * 3 }, (_, i) => 128 + 100 * Math.sin(i * 0.11) * Math.cos(i * 0.003)),
  )
  const image = () => sharp(data, { raw: { width: 48, height: 40, channels: 3 } })
  const deep = () => image().toColourspace('rgb16')
  const frames = sharp(data, { raw: { width: 48, height: 40, channels: 3, pageHeight: 20 } })
  const described = () =>
    image()
      .withExif({ IFD0: { Make: 'fuzz', Copyright: 'none' } })
      .withXmp('<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
  return {
    'a.png': await described().withIccProfile('p3').png().toBuffer(),
    'interlaced.png': await deep().png({ progressive: true }).toBuffer(),
    'palette.png': await image().png({ palette: true }).toBuffer(),
    'grey.png': await image().toColourspace('b-w').ensureAlpha(0.5).png().toBuffer(),
    'a.jpg': await described().withIccProfile('p3').jpeg({ mozjpeg: false }).toBuffer(),
    'progressive.jpg': await image().jpeg({ progressive: true }).toBuffer(),
    'cmyk.jpg': await image().toColourspace('cmyk').jpeg().toBuffer(),
    'a.webp': await described().webp().toBuffer(),
    'frames.webp': await frames.clone().webp({ lossless: true }).toBuffer(),
    'a.tif': await deep().tiff({ compression: 'lzw' }).toBuffer(),
    'tiled.tif': await image().tiff({ compression: 'deflate', tile: true, tileWidth: 16, tileHeight: 16 }).toBuffer(),
    'plain.tif': await image().tiff({ compression: 'none' }).toBuffer(),
    'frames.gif': await frames.clone().gif().toBuffer(),
    'a.avif': await image().avif({ effort: 0 }).toBuffer(),
    'a.svg': Buffer.from(
      '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="20" height="9" fill="#a63"/><text y="20">a</text></svg>',
    ),
  }
}

/** One to four changes of bytes; those of a header of JSON more often than others. */
function mutate(bytes, header = 0) {
  let out = Buffer.from(bytes)
  for (let n = 1 + random(4); n > 0 && out.length > 0; n--) {
    const at = random(3) && header ? random(Math.min(header, out.length)) : random(out.length)
    switch (random(header ? 9 : 6)) {
      case 0:
        out[at] ^= 1 << random(8)
        break
      case 1:
        out[at] = [0, 255, 127, 128, random(256)][random(5)]
        break
      case 2:
        out = out.subarray(0, at)
        break
      case 3:
        out = Buffer.concat([out.subarray(0, at), out.subarray(Math.min(out.length, at + 1 + random(64)))])
        break
      case 4:
        out = Buffer.concat([out.subarray(0, at), Buffer.alloc(1 + random(32), random(256)), out.subarray(at)])
        break
      case 5:
        out.fill(random(256), at, Math.min(out.length, at + 1 + random(16)))
        break
      default: {
        // A value of the JSON header becomes another, of the same length where that is possible.
        const text = out.toString('latin1', 8, Math.min(out.length, 8 + header))
        const places = [...text.matchAll(/\d+|true|false|null|"[a-zA-Z.]+\\?"|\{[^{}]*\}|\[[^[\]]*\]/g)]
        if (places.length === 0) break
        const place = places[random(places.length)]
        const value = ['null', '0', '-1', '1e99', '9007199254740993', '""', '[]', '{}', 'true', '4096'][random(10)]
        const from = 8 + place.index
        const padded = value.padEnd(place[0].length, ' ').slice(0, Math.max(place[0].length, value.length))
        out = Buffer.concat([out.subarray(0, from), Buffer.from(padded), out.subarray(from + place[0].length)])
        // The length in front is that of the new header.
        if (out.length >= 8) out.writeBigUInt64LE(BigInt(header + padded.length - place[0].length), 0)
      }
    }
  }
  return out
}

async function main() {
  const images = await pictures()
  mkdirSync(path.join(folder, 'train'))
  for (const name of ['a.png', 'a.jpg', 'plain.tif']) writeFileSync(path.join(folder, 'train', name), images[name])
  const training = (train, directory, steps = 2) =>
    trainSupernet({
      network: network(),
      data: { train, cache: false },
      steps,
      batchSize: 2,
      patchSize: 16,
      device: 'cpu',
      threads: 1,
      loss: 'l1',
      ...(directory && { checkpoint: { directory, everySteps: 1 } }),
    })
  const model = await training(path.join(folder, 'train'), path.join(folder, 'run'))
  const modelFile = path.join(folder, 'model.safetensors')
  await model.save(modelFile)
  const modelBytes = readFileSync(modelFile)
  const checkpointFile = path.join(folder, 'run', 'checkpoint.safetensors')
  const checkpointBytes = readFileSync(checkpointFile)
  const headerOf = (bytes) => Number(bytes.readBigUInt64LE())
  const names = Object.keys(images)
  const report = {
    count,
    seed,
    accepted: 0,
    /** @type {Record<string, number>} */
    refused: {},
    slowest: { seconds: 0, input: -1, name: '', job: '' },
    memoryMb: { early: 0, end: 0 },
    /** @type {{ failure: string, input?: number, name?: string, job?: string, kept?: string }[]} */
    failures: [],
    folder,
  }
  /** @type {import('../dist/index.js').RawImage} */
  const small = { data: new Uint8Array(20 * 12 * 3).fill(99), width: 20, height: 12, channels: 3 }

  const jobs = {
    async upscale(file) {
      await model.upscale(readFileSync(file), { router: { subnet: 0 }, maxPixels: MAX_PIXELS })
    },
    async file(file) {
      await model.upscale(file, { router: { subnet: 1 }, maxPixels: MAX_PIXELS, colourSpace: 'input' })
    },
    async stream(file) {
      const tiles = tilesOf(file, { size: 16, page: 'all', maxPixels: MAX_PIXELS })
      const out = tiles.pipe(model.inferStream({ router: { subnet: 0 } }))
      tiles.on('error', (error) => out.destroy(error))
      for await (const tile of out) if (tile.data.length === 0) throw new Error('an empty tile')
    },
    async train(file) {
      const trained = await training(file)
      trained.dispose()
    },
    async load(file) {
      const loaded = await loadSupernet(file, { device: 'cpu', threads: 1 })
      try {
        await loaded.upscale(small, { router: { subnet: 0 } })
      } finally {
        loaded.dispose()
      }
    },
    async resume(file) {
      const directory = path.join(folder, 'resume')
      rmSync(directory, { recursive: true, force: true })
      mkdirSync(directory)
      copyFileSync(file, path.join(directory, 'checkpoint.safetensors'))
      const trained = await training(path.join(folder, 'train'), directory, 2)
      trained.dispose()
    },
  }

  for (let i = 0; i < count; i++) {
    const kind = random(10)
    let bytes
    let name
    let job
    if (kind < 6) {
      name = names[random(names.length)]
      bytes = mutate(images[name])
      job = random(25) === 0 ? 'train' : ['upscale', 'file', 'stream'][random(3)]
    } else if (kind < 9) {
      name = 'model.safetensors'
      bytes = mutate(modelBytes, headerOf(modelBytes))
      job = 'load'
    } else {
      name = 'checkpoint.safetensors'
      bytes = mutate(checkpointBytes, headerOf(checkpointBytes))
      job = random(5) === 0 ? 'resume' : 'load'
    }
    const file = path.join(folder, `input-${name}`)
    writeFileSync(file, bytes)
    const start = performance.now()
    let failure = null
    let timer
    try {
      const hang = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer for ${SLOWEST_SECONDS} s`)), SLOWEST_SECONDS * 1000)
      })
      await Promise.race([jobs[job](file), hang])
      report.accepted++
    } catch (thrown) {
      const error = /** @type {any} */ (thrown)
      if (error instanceof WbsrError && error.code !== 'WBSR_INTERNAL')
        report.refused[error.code] = (report.refused[error.code] ?? 0) + 1
      else failure = `${error?.code ?? error?.name}: ${error?.message} ${String(error?.stack).split('\n')[1] ?? ''}`
    } finally {
      clearTimeout(timer)
    }
    const seconds = (performance.now() - start) / 1000
    if (seconds > report.slowest.seconds) report.slowest = { seconds, input: i, name, job }
    if (failure) {
      const kept = path.join(folder, `failure-${i}-${name}`)
      copyFileSync(file, kept)
      report.failures.push({ input: i, name, job, failure, kept })
    }
    if (i === Math.floor(count / 5)) report.memoryMb.early = Math.round(process.memoryUsage.rss() / 1e6)
  }
  report.memoryMb.end = Math.round(process.memoryUsage.rss() / 1e6)
  if (report.memoryMb.end - report.memoryMb.early > MOST_GROWTH_MB)
    report.failures.push({ failure: 'resident memory grew' })
  model.dispose()
  if (report.failures.length === 0) rmSync(folder, { recursive: true, force: true })
  console.log(JSON.stringify(report, null, 2))
  process.exitCode = report.failures.length > 0 ? 1 : 0
}

await main()
