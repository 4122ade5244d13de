// What a client asks for, from the address of its request.
import path from 'node:path'
import type { OutputFormat } from '../../images/formats.js'
import { MAX_FACTOR, type Target } from '../../stream/target.js'
import { HttpError } from './http.js'

/** What may be lost against the largest subnet; null: it runs everywhere. */
export const QUALITIES = { best: null, balanced: 0.02, fast: 0.1, fastest: 0.3 } as const
export type ServeQuality = keyof typeof QUALITIES

const FORMATS = ['same', 'png', 'jpeg', 'webp', 'avif', 'tiff'] as const

export interface Wanted {
  /** For people and downloads: the last part of a path, without what file systems do not take. */
  name: string
  /** 'auto', or a name of the server's list. */
  model: string
  target: Target
  quality: ServeQuality
  format: OutputFormat | 'same'
}

const bad = (name: string, expected: string, received: string): HttpError =>
  new HttpError(400, 'WBSR_INVALID_OPTION', `Expected ${expected} for ${name} but received ${JSON.stringify(received)}`)

/** A name for a file on any system, of what a client called its picture. */
export function safeName(text: string): string {
  const last = path.posix.basename(text.replaceAll('\\', '/').normalize())
  const clean = last
    .replace(/[\p{Cc}\p{Cf}<>:"|?*]/gu, '')
    .replace(/^[.\s]+/, '')
    .trim()
  // Most file systems take 255 bytes; the rest is for the suffix.
  const { name, ext } = path.parse(clean)
  return [...name].slice(0, 50).join('') + ext.slice(0, 10) || 'picture'
}

/** @throws HttpError 400 */
export function parseRequest(parameters: URLSearchParams, models: readonly string[]): Wanted {
  const known = ['name', 'model', 'scale', 'width', 'quality', 'format']
  for (const key of parameters.keys())
    if (!known.includes(key)) throw bad('parameters', `no others than ${known.join(', ')}`, key)
  const choice = <T extends string>(key: string, choices: readonly T[], fallback: T): T => {
    const text = parameters.get(key) ?? fallback
    if (!choices.includes(text as T)) throw bad(key, `one of ${choices.join(', ')}`, text)
    return text as T
  }
  const scale = parameters.get('scale')
  const width = parameters.get('width')
  if (scale !== null && width !== null) throw bad('width', 'nothing with scale', width)
  if (width !== null && (!/^\d{1,5}$/.test(width) || Number(width) < 1)) throw bad('width', 'pixels', width)
  const factor = Number(scale ?? 2)
  if (scale !== null && (!/^\d+(\.\d+)?$/.test(scale) || factor < 1 || factor > MAX_FACTOR))
    throw bad('scale', `a number between 1 and ${MAX_FACTOR}`, scale)
  return {
    name: safeName(parameters.get('name') ?? ''),
    model: choice('model', ['auto', ...models], 'auto'),
    target: width !== null ? { width: Number(width) } : { scale: factor },
    quality: choice('quality', Object.keys(QUALITIES) as ServeQuality[], 'balanced'),
    format: choice('format', FORMATS, 'same'),
  }
}
