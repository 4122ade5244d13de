// What a job costs beside the network, measured on the machine that plans: a small picture goes the way of a large one.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { encodeImage } from '../images/images.js'
import type { ModelState } from '../model-state.js'
import type { RawImage } from '../types.js'
import { assembleBands } from './assemble.js'
import { ASSUMED, type Speeds } from './assumed.js'
import type { BandsManifest } from './manifest.js'
import { checkPictureOptions, type PictureSettings } from './options.js'
import { pictureJob } from './picture-job.js'
import { whyWhole } from './prepare.js'
import { runBand } from './run-band.js'
import { folderStore, type Store } from './store.js'

/** Edge of the probe's result in pixels, and edge of the LR picture of which one band is as good as nothing. */
const RESULT = 2048
const SMALL = 64
const REPEATS = 3

const known = new WeakMap<object, Map<string, Promise<Speeds>>>()

/**
 * Measures with the model's smallest subnet, in a second or two. Once for a model and an encoding.
 *
 * @throws WbsrError as a job does; WBSR_IO: the folder for temporary files cannot be written
 */
export function measureSpeeds(state: ModelState, settings: PictureSettings): Promise<Speeds> {
  if (whyWhole(state, { width: SMALL, height: SMALL, channels: 3, bits: 8 }) !== null) return Promise.resolve(ASSUMED)
  const ofModel = known.get(state.engine) ?? new Map<string, Promise<Speeds>>()
  known.set(state.engine, ofModel)
  const key = JSON.stringify(settings.encode)
  let speeds = ofModel.get(key)
  if (!speeds) {
    speeds = measure(state, settings)
    ofModel.set(key, speeds)
    // A failure is not kept.
    speeds.catch(() => ofModel.delete(key))
  }
  return speeds
}

async function measure(state: ModelState, { encode }: PictureSettings): Promise<Speeds> {
  const folder = await mkdtemp(path.join(tmpdir(), 'wbsr-fleet-'))
  try {
    const store = folderStore(path.join(folder, 'store'))
    const settings = { ...checkPictureOptions({ router: { subnet: 0 }, bands: 1, rate: 1 }, state), encode }
    const input = path.join(folder, 'probe.png')
    await encodeImage(testPicture(Math.ceil(RESULT / state.network.scale)), input)
    // What is done once for a model is not measured.
    const small = await jobOf(state, testPicture(SMALL), settings, store)
    await runBand(state, store, small, 0, NEVER)
    const [, fixed] = await timed(() => jobOf(state, testPicture(SMALL), settings, store))
    const [job, all] = await timed(() => jobOf(state, input, settings, store))
    // Of a large picture only what grows with it counts; at least a part does, however uneven the machine is.
    const splitting = Math.max(all - fixed, all / 4)
    await runBand(state, store, job, 0, NEVER)
    const [result, assembly] = await timed(() => assembleBands(store, job, NEVER))
    const bands: number[] = []
    for (let i = 0; i < REPEATS; i++) {
      await store.removeFolder(`runs/${small.id}`)
      bands.push((await timed(() => runBand(state, store, small, 0, NEVER)))[1])
    }
    const { width, height, channels } = job.shape
    return {
      perBand: Math.min(...bands),
      assembly: (result.width * result.height * channels) / assembly,
      splitting: (width * height * channels) / splitting,
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const NEVER = new AbortController().signal

async function jobOf(state: ModelState, input: RawImage | string, settings: PictureSettings, store: Store) {
  const { manifest } = await pictureJob(state, input, 'probe-result.png', settings, {}, store)
  return manifest as BandsManifest
}

async function timed<T>(work: () => Promise<T>): Promise<[T, number]> {
  const start = performance.now()
  const result = await work()
  return [result, (performance.now() - start) / 1000]
}

/** Smooth, with a little noise, as photographs are: what PNG needs time for. */
function testPicture(side: number): RawImage {
  const data = new Uint8Array(side * side * 3)
  let seed = 1
  for (let i = 0; i < data.length; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    const x = Math.floor(i / 3) % side
    const y = Math.floor(i / (3 * side))
    data[i] = 110 + 80 * Math.sin(x / 37 + (i % 3)) * Math.cos(y / 53) + (seed >>> 28)
  }
  return { data, width: side, height: side, channels: 3 }
}
