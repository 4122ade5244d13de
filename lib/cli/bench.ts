// wbsr bench: how fast a model is on this machine, each subnet by itself and as the router chooses.

import { readImage } from '../images/images.js'
import { type ModelDevice, type UpscaleOptions, WbsrError } from '../index.js'
import { version } from '../version.js'
import { Ended } from './exit.js'
import type { BenchFlags } from './flags.js'
import { listenForInterrupts } from './interrupt.js'
import { Models } from './model.js'
import { percent, Terminal, table } from './terminal.js'
import { testPicture } from './test-picture.js'

const FACTOR = 2
const SECONDS = 1
const LEAST_RUNS = 3

/** One way to enlarge the picture. */
interface BenchRow {
  name: string
  /** Median of the runs, from pixels to pixels. */
  seconds: number
  runs: number
  /** Millions of pixels of the result. */
  megapixelsPerSecond: number
  /** 2 x multiply-adds for the picture, halo included. */
  gigaflops: number
  gigaflopsPerSecond: number
  /** Of the largest subnet's work. */
  share: number
}

const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!

export async function bench(file: string | undefined, flags: BenchFlags): Promise<void> {
  const terminal = new Terminal({ quiet: flags.quiet ?? false, live: flags.json !== true })
  const { signal, status } = listenForInterrupts()
  const image = file === undefined ? testPicture(512, 384) : (await readImage(file, 'picture')).image
  await using models = await Models.open(flags.model, FACTOR, flags, (opened) => {
    const { fallbackReason } = opened.device()
    if (fallbackReason && flags.device === 'auto') terminal.warn(fallbackReason)
  })
  const model = models.only
  const least = (flags.seconds ?? SECONDS) * 1000
  const measure = async (name: string, options: UpscaleOptions): Promise<BenchRow> => {
    terminal.status(name)
    // The first run allocates and, on a GPU, compiles.
    await model.upscale(image, { ...options, signal })
    const seconds: number[] = []
    const start = performance.now()
    let work = { flops: 0, spent: 0, pixels: 0 }
    while (seconds.length < LEAST_RUNS || performance.now() - start < least) {
      const run = await model.upscale(image, { ...options, signal })
      seconds.push(run.seconds)
      work = { flops: run.allocation.flops, spent: run.allocation.spent, pixels: run.width * run.height }
    }
    const middle = median(seconds)
    return {
      name,
      seconds: middle,
      runs: seconds.length,
      megapixelsPerSecond: work.pixels / middle / 1e6,
      gigaflops: work.flops / 1e9,
      gigaflopsPerSecond: work.flops / middle / 1e9,
      share: work.spent,
    }
  }
  const rows: BenchRow[] = []
  try {
    for (const { index, width, depth } of model.subnets)
      rows.push(await measure(`subnet ${index} (width ${width}, depth ${depth})`, { router: { subnet: index } }))
    if (model.subnets.length > 1) {
      if (model.router) rows.push(await measure('routed, loss 0.02 dB (default)', {}))
      else rows.push(await measure('routed, projection (default)', {}))
      if (model.router) rows.push(await measure('routed, budget 0.6', { budget: 0.6 }))
    }
  } catch (error) {
    terminal.clear()
    const ended = status()
    if (ended === undefined || !(error instanceof WbsrError) || error.code !== 'WBSR_ABORTED') throw error
    throw new Ended(ended)
  }
  terminal.clear()
  const device = model.device()
  const { width, height } = image
  const size = { width: width * model.scale, height: height * model.scale }
  const facts = { wbsr: version(), model: flags.model ?? models.name, device, picture: { width, height }, result: size }
  if (flags.json) process.stdout.write(`${JSON.stringify({ ...facts, rows }, null, 2)}\n`)
  else process.stdout.write(inWords(facts.model, device, `${width}x${height} -> ${size.width}x${size.height}`, rows))
}

function inWords(model: string, device: ModelDevice, size: string, rows: readonly BenchRow[]): string {
  const cells = rows.map(({ name, seconds, runs, megapixelsPerSecond, gigaflops, gigaflopsPerSecond, share }) => [
    `  ${name}`,
    seconds.toFixed(seconds < 1 ? 4 : 2),
    String(runs),
    megapixelsPerSecond.toFixed(2),
    gigaflops.toFixed(2),
    gigaflopsPerSecond.toFixed(0),
    percent(share),
  ])
  const { name, threads, precision } = device
  const where = `${name}${device.kind === 'cpu' ? `, ${threads} threads` : ''}, ${precision}`
  return [
    `${model} on ${where}; ${size}, pixels to pixels`,
    '',
    table([['  what ran', 'seconds', 'runs', 'MP/s', 'GFLOPs', 'GFLOPs/s', 'of the largest'], ...cells]),
    '',
    'seconds: median of the runs. MP/s: million pixels of the result a second. GFLOPs: the work for the picture, halo included.',
    '',
  ].join('\n')
}
