import path from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { cropTopLeft, cropToScale, ImageCache, type RgbImage, readRgb } from '../../lib/data/decode.js'
import { picture, save } from '../support/data-pictures.js'

const image = (bytes: number): RgbImage => ({ data: new Uint8Array(bytes), width: 1, height: bytes / 3 })

t.test('the least recently used images go first', async (t) => {
  const cache = new ImageCache(90)
  const get = async (key: string): Promise<RgbImage> => await cache.get(key, async () => image(30))
  const a = await get('a')
  await get('b')
  await get('c')
  t.equal(await get('a'), a, 'held')
  t.equal(cache.loads, 3)
  await get('d') // drops b
  t.equal(cache.bytes, 90)
  await get('a')
  await get('c')
  t.equal(cache.loads, 4)
  await get('b')
  t.equal(cache.loads, 5)
  await cache.get('large', async () => image(120))
  t.equal(cache.bytes, 0, 'what is larger than everything is not kept')
  t.not(await get('a'), a)
})

t.test('requests share a load, failures are not kept', async (t) => {
  const cache = new ImageCache(1000)
  let loads = 0
  const load = async (): Promise<RgbImage> => {
    loads++
    await new Promise(setImmediate)
    return image(30)
  }
  const [one, two] = await Promise.all([cache.get('a', load), cache.get('a', load)])
  t.equal(one, two)
  t.equal(loads, 1)
  t.equal(cache.bytes, 30)
  const fail = async (): Promise<RgbImage> => {
    throw new Error('once')
  }
  const results = await Promise.allSettled([cache.get('b', fail), cache.get('b', fail)])
  t.same(
    results.map((result) => result.status),
    ['rejected', 'rejected'],
  )
  t.equal((await cache.get('b', load)).data.length, 30)
  const late = cache.get('c', load)
  cache.clear()
  await late
  t.equal(cache.bytes, 0, 'nothing comes back after clear')
})

t.test('crops', async (t) => {
  const one = picture(7, 5, 1)
  const cut = cropTopLeft(one, 4, 3)
  t.match(cut, { width: 4, height: 3 })
  for (let y = 0; y < 3; y++)
    t.same([...cut.data.subarray(y * 12, y * 12 + 12)], [...one.data.subarray(y * 21, y * 21 + 12)])
  t.equal(cropTopLeft(one, 7, 4).data.buffer, one.data.buffer, 'rows alone are cut without a copy')
  t.match(cropToScale(one, 3), { width: 6, height: 3 })
  t.same([...cropToScale(one, 1).data], [...one.data])
})

t.test('reading', async (t) => {
  const root = t.testdir({ 'bad.png': 'no image' })
  const one = picture(9, 6, 2)
  const read = await readRgb(await save(path.join(root, 'a.png'), one))
  t.same([read.width, read.height, [...read.data]], [9, 6, [...one.data]])
  await sharp(one.data, { raw: { width: 9, height: 6, channels: 3 } })
    .withMetadata({ orientation: 6 })
    .png()
    .toFile(path.join(root, 'turned.png'))
  t.match(await readRgb(path.join(root, 'turned.png')), { width: 6, height: 9 }, 'as EXIF says')
  await t.rejects(readRgb(path.join(root, 'bad.png')), {
    code: 'WBSR_INVALID_IMAGE',
    message: /bad\.png: cannot be decoded \(.*\)$/,
  })
  await t.rejects(readRgb(path.join(root, 'none.png')), { code: 'WBSR_NOT_FOUND', message: /none\.png/ })
  await t.rejects(readRgb(root), { code: 'WBSR_IO' })
})
