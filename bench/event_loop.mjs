// How late the event loop runs its timers while all cores upscale: the 99th percentile of the delay, over pictures one after
// the other for some seconds, with a table's router and with two upscales at a time.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { picture, timingModel } from './model.mjs'

const RESOLUTION = 5 // ms; the histogram holds the whole interval between timers
const WANTED = 20
const SECONDS = 8

/** Part `loop` of `npm run bench`. */
export async function eventLoop({ threads }) {
  const model = await timingModel(threads)
  const lr = /** @type {import('../dist/index.js').RawImage} */ (await picture('march-pastoral', 512, 384))
  const upscale = () => model.upscale(lr, { router: 'calibrated', budget: 0.6 })
  await upscale()
  const table = []
  const details = {}
  for (const atOnce of [1, 2]) {
    const delays = monitorEventLoopDelay({ resolution: RESOLUTION })
    delays.enable()
    const until = performance.now() + SECONDS * 1000
    const worker = async () => {
      while (performance.now() < until) await upscale()
    }
    await Promise.all(Array.from({ length: atOnce }, worker))
    delays.disable()
    const late = (percentile) => Math.max(0, delays.percentile(percentile) / 1e6 - RESOLUTION)
    details[`${atOnce} at once`] = { p50: late(50), p99: late(99), most: late(100), samples: delays.count }
    table.push({
      what: `event loop delay, ${atOnce} upscale at a time, ${threads} threads`,
      against: '',
      target: `p99 < ${WANTED} ms`,
      reached: late(99) < WANTED,
      checked: `p50 ${late(50).toFixed(1)}, p99 ${late(99).toFixed(1)}, most ${late(100).toFixed(1)} ms`,
    })
  }
  model.dispose()
  return { table, details }
}
