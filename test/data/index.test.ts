import { readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { checkGrid, gridPositions, PatchIndex } from '../../lib/data/index.js'
import { defaultCacheDirectory } from '../../lib/data/index-cache.js'
import { native } from '../../lib/native.js'
import { picture, save } from '../support/data-pictures.js'

const pair = (hr: string, lr: string | null = null): { hr: string; lr: string | null } => ({ hr, lr })

t.test('grid positions', async (t) => {
  t.same(gridPositions(128, 128, 64), [0])
  t.same(gridPositions(127, 128, 64), [])
  t.same(gridPositions(256, 128, 64), [0, 64, 128])
  t.same(gridPositions(288, 128, 64), [0, 64, 128], 'a shift of 32 reaches the border')
  t.same(gridPositions(292, 128, 64), [0, 64, 128, 164], 'it does not')
  t.same(checkGrid({ scale: 3, patchSize: 96 }), { patchSize: 96, step: 48 })
  t.same(checkGrid({ scale: 4, patchSize: 12 }), { patchSize: 12, step: 4 })
  t.same(checkGrid({ scale: 4, patchSize: 4 }), { patchSize: 4, step: 4 })
  for (const [options, message] of [
    [{ scale: 3, patchSize: 128 }, /^Expected a multiple of the scale 3 for patchSize but received 128$/],
    [{ scale: 4, patchSize: 2 }, /patchSize/],
    [{ scale: 4, patchSize: 128, step: 6 }, /^Expected a multiple of the scale 4 for data\.step but received 6$/],
    [{ scale: 4, patchSize: '128' }, /patchSize/],
  ] as const)
    t.throws(() => checkGrid(options as never), { code: 'WBSR_INVALID_OPTION', message })
})

t.test('positions and difficulties', async (t) => {
  const root = t.testdir()
  const big = picture(171, 131, 1)
  const files = [
    await save(path.join(root, 'big.png'), big),
    await save(path.join(root, 'flat.png'), { data: new Uint8Array(64 * 64 * 3).fill(90), width: 64, height: 64 }),
  ]
  const index = await PatchIndex.build(
    files.map((file) => pair(file)),
    { scale: 2, patchSize: 64, cache: false },
  )
  t.equal(index.step, 32)
  t.same(index.images, [
    { hr: files[0], lr: null, width: 170, height: 130, firstPatch: 0 },
    { hr: files[1], lr: null, width: 64, height: 64, firstPatch: 12 },
  ])
  t.equal(index.difficulties.length, 13)
  t.same(index.position(0), { image: 0, x: 0, y: 0 })
  t.same(index.position(5), { image: 0, x: 32, y: 32 })
  t.same(index.position(11), { image: 0, x: 96, y: 64 })
  t.same(index.position(12), { image: 1, x: 0, y: 0 })
  t.equal(index.difficulties[12], 0, 'a flat patch has no gradient')
  t.ok(index.difficulties[3]! > 1.5 * index.difficulties[0]!, 'more noise, more difficult')
  // By hand: LR of the whole picture, the patch cut out, its own gradient vector.
  const even = new Uint8Array(170 * 130 * 3)
  for (let y = 0; y < 130; y++) even.set(big.data.subarray(y * 171 * 3, (y * 171 + 170) * 3), y * 170 * 3)
  const lr = (await native.resizeBicubic(even, 170, 130, 3, 85, 65, 0)) as Uint8Array
  for (const patch of [0, 6, 11]) {
    const { x, y } = index.position(patch)
    const cut = new Uint8Array(32 * 32 * 3)
    for (let row = 0; row < 32; row++)
      cut.set(lr.subarray(((y / 2 + row) * 85 + x / 2) * 3, ((y / 2 + row) * 85 + x / 2 + 32) * 3), row * 32 * 3)
    const vector = await native.gradientVectors(cut, 32, 32, 3, Int32Array.of(0, 0, 32, 32))
    t.ok(Math.abs(index.difficulties[patch]! - Math.hypot(...vector)) < 1e-9, `patch ${patch}`)
  }
})

t.test('cache', async (t) => {
  const root = t.testdir()
  const cache = path.join(root, 'cache', 'deep')
  const files = [
    await save(path.join(root, 'a.png'), picture(100, 80, 1)),
    await save(path.join(root, 'b.png'), picture(90, 90, 2)),
    await save(path.join(root, 'c.png'), picture(20, 20, 3)),
  ]
  const build = async (options = {}): Promise<PatchIndex> =>
    await PatchIndex.build(
      files.map((file) => pair(file)),
      { scale: 2, patchSize: 32, cache, ...options },
    )
  const first = await build()
  t.same(first.cache, { hits: 0, misses: 2 })
  t.equal((await readdir(cache)).length, 3, 'the one that is too small is remembered too')
  const second = await build()
  t.same(second.cache, { hits: 2, misses: 0 })
  t.same(second.difficulties, first.difficulties)
  t.same(second.images, first.images)
  t.same(second.skipped, first.skipped)
  t.equal(second.fingerprint, first.fingerprint)
  t.same((await build({ cache: false })).cache, { hits: 0, misses: 2 })
  t.same((await build({ step: 8 })).cache, { hits: 0, misses: 2 }, 'other settings')
  t.same((await build({ scale: 4 })).cache, { hits: 0, misses: 2 })
  t.not((await build({ step: 8 })).fingerprint, first.fingerprint)

  // Damage of every kind is noticed and repaired.
  const entry = async (text: (old: string) => string): Promise<void> => {
    for (const name of await readdir(cache))
      await writeFile(path.join(cache, name), text(await readFile(path.join(cache, name), 'utf8')))
  }
  const damages: [string, (old: string) => string][] = [
    ['empty', () => ''],
    ['truncated', (old) => old.slice(0, old.length / 2)],
    ['of another kind', () => '{"width":5}'],
    ['null', () => 'null'],
    ['one digit changed', (old) => old.replace(/\[0\.(\d)/, (_, digit: string) => `[0.${(Number(digit) + 1) % 10}`)],
    ['another size', (old) => old.replace('"width":', '"width":1')],
  ]
  for (const [what, damage] of damages) {
    await entry(damage)
    const rebuilt = await build()
    t.same(rebuilt.cache, { hits: 0, misses: 2 }, what)
    t.same(rebuilt.difficulties, first.difficulties)
    t.same((await build()).cache, { hits: 2, misses: 0 })
  }

  // Same name, same size on disk or not: content counts.
  await save(files[0]!, picture(100, 80, 5))
  const changed = await build()
  t.same(changed.cache, { hits: 1, misses: 1 })
  t.not(changed.fingerprint, first.fingerprint)
  await writeFile(path.join(root, 'renamed.png'), await readFile(files[1]!))
  t.same(
    (await PatchIndex.build([pair(path.join(root, 'renamed.png'))], { scale: 2, patchSize: 32, cache })).cache,
    { hits: 1, misses: 0 },
    'the name does not count',
  )

  // A cache that cannot be written stops nothing.
  await writeFile(path.join(root, 'file'), '')
  t.same((await build({ cache: path.join(root, 'file', 'cache') })).cache, { hits: 0, misses: 2 })
})

t.test('default cache folder', async (t) => {
  const old = process.env.XDG_CACHE_HOME
  t.teardown(() => {
    old === undefined ? delete process.env.XDG_CACHE_HOME : (process.env.XDG_CACHE_HOME = old)
  })
  const root = t.testdir()
  process.env.XDG_CACHE_HOME = root
  t.equal(defaultCacheDirectory(), path.join(root, 'wbsr'))
  const file = await save(path.join(root, 'a.png'), picture(40, 40, 1))
  await PatchIndex.build([pair(file)], { scale: 2, patchSize: 32 })
  t.equal((await readdir(path.join(root, 'wbsr'))).length, 1)
  process.env.XDG_CACHE_HOME = 'relative'
  t.match(defaultCacheDirectory(), /^\/.*\.cache\/wbsr$/)
  delete process.env.XDG_CACHE_HOME
  t.match(defaultCacheDirectory(), /^\/.*\.cache\/wbsr$/)
})

t.test('unusable images are skipped and reported', async (t) => {
  const root = t.testdir({ 'text.png': 'not an image', 'empty.png': '' })
  const at = (name: string): string => path.join(root, name)
  await save(at('good.png'), picture(64, 64, 1))
  await save(at('small.png'), picture(64, 31, 1))
  for (const format of ['jpg', 'png', 'webp', 'tiff']) {
    await save(at(`cut.${format}`), picture(200, 200, 1))
    await truncate(at(`cut.${format}`), Math.floor((await stat(at(`cut.${format}`))).size / 2))
  }
  const names = [
    'cut.jpg',
    'cut.png',
    'cut.tiff',
    'cut.webp',
    'empty.png',
    'good.png',
    'missing.png',
    'small.png',
    'text.png',
  ]
  const done: number[] = []
  const index = await PatchIndex.build(
    names.map((name) => pair(at(name))),
    { scale: 2, patchSize: 32, cache: false, onProgress: (p) => done.push(p.done) },
  )
  t.same(
    index.images.map((image) => image.hr),
    [at('good.png')],
  )
  t.same(
    index.skipped.map((skipped) => path.basename(skipped.file)),
    names.filter((name) => name !== 'good.png'),
    'in order',
  )
  const reason = (name: string): string => index.skipped.find((skipped) => skipped.file === at(name))!.reason
  t.match(reason('cut.jpg'), /^cannot be decoded/)
  t.match(reason('missing.png'), /^ENOENT/)
  t.equal(reason('small.png'), 'smaller than a patch of 32x32 (64x30 in whole LR pixels)')
  t.same(
    done.sort((a, b) => a - b),
    names.map((_, i) => i + 1),
  )
  await t.rejects(
    PatchIndex.build(
      ['text.png', 'small.png'].map((name) => pair(at(name))),
      { scale: 2, patchSize: 32, cache: false },
    ),
    {
      code: 'WBSR_NO_DATA',
      message:
        /None of the 2 training images.*\n- .*text\.png: cannot be decoded.*\n- .*small\.png: smaller than a patch/,
    },
  )
})

t.test('maxPixels leaves larger images out, those of the cache too', async (t) => {
  const root = t.testdir()
  const big = await save(path.join(root, 'big.png'), picture(80, 80, 1))
  const small = await save(path.join(root, 'small.png'), picture(64, 64, 2))
  const options = { scale: 2, patchSize: 32, cache: path.join(root, 'cache') }
  const build = (maxPixels?: number) => PatchIndex.build([pair(big), pair(small)], { ...options, maxPixels })
  for (const cached of [false, true]) {
    const index = await build(4096)
    t.match(index.images, [{ hr: small }])
    t.match(index.skipped, [{ file: big, reason: /4096/ }], cached ? 'cached' : 'decoded')
    t.equal((await build()).images.length, 2)
  }
})

t.test('LR files', async (t) => {
  const root = t.testdir({ 'broken.png': 'x' })
  const hr = await save(path.join(root, 'hr.png'), picture(65, 64, 1))
  const lr = await save(path.join(root, 'lr.png'), { data: new Uint8Array(32 * 32 * 3).fill(7), width: 32, height: 32 })
  const options = { scale: 2, patchSize: 32, cache: path.join(root, 'cache') }
  const index = await PatchIndex.build([pair(hr, lr)], options)
  t.ok(
    index.difficulties.every((s) => s === 0),
    'difficulties are those of the LR file',
  )
  const own = await PatchIndex.build([pair(hr)], options)
  t.same(own.cache, { hits: 0, misses: 1 })
  t.ok(own.difficulties.every((s) => s > 0))
  await save(lr, picture(32, 32, 9))
  t.same(
    (await PatchIndex.build([pair(hr, lr)], options)).cache,
    { hits: 0, misses: 1 },
    'another LR file, another entry',
  )
  await save(lr, picture(33, 33, 9))
  await t.rejects(PatchIndex.build([pair(hr, lr)], options), {
    code: 'WBSR_INVALID_IMAGE',
    message: `Expected 32x32 for LR image ${lr} (1/2 of ${hr}, 65x64) but it is 33x33`,
  })
  // MATLAB's imresize rounds up: the last column belongs to what is cut off of HR.
  const small = picture(33, 32, 9)
  await save(lr, small)
  const up = await PatchIndex.build([pair(hr, lr)], options)
  t.match(up.images, [{ width: 64, height: 64 }])
  const cut = Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => small.data[Math.floor(i / 96) * 99 + (i % 96)]!)
  const vector = await native.gradientVectors(cut, 32, 32, 3, Int32Array.of(0, 0, 16, 16))
  t.ok(Math.abs(up.difficulties[0]! - Math.hypot(...vector)) < 1e-9)
  await t.rejects(PatchIndex.build([pair(hr, path.join(root, 'broken.png'))], options), {
    code: 'WBSR_NO_DATA',
    message: /broken\.png: cannot be decoded/,
  })
})

t.test('abort', async (t) => {
  const root = t.testdir()
  const files = await Promise.all(
    Array.from({ length: 12 }, async (_, i) => await save(path.join(root, `${i}.png`), picture(64, 64, i))),
  )
  const controller = new AbortController()
  let done = 0
  await t.rejects(
    PatchIndex.build(
      files.map((file) => pair(file)),
      {
        scale: 2,
        patchSize: 32,
        cache: false,
        signal: controller.signal,
        onProgress: (p) => {
          done = p.done
          if (done === 2) controller.abort('enough')
        },
      },
    ),
    { code: 'WBSR_ABORTED', cause: 'enough' },
  )
  t.ok(done < 12)
  await rm(files[0]!)
})

t.test('16 bits, grey, grey with alpha, RGBA count as 8-bit RGB', async (t) => {
  const root = t.testdir()
  const { data } = picture(64, 64, 4)
  const grey = data.filter((_, i) => i % 3 === 0)
  const rgb = new Uint8Array(grey.length * 3).map((_, i) => grey[Math.floor(i / 3)]!)
  const wide = Uint16Array.from(grey, (v) => v * 256 + 200)
  const withAlpha = new Uint8Array(grey.length * 2).map((_, i) => (i % 2 === 0 ? grey[i / 2]! : i % 251))
  const rgba = new Uint8Array(grey.length * 4).map((_, i) => (i % 4 < 3 ? grey[Math.floor(i / 4)]! : i % 251))
  const size = { width: 64, height: 64 }
  const at = (name: string): string => path.join(root, name)
  await sharp(rgb, { raw: { ...size, channels: 3 } })
    .png()
    .toFile(at('rgb.png'))
  await sharp(grey, { raw: { ...size, channels: 1 } })
    .toColourspace('b-w')
    .png()
    .toFile(at('grey.png'))
  await sharp(wide, { raw: { ...size, channels: 1 } })
    .toColourspace('grey16')
    .png()
    .toFile(at('grey16.png'))
  await sharp(withAlpha, { raw: { ...size, channels: 2 } })
    .toColourspace('b-w')
    .png()
    .toFile(at('alpha.png'))
  await sharp(rgba, { raw: { ...size, channels: 4 } })
    .png()
    .toFile(at('rgba.png'))
  t.equal((await sharp(at('grey16.png')).metadata()).depth, 'ushort')
  t.equal((await sharp(at('alpha.png')).metadata()).channels, 2)
  const [expected, ...others] = await Promise.all(
    ['rgb', 'grey', 'grey16', 'alpha', 'rgba'].map(
      async (name) =>
        (await PatchIndex.build([pair(at(`${name}.png`))], { scale: 2, patchSize: 32, cache: false })).difficulties,
    ),
  )
  for (const other of others) t.same(other, expected)
})
