// Values of options, from their text.
import { InvalidArgumentError } from 'commander'
import type { OutputFormat } from '../images/formats.js'
import type { EvaluationRun, Router } from '../index.js'
// Without the addon, so that the help is there even where it is missing.
import { routerNames } from '../routing/routers.js'

const invalid = (expected: string) => new InvalidArgumentError(`Expected ${expected}.`)

export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < min || value > max) throw invalid(`an integer between ${min} and ${max}`)
    return value
  }
}

/** Side of a TIFF's tiles. */
export function tileSide(text: string): number {
  const side = integer(16, 4096)(text)
  if (side % 16 !== 0) throw invalid('a multiple of 16')
  return side
}

export function number(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() === '' || !Number.isFinite(value) || value < min || value > max)
      throw invalid(`a number between ${min} and ${max}`)
    return value
  }
}

export function integers(text: string): number[] {
  const values = text.split(',').map(Number)
  if (!/^\d+(,\d+)*$/.test(text) || values.some((value) => value < 1))
    throw invalid('positive integers with commas between them, e.g. 16,32')
  return values
}

/** 1920x1080, 1920x or x1080. */
export function size(text: string): { width?: number; height?: number } {
  const [, width, height] = /^(\d*)x(\d*)$/i.exec(text) ?? []
  const sides = { ...(width && { width: Number(width) }), ...(height && { height: Number(height) }) }
  const values = Object.values(sides)
  if (values.length === 0 || values.some((side) => side < 1 || side > 1 << 24))
    throw invalid('WIDTHxHEIGHT, WIDTHx or xHEIGHT in pixels, e.g. 1920x1080')
  return sides
}

const FORMATS = ['png', 'jpeg', 'webp', 'tiff', 'avif'] as const
const EXTENSIONS: Record<string, OutputFormat> = { jpg: 'jpeg', tif: 'tiff' }

/** A format by its name, or by the extension that its files have. */
export function format(text: string): OutputFormat {
  const name = FORMATS.find((known) => known === (EXTENSIONS[text] ?? text))
  if (name === undefined) throw invalid(`${FORMATS.join(', ')}`)
  return name
}

/** Values of --router, for its help. */
export const ROUTER_CHOICES = `${routerNames.join(', ')} or subnet:N`

/** A router by its name, or subnet:N. */
export function router(text: string): Router {
  const subnet = /^subnet:(\d+)$/.exec(text)?.[1]
  if (subnet !== undefined) return { subnet: Number(subnet) }
  const name = routerNames.find((known) => known === text)
  if (name === undefined) throw invalid(ROUTER_CHOICES)
  return name
}

/** Values of --runs, for its help. */
export const RUN_CHOICES =
  'smallest, largest, subnet:N, projection, loss:dB, budget:SHARE, projection-budget:SHARE, arm:SHARE, random:SHARE, oracle:SHARE, classsr, classsr:SHARE, predictor:SHARE, tile:N'

/** Routers of evaluate that are named with their budget. */
const BUDGET_ROUTERS = ['projection-budget', 'arm', 'random', 'oracle', 'classsr', 'predictor'] as const
const isBudgetRouter = (name: string | undefined): name is (typeof BUDGET_ROUTERS)[number] =>
  BUDGET_ROUTERS.some((known) => known === name)

/** Runs of evaluate, by commas: smallest,loss:0.02,budget:0.6; tile:N counts for all of them. */
export function runs(text: string): EvaluationRun[] {
  const made: EvaluationRun[] = []
  let tile: number | undefined
  for (const part of text.split(',')) {
    const [, name, value] = /^([\w-]+)(?::([\d.]+))?$/.exec(part.trim()) ?? []
    const share = Number(value)
    if (name === 'smallest' && value === undefined) made.push({ name, router: { subnet: 0 } })
    else if (name === 'largest' && value === undefined) made.push({ name, router: { subnet: -1 } })
    else if ((name === 'projection' || name === 'classsr') && value === undefined) made.push({ router: name })
    else if (name === 'subnet' && Number.isInteger(share)) made.push({ router: { subnet: share } })
    else if (name === 'loss' && share >= 0) made.push({ router: 'calibrated', loss: share })
    else if (name === 'budget' && share > 0 && share <= 1) made.push({ router: 'calibrated', budget: share })
    else if (isBudgetRouter(name) && share > 0 && share <= 1) made.push({ router: name, budget: share })
    else if (name === 'tile' && Number.isInteger(share)) tile = share
    else throw invalid(`${RUN_CHOICES}, with commas between them`)
  }
  if (made.length === 0) throw invalid('at least one run')
  return made.map((run) => ({ ...run, ...(tile !== undefined && { tile }) }))
}
