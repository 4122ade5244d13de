// The model that a command names, and the options of commands that open one.
import { type Command, Option } from 'commander'
import type { DeviceOptions } from '../devices.js'
import { loadModel } from '../models/load.js'
import { loadSupernet, type SupernetModel } from '../models/model.js'
import { defaultModelFor, shippedModels } from '../models/shipped.js'
import type { ImageInput } from '../types.js'
import { UsageError } from './exit.js'
import type { DeviceFlags } from './flags.js'
import { integer, number, ROUTER_CHOICES, router } from './values.js'

export function deviceFlags(command: Command): Command {
  return command
    .option('--device <name>', "auto, cpu, cuda or cuda:N (default: the best that can run; 'wbsr doctor' lists them)")
    .option('--threads <count>', 'CPU threads (default: all cores)', integer(1, 1024))
    .option('--precision <name>', 'of convolutions: bf16, tf32 or fp32 on a GPU, fp32 or int8 (with AMX) on the CPU')
}

/** How tiles get their subnets. */
export function routingFlags(command: Command): Command {
  return command
    .option(
      '--router <name>',
      `what chooses the subnet of each part: ${ROUTER_CHOICES} (default: calibrated, where the model has its table)`,
      router,
    )
    .addOption(
      new Option('--loss <dB>', 'PSNR that may be lost against the largest subnet; more is faster (default: 0.02)')
        .argParser(number(0, 100))
        .conflicts('budget'),
    )
    .option('--budget <share>', "instead: of the largest subnet's cost, above 0 and at most 1", number(0, 1))
}

export function deviceOptions({ device, threads, precision }: DeviceFlags): DeviceOptions {
  return {
    ...(device !== undefined && { device }),
    ...(threads !== undefined && { threads }),
    ...(precision !== undefined && { precision }),
  }
}

/** A model of this project, or of another tool, whichever the file holds; wbsr:NAME is one of the package. */
export async function openModel(name: string, flags: DeviceFlags): Promise<SupernetModel> {
  const options = deviceOptions(flags)
  return name.startsWith('wbsr:') ? loadSupernet(name, options) : loadModel(name, options)
}

/** The scale of the package's models that a factor is reached with: the least that is enough, else the largest. */
export function shippedScale(factor: number, scales: readonly number[]): number {
  const sorted = [...scales].sort((a, b) => a - b)
  return sorted.find((scale) => scale >= factor) ?? sorted.at(-1)!
}

/** The models of one run: the one that was named, or for each picture the one of the package that suits it. */
export class Models {
  readonly #flags: DeviceFlags
  readonly #open = new Map<string, Promise<SupernetModel>>()
  readonly #name: string | undefined
  #first: SupernetModel | null = null
  /** Of all of them. */
  readonly scale: number

  private constructor(name: string | undefined, scale: number, flags: DeviceFlags) {
    this.#name = name
    this.#flags = flags
    this.scale = scale
  }

  /**
   * Opens the model that is named, or one of the package.
   *
   * @param factor by which pictures are to be enlarged, where a model of the package is to be chosen
   * @param check gets each model when it is opened
   */
  static async open(
    name: string | undefined,
    factor: number,
    flags: DeviceFlags,
    check: (model: SupernetModel) => void,
  ): Promise<Models> {
    if (name !== undefined) {
      const model = await openModel(name, flags)
      const models = new Models(name, model.scale, flags)
      models.#open.set(name, Promise.resolve(model))
      return models.#checked(model, check)
    }
    const shipped = shippedModels()
    if (shipped.length === 0) throw new UsageError('Expected --model FILE, as this package has no models of its own')
    const scale = shippedScale(
      factor,
      shipped.map((model) => model.scale),
    )
    const models = new Models(undefined, scale, flags)
    return models.#checked(await models.#named(shipped.find((model) => model.scale === scale)!.name), check)
  }

  async #checked(model: SupernetModel, check: (model: SupernetModel) => void): Promise<this> {
    this.#first = model
    try {
      check(model)
      return this
    } catch (error) {
      await this[Symbol.asyncDispose]()
      throw error
    }
  }

  #named(name: string): Promise<SupernetModel> {
    let model = this.#open.get(name)
    if (!model) this.#open.set(name, (model = openModel(name, this.#flags)))
    return model
  }

  /** What `only` is called. */
  get name(): string {
    return this.#name ?? [...this.#open.keys()][0]!
  }

  /** The one that was named, or the plain one of the package. */
  get only(): SupernetModel {
    return this.#first!
  }

  /** The model for a picture. */
  async for(picture: ImageInput): Promise<SupernetModel> {
    return this.#named(this.#name ?? (await defaultModelFor(picture, { scale: this.scale })).name)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const model of this.#open.values()) (await model.catch(() => null))?.dispose()
  }
}
