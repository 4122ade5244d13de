// From what stands on the command line to files in and files out.
import { existsSync, realpathSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { findImages, type SkippedImage } from '../../data/files.js'
import { expandBraces, isPattern, kindOf } from '../../data/glob.js'
import { WbsrError } from '../../errors.js'
import { type OutputFormat, outputFormat } from '../../images/formats.js'
import { UsageError } from '../exit.js'

/** Standard input or output. */
export const STANDARD = '-'

export interface Job {
  /** A file, or '-'. */
  input: string
  /** A file, or '-'. */
  output: string
  format: OutputFormat
  /** Where the allocation map goes, if it is wanted. */
  map: string | null
}

export interface Jobs {
  jobs: Job[]
  /** Inputs that nothing can be done with. */
  failed: { input: string; error: unknown }[]
  /** Outputs that are there already. */
  skipped: Job[]
}

export interface Naming {
  out?: string | undefined
  format?: OutputFormat | undefined
  skipExisting?: boolean | undefined
  map?: boolean | undefined
  /** What stands behind the name of a file beside its input: -x2. */
  suffix: string
}

const EXTENSIONS: Record<OutputFormat, string> = {
  png: '.png',
  jpeg: '.jpg',
  webp: '.webp',
  tiff: '.tif',
  avif: '.avif',
}
const WRITABLE = /\.(png|jpe?g|webp|tiff?|avif)$/i

/** The name with the extension of its format: its own where that can be written, else PNG. */
function named(file: string, format: OutputFormat | undefined): string {
  if (format === undefined && WRITABLE.test(file)) return file
  if (format !== undefined && WRITABLE.test(file) && outputFormat(file, 'file') === format) return file
  return file.slice(0, file.length - path.extname(file).length) + EXTENSIONS[format ?? 'png']
}

/** The folder that a file's place is kept from: the folder that was named, or what stands before a pattern's first wildcard. */
function baseOf(input: string, kind: string | null): string {
  if (kind === 'folder') return input
  if (kind !== null) return path.dirname(input)
  const patterns = expandBraces(input).map((pattern) => pattern.split('/'))
  const literal = patterns[0]!.findIndex(
    (segment, i) => /[*?]/.test(segment) || patterns.some((other) => other[i] !== segment),
  )
  const segments = patterns[0]!.slice(0, literal < 0 ? -1 : literal)
  return segments.join('/') || (input.startsWith('/') ? '/' : '.')
}

interface Found {
  input: string
  base: string
}

async function findInputs(
  inputs: readonly string[],
  failed: Jobs['failed'],
): Promise<{ found: Found[]; many: boolean }> {
  const found: Found[] = []
  const seen = new Set<string>()
  let many = inputs.length > 1
  for (const input of inputs) {
    if (input === STANDARD) {
      found.push({ input, base: '.' })
      continue
    }
    try {
      const kind = await kindOf(input)
      many ||= kind === 'folder' || (kind === null && isPattern(input))
      const skipped: SkippedImage[] = []
      const files = await findImages(input, 'input', skipped)
      const base = baseOf(input, kind)
      for (const file of files) {
        if (seen.has(file)) continue
        seen.add(file)
        found.push({ input: file, base })
      }
      for (const { file, reason } of skipped)
        failed.push({ input: file, error: new WbsrError('WBSR_INVALID_IMAGE', `${file} ${reason}`) })
    } catch (error) {
      failed.push({ input, error })
    }
  }
  return { found, many }
}

const inside = (folder: string, file: string) => {
  const relative = path.relative(folder, file)
  return relative !== '' && !relative.startsWith('..') && !path.isAbsolute(relative)
}

const isFolder = async (file: string) => {
  const found = await stat(file).catch(() => null)
  return found?.isDirectory() === true
}

/** Where the result of each file goes. */
async function outputsOf(found: readonly Found[], many: boolean, naming: Naming): Promise<(found: Found) => string> {
  const { out, format, suffix } = naming
  if (found.some(({ input }) => input === STANDARD) && many)
    throw new UsageError('Expected - (standard input) to be the only input')
  if (out === STANDARD || (out === undefined && found[0]?.input === STANDARD)) {
    if (many) throw new UsageError('Expected a folder for --out but received - (standard output takes one picture)')
    return () => STANDARD
  }
  if (out === undefined) {
    if (many) throw new UsageError('Expected --out FOLDER, as there are several inputs, a folder or a pattern')
    return ({ input }) => {
      const file = named(input, format)
      const extension = path.extname(file)
      return file.slice(0, file.length - extension.length) + suffix + extension
    }
  }
  if (many || out.endsWith('/') || (await isFolder(out))) {
    if (existsSync(out) && !(await isFolder(out)))
      throw new UsageError(`Expected a folder for --out but ${out} is a file`)
    if (WRITABLE.test(out) && !existsSync(out))
      throw new UsageError(
        `Expected a folder for --out, as there are several inputs, but ${out} is the name of a picture (${out}/ is a folder)`,
      )
    return ({ input, base }) =>
      path.join(out, named(input === STANDARD ? 'stdin.png' : path.relative(base, input), format))
  }
  return () => out
}

/** The format of what is written; the extension decides, and an option that says something else is an error. */
function formatOf(output: string, format: OutputFormat | undefined): OutputFormat {
  if (output === STANDARD) return format ?? 'png'
  const own = outputFormat(output, '--out')
  if (format !== undefined && format !== own)
    throw new UsageError(`Expected a name for --out that ends in ${EXTENSIONS[format]} with --format ${format}`)
  return own
}

function realOr(file: string): string {
  try {
    return realpathSync(file)
  } catch {
    return path.resolve(file)
  }
}

const filesOf = ({ output, map }: Job) => (map === null ? [output] : [output, map])

/**
 * Why a job's files must not be written, or null.
 *
 * @param takers by output: the input whose result it is
 * @param sources real paths of all inputs
 */
function refusal(job: Job, takers: ReadonlyMap<string, string>, sources: ReadonlySet<string>): string | null {
  for (const file of filesOf(job)) {
    const what = file === job.map ? 'the map' : 'the result'
    const real = realOr(file)
    if (job.input !== STANDARD && real === realOr(job.input)) return `${what} would overwrite it`
    const other = takers.get(file)
    if (other !== undefined) return `${file} would also be the result of ${other}: use another --format or --out`
    if (sources.has(real)) return `${what} would overwrite ${file}, which is an input: use another --out`
  }
  return null
}

/**
 * Finds the pictures and names their results. A folder's tree is kept below `out`, also that below a pattern's fixed part;
 * files below `out` are no inputs. No file is written twice, and none over an input.
 *
 * @throws UsageError where the command line makes no sense; what is wrong with single inputs is in `failed`
 */
export async function planJobs(inputs: readonly string[], naming: Naming): Promise<Jobs> {
  const plan: Jobs = { jobs: [], failed: [], skipped: [] }
  const { found, many } = await findInputs(inputs, plan.failed)
  const outputOf = await outputsOf(found, many, naming)
  const isResult = ({ input, base }: Found) =>
    many && naming.out !== undefined && inside(naming.out, input) && inside(base, naming.out)
  const used = found.filter((entry) => !isResult(entry))
  const sources = new Set(used.map(({ input }) => (input === STANDARD ? STANDARD : realOr(input))))
  const takers = new Map<string, string>()
  for (const entry of used) {
    const { input } = entry
    const output = outputOf(entry)
    const job: Job = {
      input,
      output,
      format: formatOf(output, naming.format),
      map: naming.map ? mapName(output) : null,
    }
    if (output !== STANDARD) {
      const refused = refusal(job, takers, sources)
      if (refused !== null) {
        plan.failed.push({ input, error: new WbsrError('WBSR_INVALID_OPTION', `${input}: ${refused}`) })
        continue
      }
      for (const file of filesOf(job)) takers.set(file, input)
      if (naming.skipExisting && (await kindOf(output)) === 'file') {
        plan.skipped.push(job)
        continue
      }
    }
    plan.jobs.push(job)
  }
  return plan
}

function mapName(output: string): string {
  if (output === STANDARD) throw new UsageError('Expected --out FILE with --map, whose picture is written beside it')
  return `${output.slice(0, output.length - path.extname(output).length)}-map.png`
}
