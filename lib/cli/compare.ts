// wbsr compare: pictures and perhaps a model -> comparePictures, and its figures as a table.
import { existsSync, statSync } from 'node:fs'
import path from 'node:path'
import { figuresText } from '../compare/page.js'
import { WbsrError } from '../errors.js'
import { type CompareOptions, type Comparison, comparePictures, defaultModelFor, type SupernetModel } from '../index.js'
import { Ended, UsageError } from './exit.js'
import type { CompareFlags } from './flags.js'
import { listenForInterrupts } from './interrupt.js'
import { openModel } from './model.js'
import { Terminal } from './terminal.js'

/** Of a file that wbsr upscale --map made, if it is there. */
function mapOf(picture: string): string | undefined {
  const { dir, name } = path.parse(picture)
  const map = path.join(dir, `${name}-map.png`)
  return existsSync(map) ? map : undefined
}

/** @throws UsageError: the page would replace one of the pictures */
function checkOut(out: string, inputs: readonly string[]): void {
  const same = (a: string, b: string): boolean => {
    if (path.resolve(a) === path.resolve(b)) return true
    const [first, second] = [a, b].map((file) => statSync(file, { throwIfNoEntry: false }))
    return first !== undefined && second !== undefined && first.dev === second.dev && first.ino === second.ino
  }
  const input = inputs.find((file) => same(file, out))
  if (input !== undefined) throw new UsageError(`Expected another file for --out than ${input}, which is an input`)
}

function labelsOf(text: string | undefined, count: number): (string | undefined)[] {
  if (text === undefined) return []
  const labels = text.split(',').map((label) => label.trim())
  if (labels.length !== count || labels.includes(''))
    throw new UsageError(`Expected ${count} names with commas between them for --labels but received ${text}`)
  return labels
}

export async function compareFiles(pictures: string[], flags: CompareFlags): Promise<void> {
  const { out = 'compare.html', title, router, loss, budget } = flags
  const terminal = new Terminal({ quiet: flags.quiet ?? false, live: flags.json !== true })
  const labels = labelsOf(flags.labels, pictures.length)
  const map = flags.map ?? mapOf(pictures.at(-1)!)
  checkOut(out, map === undefined ? pictures : [...pictures, map])
  const routing = {
    ...(router !== undefined && { router }),
    ...(loss !== undefined && { loss }),
    ...(budget !== undefined && { budget }),
  }
  const enlarges = flags.model !== undefined || pictures.length === 1
  if (!enlarges && Object.keys(routing).length > 0)
    throw new UsageError('Expected --model with --router, --loss and --budget')
  const interrupt = listenForInterrupts()
  let model: SupernetModel | null = null
  try {
    if (enlarges) model = await openModel(flags.model ?? (await defaultModelFor(pictures[0]!)).name, flags)
    const options: CompareOptions = {
      out,
      signal: interrupt.signal,
      ...(title !== undefined && { title }),
      ...(model && { model, upscale: routing }),
    }
    terminal.status('comparing')
    const comparison = await comparePictures(
      pictures.map((image, i) => ({
        image,
        ...(labels[i] !== undefined && { label: labels[i] }),
        ...(i === pictures.length - 1 && map !== undefined && !(i === 0 && model) && { map }),
      })),
      options,
    )
    terminal.clear()
    tell(comparison, terminal, flags.json === true)
  } catch (error) {
    terminal.clear()
    const status = interrupt.status()
    if (status === undefined || !(error instanceof WbsrError) || error.code !== 'WBSR_ABORTED') throw error
    throw new Ended(status)
  } finally {
    model?.dispose()
  }
}

function tell(comparison: Comparison, terminal: Terminal, json: boolean): void {
  const { file, bytes, pictures, figures } = comparison
  // JSON has no Infinity: null stands for equal pictures.
  if (json) process.stdout.write(`${JSON.stringify(comparison, null, 2)}\n`)
  for (const entry of figures)
    terminal.line(`${pictures[entry.a]!.label} and ${pictures[entry.b]!.label}: ${figuresText(entry)}`)
  terminal.line(`${file}: ${pictures.length} pictures, ${(bytes / 1e6).toFixed(1)} MB; open it in a browser`)
}
