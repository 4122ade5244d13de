// comparePictures and wbsr compare: the page, its figures, and the page in a browser.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import t from 'tap'
import { comparePictures, psnr, ssim } from '../../lib/index.js'
import { SupernetModel } from '../../lib/models/model.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { closeBrowser, newTab, screenshot, withoutChromium } from '../support/browser.js'
import { drawPicture, tinyModel, skip as unbuilt, wbsr } from '../support/cli.js'
import { realState } from '../support/real-state.js'

const home = t.testdir()
const at = (name: string) => path.join(home, name)
t.teardown(closeBrowser)

/** What the page gives to the viewer. */
function dataOf(file: string): any {
  const html = readFileSync(file, 'utf8')
  return JSON.parse(/<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)![1]!)
}

t.test('a page of two pictures: figures as measured, pixels without loss, names that are no HTML', async (t) => {
  const [a, b] = [await drawPicture(at('a.png'), 120, 80), await drawPicture(at('b.png'), 120, 80, 7)]
  const label = `</script><script>alert(1)</script>"><img src=x onerror=alert(1)>`
  const out = at('two.html')
  const { figures, pictures, bytes } = await comparePictures([a, { image: b, label }], { out })
  t.same(pictures, [
    { label: 'a.png', width: 120, height: 80, resized: false },
    { label, width: 120, height: 80, resized: false },
  ])
  t.equal(figures.length, 1)
  t.same(figures[0]!.psnr, { y: await psnr(a, b), rgb: await psnr(a, b, { channel: 'rgb' }) })
  t.equal(figures[0]!.ssim, await ssim(a, b))
  const html = readFileSync(out, 'utf8')
  t.equal(bytes, Buffer.byteLength(html))
  t.notMatch(html, /<script>alert|<img src=x/)
  t.notMatch(html.replace(/data:[^"]+/g, ''), /https?:\/\/(?!www\.w3\.org\/2000\/svg)/, 'nothing is loaded')
  const data = dataOf(out)
  t.equal(data.pictures[1].label, label)
  const embedded = Buffer.from(data.pictures[0].src.split(',')[1], 'base64')
  t.ok((await sharp(embedded).raw().toBuffer()).equals(await sharp(a).raw().toBuffer()), 'the same pixels')
})

t.test('grey, alpha and 16 bits are compared in 8 bits', async (t) => {
  const data = Buffer.alloc(64 * 64 * 2)
  for (let i = 0; i < 64 * 64; i++) data.writeUInt16LE((i * 13) % 65536, 2 * i)
  const deep = {
    data: new Uint16Array(data.buffer, data.byteOffset, 64 * 64),
    width: 64,
    height: 64,
    channels: 1 as const,
  }
  const bytes = Uint8Array.from(deep.data, (value) => Math.round(value / 257))
  const rgba = Uint8Array.from({ length: 64 * 64 * 4 }, (_, i) => (i % 4 === 3 ? 255 : bytes[i >> 2]!))
  const { figures } = await comparePictures(
    [deep, { data: bytes, width: 64, height: 64, channels: 1 }, { data: rgba, width: 64, height: 64, channels: 4 }],
    { out: at('deep.html') },
  )
  t.same(
    figures.map(({ a, b, psnr }) => [a, b, psnr.rgb]),
    [
      [0, 1, Infinity],
      [0, 2, Infinity],
      [1, 2, Infinity],
    ],
  )
  t.match(readFileSync(at('deep.html'), 'utf8'), /The two pictures are equal/)
})

t.test('the first picture is enlarged by a model', async (t) => {
  const small = await drawPicture(at('small.png'), 72, 48)
  const original = await drawPicture(at('original.png'), 144, 96)
  const state = realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] }))
  const model = new SupernetModel({ ...state, router: null })
  t.teardown(() => model.dispose())
  const out = at('model.html')
  const { pictures, figures } = await comparePictures([small, original], { out, model, upscale: { tile: 16 } })
  t.match(
    pictures.map(({ label }) => label),
    [/^small.png, bicubic ×2$/, /^small.png, wbsr ×2 \(\d+ % of the work\)$/, /^original.png$/],
  )
  t.same(
    pictures.map(({ width, height, resized }) => [width, height, resized]),
    [1, 2, 3].map(() => [144, 96, false]),
  )
  t.equal(figures.length, 3)
  const { data } = await model.upscale(small, { tile: 16 })
  t.equal(figures[2]!.psnr.y, await psnr({ data, width: 144, height: 96, channels: 3 }, original))
  const { allocation } = dataOf(out).pictures[1]
  t.same([allocation.width, allocation.height, allocation.tiles.length], [72, 48, 5 * 5 * 3])
})

t.test('pictures of other sizes', async (t) => {
  const [large, small, other] = [
    await drawPicture(at('large.png'), 120, 80),
    await drawPicture(at('half.png'), 60, 40),
    await drawPicture(at('other.png'), 60, 60),
  ]
  const { pictures, figures } = await comparePictures([small, large], { out: at('sizes.html') })
  t.same(pictures[0], { label: 'half.png, bicubic ×2', width: 120, height: 80, resized: true })
  t.same(figures, [], 'an enlarged picture has no figures')
  t.match(dataOf(at('sizes.html')).figures[0].text, /different sizes, 60 × 40 and 120 × 80/)
  writeFileSync(at('keep.html'), 'what was there')
  await t.rejects(comparePictures([large, other], { out: at('keep.html') }), {
    code: 'WBSR_INVALID_OPTION',
    message: /Expected a picture of the shape of the largest \(120 x 80\) for other.png but received "60 x 60"/,
  })
  t.equal(readFileSync(at('keep.html'), 'utf8'), 'what was there')
})

t.test('bad options', async (t) => {
  const a = at('a.png')
  const bad = async (pictures: unknown, options: unknown, message: RegExp) =>
    t.rejects(comparePictures(pictures as never, options as never), { code: 'WBSR_INVALID_OPTION', message })
  await bad([a], { out: 'x.html' }, /2 to 12 pictures \(or 1 and a model\)/)
  await bad([a, a], {}, /a non-empty string for out/)
  await bad([a, a], { out: 'x.html', speed: 1 }, /no other keys/)
  await bad([a, a], { out: 'x.html', upscale: {} }, /nothing without a model/)
  await bad([a, { image: a, labels: 'x' }], { out: 'x.html' }, /pictures\[1\]/)
  await t.rejects(comparePictures([a, at('none.png')], { out: at('x.html') }), { code: 'WBSR_NOT_FOUND' })
  await t.rejects(comparePictures([a, a], { out: at('x.html'), signal: AbortSignal.abort() }), { code: 'WBSR_ABORTED' })
  t.notOk(existsSync(at('x.html')))
})

t.test('wbsr compare', { skip: unbuilt }, async (t) => {
  const model = await tinyModel(at('x2.safetensors'))
  const small = await drawPicture(at('photo.png'), 72, 48)
  const one = await wbsr(['compare', small, '-m', model, '-o', at('one.html')])
  t.equal(one.status, 0, one.said)
  t.match(
    one.said,
    /photo.png, bicubic ×2 and photo.png, wbsr ×2 \(.*\): PSNR .* dB on Y.*\n.*one.html: 2 pictures, .* MB/,
  )
  const up = await wbsr(['upscale', small, '-m', model, '--map', '-o', at('photo-x2.png')])
  t.equal(up.status, 0, up.said)
  const two = await wbsr(['compare', small, at('photo-x2.png'), '--labels', 'before, after', '--json'], { cwd: home })
  t.equal(two.status, 0, two.said)
  t.match(JSON.parse(two.text), {
    file: 'compare.html',
    pictures: [{ label: 'before, bicubic ×2' }, { label: 'after' }],
  })
  t.ok(dataOf(at('compare.html')).pictures[1].map, 'the map beside it')
  const wrong = async (args: string[], message: RegExp) => {
    const { status, said } = await wbsr(['compare', ...args], { cwd: home })
    t.equal(status, 2, said)
    t.match(said, message)
  }
  await wrong([small, at('a.png'), '--loss', '0.1'], /Expected --model with --router, --loss and --budget/)
  await wrong([small, at('a.png'), '-o', small], /Expected another file for --out/)
  await wrong([small, at('a.png'), '--labels', 'x'], /Expected 2 names with commas/)
  const missing = await wbsr(['compare', small, at('none.png')], { cwd: home })
  t.equal(missing.status, 1)
  t.match(missing.said, /none.png does not exist/)
})

t.test('the page in a browser: slider, zoom, keys, difference, map', { skip: withoutChromium }, async (t) => {
  const small = await drawPicture(at('browser.png'), 96, 64)
  const state = realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] }))
  const model = new SupernetModel({ ...state, router: null })
  t.teardown(() => model.dispose())
  const original = await drawPicture(at('browser-x2.png'), 192, 128)
  const file = at('browser.html')
  await comparePictures([small, original], { out: file, model, upscale: { tile: 16 } })
  const { page, faults } = await newTab(t)
  await page.goto(pathToFileURL(file).href)
  const divider = page.getByRole('slider', { name: /Boundary/ })
  const position = async () => Number(await divider.getAttribute('aria-valuenow'))
  const zoom = async () => parseInt((await page.locator('.zoom').textContent())!, 10)
  t.equal(await position(), 50)
  await divider.focus()
  await page.keyboard.press('ArrowRight')
  t.equal(await position(), 52)
  await page.keyboard.press('Home')
  t.equal(await position(), 0)
  const box = (await page.locator('.port').boundingBox())!
  const drag = async (from: [number, number], to: [number, number]) => {
    await page.mouse.move(box.x + from[0], box.y + from[1])
    await page.mouse.down()
    await page.mouse.move(box.x + to[0], box.y + to[1], { steps: 3 })
    await page.mouse.up()
  }
  await drag([5, 50], [box.width * 0.3, 50])
  t.equal(await position(), 30, 'dragged')

  const whole = await zoom()
  await page.locator('.port').focus()
  await page.keyboard.press('1')
  t.equal(await zoom(), 100)
  for (let i = 0; i < 6; i++) await page.keyboard.press('+')
  t.ok((await zoom()) > whole, `${await zoom()} % is more than ${whole} %`)
  const transform = () =>
    page
      .locator('.world')
      .first()
      .evaluate((element) => (element as any).style.transform)
  const before = await transform()
  await page.keyboard.press('ArrowRight')
  t.not(await transform(), before, 'an arrow moves the pictures')
  const moved = await transform()
  await drag([box.width * 0.7, 100], [box.width * 0.7 + 40, 130])
  t.not(await transform(), moved, 'a drag moves them')
  t.equal(await position(), 30, 'and not the slider')
  await screenshot(page, 'compare-zoomed')
  await page.mouse.move(box.x + 100, box.y + 100)
  const zoomed = await zoom()
  await page.mouse.wheel(0, 240)
  t.ok((await zoom()) < zoomed, 'the wheel zooms')
  await page.keyboard.press('0')
  t.equal(await zoom(), whole)

  await page.getByRole('combobox', { name: 'Left picture' }).selectOption({ label: 'browser.png, bicubic ×2' })
  await page.getByRole('combobox', { name: 'Right picture' }).selectOption({ index: 1 })
  await page.getByLabel('Where the work went').check()
  t.ok((await page.locator('.map path').count()) > 0)
  t.match(await page.locator('.legend').textContent(), /width \d+, depth \d+: \d+ % of the tiles/)
  await screenshot(page, 'compare-map')
  await page.getByText('Side by side').click()
  t.equal(await divider.isVisible(), false)
  await screenshot(page, 'compare-sides')
  await page.getByText('Difference').first().click()
  t.match(await page.locator('.tag').first().textContent(), /^\|browser.png, bicubic ×2 − /)
  t.match(await page.locator('.figures').textContent(), /PSNR .* dB on Y/)
  await screenshot(page, 'compare-difference')
  await page.getByRole('button', { name: /^Show browser.png, wbsr.* and browser-x2.png/ }).click()
  t.equal(await page.getByRole('combobox', { name: 'Right picture' }).inputValue(), '2')
  t.same(faults, [])
})

t.test('the page on a small dark screen, and by touch', { skip: withoutChromium }, async (t) => {
  const file = at('phone.html')
  await comparePictures([at('a.png'), at('b.png')], { out: file })
  const { page, faults } = await newTab(t, {
    viewport: { width: 360, height: 640 },
    colorScheme: 'dark',
    hasTouch: true,
    deviceScaleFactor: 2,
  })
  await page.goto(pathToFileURL(file).href)
  const [wide, seen] = await page.evaluate<[number, number]>('[document.documentElement.scrollWidth, innerWidth]')
  t.ok(wide <= seen, `${wide} of ${seen} pixels`)
  const touch = () => page.evaluate("getComputedStyle(document.querySelector('.port')).touchAction")
  t.equal(await touch(), 'pan-y')
  await page.getByRole('button', { name: /Zoom in/ }).tap()
  t.equal(await touch(), 'none')
  const dark = await page.evaluate('getComputedStyle(document.body).backgroundColor')
  t.equal(dark, 'rgb(22, 25, 29)')
  await screenshot(page, 'compare-phone')
  t.same(faults, [])
})
