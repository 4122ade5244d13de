// From file to file through the three streams: the same pixels as upscale(), in memory that depends on the width.
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import t from 'tap'
import { decodeImage, encodeImage } from '../../lib/images/images.js'
import { upscale } from '../../lib/infer/upscale.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { createInferStream } from '../../lib/stream/infer-stream.js'
import { stitchTo } from '../../lib/stream/stitch.js'
import { tilesOf } from '../../lib/stream/tile-reader.js'
import { picture } from '../support/infer-pictures.js'
import { peakMemory } from '../support/peak-memory.js'
import { largestDifference } from '../support/pictures.js'
import { realState } from '../support/real-state.js'

t.test('file to file equals upscale', async (t) => {
  const state = realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] }))
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

t.test('memory depends on the width, not on the height', async (t) => {
  const directory = t.testdir({})
  const peak = async (height: number) => {
    const file = path.join(directory, `${height}.png`)
    await encodeImage(picture(512, height), file, { compressionLevel: 1 })
    return peakMemory('upscale', file, path.join(directory, 'out.png'))
  }
  const [low, high] = [await peak(1024), await peak(8192)]
  t.comment(`peak ${low} MiB, at eight times the height ${high} MiB`)
  // Held in memory, the higher picture would need 320 MiB more: 224 of float sums, 84 of SR and 10 of LR bytes.
  t.ok(high - low < 110, `${high} MiB against ${low} MiB`)
})
