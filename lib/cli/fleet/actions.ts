// wbsr fleet: each action.
import path from 'node:path'
import { findImages } from '../../data/files.js'
import { type Fleet, openFleet } from '../../fleet/fleet.js'
import type { PictureOptions } from '../../fleet/options.js'
import type { Price } from '../../fleet/picture-job.js'
import { planPicture, planVideo } from '../../fleet/plan.js'
import type { FleetRun } from '../../fleet/run.js'
import { storeOf } from '../../fleet/s3-store.js'
import { folderStore, type Store } from '../../fleet/store.js'
import type { FleetVideoOptions } from '../../fleet/video-job.js'
import type { SupernetModel } from '../../models/model.js'
import { defaultModelFor } from '../../models/shipped.js'
import { Ended, EXIT, UsageError } from '../exit.js'
import type { FleetFlags } from '../flags.js'
import { type Interrupt, listenForInterrupts } from '../interrupt.js'
import { Models, openModel } from '../model.js'
import { duration, percent, Terminal } from '../terminal.js'
import { videoOptions } from '../video.js'
import { priceText, statusText } from './texts.js'
import { work } from './worker.js'

/** Where a model of the package is chosen. */
const FACTOR = 2
const WORKERS = [1, 2, 4, 8, 16, 32, 64]

const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`)

export async function fleet(action: string, words: string[], flags: FleetFlags): Promise<void> {
  if (action === 'plan') return plan(words, flags)
  if (action === 'worker') {
    if (words.length > 0) throw new UsageError(`Expected no words after worker but received ${words.join(' ')}`)
    return work(await storeFrom(flags), redisFrom(flags), flags)
  }
  const store = await storeFrom(flags)
  const interrupt = listenForInterrupts()
  await using connected = await openFleet({
    connection: redisFrom(flags),
    store,
    ...(flags.name && { name: flags.name }),
  })
  // Awaited: the connection is closed as this function returns.
  if (action === 'submit') return await submit(connected, words, flags, interrupt)
  if (action === 'status') return await status(connected, words, flags, interrupt)
  if (action === 'clean') {
    const { objects, bytes } = await connected.clean({ hours: flags.hours ?? 24 })
    if (flags.json) print({ event: 'clean', objects, bytes })
    else process.stdout.write(`${objects} objects removed, ${(bytes / 1e6).toFixed(1)} MB\n`)
    return
  }
  const [id, ...more] = words
  if (id === undefined || more.length > 0) throw new UsageError(`Expected the id of one job after ${action}`)
  const run = connected.run(id)
  if (action === 'cancel') await run.cancel()
  else if (flags.out === undefined) throw new UsageError('Expected --out FILE with save')
  else await run.save(flags.out)
}

function redisFrom({ redis }: FleetFlags): string {
  return redis ?? process.env['WBSR_REDIS'] ?? 'redis://127.0.0.1:6379'
}

async function storeFrom({ store }: FleetFlags): Promise<Store> {
  const name = store ?? process.env['WBSR_STORE']
  if (name === undefined)
    throw new UsageError('Expected --store FOLDER or s3://BUCKET/PREFIX, or WBSR_STORE in the environment')
  return storeOf(name, folderStore)
}

function optionsFrom(flags: FleetFlags): PictureOptions {
  const { router, loss, budget, bandSeconds, bands, attempts } = flags
  return {
    ...(router !== undefined && { router }),
    ...(loss !== undefined && { loss }),
    ...(budget !== undefined && { budget }),
    ...(bandSeconds !== undefined && { bandSeconds }),
    ...(bands !== undefined && { bands }),
    ...(attempts !== undefined && { attempts }),
  }
}

async function modelFrom(picture: string, flags: FleetFlags): Promise<SupernetModel> {
  const [name, ...more] = flags.model ?? []
  if (more.length > 0) throw new UsageError('Expected one --model')
  return openModel(name ?? (await defaultModelFor(picture, { scale: FACTOR })).name, flags)
}

/** Files of the command line, with the place of each below the folder that was named. */
async function picturesOf(words: readonly string[]): Promise<{ file: string; place: string }[]> {
  if (words.length === 0) throw new UsageError('Expected a picture or a folder')
  const found: { file: string; place: string }[] = []
  for (const word of words)
    for (const file of await findImages(word, 'input')) {
      const inside = path.relative(word, file)
      found.push({ file, place: inside === '' || inside.startsWith('..') ? path.basename(file) : inside })
    }
  return found
}

/** A name that is a key of the store: what does not belong into one becomes a hyphen. */
const keyOf = (name: string) =>
  name
    .split(/[\\/]/)
    .map((part) => part.replace(/[^\w .@+=,()-]/gu, '-').replace(/^\./, '-'))
    .join('/')

/** The ending that a result has: its own where that can be written, else PNG. */
const written = (file: string) =>
  /\.(png|jpe?g|webp|tiff?|avif)$/i.test(file) ? file : `${file.replace(/\.[^./]*$/, '')}.png`

const VIDEO = /\.(mp4|m4v|mov|mkv|webm|nut|avi|mpe?g|ts|m2ts|mts|flv|wmv|ogv|3gp|y4m)$/i

/** The file of a video where the words are one; null: they are pictures. @throws UsageError: there are more words */
function videoOf(words: readonly string[], flags: FleetFlags): string | null {
  const video = words.find((word) => VIDEO.test(word))
  if (video === undefined) {
    const { scale, size, threshold, encoder, encoderOptions, segment } = flags
    if ([scale, size, threshold, encoder, encoderOptions, segment].some((value) => value !== undefined))
      throw new UsageError(
        'Expected a video with --scale, --size, --threshold, --encoder, --encoder-options and --segment',
      )
    return null
  }
  if (words.length > 1) throw new UsageError('Expected one video, or pictures and folders')
  return video
}

/** As `wbsr video` chooses it. */
function videoModels(flags: FleetFlags): Promise<Models> {
  const [name, ...more] = flags.model ?? []
  if (more.length > 0) throw new UsageError('Expected one --model')
  return Models.open(name, flags.scale ?? FACTOR, flags, () => {})
}

function videoOptionsFrom(flags: FleetFlags): FleetVideoOptions {
  const { attempts } = flags
  return { ...videoOptions(flags), ...(attempts !== undefined && { attempts }) }
}

async function pricesOf(words: readonly string[], flags: FleetFlags): Promise<Price[]> {
  const video = videoOf(words, flags)
  if (video !== null) {
    await using models = await videoModels(flags)
    return [await planVideo(models.only, video, videoOptionsFrom(flags))]
  }
  const pictures = await picturesOf(words)
  using model = await modelFrom(pictures[0]!.file, flags)
  const prices: Price[] = []
  for (const { file } of pictures) prices.push(await planPicture(model, file, optionsFrom(flags)))
  return prices
}

async function plan(words: string[], flags: FleetFlags): Promise<void> {
  const prices = await pricesOf(words, flags)
  const workers = flags.workers ?? WORKERS
  if (flags.json) {
    const { predict } = await import('../../fleet/predict.js')
    print({ event: 'plan', prices, predictions: workers.map((count) => predict(prices, count)) })
  } else process.stdout.write(priceText(prices, workers))
}

async function submit(connected: Fleet, words: string[], flags: FleetFlags, interrupt: Interrupt): Promise<void> {
  const video = videoOf(words, flags)
  const run = await (video === null
    ? submitPictures(connected, words, flags, interrupt)
    : submitVideo(connected, video, flags, interrupt))
  if (flags.json) print({ event: 'submitted', id: run.id })
  else process.stdout.write(`${run.id}\n`)
  if (flags.wait || flags.save !== undefined) await wait(run, flags, interrupt)
  if (flags.save !== undefined) await run.save(flags.save)
}

async function submitVideo(
  connected: Fleet,
  file: string,
  flags: FleetFlags,
  { signal }: Interrupt,
): Promise<FleetRun> {
  await using models = await videoModels(flags)
  const name = flags.save ?? (/\.(mp4|mov|m4v|mkv|webm|nut)$/i.test(file) ? file : `${file}.mkv`)
  const output = flags.out ?? keyOf(`results/${path.basename(name)}`)
  return await connected.submitVideo(models.only, file, output, { ...videoOptionsFrom(flags), signal })
}

async function submitPictures(
  connected: Fleet,
  words: readonly string[],
  flags: FleetFlags,
  interrupt: Interrupt,
): Promise<FleetRun> {
  const pictures = await picturesOf(words)
  const single = pictures.length === 1 && words.length === 1 && pictures[0]!.file === words[0]
  if (flags.save !== undefined && !single) throw new UsageError('Expected one picture with --save')
  using model = await modelFrom(pictures[0]!.file, flags)
  const options = { ...optionsFrom(flags), signal: interrupt.signal }
  if (single) {
    const { file } = pictures[0]!
    const fallback =
      flags.save === undefined ? `results/${path.basename(written(file))}` : `results/${path.basename(flags.save)}`
    return await connected.submit(model, file, flags.out ?? keyOf(fallback), options)
  }
  const folder = flags.out ?? 'results'
  const list = pictures.map(({ file, place }) => ({ input: file, output: keyOf(`${folder}/${written(place)}`) }))
  return await connected.submitFolder(model, list, words.join(', '), options)
}

async function status(connected: Fleet, words: string[], flags: FleetFlags, interrupt: Interrupt): Promise<void> {
  const runs = words.length > 0 ? words.map((id) => connected.run(id)) : await connected.runs()
  if (flags.wait) {
    if (words.length !== 1) throw new UsageError('Expected the id of one job with --wait')
    return wait(runs[0]!, flags, interrupt)
  }
  for (const run of runs) {
    const found = await run.status()
    if (flags.json) print({ event: 'status', ...found })
    else process.stdout.write(statusText(found))
  }
}

/** Waits with progress; the first Ctrl+C ends the waiting and not the job. */
async function wait(run: FleetRun, flags: FleetFlags, interrupt: Interrupt): Promise<void> {
  const terminal = new Terminal({ quiet: flags.quiet ?? false, live: flags.json !== true })
  const start = performance.now()
  try {
    const result = await run.result({
      signal: interrupt.signal,
      onProgress: (found) => {
        const { state, done, total, eta, workers, flops } = found
        const share = flops.total > 0 ? flops.done / flops.total : done / total
        const left = eta === null ? ', no worker' : state === 'running' ? `, ${duration(eta)} to go` : ''
        terminal.status(`${state} ${percent(share)}, ${done} of ${total}, ${workers} workers${left}`)
        if (flags.json) print({ event: 'progress', ...found })
      },
    })
    const seconds = (performance.now() - start) / 1000
    if (flags.json) print({ event: 'end', ...result, seconds })
    else terminal.line(`${result.name} -> ${result.output} in ${duration(seconds)}`)
    for (const warning of result.warnings ?? []) terminal.warn(`${result.name}: ${warning}`)
    for (const { name, message } of result.failed ?? []) terminal.error(`${name}: ${message}`)
    terminal.clear()
    if (result.failed && result.failed.length > 0) throw new Ended(EXIT.partial)
  } catch (error) {
    terminal.clear()
    const code = interrupt.status()
    if (code === undefined) throw error
    terminal.line(`the job goes on: wbsr fleet status ${run.id}`)
    throw new Ended(code)
  }
}
