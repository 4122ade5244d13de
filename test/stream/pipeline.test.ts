// From file to file through the three streams: the pixels of upscale(), in memory that follows the width.
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import t from 'tap'
import { decodeImage, encodeImage } from '../../lib/images/images.js'
import { upscale } from '../../lib/infer/upscale.js'
import type { ModelState } from '../../lib/model-state.js'
import { native } from '../../lib/native.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { createInferStream } from '../../lib/stream/infer-stream.js'
import { stitchTo } from '../../lib/stream/stitch.js'
import { tilesOf } from '../../lib/stream/tile-reader.js'
import { fakeTable } from '../support/fake-engine.js'
import { largestDifference, picture } from '../support/infer-pictures.js'

function realState(): ModelState {
  const network = srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })
  const engine = new native.Engine(network.graph, { threads: 2 })
  engine.initialise(1)
  return {
    engine,
    network,
    classes: { count: 4, thresholds: [0.02, 0.05, 0.1], kind: 'interval' },
    router: fakeTable(4, 4),
    mixture: null,
    training: null,
    fallbackReason: null,
    disposed: false,
  }
}

t.test('file to file equals upscale', async (t) => {
  const state = realState()
  const directory = t.testdir({})
  for (const [channels, type] of [
    [3, 'uint8'],
    [4, 'uint8'],
    [1, 'uint16'],
  ] as const) {
    const [input, output] = [path.join(directory, 'in.png'), path.join(directory, 'out.png')]
    await encodeImage(picture(150, 333, channels, type), input)
    await pipeline(
      tilesOf(input, { size: 32 }),
      createInferStream(state, { router: 'calibrated', budget: 0.6 }),
      stitchTo(output),
    )
    const streamed = await decodeImage(output)
    const whole = await upscale(state, input, { router: 'calibrated', budget: 0.6, tile: 32, budgetScope: 'dataset' })
    t.strictSame([streamed.width, streamed.height, streamed.channels], [whole.width, whole.height, whole.channels])
    t.equal(largestDifference(streamed.data, whole.data), 0, `${channels} channels, ${type}`)
  }
  state.engine.dispose()
})

t.test('memory follows the width, not the height', async (t) => {
  const state = realState()
  const directory = t.testdir({})
  const [short, long, output] = ['short.png', 'long.png', 'out.png'].map((name) => path.join(directory, name)) as [
    string,
    string,
    string,
  ]
  await encodeImage(picture(512, 1024), short)
  await encodeImage(picture(512, 4096), long)
  const peak = async (file: string) => {
    await pipeline(
      tilesOf(file, { size: 64 }),
      createInferStream(state, { router: 'projection' }),
      stitchTo(output, { compressionLevel: 1 }),
    )
    return process.resourceUsage().maxRSS / 1024
  }
  const before = process.resourceUsage().maxRSS / 1024
  const first = await peak(short)
  const second = await peak(long)
  // Held whole, the larger picture would need 140 MiB more: 96 of float sums, 36 of SR and 9 of LR bytes.
  t.ok(
    second - first < 70,
    `peak ${before.toFixed(0)} MiB before, ${first.toFixed(0)} with 1024 rows, ${second.toFixed(0)} with 4096`,
  )
  state.engine.dispose()
})
