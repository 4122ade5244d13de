// wbsr train: options and configuration file -> trainSupernet, a live line while it runs, the model's file.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { WbsrError } from '../errors.js'
import { launchedRank, type TrainOptions, trainSupernet } from '../index.js'
import { Ended, EXIT, UsageError } from './exit.js'
import type { TrainFlags } from './flags.js'
import { listenForInterrupts } from './interrupt.js'
import { deviceOptions } from './model.js'
import { makeNetwork } from './networks.js'
import { TrainReporter } from './train-report.js'

type Json = Record<string, unknown>

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

async function readConfig(file: string | undefined): Promise<Json> {
  if (file === undefined) return {}
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw new UsageError(`Cannot read ${file}: ${(error as Error).message}`)
  }
  try {
    const config: unknown = JSON.parse(text)
    if (isObject(config)) return config
  } catch (error) {
    throw new UsageError(`Expected JSON in ${file}: ${(error as Error).message}`)
  }
  throw new UsageError(`Expected a JSON object in ${file}`)
}

const part = (config: Json, key: string): Json => {
  const value = config[key] ?? {}
  if (!isObject(value)) throw new UsageError(`Expected an object for ${key} in the configuration`)
  return value
}

const given = (values: Json): Json =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))

const RESUME: Record<string, 'auto' | boolean> = { auto: 'auto', yes: true, no: false }

function checkpointOf(flags: TrainFlags, config: Json, out: string): Json | undefined {
  const asked = config['checkpoint']
  if (flags.checkpoint === false || (asked === false && typeof flags.checkpoint !== 'string')) {
    if (flags.resume !== undefined) throw new UsageError('Expected no --resume without a checkpoint folder')
    return undefined
  }
  const { dir, name } = path.parse(out)
  return {
    directory: path.join(dir, `${name}.run`),
    ...(asked === false ? {} : part(config, 'checkpoint')),
    ...given({
      directory: typeof flags.checkpoint === 'string' ? flags.checkpoint : undefined,
      resume: flags.resume === undefined ? undefined : (RESUME[flags.resume] ?? flags.resume),
    }),
  }
}

/** Where the page about the run goes: beside the checkpoint, or beside the model where there is none. */
function reportOf(flags: TrainFlags, config: Json, checkpoint: Json | undefined, out: string): unknown {
  if (flags.report !== undefined && flags.report !== true) return flags.report
  if (config['report'] !== undefined) return config['report']
  const { dir, name } = path.parse(out)
  const folder = checkpoint?.['directory']
  return typeof folder === 'string' ? path.join(folder, 'report.html') : path.join(dir, `${name}.report.html`)
}

/** The loss of the configuration, unless --loss names another one; with the weight of its frequency term where that is given. */
function lossOf({ loss, frequency }: TrainFlags, config: Json): unknown {
  const chosen = loss ?? config['loss']
  if (frequency === undefined) return chosen
  return { ...(typeof chosen === 'object' && chosen !== null ? chosen : { kind: chosen ?? 'bd' }), frequency }
}

/** The options of trainSupernet out of those of the command line and of a configuration; those of the command line win. */
export function trainOptions(photographs: string[], flags: TrainFlags, config: Json): { out: string; options: Json } {
  const { out: configured, network, data: _data, optimizer: _optimizer, checkpoint: _checkpoint, ...rest } = config
  const out = flags.out ?? configured ?? 'model.safetensors'
  if (typeof out !== 'string' || out === '') throw new UsageError('Expected the name of a file for out')
  const { name = 'srresnet', ...ofNetwork } =
    typeof network === 'string' ? { name: network } : part({ network }, 'network')
  const { preset, scale, widths, depths } = flags
  const data = { ...part(config, 'data'), ...given({ validation: flags.validation, lr: flags.lr }) }
  if (photographs.length > 0) data['train'] = photographs
  if (data['train'] === undefined)
    throw new UsageError('Expected folders or files of photographs, or data.train in --config')
  // The one of the command line replaces whichever the file has.
  if (flags.steps !== undefined || flags.epochs !== undefined) {
    delete rest['steps']
    delete rest['epochs']
  }
  const checkpoint = checkpointOf(flags, config, out)
  return {
    out,
    options: {
      ...rest,
      network: makeNetwork(flags.network ?? name, {
        scale: 2,
        ...ofNetwork,
        ...given({ preset, scale, widths, depths }),
      }),
      data,
      ...given({
        steps: flags.steps,
        epochs: flags.epochs,
        batchSize: flags.batch,
        microBatches: flags.microBatches,
        distributed: flags.distributed,
        patchSize: flags.patch,
        loss: lossOf(flags, config),
        seed: flags.seed,
        from: flags.from,
        extend: flags.extend,
        checkpoint,
        report: reportOf(flags, config, checkpoint, out),
      }),
      optimizer: { ...part(config, 'optimizer'), ...given({ learningRate: flags.learningRate }) },
      ...deviceOptions(flags),
    },
  }
}

export async function train(photographs: string[], flags: TrainFlags): Promise<void> {
  const { out, options } = trainOptions(photographs, flags, await readConfig(flags.config))
  const interrupt = listenForInterrupts()
  // Rank 0 alone reports and writes.
  const leads = options['distributed'] === undefined || launchedRank() === 0
  const page = options['report'] as TrainOptions['report']
  const reporter = new TrainReporter({
    json: leads && (flags.json ?? false),
    quiet: !leads || (flags.quiet ?? false),
    page: typeof page === 'object' ? page.file : page || null,
  })
  try {
    await using model = await trainSupernet({
      ...(options as unknown as TrainOptions),
      signal: interrupt.signal,
      ...reporter.callbacks,
    })
    if (leads) await model.save(out)
    reporter.end(out, model)
  } catch (error) {
    reporter.clear()
    const status = interrupt.status()
    if (status === undefined || !(error instanceof WbsrError) || error.code !== 'WBSR_ABORTED') throw error
    const directory = (options['checkpoint'] as { directory?: string } | undefined)?.directory
    reporter.stopped(directory)
    throw new Ended(status ?? EXIT.failed)
  }
}
