// The demo's table: quality and cost of bicubic, of subnets alone and of every router on one picture.
import { psnr, resizeBicubic, ssim } from 'wbsr'
import { alignedTable } from './table.mjs'

/** @typedef {import('wbsr').RawImage} RawImage */
/** @typedef {import('wbsr').SupernetModel} SupernetModel */

export const SCALE = 2

/** @typedef {{ gflops: number, share: number, seconds: number }} Cost */

/** Collects the table: quality of every picture made, against its original. */
export class Table {
  /** @type {string[][]} */
  rows = []
  #bicubic = 0

  /**
   * @param {string} photograph
   * @param {string} method
   * @param {RawImage} sr
   * @param {RawImage} hr
   * @param {Cost | null} cost
   */
  async add(photograph, method, sr, hr, cost) {
    const y = await psnr(sr, hr, { shave: SCALE })
    const rgb = await psnr(sr, hr, { channel: 'rgb', shave: SCALE })
    const similarity = await ssim(sr, hr, { shave: SCALE })
    if (method === 'bicubic') this.#bicubic = y
    const gain = y - this.#bicubic
    this.rows.push([
      photograph,
      method,
      y.toFixed(2),
      method === 'bicubic' ? '' : (gain < 0 ? '' : '+') + gain.toFixed(2),
      rgb.toFixed(2),
      similarity.toFixed(4),
      cost ? cost.gflops.toFixed(1) : '',
      cost ? `${(100 * cost.share).toFixed(0)} %` : '',
      cost ? cost.seconds.toFixed(2) : '',
    ])
  }
}

/**
 * Bicubic, the ends of the family alone, and every router.
 * @param {SupernetModel} model
 * @param {string} name
 * @param {RawImage} lr
 * @param {RawImage} hr
 * @param {Table} table
 */
export async function compare(model, name, lr, hr, table) {
  await table.add(name, 'bicubic', await resizeBicubic(lr, { width: hr.width, height: hr.height }), hr, null)
  const largest = model.subnets[model.subnets.length - 1]
  const smallest = model.subnets[0]
  /** @type {[string, import('wbsr').UpscaleOptions][]} */
  const runs = [
    [`largest subnet alone (${largest.width}x${largest.depth})`, { router: { subnet: largest.index }, tile: 'image' }],
    [`smallest subnet alone (${smallest.width}x${smallest.depth})`, { router: { subnet: 0 }, tile: 'image' }],
    ['calibrated, loss 0.02 (the default)', { router: 'calibrated', loss: 0.02 }],
    ['calibrated, loss 0.1', { router: 'calibrated', loss: 0.1 }],
    ['projection', { router: 'projection' }],
    ['projection-budget 0.6', { router: 'projection-budget', budget: 0.6 }],
    ['calibrated 0.8', { router: 'calibrated', budget: 0.8 }],
    ['calibrated 0.6', { router: 'calibrated', budget: 0.6 }],
    ['calibrated 0.4', { router: 'calibrated', budget: 0.4 }],
  ]
  for (const [method, options] of runs) {
    await model.upscale(lr, options) // primitives are built on first use: the second run shows the steady state
    const result = await model.upscale(lr, options)
    const { flops, flopsOfLargest } = result.allocation
    await table.add(name, method, result, hr, {
      gflops: flops / 1e9,
      share: flops / flopsOfLargest,
      seconds: result.seconds,
    })
  }
}

/** Prints the rows and what their columns mean. @param {Table} table */
export function show(table) {
  console.log(
    `\nAgainst the originals: x${SCALE}, LR by antialiased bicubic, border of ${SCALE} pixels shaved, SSIM on Y, gain in dB over bicubic on Y`,
  )
  console.log(`FLOPs with halo, "of largest": of the largest subnet on the whole picture\n`)
  console.log(
    alignedTable(
      ['photograph', 'method', 'PSNR-Y', 'gain', 'PSNR-RGB', 'SSIM', 'GFLOP', 'of largest', 'seconds'],
      table.rows,
    ),
  )
}
