// A small network that sees one tile and gives a few numbers: ClassSR's classifier, and the PSNR predictor (method.md section 6).
// It is trained on a few thousand tiles and has some thousand weights; the engine, whose outputs are pictures, is not used for it.
import { TILE_POOLED, type TileNetwork, tileLayers } from '../model-state.js'
import type { RandomStream } from '../random.js'
import type { RawImage } from '../types.js'

/** Side of the patches that the first layer sees: a convolution of 4x4 with stride 4. */
const PATCH = 4
const INPUTS = 3 * PATCH * PATCH
const SLOPE = 0.1

/** Kaiming normal weights (fan-in), biases 0, the last layer 0: every tile has the same result at first. */
export function newTileNetwork(features: number, outputs: number, random: RandomStream): TileNetwork {
  const layers = tileLayers(features, outputs)
  const weights = layers.flatMap(([from, to], layer) => [
    ...Array.from({ length: from * to }, () =>
      layer === layers.length - 1 ? 0 : normal(random) * Math.sqrt(2 / ((1 + SLOPE ** 2) * from)),
    ),
    ...new Array<number>(to).fill(0),
  ])
  return { features, outputs, weights }
}

/** Box and Muller. */
const normal = (random: RandomStream): number =>
  Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())

/** The 4x4 patches of a rectangle of 8-bit RGB pixels, 48 numbers in [0, 1] each; pixels beyond its edge repeat the outermost. */
export function patchesOf(
  { data, width }: Pick<RawImage, 'data' | 'width'>,
  area: { x: number; y: number; width: number; height: number },
): Float32Array {
  const columns = Math.ceil(area.width / PATCH)
  const rows = Math.ceil(area.height / PATCH)
  const patches = new Float32Array(columns * rows * INPUTS)
  let at = 0
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      for (let i = 0; i < PATCH; i++)
        for (let j = 0; j < PATCH; j++) {
          const y = area.y + Math.min(row * PATCH + i, area.height - 1)
          const x = area.x + Math.min(column * PATCH + j, area.width - 1)
          for (let c = 0; c < 3; c++) patches[at++] = data[(y * width + x) * 3 + c]! / 255
        }
  return patches
}

/** `count` of the patches, drawn with replacement; all of them where there are no more. */
export function somePatches(patches: Float32Array, count: number, random: RandomStream): Float32Array {
  const all = patches.length / INPUTS
  if (all <= count) return patches
  const some = new Float32Array(count * INPUTS)
  for (let i = 0; i < count; i++) {
    const patch = random.integer(all)
    some.set(patches.subarray(patch * INPUTS, (patch + 1) * INPUTS), i * INPUTS)
  }
  return some
}

/** A forward pass with what the backward pass needs. */
export interface TilePass {
  /** Results of the layers on patches, the input first. */
  values: Float32Array[]
  pooled: Float32Array
  outputs: Float32Array
}

/** A network ready to run. Weights are [from][to] of each layer, its biases behind them. */
export class TileRunner {
  readonly weights: Float32Array
  readonly #layers: [number, number][]
  readonly #offsets: number[]

  constructor(network: TileNetwork) {
    this.#layers = tileLayers(network.features, network.outputs)
    this.weights = Float32Array.from(network.weights)
    let end = 0
    this.#offsets = this.#layers.map(([from, to]) => (end += (from + 1) * to) - (from + 1) * to)
  }

  /** The outputs for the patches of one tile. */
  run(patches: Float32Array): Float32Array {
    return this.forward(patches).outputs
  }

  /**
   * Adds the gradient of a loss to `gradient`, laid out as the weights.
   *
   * @param slopes d loss / d outputs
   */
  addGradient({ values, pooled }: TilePass, slopes: Float32Array, gradient: Float32Array): void {
    const rows = values[0]!.length / INPUTS
    const last = this.#layers.length - 1
    const ofPooled = this.#backward(last, pooled, slopes, 1, gradient, true)
    let slope = new Float32Array(rows * TILE_POOLED)
    for (let r = 0; r < rows; r++)
      for (let i = 0; i < TILE_POOLED; i++) slope[r * TILE_POOLED + i] = ofPooled[i]! / rows
    for (let layer = last - 1; layer >= 0; layer--) {
      const made = values[layer + 1]!
      if (layer < last - 1) for (let i = 0; i < slope.length; i++) if (made[i]! < 0) slope[i]! *= SLOPE
      slope = this.#backward(layer, values[layer]!, slope, rows, gradient, layer > 0)
    }
  }

  forward(patches: Float32Array): TilePass {
    const rows = patches.length / INPUTS
    const last = this.#layers.length - 1
    const values = [patches]
    for (let layer = 0; layer < last; layer++) {
      const made = this.#apply(layer, values[layer]!, rows)
      if (layer < last - 1) for (let i = 0; i < made.length; i++) if (made[i]! < 0) made[i]! *= SLOPE
      values.push(made)
    }
    const pooled = new Float32Array(TILE_POOLED)
    const seen = values[last]!
    for (let i = 0; i < seen.length; i++) pooled[i % TILE_POOLED]! += seen[i]! / rows
    return { values, pooled, outputs: this.#apply(last, pooled, 1) }
  }

  #apply(layer: number, input: Float32Array, rows: number): Float32Array {
    const [from, to] = this.#layers[layer]!
    const { weights } = this
    const offset = this.#offsets[layer]!
    const out = new Float32Array(rows * to)
    for (let r = 0; r < rows; r++) {
      const base = r * to
      for (let o = 0; o < to; o++) out[base + o] = weights[offset + from * to + o]!
      // Four at a time, which saves most reads and writes of the sums; all layers have multiples of 4.
      for (let i = 0; i < from; i += 4) {
        const at = r * from + i
        const [a, b, c, d] = [input[at]!, input[at + 1]!, input[at + 2]!, input[at + 3]!]
        const first = offset + i * to
        for (let o = 0; o < to; o++) {
          const row = first + o
          out[base + o] =
            out[base + o]! +
            (a * weights[row]! + b * weights[row + to]! + c * weights[row + 2 * to]! + d * weights[row + 3 * to]!)
        }
      }
    }
    return out
  }

  /** Adds the gradient of a layer; returns that of its input where it is wanted. */
  #backward(
    layer: number,
    input: Float32Array,
    slope: Float32Array,
    rows: number,
    gradient: Float32Array,
    wanted: boolean,
  ): Float32Array<ArrayBuffer> {
    const [from, to] = this.#layers[layer]!
    const { weights } = this
    const offset = this.#offsets[layer]!
    const ofInput = new Float32Array(wanted ? rows * from : 0)
    for (let r = 0; r < rows; r++) {
      const base = r * to
      for (let o = 0; o < to; o++) gradient[offset + from * to + o]! += slope[base + o]!
      for (let i = 0; i < from; i++) {
        const value = input[r * from + i]!
        const row = offset + i * to
        let sum = 0
        for (let o = 0; o < to; o++) {
          gradient[row + o]! += value * slope[base + o]!
          sum += slope[base + o]! * weights[row + o]!
        }
        if (wanted) ofInput[r * from + i] = sum
      }
    }
    return ofInput
  }
}
