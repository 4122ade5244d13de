// What people see: lines on standard error and, on a terminal only, colour and one line that is written over. Standard
// output belongs to results.
import { styleText } from 'node:util'

type Format = Parameters<typeof styleText>[0]

/** Shortest time between two states of the line that is written over. */
const STATUS_MS = 100

const capable = (stream: NodeJS.WriteStream) => stream.isTTY === true && process.env['TERM'] !== 'dumb'

/** Colours a text where `stream` is a terminal and NO_COLOR is not set. */
export function colour(stream: NodeJS.WriteStream, format: Format, text: string): string {
  if (!capable(stream) || process.env['NO_COLOR']) return text
  return styleText(format, text, { validateStream: false })
}

export class Terminal {
  readonly #stream = process.stderr
  readonly #quiet: boolean
  readonly #live: boolean
  #shown = false
  #last = 0

  /** @param quiet errors only */
  constructor({ quiet = false, live = true }: { quiet?: boolean; live?: boolean } = {}) {
    this.#quiet = quiet
    this.#live = live && !quiet && capable(this.#stream)
  }

  /** Whether progress is shown in a line that is written over. */
  get live(): boolean {
    return this.#live
  }

  style(format: Format, text: string): string {
    return colour(this.#stream, format, text)
  }

  /** A line that stays. */
  line(text: string): void {
    if (this.#quiet) return
    this.clear()
    this.#stream.write(`${text}\n`)
  }

  warn(text: string): void {
    this.line(`${this.style('yellow', 'warning:')} ${text}`)
  }

  /** Also where the terminal is quiet. */
  error(text: string): void {
    this.clear()
    this.#stream.write(`${this.style('red', 'error:')} ${text}\n`)
  }

  /** A line that the next one replaces; nothing where there is no terminal. */
  status(text: string): void {
    const now = performance.now()
    if (!this.#live || (this.#shown && now - this.#last < STATUS_MS)) return
    this.#last = now
    this.#shown = true
    const columns = this.#stream.columns || 80
    this.#stream.write(`\r\x1b[2K${text.length >= columns ? `${text.slice(0, columns - 2)}…` : text}`)
  }

  clear(): void {
    if (!this.#shown) return
    this.#shown = false
    this.#stream.write('\r\x1b[2K')
  }
}

/** 0.83 s, 12.3 s, 4:05, 2:03:41 */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(2)} s`
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  const two = (value: number) => String(value).padStart(2, '0')
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)]
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`
}

export const percent = (share: number): string => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`

/** Rows of cells as a table of aligned columns. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows.reduce<number[]>((all, row) => row.map((cell, i) => Math.max(all[i] ?? 0, cell.length)), [])
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
