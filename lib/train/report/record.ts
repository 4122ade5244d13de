// What a report holds, and reading it from the page of a run that is continued: the page is its own store.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { WbsrError, wrapError } from '../../errors.js'
import type { PageAllocation } from '../../pages/allocation.js'
import { completeSeries, noSeries, type SeriesState, seriesUntil } from './series.js'

/** Most validations that are kept. */
const MOST_VALIDATIONS = 300

/** PSNR on Y in dB; null: infinite, or no pixels. */
export interface ClassScores {
  bicubic: (number | null)[]
  smallest: (number | null)[]
  largest: (number | null)[]
}

export interface ValidationRecord {
  step: number
  bicubic: number | null
  smallest: number | null
  largest: number | null
  best: boolean
  seconds: number
  /** Of each group of difficulty classes, easiest first. */
  classes: ClassScores
}

/** The pictures of an example, as addresses, and what is known of them. */
export interface ExampleRecord {
  file: string
  /** HR pixels of the crop. */
  x: number
  y: number
  width: number
  height: number
  pictures: { label: string; src: string; sharp?: boolean; allocation?: PageAllocation }[]
  /** Of pictures a and b. */
  figures: { a: number; b: number; text: string }[]
}

export interface RunFacts {
  /** For people: what is trained, on what, how. */
  rows: [name: string, value: string][]
  /** Options that decide the numbers of the run. */
  options: Record<string, unknown>
}

export interface RunRecord {
  format: 'wbsr-training-report'
  version: 1
  /** Digests of the options of the runs that are in it, the last one last. */
  runs: string[]
  facts: RunFacts
  status: 'running' | 'finished' | 'stopped' | 'failed'
  message: string | null
  /** ISO dates. */
  begun: string
  updated: string
  /** Of all processes that ran it. */
  seconds: number
  step: number
  steps: number
  epoch: number
  epochs: number
  /** Seconds to go. */
  eta: number | null
  /** Seconds between two writings of the page. */
  everySeconds: number
  /** Steps after which another process went on. */
  resumed: number[]
  series: SeriesState
  /** Names of the groups of difficulty classes, easiest first. */
  classes: string[]
  /** Patches of the index in each group, and how many were drawn in steps up to `step`. */
  indexed: number[]
  drawn: { step: number; counts: number[] }
  validations: ValidationRecord[]
  examples: ExampleRecord[]
  /** Step of the weights that made them. */
  exampleStep: number | null
  exampleSource: 'validation' | 'training'
}

/** Names a run by its options. */
export const digestOf = (fingerprint: Record<string, unknown>): string =>
  createHash('sha256').update(JSON.stringify(fingerprint)).digest('hex').slice(0, 16)

const DATA = /<script type="application\/json" id="run">(.*?)<\/script>/s

/**
 * The record in a report; null: there is no such file.
 *
 * @throws WbsrError WBSR_INVALID_FILE: the file is something else, which must not be replaced; WBSR_IO
 */
export async function readRecord(file: string): Promise<RunRecord | null> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return null
    throw wrapError(error, 'WBSR_IO', `Cannot read ${file}`)
  }
  try {
    const record = JSON.parse(DATA.exec(text)?.[1] ?? '') as RunRecord
    if (record.format === 'wbsr-training-report' && record.version === 1 && Array.isArray(record.series?.steps))
      return { ...record, series: completeSeries(record.series) }
  } catch {
    // Said below.
  }
  throw new WbsrError(
    'WBSR_INVALID_FILE',
    `Expected a training report of wbsr, or no file, for report but ${file} is something else`,
  )
}

/** A record of a run that goes on after `step`: what came later is done again. */
export function recordUntil(record: RunRecord, step: number): RunRecord {
  return {
    ...record,
    step,
    series: seriesUntil(record.series, step),
    validations: record.validations.filter((entry) => entry.step <= step),
    resumed: [...record.resumed.filter((at) => at < step), step],
    ...((record.exampleStep ?? 0) > step && { examples: [], exampleStep: null }),
  }
}

export function newRecord(
  parts: Pick<RunRecord, 'facts' | 'steps' | 'epochs' | 'everySeconds' | 'classes' | 'indexed' | 'exampleSource'>,
): RunRecord {
  const now = new Date().toISOString()
  return {
    format: 'wbsr-training-report',
    version: 1,
    runs: [],
    status: 'running',
    message: null,
    begun: now,
    updated: now,
    seconds: 0,
    step: 0,
    epoch: 0,
    eta: null,
    resumed: [],
    series: noSeries(),
    drawn: { step: 0, counts: parts.indexed.map(() => 0) },
    validations: [],
    examples: [],
    exampleStep: null,
    ...parts,
  }
}

/** Adds a validation; of very many every second one is dropped, but not the best and the last. */
export function addValidation(record: RunRecord, entry: ValidationRecord): void {
  record.validations.push(entry)
  if (record.validations.length <= MOST_VALIDATIONS) return
  const best = record.validations.findLastIndex((one) => one.best)
  const last = record.validations.length - 1
  record.validations = record.validations.filter((_, i) => i % 2 === 0 || i === best || i === last)
}
