// Finds the tensors of a network inside what a file holds: wrappers such as { params_ema: ... } and prefixes such as
// "module." differ from one training program to the next.
import { isStoredTensor, type StoredTensor } from '../files/tensor.js'

export type StateDict = ReadonlyMap<string, StoredTensor>

/** Names of what training programs store weights under, best first: averaged weights are those that results are published of. */
const WRAPPERS = [
  'params_ema',
  'params-ema',
  'ema',
  'g_ema',
  'netG_ema',
  'params',
  'state_dict',
  'model_state_dict',
  'model_state',
  'generator_state_dict',
  'netG',
  'net_g',
  'generator',
  'gen',
  'G',
  'model',
  'net',
  'network',
  'weights',
  'module',
]

/** First parts of keys that have no meaning for the network. */
const PREFIXES = new Set([...WRAPPERS, '_orig_mod', 'network_g', 'sr_model', 'backbone'])

const MAX_NESTING = 4
const MAX_TENSORS = 100_000

type Dict = ReadonlyMap<unknown, unknown>

const isDict = (value: unknown): value is Dict => value instanceof Map

function tensorsOf(dict: Dict): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>()
  for (const [key, value] of dict)
    if (typeof key === 'string' && isStoredTensor(value) && tensors.size < MAX_TENSORS) tensors.set(key, value)
  return tensors
}

/** Mappings of tensors inside `value`, those that come first in WRAPPERS first. */
function dictsOf(value: unknown, nesting = 0): Map<string, StoredTensor>[] {
  if (!isDict(value) || nesting > MAX_NESTING) return []
  const own = tensorsOf(value)
  const found = own.size > 0 ? [own] : []
  const rank = (key: unknown) => {
    const index = WRAPPERS.indexOf(key as string)
    return index < 0 ? WRAPPERS.length : index
  }
  const inner = [...value].filter(([, v]) => isDict(v)).sort(([a], [b]) => rank(a) - rank(b))
  // What is not called like weights is looked at only where nothing else is there (an optimizer's state has no names).
  for (const [, dict] of inner.slice(0, 64)) found.push(...dictsOf(dict, nesting + 1))
  return found
}

/** The same tensors without a first part that all keys share, or that is known to have no meaning. */
function withoutPrefix(dict: StateDict): StateDict[] {
  const counts = new Map<string, number>()
  for (const key of dict.keys()) {
    const first = key.split('.', 1)[0]!
    counts.set(first, (counts.get(first) ?? 0) + 1)
  }
  const rank = (name: string) => {
    const index = WRAPPERS.indexOf(name)
    return index < 0 ? WRAPPERS.length : index
  }
  return [...counts]
    .filter(([name, count]) => PREFIXES.has(name) || (counts.size === 1 && count > 1))
    .sort(([a], [b]) => rank(a) - rank(b))
    .map(([name]) => {
      const inner = new Map<string, StoredTensor>()
      for (const [key, tensor] of dict) if (key.startsWith(`${name}.`)) inner.set(key.slice(name.length + 1), tensor)
      return inner
    })
    .filter((inner) => inner.size > 0)
}

/** Everything in a file that could be the tensors of a network, likeliest first. */
export function stateDicts(value: unknown): StateDict[] {
  const all: StateDict[] = []
  let level: StateDict[] = dictsOf(value)
  for (let i = 0; i <= MAX_NESTING && level.length > 0; i++) {
    all.push(...level)
    level = level.flatMap(withoutPrefix)
  }
  return all
}
