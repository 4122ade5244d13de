// Access to the tensors of a file by key, with errors that name a missing tensor. Used by the architectures.
import { damaged } from '../files/read-budget.js'
import { countOf, type StoredTensor } from '../files/tensor.js'

export class Weights {
  readonly file: string
  /** Name of the architecture, for messages. */
  readonly title: string
  readonly #tensors: ReadonlyMap<string, StoredTensor>

  constructor(file: string, title: string, tensors: ReadonlyMap<string, StoredTensor>) {
    this.file = file
    this.title = title
    this.#tensors = tensors
  }

  get keys(): IterableIterator<string> {
    return this.#tensors.keys()
  }

  has(key: string): boolean {
    return this.#tensors.has(key)
  }

  /** @throws WbsrError WBSR_INVALID_FILE naming the key */
  tensor(key: string): StoredTensor {
    return this.#tensors.get(key) ?? this.fail(`lacks ${key}`)
  }

  shape(key: string): readonly number[] {
    return this.tensor(key).shape
  }

  /** The values of a tensor, e.g. a mean. */
  values(key: string): Float32Array {
    return this.tensor(key).read()
  }

  /** Filters, input channels (of a group) and kernel of a convolution. */
  conv(name: string): { filters: number; inputs: number; kernel: number } {
    const shape = this.shape(`${name}.weight`)
    const [filters = 0, inputs = 0, kernel = 0, across] = shape
    if (shape.length !== 4 || kernel !== across || countOf(shape) === 0)
      this.fail(`has ${name}.weight of shape [${shape.join(', ')}] where the weights of a convolution are expected`)
    return { filters, inputs, kernel }
  }

  /** How many of key(first), key(first + 1), ... there are. */
  count(key: (index: number) => string, first = 0): number {
    let index = first
    while (this.has(key(index))) index++
    return index - first
  }

  /** Factor of a pixel shuffle from `filters` to `outputs` channels. */
  shuffleFactor(name: string, outputs: number): number {
    const { filters } = this.conv(name)
    const factor = Math.round(Math.sqrt(filters / outputs))
    if (factor < 1 || factor > 8 || factor * factor * outputs !== filters)
      this.fail(`has ${filters} filters in ${name}, which is not ${outputs} times the square of a scale`)
    return factor
  }

  /** 3 for RGB, 1 for luma. */
  imageChannels(name: string, channels: number): 1 | 3 {
    if (channels !== 1 && channels !== 3)
      this.fail(`takes ${channels} channels in ${name}, expected 3 (RGB) or 1 (luma)`)
    return channels as 1 | 3
  }

  /** @throws WbsrError WBSR_INVALID_FILE */
  fail(what: string): never {
    throw damaged(this.file, `looks like ${this.title} but ${what}`)
  }
}
