// Training checkpoints: a model file (lib/models/model-file) that also holds what the next step depends on, so that a run
// stopped at step k and continued gives the numbers of one that never stopped. loadSupernet reads them as models too.

import { createHash } from 'node:crypto'
import { isInt32Array } from 'node:util/types'
import { WbsrError } from '../errors.js'
import { type Tensor, writeSafetensors } from '../files/safetensors.js'
import type { ClassTable, Mixture } from '../model-state.js'
import {
  arenaTensors,
  describeModel,
  EMA_PREFIX,
  invalidFile,
  type ModelFile,
  readJson,
  readModelFile,
  TRAINING_PREFIX,
  tensorsArena,
} from '../models/model-file.js'
import type { NativeEngine } from '../native.js'
import { networkDifference } from '../networks/check.js'
import type { Network } from '../networks/network.js'
import type { BestState } from './best.js'
import type { GuardState } from './divergence.js'
import { type EpochSums, type HistoryEntry, noSums } from './reports.js'

const STEPS = `${TRAINING_PREFIX}steps`
const ARENAS = [
  ['weights', ''],
  ['ema', EMA_PREFIX],
  ['m', `${TRAINING_PREFIX}m/`],
  ['v', `${TRAINING_PREFIX}v/`],
] as const

/** What a run must have in common with its checkpoint. Plain JSON, compared key by key. */
export type Fingerprint = Record<string, unknown>

/** What training keeps besides the arenas of the engine. */
export interface Progress {
  /** Steps done. */
  step: number
  /** State of a learned sigma and its like; plain JSON. */
  loss: unknown
  mixture: Mixture | null
  /** Grows with the run and ends up in the model's training record; plain JSON. */
  history: HistoryEntry[]
  /** Sums of the epoch under way. */
  epoch: EpochSums
  /** null: of a checkpoint that an older wbsr wrote. */
  best: BestState | null
  guard: GuardState | null
}

/** A checkpoint as it was read. */
export interface StoredCheckpoint {
  file: string
  contents: ModelFile
  progress: Progress
  /** The fingerprint of the run that wrote it. */
  options: Fingerprint
}

/** A checkpoint taken between two steps and not yet written. */
export interface Snapshot {
  step: number
  tensors: Tensor[]
  metadata: Record<string, string>
}

/** Copies the state between two steps. */
export function takeSnapshot(
  engine: NativeEngine,
  ema: boolean,
  run: { network: Network; classes: ClassTable; fingerprint: Fingerprint },
  progress: Progress,
): Snapshot {
  const tensors = ARENAS.filter(([arena]) => ema || arena !== 'ema').flatMap(([arena, prefix]) =>
    arenaTensors(engine.parameters, engine.getArena(arena), prefix),
  )
  const steps = engine.getSteps()
  tensors.push({
    name: STEPS,
    dtype: 'I32',
    shape: [engine.parameters.length, steps.length / engine.parameters.length],
    data: steps,
  })
  const { mixture, ...rest } = progress
  const metadata = describeModel({ network: run.network, classes: run.classes, router: null, mixture, training: null })
  metadata['wbsr.checkpoint'] = JSON.stringify({ ...rest, options: run.fingerprint })
  return { step: progress.step, tensors, metadata }
}

/** Replaces the checkpoint atomically: on any failure the last one is still there. @throws WbsrError WBSR_IO */
export async function writeSnapshot(file: string, snapshot: Snapshot): Promise<void> {
  await writeSafetensors(file, snapshot.tensors, snapshot.metadata)
}

/**
 * A checkpoint's contents; null when there is no such file.
 *
 * @throws WbsrError WBSR_INVALID_FILE: damaged, no checkpoint, or of another network
 */
export async function readCheckpoint(file: string, network: Network): Promise<StoredCheckpoint | null> {
  let contents: ModelFile
  try {
    contents = await readModelFile(file)
  } catch (error) {
    if (error instanceof WbsrError && error.code === 'WBSR_NOT_FOUND') return null
    throw error
  }
  const stored = contents.description
  if (!stored || contents.metadata['wbsr.checkpoint'] === undefined)
    throw invalidFile(file, 'is not a training checkpoint (a finished model cannot be continued)')
  const other = networkDifference(stored.network, network)
  if (other) throw invalidFile(file, `is the checkpoint of another network: ${other}`)
  const { step, loss, history, epoch, options, best, guard } = readJson(
    file,
    contents.metadata,
    'wbsr.checkpoint',
  ) as Record<string, unknown>
  if (
    !Number.isInteger(step) ||
    (step as number) < 0 ||
    !Array.isArray(history) ||
    !isObject(epoch) ||
    !isObject(options)
  ) {
    throw invalidFile(file, 'metadata wbsr.checkpoint is not { step, loss, history, epoch, options }')
  }
  return {
    file,
    contents,
    options,
    progress: {
      step: step as number,
      loss,
      history: history as HistoryEntry[],
      // Older checkpoints lack the terms that came later.
      epoch: { ...noSums(), ...epoch },
      mixture: stored.mixture,
      best: isObject(best) ? (best as unknown as BestState) : null,
      guard: isObject(guard) ? (guard as unknown as GuardState) : null,
    },
  }
}

/** What differs between the options of a checkpoint and those of a run, as "a.b is 1 there and 2 here". */
export function optionDifferences({ options }: StoredCheckpoint, fingerprint: Fingerprint): string[] {
  return differences(options, JSON.parse(JSON.stringify(fingerprint)) as Fingerprint)
}

/** @throws WbsrError WBSR_INVALID_FILE naming what differs */
export function requireSameRun(stored: StoredCheckpoint, fingerprint: Fingerprint): void {
  const differing = optionDifferences(stored, fingerprint)
  if (differing.length > 0) {
    throw invalidFile(
      stored.file,
      `is the checkpoint of a run with other options: ${differing.join('; ')} (resume: false starts anew)`,
    )
  }
}

/** Names the state in a file: weights, average, moments and steps. */
export function tensorsDigest(tensors: ReadonlyMap<string, Tensor>): string {
  const hash = createHash('sha256')
  for (const name of [...tensors.keys()].sort()) {
    const { data } = tensors.get(name)!
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  }
  return hash.digest('hex')
}

/**
 * Puts the arenas of a checkpoint into an engine. Where the run has an average and the checkpoint has none, it starts at the
 * weights.
 *
 * @throws WbsrError WBSR_INVALID_FILE
 */
export function restoreArenas(
  { file, contents: { tensors }, options }: StoredCheckpoint,
  engine: NativeEngine,
  network: Network,
  ema: boolean,
): void {
  const { parameters } = engine
  const averaged = options['ema'] !== 0
  const arenas = ARENAS.filter(([arena]) => ema || arena !== 'ema').map(([arena, prefix]) => {
    const from = arena === 'ema' && !averaged ? '' : prefix
    return [arena, tensorsArena(file, parameters, tensors, from)] as const
  })
  const steps = tensors.get(STEPS)
  const size = parameters.length * network.widths.length
  if (!isInt32Array(steps?.data) || steps.data.length !== size)
    throw invalidFile(file, `tensor ${STEPS} of ${size} I32 values is missing or of another shape`)
  for (const [arena, values] of arenas) engine.setArena(arena, values)
  engine.setSteps(steps.data)
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v)

/** Leaves of two JSON values that differ, as "a.b is 1 there and 2 here". */
function differences(there: unknown, here: unknown, at = ''): string[] {
  if (isObject(there) && isObject(here)) {
    const keys = new Set([...Object.keys(there), ...Object.keys(here)])
    return [...keys].flatMap((key) => differences(there[key], here[key], at ? `${at}.${key}` : key))
  }
  const [a, b] = [JSON.stringify(there), JSON.stringify(here)]
  return a === b ? [] : [`${at} is ${a ?? 'absent'} there and ${b ?? 'absent'} here`]
}
