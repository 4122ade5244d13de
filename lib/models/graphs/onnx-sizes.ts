// Arithmetic with sizes: what exporters write for code such as x.shape[2] * 2.
import type { Constant, OnnxValue, Size, Sizes } from './onnx-values.js'

const asSizes = (value: OnnxValue | undefined): Sizes | null => {
  if (value?.kind === 'sizes') return value
  if (value?.kind !== 'constant' || value.data.length > 64) return null
  return { kind: 'sizes', entries: [...value.data], scalar: value.shape.length === 0 }
}

const isNumber = (entry: number | Size): entry is number => typeof entry === 'number'

function multiplied(a: number | Size, b: number | Size): number | Size | null {
  if (isNumber(a)) return isNumber(b) ? a * b : { ...b, factor: b.factor * a }
  if (isNumber(b)) return { ...a, factor: a.factor * b }
  const axes = new Set([a.axis, b.axis])
  return a.of === b.of && axes.has(2) && axes.has(3) ? { of: a.of, axis: 'area', factor: a.factor * b.factor } : null
}

function divided(a: number | Size, b: number | Size): number | Size | null {
  if (isNumber(b)) return isNumber(a) ? a / b : { ...a, factor: a.factor / b }
  return !isNumber(a) && a.of === b.of && a.axis === b.axis ? a.factor / b.factor : null
}

function entrywise(
  a: Sizes,
  b: Sizes,
  operation: (x: number | Size, y: number | Size) => number | Size | null,
): Sizes | null {
  const length = Math.max(a.entries.length, b.entries.length)
  if ([a, b].some(({ entries }) => entries.length !== 1 && entries.length !== length)) return null
  const entries: (number | Size)[] = []
  for (let i = 0; i < length; i++) {
    const entry = operation(a.entries[a.entries.length === 1 ? 0 : i]!, b.entries[b.entries.length === 1 ? 0 : i]!)
    if (entry === null) return null
    entries.push(entry)
  }
  return { kind: 'sizes', entries, scalar: a.scalar && b.scalar }
}

/** Result of an operator on sizes and constants; null: it is none that is known, or its inputs are of another kind. */
export function sizeOperator(
  operator: string,
  inputs: readonly (OnnxValue | undefined)[],
  attribute: (name: string, otherwise: number) => number,
): Sizes | Constant | null {
  const values = inputs.map(asSizes)
  const [a, b] = values
  if (!a) return null
  const integers = b?.entries.every(isNumber) ? (b.entries as number[]) : null
  switch (operator) {
    case 'Cast':
    case 'Identity':
    case 'Floor':
    case 'Ceil':
      return a
    case 'Unsqueeze':
    case 'Squeeze':
    case 'Reshape':
      return { ...a, scalar: operator === 'Squeeze' && a.entries.length === 1 }
    case 'Gather': {
      const [index] = integers ?? []
      if (index === undefined || integers!.length !== 1 || attribute('axis', 0) !== 0) return null
      const entry = a.entries.at(index)
      return entry === undefined ? null : { kind: 'sizes', entries: [entry], scalar: b!.scalar }
    }
    case 'Slice': {
      const [from = Number.NaN, to = Number.NaN, axis = 0, step = 1] = values
        .slice(1)
        .map((v) => v?.entries[0] as number | undefined)
      if (!Number.isFinite(from) || !Number.isFinite(to) || axis !== 0 || step !== 1) return null
      return { ...a, entries: a.entries.slice(from, Math.min(to, a.entries.length)), scalar: false }
    }
    case 'Concat':
      if (values.some((v) => v === null)) return null
      return { kind: 'sizes', entries: values.flatMap((v) => v!.entries).slice(0, 64), scalar: false }
    case 'Mul':
      return b ? entrywise(a, b, multiplied) : null
    case 'Div':
      return b ? entrywise(a, b, divided) : null
    default:
      return null
  }
}
