// The trained models that come with the package: weights/NAME.safetensors with its card, weights/NAME.json, which
// train/ship.mjs writes. Their names in the API are wbsr:NAME.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { invalidOption, WbsrError } from '../errors.js'
import { lossyFormat } from '../images/lossy.js'
import { checkInteger, checkObject } from '../options.js'
import type { ImageInput } from '../types.js'

const PREFIX = 'wbsr:'

/** Of this file in lib/ or dist/. */
const folder = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'weights')

/** Mean PSNR on a set of pictures, in dB on Y. */
export interface ModelScore {
  set: string
  images: number
  /** How the LR pictures were made, e.g. 'published bicubic files' or 'bicubic, JPEG 75 4:2:0'. */
  lr: string
  bicubic: number
  smallest: number
  largest: number
}

/** What is known of a shipped model: its card. */
export interface ShippedModel {
  /** For loadSupernet, e.g. 'wbsr:x2'. */
  name: string
  scale: number
  /** For pictures that were stored lossily (trained with data.degradation), or for clean ones. */
  input: 'lossy' | 'clean'
  network: { name: string; widths: number[]; depths: number[] }
  /** Of the largest subnet. */
  parameters: number
  /** On disk. */
  precision: 'f16' | 'f32'
  bytes: number
  sha256: string
  /** Of the weights. */
  licence: string
  /** What it was trained on, and the file of the package that names the authors. */
  data: { name: string; images: number; attribution: string }
  /** How it was trained: steps and the options that decide the numbers. */
  recipe: Record<string, unknown>
  scores: ModelScore[]
  /** What it is not made for. */
  limits: string[]
}

/**
 * The models that come with the package, by name.
 *
 * @throws WbsrError WBSR_INVALID_FILE: a damaged card
 */
export function shippedModels(): ShippedModel[] {
  const names = existsSync(folder)
    ? readdirSync(folder)
        .filter((file) => file.endsWith('.json') && existsSync(weightsFile(file.slice(0, -5))))
        .map((file) => file.slice(0, -5))
    : []
  return names.sort().map(readCard)
}

const weightsFile = (name: string): string => path.join(folder, `${name}.safetensors`)

function readCard(name: string): ShippedModel {
  const file = path.join(folder, `${name}.json`)
  let card: unknown
  try {
    card = JSON.parse(readFileSync(file, 'utf8'))
  } catch (cause) {
    throw new WbsrError('WBSR_INVALID_FILE', `${file}: expected the card of a model as JSON`, { cause })
  }
  const { scale, input, name: own } = (card ?? {}) as Partial<ShippedModel>
  if (own !== PREFIX + name || !Number.isInteger(scale) || (input !== 'clean' && input !== 'lossy'))
    throw new WbsrError('WBSR_INVALID_FILE', `${file}: expected the card of ${PREFIX}${name} with its scale and input`)
  return card as ShippedModel
}

/** The file of a shipped model for wbsr:NAME, any other name as it is. @throws WbsrError WBSR_INVALID_OPTION: no such model */
export function modelFile(file: string): string {
  if (!file.startsWith(PREFIX)) return file
  const models = shippedModels()
  if (models.some(({ name }) => name === file)) return weightsFile(file.slice(PREFIX.length))
  const known = models.length > 0 ? models.map(({ name }) => name).join(', ') : 'none, this package has no weights'
  throw invalidOption('file', `a file or a model of the package (${known})`, file)
}

/** What {@link defaultModelFor} chooses by. */
export interface DefaultModelOptions {
  /** Default 2. */
  scale?: number
}

/**
 * Which shipped model suits a picture, and why: a model for lossy input (trained on JPEG, blur and noise) where the picture is
 * a JPEG, a lossy WebP, HEIF or AVIF, else, and for decoded pixels, the plain one. Without the one the other is taken. Only
 * the first bytes of the picture are read; a PNG that was made from a JPEG cannot be told.
 *
 * @throws WbsrError WBSR_INVALID_OPTION: no shipped model has this scale; WBSR_NOT_FOUND, WBSR_IO, WBSR_INVALID_IMAGE (a
 *   folder, an empty file)
 */
export async function defaultModelFor(
  image: ImageInput,
  options: DefaultModelOptions = {},
): Promise<{ name: string; reason: string }> {
  checkObject(options, 'options', ['scale'])
  const scale = checkInteger(options.scale ?? 2, 'scale', 1)
  const models = shippedModels()
  const fitting = models.filter((model) => model.scale === scale)
  if (fitting.length === 0) {
    const scales = [...new Set(models.map((model) => model.scale))].sort()
    throw invalidOption('scale', `a scale of a model of the package (${scales.join(', ') || 'it has none'})`, scale)
  }
  const format = await lossyFormat(image)
  return chooseModel(fitting, format)
}

/** @internal Of models of one scale. `format`: of a lossy picture, e.g. 'JPEG'; null: it is stored without loss. */
export function chooseModel(
  models: readonly Pick<ShippedModel, 'name' | 'input'>[],
  format: string | null,
): { name: string; reason: string } {
  const wanted = format === null ? 'clean' : 'lossy'
  const why = format === null ? 'the picture is stored without loss' : `the picture is stored as ${format}, with loss`
  const own = models.find(({ input }) => input === wanted)
  if (own) return { name: own.name, reason: why }
  return { name: models[0]!.name, reason: `${why}, but the package has no model for that` }
}
