// The models that clients may choose: those of the package and one that the command line named. Each is opened when it is first
// wanted and stays open.

import path from 'node:path'
import type { SupernetModel } from '../../models/model.js'
import { defaultModelFor, shippedModels } from '../../models/shipped.js'
import { UsageError } from '../exit.js'
import type { DeviceFlags } from '../flags.js'
import { openModel, shippedScale } from '../model.js'

export interface ModelChoice {
  name: string
  title: string
}

export class ModelPool {
  readonly choices: ModelChoice[]
  readonly #flags: DeviceFlags
  /** Files by the names that clients see. */
  readonly #files = new Map<string, string>()
  readonly #scales: number[]
  readonly #open = new Map<string, Promise<SupernetModel>>()

  private constructor(file: string | undefined, flags: DeviceFlags) {
    const shipped = shippedModels()
    this.#flags = flags
    this.#scales = shipped.map(({ scale }) => scale)
    this.choices = shipped.map(({ name, scale, input }) => ({
      name,
      title: `×${scale}, for ${input === 'lossy' ? 'photographs as JPEG' : 'clean pictures'} (${name})`,
    }))
    for (const { name } of shipped) this.#files.set(name, name)
    if (file !== undefined && !this.#files.has(file)) {
      const name = path.basename(file)
      this.#files.set(name, file)
      this.choices.unshift({ name, title: name })
    }
    if (this.choices.length === 0)
      throw new UsageError('Expected --model FILE, as this package has no models of its own')
  }

  /** Opens the model that is named, so that a mistake is known at once. */
  static async open(file: string | undefined, flags: DeviceFlags): Promise<ModelPool> {
    const pool = new ModelPool(file, flags)
    await pool.#model(file === undefined ? pool.choices[0]!.name : (pool.#nameOf(file) ?? file))
    return pool
  }

  #nameOf(file: string): string | undefined {
    return [...this.#files].find(([, known]) => known === file)?.[0]
  }

  #model(name: string): Promise<SupernetModel> {
    let model = this.#open.get(name)
    if (!model) {
      model = openModel(this.#files.get(name)!, this.#flags)
      this.#open.set(name, model)
      // Another try may find the file again.
      model.catch(() => this.#open.delete(name))
    }
    return model
  }

  /** The model of a name, or the one of the package that suits a picture and a factor. */
  async for(name: string, picture: string, factor: number): Promise<{ model: SupernetModel; name: string }> {
    const chosen =
      name !== 'auto'
        ? name
        : this.#scales.length > 0
          ? (await defaultModelFor(picture, { scale: shippedScale(factor, this.#scales) })).name
          : this.choices[0]!.name
    return { model: await this.#model(chosen), name: chosen }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const model of this.#open.values()) (await model.catch(() => null))?.dispose()
  }
}
