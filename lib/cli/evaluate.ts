// wbsr evaluate: evaluate() with its progress, and its tables.
import path from 'node:path'
import { kindOf } from '../data/glob.js'
import {
  type EvaluateOptions,
  type EvaluationProgress,
  type EvaluationRun,
  type EvaluationSet,
  evaluate,
  evaluationCsv,
  evaluationTable,
  type SupernetModel,
  WbsrError,
} from '../index.js'
import { Ended, UsageError } from './exit.js'
import type { EvaluateFlags } from './flags.js'
import { listenForInterrupts } from './interrupt.js'
import { openModel } from './model.js'
import { duration, Terminal } from './terminal.js'

/** Of files without a name. */
const FILES = 'pictures'

/**
 * Sets by name: NAME=PATH, or the last part of the path of a folder or pattern. Files without a name are one set, as are several
 * paths of one name.
 */
async function setsOf(pictures: string[], lr: string | undefined): Promise<Record<string, EvaluationSet>> {
  const sets = new Map<string, string[]>()
  for (const text of pictures) {
    const [, given, file] = /^([\w-]+)=(.+)$/s.exec(text) ?? [undefined, undefined, text]
    const single = given === undefined && (await kindOf(file!)) === 'file'
    const name = single ? FILES : (given ?? (path.basename(path.resolve(file!)).replace(/[^\w-]+/g, '_') || FILES))
    sets.set(name, [...(sets.get(name) ?? []), file!])
  }
  if (lr !== undefined && sets.size > 1) throw new UsageError('Expected a single set of pictures with --lr')
  return Object.fromEntries([...sets].map(([name, hr]) => [name, { hr, ...(lr !== undefined && { lr }) }]))
}

/** 'largest' is known once the model is there. */
function withLargest(run: EvaluationRun, { subnets }: SupernetModel): EvaluationRun {
  const { router } = run
  return typeof router === 'object' && router.subnet < 0 ? { ...run, router: { subnet: subnets.length - 1 } } : run
}

export async function evaluateSets(pictures: string[], flags: EvaluateFlags): Promise<void> {
  const { protocol, directory, by, ssim, csv, json, quiet = false } = flags
  const sets = await setsOf(pictures, flags.lr)
  const terminal = new Terminal({ quiet })
  const interrupt = listenForInterrupts()
  await using model = await openModel(flags.model, flags)
  const onProgress = ({ done, total, run, picture, seconds }: EvaluationProgress) => {
    const left = done > 0 ? `, ${duration((seconds / done) * (total - done))} to go` : ''
    terminal.status(`${done}/${total}${left}  ${run}  ${picture}`)
  }
  try {
    const evaluation = await evaluate(model, {
      sets,
      ...(protocol !== undefined && { protocol }),
      ...(directory !== undefined && { directory }),
      ...(flags.pictures !== undefined && {
        pictures: flags.pictures.split(',') as NonNullable<EvaluateOptions['pictures']>,
      }),
      ...(flags.runs !== undefined && { runs: flags.runs.map((run) => withLargest(run, model)) }),
      ssim,
      signal: interrupt.signal,
      onProgress,
    })
    terminal.clear()
    for (const { skipped } of evaluation.sets)
      for (const { file, reason } of skipped) terminal.warn(`${file} is left out: ${reason}`)
    const rows = by === undefined ? {} : { by }
    if (json) process.stdout.write(`${JSON.stringify(evaluation, null, 2)}\n`)
    else process.stdout.write(csv ? evaluationCsv(evaluation) : evaluationTable(evaluation, rows))
  } catch (error) {
    terminal.clear()
    const status = interrupt.status()
    if (status === undefined || !(error instanceof WbsrError) || error.code !== 'WBSR_ABORTED') throw error
    throw new Ended(status)
  }
}
