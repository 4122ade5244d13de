// wbsr as a contestant of itself: whole pictures through the public upscale(). Arguments: threads, and optionally a
// trained model's file.
import { loadSupernet } from '../dist/models/model.js'
import { serve } from './contest.mjs'
import { picture, timingModel } from './model.mjs'

const [threads, file] = process.argv.slice(2)
const model = file
  ? await loadSupernet(file, { threads: Number(threads), device: 'cpu' })
  : await timingModel(Number(threads))
const largest = model.subnets.length - 1
const ways = {
  calibrated: { router: 'calibrated', budget: 0.6 },
  tiled: { router: { subnet: largest } },
  whole: { router: { subnet: largest }, tile: 'image' },
}
let image

await serve({
  async load({ name, width, height }) {
    image = await picture(name, width, height)
    return { subnets: model.subnets.length }
  },
  async upscale({ way }) {
    const { seconds, timings, allocation } = await model.upscale(image, ways[way])
    return { seconds, timings, share: allocation.flops / allocation.flopsOfLargest, histogram: allocation.histogram }
  },
})
