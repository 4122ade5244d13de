// Which architecture a file's tensors belong to, and the values of its network's parameters.

import { damaged } from '../files/read-budget.js'
import type { StoredTensor } from '../files/tensor.js'
import type { NativeParameter } from '../native.js'
import { architectures } from '../networks/all.js'
import type { Architecture, Hints, ReadNetwork, Source } from '../networks/architecture.js'
import { Weights } from '../networks/weights.js'
import { type StateDict, stateDicts } from './state-dict.js'

export interface Recognised extends ReadNetwork {
  architecture: Architecture
  tensors: StateDict
}

const MAX_NAMED = 4

/** The first few of `names`, for messages. */
export function someOf(names: readonly string[]): string {
  const more = names.length - MAX_NAMED
  return names.slice(0, MAX_NAMED).join(', ') + (more > 0 ? ` and ${more} more` : '')
}

/** How much of an architecture's required keys a file has. */
function closeness(architecture: Architecture, tensors: StateDict): { share: number; missing: string[]; of: number } {
  return architecture.keys
    .map((keys) => {
      const missing = keys.filter((key) => !tensors.has(key))
      return { share: 1 - missing.length / keys.length, missing, of: keys.length }
    })
    .reduce((best, one) => (one.share > best.share ? one : best))
}

/**
 * Recognises what a file holds and makes a network of its shapes.
 *
 * @param contents nested mappings with tensors as leaves
 * @throws WbsrError WBSR_INVALID_FILE: no known architecture (naming those that are known and the nearest), or one that
 *   lacks tensors or has some of an unexpected shape
 */
export function recognise(file: string, contents: unknown, hints: Hints): Recognised {
  const dicts = stateDicts(contents)
  for (const tensors of dicts) {
    const architecture = architectures.find((one) => closeness(one, tensors).share === 1)
    if (!architecture) continue
    const read = architecture.read(new Weights(file, architecture.title, tensors), hints)
    return { ...read, architecture, tensors }
  }
  throw damaged(file, unknownFile(dicts))
}

function unknownFile(dicts: readonly StateDict[]): string {
  const known = `Known architectures: ${architectures.map(({ title }) => title).join(', ')}.`
  if (dicts.length === 0) return `holds no tensors with names. ${known}`
  let best: { title: string; share: number; missing: string[]; of: number } | null = null
  for (const tensors of dicts) {
    for (const architecture of architectures) {
      const close = closeness(architecture, tensors)
      if (close.share > (best?.share ?? 0)) best = { title: architecture.title, ...close }
    }
  }
  const keys = [...dicts[0]!.keys()]
  const nearest = best
    ? ` Nearest is ${best.title}: ${best.of - best.missing.length} of ${best.of} required keys, without ${someOf(best.missing)}.`
    : ''
  return `holds weights of no architecture that is known here (its keys begin with ${someOf(keys)}).${nearest} ${known}`
}

/**
 * The file's tensors as the arena of the network's parameters.
 *
 * @throws WbsrError WBSR_INVALID_FILE naming tensors that are missing, left over or of another shape
 */
export function weightsArena(
  file: string,
  recognised: Recognised,
  parameters: readonly NativeParameter[],
): Float32Array {
  const { architecture, tensors, sources } = recognised
  const weights = new Weights(file, architecture.title, tensors)
  const used = new Set<string>()
  const arena = new Float32Array(parameters.reduce((end, p) => Math.max(end, p.offset + p.count), 0))
  const find = (source: Source): StoredTensor => {
    if (typeof source !== 'string') {
      for (const key of source.keys) used.add(key)
      return source.tensor()
    }
    used.add(source)
    return weights.tensor(source)
  }
  const missing = parameters
    .map((p) => sources?.get(p.name) ?? p.name)
    .filter((s) => typeof s === 'string' && !tensors.has(s))
  if (missing.length > 0) weights.fail(`lacks ${someOf(missing as string[])}`)
  for (const { name, shape, offset, count } of parameters) {
    const source = sources?.get(name) ?? name
    const { shape: found, read } = find(source)
    const label = typeof source === 'string' ? source : name
    const single = found.length === 1 && found[0] === 1 && shape.length === 1
    if (!single && (found.length !== shape.length || found.some((n, i) => n !== shape[i])))
      weights.fail(`has ${label} of shape [${found.join(', ')}] where [${shape.join(', ')}] is expected`)
    const values = read()
    // One slope for all channels of a PReLU.
    if (single) arena.fill(values[0]!, offset, offset + count)
    else arena.set(values, offset)
  }
  const left = [...tensors.keys()].filter(
    (key) => !used.has(key) && !architecture.unused?.test(key) && !IGNORED.test(key),
  )
  if (left.length > 0) weights.fail(`has tensors that are no part of it: ${someOf(left)}`)
  return arena
}

/** Counters of training programs and profilers. */
const IGNORED = /(^|\.)(num_batches_tracked|total_ops|total_params)$/
