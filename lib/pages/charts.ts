// Charts as SVG: lines over steps, and bars. Colours and sizes are in pages/report.css, by class.
import { escapeHtml } from './document.js'

const WIDTH = 480
const HEIGHT = 240
const LEFT = 64
const RIGHT = 12
const TOP = 12
const BOTTOM = 40
const X_TICKS = 5
const Y_TICKS = 5

export interface Line {
  label: string
  /** Points without a finite value are left out. */
  points: readonly (readonly [x: number, y: number])[]
}

export interface LineChart {
  title: string
  lines: readonly Line[]
  /** Of the vertical axis. */
  unit: string
  log?: boolean
  /** Of the horizontal axis; default: those of the points. */
  range?: readonly [number, number]
  /** Vertical lines at these places. */
  marks?: readonly number[]
}

/** About `count` round numbers between two values. */
export function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / Math.max(1, count)
  if (!(rough > 0)) return [low]
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10)
  const first = Math.ceil(low / step - 1e-9)
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step)
}

/** Powers of ten between two values, or round numbers where there are less than two. */
function logTicks(low: number, high: number): number[] {
  const powers = Array.from(
    { length: Math.floor(Math.log10(high)) - Math.ceil(Math.log10(low)) + 1 },
    (_, i) => 10 ** (Math.ceil(Math.log10(low)) + i),
  )
  if (powers.length >= 2) return powers
  return ticks(low, high, Y_TICKS).filter((value) => value > 0)
}

/** 0.00012, 31.5, 12k: at most four digits. */
export function shortNumber(value: number): string {
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`
  if (size < 1e-3) return value.toExponential(1).replace('.0e', 'e')
  return String(Number(value.toPrecision(4)))
}

const place = (value: number): string => value.toFixed(1)

interface Axes {
  x(value: number): number
  y(value: number): number
}

function frame(svg: string, title: string, summary: string, keys: readonly string[]): string {
  const legend =
    keys.length > 1
      ? `<ul class="keys">${keys.map((key, i) => `<li><span class="key k${i % 6}"></span>${escapeHtml(key)}</li>`).join('')}</ul>`
      : ''
  return `<figure class="chart"><figcaption>${escapeHtml(title)}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(`${title}. ${summary}`)}">${svg}</svg>${legend}</figure>`
}

const horizontal = (y: number, label: string): string =>
  `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${place(y)}" y2="${place(y)}"/>` +
  `<text class="tick" x="${LEFT - 6}" y="${place(y + 4)}" text-anchor="end">${label}</text>`

const below = (x: number, label: string): string =>
  `<text class="tick" x="${place(x)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${label}</text>`

const axisNames = (x: string, y: string): string =>
  `<text class="axis" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 4}" text-anchor="middle">${escapeHtml(x)}</text>` +
  `<text class="axis" x="12" y="${(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" transform="rotate(-90 12 ${
    (TOP + HEIGHT - BOTTOM) / 2
  })">${escapeHtml(y)}</text>`

const empty = `<text class="axis" x="${WIDTH / 2}" y="${HEIGHT / 2}" text-anchor="middle">nothing yet</text>`

/** Values over steps. */
export function lineChart({ title, lines, unit, log = false, range, marks = [] }: LineChart): string {
  const usable = lines.map(({ label, points }) => ({
    label,
    points: points.filter(([, y]) => Number.isFinite(y) && (!log || y > 0)),
  }))
  const all = usable.flatMap(({ points }) => points)
  const labels = lines.map(({ label }) => label)
  if (all.length === 0) return frame(empty, title, 'Nothing yet.', labels)
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  let [first, last] = range ?? [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const [x, y] of all) {
    low = Math.min(low, y)
    high = Math.max(high, y)
    if (!range) [first, last] = [Math.min(first, x), Math.max(last, x)]
  }
  if (low === high)
    [low, high] = log ? [low / 2, high * 2] : [low - Math.abs(low) * 0.1 - 1e-6, high + Math.abs(high) * 0.1 + 1e-6]
  else if (!log) [low, high] = [low - (high - low) * 0.04, high + (high - low) * 0.04]
  if (first === last) last = first + 1
  const to = log ? Math.log10 : (value: number) => value
  const axes: Axes = {
    x: (value) => LEFT + ((value - first) / (last - first)) * (WIDTH - LEFT - RIGHT),
    y: (value) => TOP + (1 - (to(value) - to(low)) / (to(high) - to(low))) * (HEIGHT - TOP - BOTTOM),
  }
  const grid = (log ? logTicks(low, high) : ticks(low, high, Y_TICKS)).map((value) =>
    horizontal(axes.y(value), shortNumber(value)),
  )
  const steps = ticks(first, last, X_TICKS).map((value) => below(axes.x(value), shortNumber(value)))
  const resumed = marks
    .filter((value) => value > first && value < last)
    .map(
      (value) =>
        `<line class="mark" x1="${place(axes.x(value))}" x2="${place(axes.x(value))}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/>`,
    )
  const drawn = usable.map(({ points }, i) => {
    if (points.length === 1)
      return `<circle class="dot k${i % 6}" cx="${place(axes.x(points[0]![0]))}" cy="${place(axes.y(points[0]![1]))}" r="3"/>`
    return `<polyline class="line k${i % 6}" points="${points.map(([x, y]) => `${place(axes.x(x))},${place(axes.y(y))}`).join(' ')}"/>`
  })
  const ends = usable
    .filter(({ points }) => points.length > 0)
    .map(({ label, points }) => `${label}: ${shortNumber(points.at(-1)![1])}`)
  return frame(
    [...grid, ...steps, axisNames('step', unit), ...resumed, ...drawn].join(''),
    title,
    `Last values: ${ends.join(', ')} ${unit}.`,
    labels,
  )
}

export interface BarChart {
  title: string
  /** Of the groups of bars, from left to right. */
  groups: readonly string[]
  bars: readonly { label: string; values: readonly (number | null)[] }[]
  groupName: string
  unit: string
  /** Where bars begin; default 0. */
  base?: number
}

/** Groups of bars. */
export function barChart({ title, groups, bars, groupName, unit, base = 0 }: BarChart): string {
  const values = bars.flatMap(({ values }) => values.filter((value) => value !== null && Number.isFinite(value)))
  const labels = bars.map(({ label }) => label)
  if (values.length === 0) return frame(empty, title, 'Nothing yet.', labels)
  const high = Math.max(base, ...(values as number[]))
  const low = Math.min(base, ...(values as number[]))
  const span = high - low || 1
  const y = (value: number) => TOP + (1 - (value - low) / span) * (HEIGHT - TOP - BOTTOM)
  const room = (WIDTH - LEFT - RIGHT) / groups.length
  const width = (room * 0.8) / bars.length
  // Names that would overlap are left out.
  const every = Math.ceil(groups.length / 20)
  const drawn = bars.flatMap(({ values, label }, b) =>
    values.flatMap((value, g) => {
      if (value === null || !Number.isFinite(value)) return []
      const [top, bottom] = [Math.min(y(value), y(base)), Math.max(y(value), y(base))]
      const x = LEFT + g * room + room * 0.1 + b * width
      return `<rect class="bar k${b % 6}" x="${place(x)}" y="${place(top)}" width="${place(width)}" height="${place(bottom - top)}"><title>${escapeHtml(`${groupName} ${groups[g]}, ${label}: ${shortNumber(value)} ${unit}`)}</title></rect>`
    }),
  )
  const names = groups.map((name, g) => (g % every === 0 ? below(LEFT + (g + 0.5) * room, escapeHtml(name)) : ''))
  const grid = ticks(low, high, Y_TICKS).map((value) => horizontal(y(value), shortNumber(value)))
  const summary = bars.map(
    ({ label, values }) => `${label}: ${values.map((v) => (v === null ? 'none' : shortNumber(v))).join(', ')}`,
  )
  return frame(
    [...grid, ...drawn, ...names, axisNames(groupName, unit)].join(''),
    title,
    `${summary.join('; ')}.`,
    labels,
  )
}
