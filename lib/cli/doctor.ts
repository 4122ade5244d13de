// wbsr doctor: what this machine can run, and a self-test with figures.
import { createHash } from 'node:crypto'
import { accessSync, constants, readFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, freemem, release, totalmem } from 'node:os'
import sharp from 'sharp'
import { checkDeviceOptions, createEngine, listDevices } from '../devices.js'
import { wrapError } from '../errors.js'
import { loadSupernet, psnr, resizeBicubic, srresnet } from '../index.js'
import { SupernetModel, UNTRAINED } from '../models/model.js'
import { modelFile, shippedModels } from '../models/shipped.js'
import { native } from '../native.js'
import type { RawImage } from '../types.js'
import { version } from '../version.js'
import { findFfmpeg } from '../video/ffmpeg.js'
import { Ended, EXIT } from './exit.js'
import type { DoctorFlags } from './flags.js'
import { deviceOptions } from './model.js'
import { colour, table } from './terminal.js'
import { testPicture } from './test-picture.js'

const TEST_SECONDS = 2
const SIDE = 192
/** Of a device that calculates in bfloat16, against the CPU. */
const LEAST_PSNR = 40
/** In dB, of a model's result and bicubic interpolation of the same picture. */
const LEAST_LIKENESS = 15

interface SelfTest {
  ok: boolean
  device: string
  precision: string
  /** Pictures of SIDE x SIDE LR pixels. */
  pictures: number
  seconds: number
  /** LR pixels. */
  megapixelsPerSecond: number
  gigaflopsPerSecond: number
  /** Largest difference between tiles and the whole picture, in 8-bit levels. */
  tilesAgainstWhole: number
  /** In dB, of another device than the CPU; null: it is the CPU, or they are equal. */
  psnrAgainstCpu: number | null
  message?: string
}

function untrained(flags: DoctorFlags): SupernetModel {
  const network = srresnet({ scale: 2, widths: [16, 32], depths: [2, 4] })
  const { engine, fallbackReason } = createEngine(network, checkDeviceOptions(deviceOptions(flags)))
  engine.initialise(1)
  return new SupernetModel({ ...UNTRAINED, engine, network, fallbackReason, disposed: false })
}

function largestDifference(a: RawImage, b: RawImage): number {
  let largest = 0
  for (let i = 0; i < a.data.length; i++) largest = Math.max(largest, Math.abs(a.data[i]! - b.data[i]!))
  return largest
}

async function selfTest(flags: DoctorFlags): Promise<SelfTest> {
  await using model = untrained(flags)
  const { kind, name, precision } = model.device()
  const picture = testPicture(SIDE, SIDE)
  const router = { subnet: model.subnets.length - 1 }
  const whole = await model.upscale(picture, { router, tile: 'image' })
  const tiles = await model.upscale(picture, { router, tile: 32, halo: 64 })
  const tilesAgainstWhole = largestDifference(whole, tiles)
  const start = performance.now()
  let [pictures, flops, seconds] = [0, 0, 0]
  while (seconds < TEST_SECONDS) {
    flops += (await model.upscale(picture, { router })).allocation.flops
    pictures++
    seconds = (performance.now() - start) / 1000
  }
  let against: number | null = null
  if (kind !== 'cpu') {
    await using reference = untrained({ device: 'cpu' })
    const same = await reference.upscale(picture, { router, tile: 'image' })
    const image = ({ data, width, height, channels }: RawImage): RawImage => ({ data, width, height, channels })
    against = await psnr(image(whole), image(same), { channel: 'rgb' })
    if (against === Infinity) against = null
  }
  return {
    ok: tilesAgainstWhole <= 1 && (against === null || against >= LEAST_PSNR),
    device: name,
    precision,
    pictures,
    seconds,
    megapixelsPerSecond: (pictures * SIDE * SIDE) / seconds / 1e6,
    gigaflopsPerSecond: flops / seconds / 1e9,
    tilesAgainstWhole,
    psnrAgainstCpu: against,
  }
}

interface ModelTest {
  name: string
  scale: number
  parameters: number
  ok: boolean
  message: string
}

/** Each model of the package: whether its file is whole, and a run of its largest subnet that gives a picture. */
async function testModels(): Promise<ModelTest[]> {
  const picture = testPicture(48, 48)
  const results: ModelTest[] = []
  for (const { name, scale, parameters, sha256 } of shippedModels()) {
    const test = async (): Promise<string> => {
      const sum = createHash('sha256')
        .update(readFileSync(modelFile(name)))
        .digest('hex')
      if (sum !== sha256) return 'its file is not the one that was published (SHA-256)'
      await using model = await loadSupernet(name, { device: 'cpu' })
      const { data, width, height, channels } = await model.upscale(picture, {
        router: { subnet: model.subnets.length - 1 },
      })
      const bicubic = await resizeBicubic(picture, { scale })
      const near = await psnr({ data, width, height, channels }, bicubic, { channel: 'rgb' })
      return near >= LEAST_LIKENESS ? '' : `its result is not the picture (${near.toFixed(1)} dB against bicubic)`
    }
    const message = await test().catch((error: unknown) => wrapError(error).message)
    results.push({ name, scale, parameters, ok: message === '', message })
  }
  return results
}

function writable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}

async function machine() {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined
  const { vips, heif } = sharp.versions as Record<string, string>
  const mpi = native.findMpi()
  return {
    wbsr: version(),
    node: process.version,
    system: `${process.platform} ${release()} ${arch()}, glibc ${report?.header?.glibcVersionRuntime ?? 'unknown'}`,
    processor: `${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} cores`,
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB, ${(freemem() / 2 ** 30).toFixed(1)} free`,
    pictures: `sharp ${sharp.versions.sharp}, libvips ${vips}${heif ? `, libheif ${heif}` : ''}`,
    mpi: mpi.version || `${mpi.reason}; wbsr train --distributed mpi needs it`,
    ffmpeg: await findFfmpeg().then(
      ({ ffmpeg, version }) => `${version} (${ffmpeg})`,
      (error: unknown) => `none. ${wrapError(error).message}`,
    ),
    temporaryFiles: `${process.env['TMPDIR'] ?? '/tmp'}${writable(process.env['TMPDIR'] ?? '/tmp') ? '' : ' (cannot be written)'}`,
  }
}

export async function doctor(flags: DoctorFlags): Promise<void> {
  const facts = await machine()
  const devices = listDevices()
  const missing = native
    .deviceKinds()
    .map(({ name, label }) => ({ kind: name, label, ...native.findDevices(name) }))
    .filter((kind) => kind.devices.length === 0)
    .map(({ kind, label, reason }) => ({ kind, label, reason }))
  let test: SelfTest | { ok: false; message: string }
  try {
    test = await selfTest(flags)
  } catch (error) {
    test = { ok: false, message: wrapError(error).message }
  }
  const models = await testModels()
  if (flags.json) process.stdout.write(`${JSON.stringify({ ...facts, devices, missing, models, test }, null, 2)}\n`)
  else {
    const head = (text: string) => colour(process.stdout, 'bold', text)
    const lines = [
      table(
        Object.entries(facts).map(([name, value]) => [name === 'temporaryFiles' ? 'temporary files' : name, value]),
      ),
      '',
      head('Devices'),
      table(devices.map(({ id, name, details }) => [`  ${id}`, `${name} (${details})`])),
      ...missing.map(({ kind, reason }) => `  ${kind}: none. ${reason}`),
      '',
      head('Models of the package'),
      ...(models.length === 0 ? ['  none: train one, or name a file with --model'] : []),
      table(
        models.map(({ name, scale, parameters, ok, message }) => [
          `  ${name}`,
          `x${scale}, ${parameters} parameters`,
          ok ? colour(process.stdout, 'green', 'works') : `${colour(process.stdout, 'red', 'failed')}: ${message}`,
        ]),
      ),
      '',
      head('Self-test'),
      ...inWords(test).map((line) => `  ${line}`),
    ]
    process.stdout.write(`${lines.join('\n')}\n`)
  }
  if (!test.ok || models.some(({ ok }) => !ok)) throw new Ended(EXIT.failed)
}

function inWords(test: SelfTest | { ok: false; message: string }): string[] {
  const verdict = test.ok ? colour(process.stdout, 'green', 'passed') : colour(process.stdout, 'red', 'failed')
  if (!('device' in test)) return [`${verdict}: ${test.message}`]
  return [
    `${verdict} on ${test.device}, ${test.precision}`,
    `${test.pictures} pictures of ${SIDE}x${SIDE} in ${test.seconds.toFixed(2)} s: ${test.megapixelsPerSecond.toFixed(2)} ` +
      `million LR pixels a second, ${test.gigaflopsPerSecond.toFixed(0)} GFLOPs a second`,
    `tiles differ from the whole picture by ${test.tilesAgainstWhole} of 255 at most`,
    ...(test.psnrAgainstCpu === null ? [] : [`${test.psnrAgainstCpu.toFixed(1)} dB against the CPU`]),
  ]
}
