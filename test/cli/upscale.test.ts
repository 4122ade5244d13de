// The built program's command upscale: inputs, sizes, formats, names, output.
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { decodeImage } from '../../lib/images/images.js'
import { defaultModelFor, loadSupernet, resizeBicubic } from '../../lib/index.js'
import { drawPicture, sizeOf, skip, temporaries, tinyModel, wbsr } from '../support/cli.js'
import { samePicture } from '../support/pictures.js'

if (skip) {
  t.pass('the built program', { skip })
  process.exit()
}

const home = t.testdir()
const model = await tinyModel(path.join(home, 'x2.safetensors'))
const one = await drawPicture(path.join(home, 'one.png'), 90, 60)
const two = await drawPicture(path.join(home, 'two.jpg'), 64, 100, 2)
const at = (...names: string[]) => path.join(home, ...names)
const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

t.test('a file beside its input: the pixels of upscale(), with metadata', async (t) => {
  const { status, said, text } = await wbsr(['upscale', one, '-m', model])
  t.equal(status, 0, said)
  t.equal(text, '')
  t.match(said, /one\.png -> .*one-x2\.png {2}90x60 -> 180x120, [\d.]+ s, \d+ % of the largest subnet's work/)
  const again = await wbsr(['upscale', one, '-m', model, '--skip-existing'])
  t.match(again.said, /^0 written, 1 there already in /m)
  await using net = await loadSupernet(model)
  const { data, width, height, channels } = await net.upscale(one)
  const whole = { data, width, height, channels }
  t.ok(samePicture(await decodeImage(at('one-x2.png')), whole))
  const { density } = await sharp(at('one-x2.png')).metadata()
  t.equal(density, 288)

  await wbsr(['upscale', one, '-m', model, '--size', '135x', '-o', at('wide.png'), '--metadata', 'strip'])
  t.ok(samePicture(await decodeImage(at('wide.png')), await resizeBicubic(whole, { width: 135, height: 90 })))
  t.not((await sharp(at('wide.png')).metadata()).density, 216)
})

t.test('folders with their tree, patterns, and pictures that cannot be read', async (t) => {
  for (const folder of ['in/a/b', 'in/c']) mkdirSync(at(folder), { recursive: true })
  copyFileSync(one, at('in/one.png'))
  copyFileSync(two, at('in/a/b/two.jpg'))
  copyFileSync(one, at('in/c/ü é.png'))
  writeFileSync(at('in/a/cut.png'), readFileSync(one).subarray(0, 500))
  writeFileSync(at('in/text.jpg'), 'no picture')
  symlinkSync('nowhere', at('in/dangling.png'))
  const { status, said, text } = await wbsr(['upscale', 'in', '-m', model, '-o', 'out', '--json'], { cwd: home })
  t.equal(status, 3)
  const events = lines(text)
  t.match(events.at(-1), { event: 'end', written: 3, failed: 3, skipped: 0, left: 0 })
  t.match(
    events.find(({ input }) => input === 'in/a/b/two.jpg'),
    { status: 'written', output: 'out/a/b/two.jpg', inputSize: [64, 100], size: [128, 200], passes: 1, warnings: [] },
  )
  t.match(
    events.find(({ input }) => input === 'in/a/cut.png'),
    { status: 'failed', code: 'WBSR_INVALID_IMAGE', message: /damaged or truncated/ },
  )
  t.match(events.find(({ input }) => input === 'in/dangling.png').message, /is a link that leads nowhere/)
  t.match(said, /error: .*in\/text\.jpg/)
  t.same(await sizeOf(at('out/c/ü é.png')), [180, 120])
  t.same(await sizeOf(at('out/a/b/two.jpg')), [128, 200])
  t.notOk(existsSync(at('out/a/cut.png')))
  t.same(temporaries(home), [])
  // A name that is not there needs no --out to be reported.
  const none = await wbsr(['upscale', 'none.png', '-m', model], { cwd: home })
  t.equal(none.status, 3)
  t.match(none.said, /there is no file or folder none\.png/)

  // Below the fixed part of a pattern; what is there already is left out.
  const again = await wbsr(['upscale', 'in/**/*.{png,jpg}', '-m', model, '-o', 'out', '--skip-existing', '--json'], {
    cwd: home,
  })
  t.equal(again.status, 3)
  t.match(lines(again.text).at(-1), { written: 0, skipped: 3 })
  // Results that lie below the input are no inputs.
  const below = await wbsr(['upscale', 'in', '-m', model, '-o', 'in/large', '--json'], { cwd: home })
  t.match(lines(below.text).at(-1), { written: 3, failed: 3 })
  const twice = await wbsr(['upscale', 'in', '-m', model, '-o', 'in/large', '--json'], { cwd: home })
  t.match(lines(twice.text).at(-1), { written: 3, failed: 3 })
})

t.test('without --model the one of the package that suits the picture', async (t) => {
  const { status, said } = await wbsr(['upscale', one, '-o', at('package.png')])
  t.equal(status, 0, said)
  const { name } = await defaultModelFor(one, { scale: 2 })
  await using net = await loadSupernet(name)
  const { data, width, height, channels } = await net.upscale(one)
  t.ok(samePicture(await decodeImage(at('package.png')), { data, width, height, channels }))
})

t.test('any factor and size, every format, the map', async (t) => {
  const small = await drawPicture(at('small.png'), 40, 30)
  for (const [args, name, size] of [
    [['--scale', '1.5'], 'a.png', [60, 45]],
    [['--scale', '5'], 'b.jpg', [200, 150]],
    [['--size', '100x100'], 'c.webp', [100, 100]],
    [['--size', 'x60'], 'd.tif', [80, 60]],
    [[], 'e.avif', [80, 60]],
  ] as const) {
    const { status, said } = await wbsr(['upscale', small, '-m', model, ...args, '-o', at(name), '-q', '80'])
    t.equal(status, 0, said)
    t.same(await sizeOf(at(name)), size, name)
  }
  const jpg = await wbsr(['upscale', small, '-m', model, '-f', 'jpg'])
  t.equal(jpg.status, 0, jpg.said)
  t.equal((await sharp(at('small-x2.jpg')).metadata()).format, 'jpeg')
  const huge = await wbsr(['upscale', small, '-m', model, '--size', '100000x', '-o', at('huge.png')])
  t.equal(huge.status, 3)
  t.match(huge.said, /at most 64 times 40x30 for the size of the result but it would be 100000x75000/)
  t.notOk(existsSync(at('huge.png')))
  const { status } = await wbsr(['upscale', small, '-m', model, '--scale', '8', '--map', '-o', at('f.png'), '--quiet'])
  t.equal(status, 0)
  t.same(await sizeOf(at('f.png')), [320, 240])
  t.same(await sizeOf(at('f-map.png')), [80, 60])
})

t.test('large results are made in bands, to the same pixels', async (t) => {
  const wide = await drawPicture(at('wide-in.png'), 300, 700)
  const args = ['upscale', wide, '-m', model, '--router', 'subnet:2']
  const plain = await wbsr([...args, '-o', at('held.png'), '--json'])
  const bands = await wbsr([...args, '-o', at('bands.png'), '--memory', '1', '--json'])
  t.same([plain.status, bands.status], [0, 0], bands.said)
  t.ok(samePicture(await decodeImage(at('held.png')), await decodeImage(at('bands.png'))))
  const [a, b] = [plain, bands].map(({ text }) => lines(text)[0])
  t.same([b.size, b.tilesPerSubnet, b.passes], [a.size, a.tilesPerSubnet, a.passes])
  t.equal((await sharp(at('bands.png')).metadata()).density, 288)
  const out = await wbsr([...args, '-o', '-', '--memory', '1', '-f', 'tiff'])
  t.same(await sizeOf(out.out), [600, 1400])
  // With a resize, two runs, the map, tiles of TIFF.
  const more = ['--size', '970x2250', '--map', '--tile-size', '64', '--bigtiff']
  for (const [name, memory] of [
    ['whole', '256'],
    ['parts', '1'],
  ] as const) {
    const { status, said } = await wbsr([...args, ...more, '-o', at(`${name}.tif`), '--memory', memory])
    t.equal(status, 0, said)
    t.equal(readFileSync(at(`${name}.tif`)).readUInt16LE(2), 43, 'BigTIFF')
  }
  for (const name of ['.tif', '-map.png'])
    t.ok(samePicture(await decodeImage(at(`whole${name}`)), await decodeImage(at(`parts${name}`))), name)
})

t.test('standard input and output', async (t) => {
  const { status, out, said } = await wbsr(['upscale', '-', '-m', model, '--format', 'jpeg'], {
    input: readFileSync(one),
  })
  t.equal(status, 0, said)
  t.same(await sizeOf(out), [180, 120])
  t.equal((await sharp(out).metadata()).format, 'jpeg')
  t.match(said, /standard input -> standard output/)
  const file = await wbsr(['upscale', one, '-m', model, '-o', '-'])
  t.same(await sizeOf(file.out), [180, 120])
  const bad = await wbsr(['upscale', '-', '-m', model], { input: Buffer.from('no picture') })
  t.equal(bad.status, 3)
  t.equal(bad.out.length, 0)
  const none = await wbsr(['upscale', '-', '-m', model])
  t.equal(none.status, 3)
  t.match(none.said, /the Buffer is empty/)
})

t.test('mistakes of the command line', async (t) => {
  const cases = [
    [['upscale', one, '-m', at('none.safetensors')], /none\.safetensors does not exist/],
    [['upscale', one, '-m', model, '--scale', '2', '--size', '10x10'], /cannot be used with/],
    [['upscale', one, '-m', model, '--size', 'large'], /WIDTHxHEIGHT/],
    [['upscale', one, '-m', model, '--budget', '0'], /above 0 and at most 1 for budget/],
    [['upscale', one, '-m', model, '--router', 'calibrated'], /no router table/],
    [['upscale', one, '-m', model, '--router', 'subnet:9'], /between 0 and 3 for router\.subnet/],
    [['upscale', one, two, '-m', model], /Expected --out FOLDER/],
    [
      ['upscale', one, two, '-m', model, '-o', at('new.png')],
      /several inputs, but .*new\.png is the name of a picture/,
    ],
    [['upscale', one, '-m', model, '-f', 'bmp'], /Expected png, jpeg, webp, tiff, avif/],
    [['upscale', one, two, '-m', model, '-o', '-'], /Expected a folder for --out/],
    [['upscale', one, two, '-m', model, '-o', two], /is a file/],
    [['upscale', one, '-m', model, '-o', at('x.bmp')], /a file name ending in/],
    [['upscale', one, '-m', model, '-o', at('x.png'), '-f', 'jpeg'], /ends in \.jpg/],
    [['upscale', '-', '-m', model, '--json'], /Expected --out FILE with --json/],
    [['upscale', '-', '-m', model, '--map'], /Expected --out FILE with --map/],
    [['upscale', one, '--loud'], /unknown option '--loud'/],
    [['upscal'], /Did you mean upscale/],
    [['upscale'], /missing required argument/],
  ] as const
  // Together, since most of their time is the start of Node.
  const all = await Promise.all(cases.map(([args]) => wbsr(args, { cwd: home })))
  for (const [i, [args, said]] of cases.entries()) {
    const ran = all[i]!
    t.equal(ran.status, /does not exist/.test(String(said)) ? 1 : 2, args.slice(1).join(' '))
    t.match(ran.said, said)
    t.equal(ran.text, '')
  }
})

t.test('a result is never that of two pictures, nor its own input', async (t) => {
  mkdirSync(at('same'))
  copyFileSync(one, at('same/p.png'))
  copyFileSync(two, at('same/p.jpg'))
  const { status, said } = await wbsr(['upscale', 'same', '-m', model, '-o', 'same-out', '-f', 'png'], { cwd: home })
  t.equal(status, 3)
  t.match(said, /same-out\/p\.png would also be the result of same\/p\.jpg/)
  const before = readFileSync(at('same/p.png'))
  const own = await wbsr(['upscale', 'same/p.png', '-m', model, '-o', 'same/p.png'], { cwd: home })
  t.equal(own.status, 3)
  t.match(own.said, /the result would overwrite it/)
  t.ok(readFileSync(at('same/p.png')).equals(before))

  // Nor the input of another, nor is a map.
  mkdirSync(at('same/d'))
  copyFileSync(one, at('same/d/p.png'))
  const other = await wbsr(['upscale', 'd/p.png', 'p.png', '-m', model, '-o', '.'], { cwd: at('same') })
  t.equal(other.status, 3)
  t.match(other.said, /d\/p\.png: the result would overwrite p\.png, which is an input/)
  t.match(other.said, /error: p\.png: the result would overwrite it/)
  t.ok(readFileSync(at('same/p.png')).equals(before))
  copyFileSync(one, at('same/q-map.png'))
  const map = await wbsr(['upscale', 'same/q-map.png', '-m', model, '--map', '-o', 'same/q.png'], { cwd: home })
  t.equal(map.status, 3)
  t.match(map.said, /the map would overwrite it/)
  t.ok(readFileSync(at('same/q-map.png')).equals(before))
  const maps = await wbsr(['upscale', 'same/p.jpg', 'same/p.png', '-m', model, '--map', '-o', 'm/'], { cwd: home })
  t.equal(maps.status, 3)
  t.match(maps.said, /m\/p-map\.png would also be the result of same\/p\.jpg/)
})
