// Peak memory of making a result of SIDE x SIDE pixels from file to file, above an idle process that holds the model:
//   node bench/huge.mjs [--side 20000] [--model wbsr:x2] [--router subnet:0] [--case png] [--folder DIR]
// Each case runs in a process of its own, whose peak (VmHWM, Linux) starts anew once the model has enlarged a small picture.
// The inputs, a photograph repeated, are made where they are not in the folder yet; results are removed.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { loadSupernet } from '../dist/index.js'
import { picture } from './model.mjs'

const { values } = parseArgs({
  options: {
    side: { type: 'string', default: '20000' },
    model: { type: 'string', default: 'wbsr:x2' },
    router: { type: 'string', default: 'subnet:0' },
    case: { type: 'string', multiple: true },
    folder: { type: 'string', default: '/tmp/wbsr-huge' },
    child: { type: 'string' },
  },
})
const side = Number(values.side)
const half = Math.ceil(side / 2)
const third = Math.round(side / 3.3)
const TIFF = { compression: 'deflate', tile: true, tileWidth: 256, tileHeight: 256, bigtiff: true }

/** @type {Record<string, { from: number, input: string, output: string, options: object, deep?: boolean }>} */
const cases = {
  png: { from: half, input: 'in.png', output: 'out.png', options: {} },
  tiff: { from: half, input: 'in.tif', output: 'out.tif', options: { tileSize: 256, bigTiff: true } },
  jpeg: { from: half, input: 'in.jpg', output: 'out.jpg', options: {} },
  'png, x3.3': { from: third, input: 'third.png', output: 'out.png', options: { width: side, height: side } },
  'tiff, x3.3': {
    from: third,
    input: 'third.tif',
    output: 'out.tif',
    options: { width: side, height: side, tileSize: 256 },
  },
  'jpeg, x1.7': {
    from: Math.round(side / 1.7),
    input: 'most.jpg',
    output: 'out.jpg',
    options: { width: side, height: side },
  },
}

async function make(file, size) {
  const { data, width, height } = await picture('french-alpine-landscape', 512, 384)
  const tile = await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer()
  const whole = sharp({
    create: { width: size, height: size, channels: 3, background: '#000' },
    limitInputPixels: false,
  })
    .composite([{ input: tile, tile: true }])
    .withMetadata({ density: 300 })
  await (file.endsWith('.tif')
    ? whole.tiff(TIFF)
    : file.endsWith('.jpg')
      ? whole.jpeg({ quality: 95 })
      : whole.png()
  ).toFile(file)
}

const kilobytes = (name) =>
  Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1])

async function child({ input, output, options }) {
  const subnet = /^subnet:(\d+)$/.exec(values.router)
  /** @type {any} */
  const router = subnet ? { subnet: Number(subnet[1]) } : values.router
  const model = await loadSupernet(values.model)
  const { data } = await picture('french-alpine-landscape', 96, 64)
  const small = path.join(values.folder, 'small.png')
  await model.upscaleFile({ data, width: 96, height: 64, channels: 3 }, small, { router })
  rmSync(small)
  const idle = kilobytes('VmRSS')
  writeFileSync('/proc/self/clear_refs', '5')
  const file = path.join(values.folder, output)
  const { seconds, width, height, passes } = await model.upscaleFile(path.join(values.folder, input), file, {
    ...options,
    router,
  })
  const megabytes = (kb) => Math.round((kb * 1024) / 1e6)
  const result = {
    width,
    height,
    passes,
    seconds,
    bytes: statSync(file).size,
    idle: megabytes(idle),
    peak: megabytes(kilobytes('VmHWM')),
  }
  rmSync(file)
  process.stdout.write(JSON.stringify({ ...result, above: result.peak - result.idle }))
}

if (values.child) await child(cases[values.child])
else {
  mkdirSync(values.folder, { recursive: true })
  for (const name of values.case ?? Object.keys(cases)) {
    const { from, input } = cases[name]
    const file = path.join(values.folder, input)
    if (!existsSync(file)) await make(file, from)
    const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--child', name]
    const { above, seconds, idle, passes, bytes, width, height } = JSON.parse(
      execFileSync(process.execPath, args, { maxBuffer: 1 << 20 }).toString(),
    )
    process.stdout.write(
      `${name.padEnd(12)} ${from} -> ${width}x${height}, ${passes} pass(es): ${above} MB above idle (${idle} MB), ` +
        `${seconds.toFixed(0)} s, file ${(bytes / 1e6).toFixed(0)} MB\n`,
    )
  }
}
