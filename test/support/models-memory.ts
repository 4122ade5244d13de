// Run by test/models/memory.test.ts in a process of its own: makes models, upscales with each and disposes of it, and
// prints by how many MiB resident memory grew between the 20th and the last. Argument: how many. Needs --expose-gc.
import { upscale } from '../../lib/infer/upscale.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { realState } from './real-state.js'

const count = Number(process.argv[2])
const picture = { data: new Uint8Array(128 * 128 * 3).fill(99), width: 128, height: 128, channels: 3 as const }
const network = srresnet({ scale: 2, widths: [8, 16], depths: [1, 2, 4] })
let early = 0
for (let i = 1; i <= count; i++) {
  const state = realState(network)
  await upscale(state, picture, { router: { subnet: 0 } })
  state.engine.dispose()
  if (i === 20 || i === count) {
    global.gc!()
    if (i === 20) early = process.memoryUsage.rss()
  }
}
process.stdout.write(String(Math.round((process.memoryUsage.rss() - early) / 2 ** 20)))
