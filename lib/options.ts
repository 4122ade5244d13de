// Checks of user options. Each returns the checked value or throws "Expected X for name but received Y".

import { invalidOption } from './errors.js'
import { isAbortSignal } from './realms.js'

type Record_ = Record<string, unknown>

/** A plain options object with no other keys than `known`. null is never accepted; omit the key for the default. */
export function checkObject(value: unknown, name: string, known: readonly string[]): Record_ {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalidOption(name, 'an object', value)
  for (const [key, entry] of Object.entries(value)) {
    if (!known.includes(key)) throw invalidOption(name, `no other keys than ${known.join(', ')}`, key)
    // Messages name keys of whole option objects ("options", "upscale options") without a prefix.
    if (entry === null)
      throw invalidOption(/(^| )options$/.test(name) ? key : `${name}.${key}`, 'a value or undefined', null)
  }
  return value as Record_
}

export function checkInteger(value: unknown, name: string, min: number, max = Number.MAX_SAFE_INTEGER): number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw invalidOption(
      name,
      max === Number.MAX_SAFE_INTEGER ? `an integer of at least ${min}` : `an integer between ${min} and ${max}`,
      value,
    )
  }
  return value as number
}

export function checkNumber(value: unknown, name: string, min: number, max = Infinity): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < min || value > max) {
    throw invalidOption(
      name,
      max === Infinity ? `a number of at least ${min}` : `a number between ${min} and ${max}`,
      value,
    )
  }
  return value
}

export function checkChoice<T extends string>(value: unknown, name: string, choices: readonly T[]): T {
  if (!choices.includes(value as T))
    throw invalidOption(name, `one of ${choices.map((c) => `'${c}'`).join(', ')}`, value)
  return value as T
}

export function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw invalidOption(name, 'a boolean', value)
  return value
}

export function checkString(value: unknown, name: string): string {
  if (typeof value !== 'string' || value === '') throw invalidOption(name, 'a non-empty string', value)
  return value
}

export function checkFunction<T>(value: unknown, name: string): T {
  if (typeof value !== 'function') throw invalidOption(name, 'a function', value)
  return value as T
}

export function checkSignal(value: unknown, name: string): AbortSignal {
  if (!isAbortSignal(value)) throw invalidOption(name, 'an AbortSignal', value)
  return value
}
