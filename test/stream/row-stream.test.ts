// Rows in, rows out.
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import type { RowStreamOptions } from '../../lib/index.js'
import { SupernetModel } from '../../lib/models/model.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import type { RawImage } from '../../lib/types.js'
import { picture } from '../support/infer-pictures.js'
import { realState } from '../support/real-state.js'

const model = new SupernetModel(realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })))
t.teardown(() => model.dispose())

const bytesOf = ({ data }: Pick<RawImage, 'data'>) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)

/** In pieces that end in the middle of rows and samples. */
async function through(image: RawImage, options: RowStreamOptions, piece = 777): Promise<Buffer> {
  const bytes = bytesOf(image)
  const pieces = function* () {
    for (let at = 0; at < bytes.length; at += piece) yield Buffer.from(bytes.subarray(at, at + piece))
  }
  const stream = model.upscaleStream(options)
  const [out] = await Promise.all([buffer(stream), pipeline(Readable.from(pieces(), { objectMode: false }), stream)])
  return out
}

t.test('the pixels of upscale(), of every kind', async (t) => {
  for (const [channels, type, depth, width, height] of [
    [3, 'uint8', 8, 150, 700],
    [1, 'uint8', 8, 70, 300],
    [3, 'uint16', 16, 65, 530],
    [4, 'uint8', 8, 90, 290],
    [2, 'uint16', 16, 40, 40],
    [3, 'float', 32, 33, 260],
    [3, 'uint8', 8, 1, 1],
  ] as const) {
    const image = picture(width, height, channels, type)
    for (const alphaChannel of channels % 2 === 0 ? (['opacity', 'data'] as const) : ([undefined] as const)) {
      const alpha = alphaChannel && { alphaChannel }
      const out = await through(image, { width, height, channels, depth, ...alpha })
      const whole = await model.upscale(image, { budgetScope: 'dataset', ...alpha })
      t.ok(
        out.equals(bytesOf(whole)),
        `${width}x${height}, ${channels} channels, ${type}, ${alphaChannel ?? 'no alpha'}`,
      )
    }
  }
  const stream = model.upscaleStream({ width: 20, height: 10, channels: 4 })
  t.match(stream, { width: 40, height: 20, channels: 4, depth: 8 })
  stream.destroy()
})

t.test('rows come out before the last has come in', async (t) => {
  const [width, height] = [64, 2000]
  const stream = model.upscaleStream({ width, height })
  let out = 0
  stream.on('data', (bytes: Buffer) => {
    out += bytes.length
  })
  const rows = Buffer.alloc(width * 3 * 1000, 99)
  await new Promise<void>((resolve, reject) => stream.write(rows, (error) => (error ? reject(error) : resolve())))
  t.ok(out > 0 && out < width * height * 12, `${out} bytes`)
  stream.destroy()
})

t.test('rows that nobody reads hold back those that come', async (t) => {
  const [width, height] = [64, 4096]
  const stream = model.upscaleStream({ width, height })
  let taken = 0
  const rows = Buffer.alloc(width * 3 * 64, 99)
  const write = async () => {
    for (; taken < height; taken += 64) {
      await new Promise<void>((resolve, reject) => stream.write(rows, (error) => (error ? reject(error) : resolve())))
      // A source that is slower than the network: groups end between two writes.
      await setTimeout(20)
    }
    stream.end()
  }
  const writing = write()
  let before = -1
  for (let still = 0; still < 10; still = taken === before ? still + 1 : 0) {
    before = taken
    await setTimeout(50)
  }
  t.ok(taken <= 1024, `${taken} of ${height} rows were taken, groups are of 256`)
  stream.resume()
  await writing
  t.equal(taken, height)
})

t.test('too few rows, too many, a wrong picture, an abort', async (t) => {
  const image = picture(30, 20)
  await t.rejects(through(image, { width: 30, height: 21 }), {
    code: 'WBSR_INVALID_IMAGE',
    message: 'Expected 21 rows of 90 bytes in upscaleStream but fewer came',
  })
  await t.rejects(through(image, { width: 30, height: 19 }), { code: 'WBSR_INVALID_IMAGE', message: /but more came/ })
  for (const [options, said] of [
    [{ width: 0, height: 3 }, /for width/],
    [{ width: 3, height: 1.5 }, /for height/],
    [{ width: 3, height: 3, channels: 5 }, /for channels/],
    [{ width: 3, height: 3, depth: 12 }, /8, 16 or 32 for depth/],
    [{ width: 3, height: 3, alphaChannel: 'auto' }, /'opacity', 'data' for alphaChannel/],
    [{ width: 3, height: 3, rows: 3 }, /no other keys/],
    [{ width: 3, height: 3, budget: 2 }, /for budget/],
  ] as const)
    t.throws(() => model.upscaleStream(options as unknown as RowStreamOptions), {
      code: 'WBSR_INVALID_OPTION',
      message: said,
    })
  const abort = new AbortController()
  const running = through(picture(64, 3000), { width: 64, height: 3000, signal: abort.signal }, 64 * 3 * 700)
  setImmediate(() => abort.abort())
  await t.rejects(running, { code: 'WBSR_ABORTED' })
  // The engine serves the next one.
  t.equal((await through(image, { width: 30, height: 20 })).length, 60 * 40 * 3)
})
