// An evaluation as text: tables for people (Markdown), CSV for programs. As JSON it is what JSON.stringify gives, with null for
// an infinite PSNR.
import { checkChoice, checkObject } from '../options.js'
import type { ClassQuality, EvaluatedSet, Evaluation, Quality, SetSummary } from './results.js'

const decimals = (value: number | null | undefined, digits: number): string =>
  value === null || value === undefined ? '' : Number.isFinite(value) ? value.toFixed(digits) : 'inf'

/** Columns as wide as their longest cell; all but the first `left` are right-aligned. */
function markdown(header: string[], rows: string[][], left = 1): string {
  const widths = header.map((title, c) => Math.max(3, title.length, ...rows.map((row) => row[c]!.length)))
  const line = (cells: string[]): string =>
    `| ${cells.map((cell, c) => (c < left ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!))).join(' | ')} |`
  const rule = widths.map((width, c) => (c < left ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(header), line(rule), ...rows.map(line)].join('\n')
}

/** What the rows of {@link evaluationTable} are. */
export interface TableOptions {
  /** A row for each run ('set', default), for each run and picture, or for each difficulty class with a column for each run. */
  by?: 'set' | 'picture' | 'class'
}

/**
 * Markdown tables, one for each set. PSNR in dB, GFLOPs of a 32x32 LR patch and their share of the largest subnet's, seconds of
 * all pictures, tiles of each subnet from the cheapest on.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function evaluationTable(evaluation: Evaluation, options: TableOptions = {}): string {
  checkObject(options, 'options', ['by'])
  const by = checkChoice(options.by ?? 'set', 'by', ['set', 'picture', 'class'] as const)
  const { model, protocol, shave } = evaluation
  const parts = evaluation.sets.map((set) => {
    const skipped = set.skipped.length > 0 ? `, ${set.skipped.length} left out` : ''
    const title = `${set.name}, x${model.scale}: ${set.pictures.length} pictures${skipped}, LR: ${set.lr}, protocol ${protocol}, shave ${shave}`
    if (set.pictures.length === 0) return title
    return `${title}\n\n${by === 'class' ? classTable(evaluation, set) : qualityTable(evaluation, set, by)}`
  })
  return `${parts.join('\n\n')}\n`
}

const QUALITY = ['PSNR Y', 'PSNR RGB', 'SSIM']
const qualityCells = ({ psnr, ssim }: { psnr: Quality; ssim: number | null }): string[] => [
  decimals(psnr.y, 2),
  decimals(psnr.rgb, 2),
  decimals(ssim, 4),
]

function qualityTable(evaluation: Evaluation, set: EvaluatedSet, by: 'set' | 'picture'): string {
  const costs = ['GFLOPs', 'share', 'seconds', 'tiles']
  if (by === 'set')
    return markdown(
      ['run', ...QUALITY, ...costs],
      evaluation.runs.map(({ name }) => [name, ...qualityCells(set.summary[name]!), ...costCells(set.summary[name]!)]),
    )
  const rows = set.pictures.flatMap((picture) =>
    evaluation.runs.map(({ name }) => {
      const result = picture.results[name]!
      const { flops, patches, flopsOfLargest } = result
      const cost = { ...result, flops: flops / patches, share: flops / flopsOfLargest }
      return [picture.name, name, ...qualityCells(result), ...costCells(cost)]
    }),
  )
  return markdown(['picture', 'run', ...QUALITY, ...costs], rows, 2)
}

type Cost = Pick<SetSummary, 'flops' | 'share' | 'seconds' | 'histogram'>

const costCells = ({ flops, share, seconds, histogram }: Cost): string[] =>
  flops === 0
    ? ['', '', decimals(seconds, 2), '']
    : [decimals(flops / 1e9, 3), `${decimals(100 * share, 1)} %`, decimals(seconds, 2), histogram.join(' ')]

/** PSNR on Y of each class that has pixels. */
function classTable({ runs }: Evaluation, { summary }: EvaluatedSet): string {
  const first = summary[runs[0]!.name]!.classes
  const pixels = first.reduce((sum, part) => sum + part.pixels, 0)
  const rows = first.flatMap((part, k) => {
    if (part.pixels === 0) return []
    const cells = runs.map(({ name }) => decimals(summary[name]!.classes[k]!.psnr?.y, 2))
    return [[String(k + 1), `${decimals((100 * part.pixels) / pixels, 1)} %`, ...cells]]
  })
  return markdown(['class', 'area', ...runs.map(({ name }) => name)], rows)
}

const CSV = 'set,picture,class,run,images,pixels,psnr_y,psnr_rgb,ssim,flops,share,seconds,network_seconds,tiles'

/**
 * CSV with a header: for each set and run its means (picture and class empty), its difficulty classes (class filled in) and its
 * pictures (picture filled in). flops: of a 32x32 LR patch. Seconds: of all pictures. tiles: of each subnet, with spaces between.
 */
export function evaluationCsv(evaluation: Evaluation): string {
  const lines = [CSV]
  const add = (cells: (string | number | null)[]): void => {
    lines.push(cells.map((cell) => quote(cell)).join(','))
  }
  for (const set of evaluation.sets) {
    if (set.pictures.length === 0) continue
    for (const { name } of evaluation.runs) {
      const { images, psnr, ssim, flops, share, seconds, networkSeconds, histogram, classes } = set.summary[name]!
      const tiles = histogram.join(' ')
      add([set.name, '', '', name, images, null, psnr.y, psnr.rgb, ssim, flops, share, seconds, networkSeconds, tiles])
      for (const [k, part] of classes.entries()) if (part.psnr) add(classRow(set.name, k + 1, name, images, part))
      for (const picture of set.pictures) {
        const result = picture.results[name]!
        const perPatch = result.flops / result.patches
        const ofLargest = result.flops / result.flopsOfLargest
        const { psnr: own, seconds: time, networkSeconds: network } = result
        const quality = [own.y, own.rgb, result.ssim]
        const cost = [perPatch, ofLargest, time, network, result.histogram.join(' ')]
        add([set.name, picture.name, '', name, 1, null, ...quality, ...cost])
      }
    }
  }
  return `${lines.join('\n')}\n`
}

function classRow(set: string, k: number, run: string, images: number, { pixels, psnr, ssim }: ClassQuality) {
  return [set, '', k, run, images, pixels, psnr!.y, psnr!.rgb, ssim, null, null, null, null, null]
}

function quote(cell: string | number | null): string {
  if (cell === null) return ''
  if (typeof cell === 'number') return cell === Infinity ? 'inf' : String(cell)
  return /[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell
}
