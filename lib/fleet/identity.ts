// What two machines must have in common to give the same bytes: version of wbsr, model, device and its arithmetic.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { upscale } from '../infer/upscale.js'
import type { ModelState } from '../model-state.js'
import { writeModelFile } from '../models/model-file.js'
import type { NativeEngine } from '../native.js'
import { version } from '../version.js'
import { hashOf, type Store } from './store.js'

/** A model in the store, and what it answers to the probe. */
export interface ModelIdentity {
  key: string
  probe: string
}

const known = new WeakMap<NativeEngine, Promise<{ bytes: Buffer; key: string }>>()

async function fileOf(state: ModelState): Promise<{ bytes: Buffer; key: string }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'wbsr-fleet-'))
  try {
    const file = path.join(folder, 'model.safetensors')
    await writeModelFile(file, state, 'f32')
    const bytes = await readFile(file)
    return { bytes, key: `models/${hashOf(bytes)}.safetensors` }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function modelFileOf(state: ModelState): Promise<{ bytes: Buffer; key: string }> {
  let file = known.get(state.engine)
  if (!file) known.set(state.engine, (file = fileOf(state)))
  return file
}

/** The key that a model has in every store: the hash of its file. */
export async function modelKey(state: ModelState): Promise<string> {
  return (await modelFileOf(state)).key
}

/** Puts a model into the store, where it is not there yet. */
export async function storeModel(state: ModelState, store: Store): Promise<string> {
  const { bytes, key } = await modelFileOf(state)
  if ((await store.size(key)) !== bytes.length) await store.write(key, bytes)
  return key
}

/**
 * Kind of device, instruction set, versions of libraries and precision, and the version of wbsr: part of the names of
 * queues, so that a machine only gets work that it can do as the others do.
 */
export function numericsOf({ device }: NativeEngine): string {
  const text = `${version()} ${device.kind} ${device.details} ${device.precision}`
  return text
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, '-')
    .replace(/^-|-$/g, '')
}

const PROBE = { width: 150, height: 203 }

/**
 * Hash of what a subnet of every width makes of a fixed picture, cut into regions in the usual way. Machines of one kind whose libraries
 * still compute in another order (other caches, a limited instruction set) differ here.
 */
export async function probeOf(state: ModelState): Promise<string> {
  const { width, height } = PROBE
  const data = new Uint16Array(width * height * 3)
  // Smooth shapes and noise, so that all bits of sums count.
  let seed = 1
  for (let i = 0; i < data.length; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    const x = Math.floor(i / 3) % width
    const y = Math.floor(i / (3 * width))
    data[i] = (((x * 211 + y * 97 * ((i % 3) + 1)) & 0x7fff) + (seed >>> 17)) & 0xffff
  }
  const results: Uint8Array[] = []
  // Deeper subnets of one width repeat the same convolutions.
  const deepest = new Map(state.engine.subnets.map(({ width, index }) => [width, index]))
  for (const index of deepest.values()) {
    const result = await upscale(state, { data, width, height, channels: 3 }, { router: { subnet: index } })
    results.push(new Uint8Array(result.data.buffer, result.data.byteOffset, result.data.byteLength))
  }
  return hashOf(...results)
}
