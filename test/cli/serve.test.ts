// wbsr serve: pictures in and out, hostile requests, and the page in a browser.
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { deflateSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { ModelPool } from '../../lib/cli/serve/model-pool.js'
import { FairQueue, type Ticket } from '../../lib/cli/serve/queue.js'
import { safeName } from '../../lib/cli/serve/request.js'
import { PictureServer, type ServeEvent, type ServeOptions } from '../../lib/cli/serve/server.js'
import { closeBrowser, newTab, screenshot, withoutChromium } from '../support/browser.js'
import { drawPicture, ended, sizeOf, start, tinyModel, skip as unbuilt, until, wbsr } from '../support/cli.js'

const home = t.testdir()
const at = (name: string) => path.join(home, name)
const file = await tinyModel(at('tiny.safetensors'))
const pool = await ModelPool.open(file, { device: 'cpu', threads: 1 })
t.teardown(() => pool[Symbol.asyncDispose]())
t.teardown(closeBrowser)
const small = await drawPicture(at('small.png'), 96, 64)

const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith('wbsr-serve-'))

async function serve(t: Test, more: Partial<ServeOptions> = {}) {
  const events: ServeEvent[] = []
  const before = folders()
  const server = await PictureServer.start({
    host: '127.0.0.1',
    port: 0,
    names: [],
    pool,
    own: true,
    queue: { total: 8, perClient: 4 },
    upload: { bytes: 2e6, seconds: 20, idleSeconds: 10 },
    pixels: { pixels: 1e6, resultPixels: 4e6 },
    jobSeconds: 60,
    results: { bytes: 1e9, seconds: 600 },
    log: (event) => void events.push(event),
    ...more,
  })
  const [folder] = folders().filter((name) => !before.includes(name))
  t.teardown(() => server.close())
  return { server, events, url: server.url.slice(0, -1), folder: path.join(tmpdir(), folder!) }
}

const HEADERS = { 'X-Wbsr-Client': 'a-tab' }
const ask = (more: Record<string, string> = {}) =>
  `/pictures?${new URLSearchParams({ name: 'small.png', model: 'tiny.safetensors', ...more })}`

const send = (url: string, body: Buffer | string, more: Record<string, string> = {}, headers = {}) =>
  fetch(url + ask(more), { method: 'POST', body: body as never, headers: { ...HEADERS, ...headers } })

const eventsOf = async (response: Response): Promise<any[]> =>
  (await response.text())
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

async function refused(t: Test, response: Response, status: number, message: RegExp): Promise<void> {
  const text = await response.text()
  t.equal(response.status, status, text)
  t.match(JSON.parse(text).message, message)
}

t.test('a picture goes in and comes out', async (t) => {
  const { server, url, events, folder } = await serve(t)
  const response = await send(url, readFileSync(small), { scale: '3', format: 'jpeg', quality: 'best' })
  t.equal(response.status, 200)
  const told = await eventsOf(response)
  t.match(told[0], { event: 'waiting', ahead: 0 })
  t.match(told[1], { event: 'running', share: 0 })
  const done = told.at(-1)
  t.match(done, { event: 'done', name: 'small-288x192.jpg', inputSize: [96, 64], size: [288, 192], share: 1 })
  t.equal(done.allocation.tiles.length % 5, 0)
  const result = await fetch(`${url}${done.result}?download`)
  t.equal(result.headers.get('content-type'), 'image/jpeg')
  t.equal(result.headers.get('content-disposition'), "attachment; filename*=UTF-8''small-288x192.jpg")
  const bytes = Buffer.from(await result.arrayBuffer())
  t.equal(bytes.length, done.bytes)
  t.same(await sizeOf(bytes), [288, 192])
  const before = Buffer.from(await (await fetch(url + done.before)).arrayBuffer())
  t.same(await sizeOf(before), [288, 192])
  t.match(events, [{ event: 'done', name: 'small.png', size: [288, 192] }])

  const tiff = (await eventsOf(await send(url, readFileSync(small), { width: '100', format: 'tiff' }))).at(-1)
  t.match(tiff, { event: 'done', size: [100, 67], name: 'small-100x67.tif' })
  t.equal((await fetch(url + tiff.after)).headers.get('content-type'), 'image/webp', 'TIFF is shown as WebP')
  t.equal(server.pending, 0)
  t.equal(readdirSync(folder).length, 2)
  await server.close()
  t.notOk(existsSync(folder), 'its files are gone with it')
})

t.test('security of the answers', async (t) => {
  const { url } = await serve(t, { names: ['pictures.example'] })
  const page = await fetch(url)
  t.equal(page.status, 200)
  const policy = page.headers.get('content-security-policy')!
  t.match(policy, /default-src 'none'/)
  t.notMatch(policy, /unsafe/)
  t.match(policy, /frame-ancestors 'none'/)
  t.equal(page.headers.get('x-content-type-options'), 'nosniff')
  t.equal(page.headers.get('set-cookie'), null)
  t.equal(page.headers.get('access-control-allow-origin'), null)

  const asked = async (headers: Record<string, string>, method = 'GET', target = '/') => {
    const { hostname, port } = new URL(url)
    const request = httpRequest({ host: hostname, port, method, path: target, headers })
    request.end()
    const [response] = await once(request, 'response')
    response.resume()
    return response.statusCode
  }
  const { port } = new URL(url)
  t.equal(await asked({ Host: `localhost:${port}` }), 200)
  t.equal(await asked({ Host: 'pictures.example' }), 200)
  t.equal(await asked({ Host: `evil.example:${port}` }), 403, 'DNS rebinding')
  t.equal(await asked({ Host: `192.168.0.7:${port}` }), 403, 'another address, on loopback')
  const own = { Host: `127.0.0.1:${port}`, ...HEADERS }
  const post = (headers: Record<string, string>) => asked(headers, 'POST', ask())
  t.equal(await post({ ...own, Origin: url }), 400, 'the own page (and nothing is sent)')
  t.equal(await post({ ...own, Origin: 'https://evil.example' }), 403)
  t.equal(await post({ ...own, Origin: 'null' }), 403)
  t.equal(await post({ ...own, 'Sec-Fetch-Site': 'cross-site' }), 403)
  t.equal(await post({ Host: own.Host, Origin: url }), 403, 'without the header that a form cannot send')
  t.equal(await asked({ Host: own.Host, 'Sec-Fetch-Site': 'cross-site' }, 'GET', '/assets/viewer.js'), 403)
  t.equal(await asked({ Host: own.Host }, 'OPTIONS', ask()), 405, 'no preflight is granted')
  t.equal(await asked({ Host: own.Host }, 'GET', '/assets/../package.json'), 404)
  t.equal(await asked({ Host: own.Host }, 'GET', '/assets/constructor'), 404)
  t.equal(await asked({ Host: own.Host }, 'GET', `/results/${'0'.repeat(32)}/result`), 404)
  t.equal(await asked({ Host: own.Host }, 'GET', '/results/%2e%2e%2f%2e%2e%2fetc/passwd/result'), 404)
  t.equal(await asked({ Host: own.Host }, 'GET', '//'), 404)
  t.equal(await asked({ Host: own.Host }, 'DELETE', '/'), 405)

  const open = await serve(t, { host: '0.0.0.0' })
  const public_ = new URL(open.url).port
  const openAsked = async (host: string) => {
    const request = httpRequest({ host: '127.0.0.1', port: public_, headers: { Host: host } })
    request.end()
    const [response] = await once(request, 'response')
    response.resume()
    return response.statusCode
  }
  t.equal(await openAsked('192.168.0.7:80'), 200, 'an address cannot be rebound')
  t.equal(await openAsked('evil.example'), 403)
})

/** A PNG of so many pixels, whose few kilobytes inflate to so many zeros. */
function bomb(width: number, height: number, inflated = 2_000_000): Buffer {
  const crc = (bytes: Buffer) => {
    let value = ~0
    for (const byte of bytes) {
      value ^= byte
      for (let k = 0; k < 8; k++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0)
    }
    return ~value >>> 0
  }
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data])
    const ends = [Buffer.alloc(4), Buffer.alloc(4)] as const
    ends[0].writeUInt32BE(data.length)
    ends[1].writeUInt32BE(crc(body))
    return Buffer.concat([ends[0], body, ends[1]])
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 0], 8)
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.alloc(inflated))),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

t.test('hostile pictures', async (t) => {
  const { server, url, folder } = await serve(t)
  const failed = async (body: Buffer, message: RegExp, more = {}) => {
    const told = (await eventsOf(await send(url, body, more))).at(-1)
    t.match(told, { event: 'failed', message })
    t.notMatch(told.message, /\/tmp|wbsr-serve/, 'no paths of the server')
  }
  const giant = bomb(60_000, 60_000)
  t.ok(giant.length < 10_000, `${giant.length} bytes`)
  const rss = process.memoryUsage().rss
  await failed(giant, /Cannot use small.png: expected at most 1000000 pixels .* it has 60000 x 60000/)
  t.ok(process.memoryUsage().rss - rss < 1.5e9, 'its 3.6 GB were not decoded')
  const told = (await eventsOf(await send(url, bomb(100, 100, 100_000_000)))).at(-1)
  t.match(told.event, /^(done|failed)$/, 'more data than pixels')
  await failed(readFileSync(small).subarray(0, 600), /small.png/)
  await failed(Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), Buffer.alloc(5000)]), /small.png/)
  await failed(readFileSync(small), /at most 4 million pixels .* 3072 x 2048/, { scale: '32' })
  await failed(readFileSync(small), /at most 4 million pixels/, { width: '5000' })
  await failed(readFileSync(small), /at most 64 times 96x64/, { width: '20000' })

  const svg = '<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>'
  for (const body of [svg, 'GIF8', 'hello', '<html>', 'MZ'.padEnd(100), '%PDF-1.7'.padEnd(100)])
    await refused(t, await send(url, body), 415, /Expected a PNG, JPEG/)
  await refused(t, await send(url, ''), 400, /received nothing/)
  await refused(t, await send(url, Buffer.alloc(3e6)), 413, /at most 2 MB/)
  t.equal(server.pending, 0)
  const left = told.event === 'done' ? 1 : 0
  await until(() => readdirSync(folder).length === left)
  t.pass('nothing is left')
})

t.test('hostile parameters and names', async (t) => {
  const { url } = await serve(t)
  const body = readFileSync(small)
  const bad = async (more: Record<string, string>, message: RegExp) =>
    refused(t, await send(url, body, more), 400, message)
  await bad({ model: '../../etc/passwd' }, /Expected one of auto, tiny.safetensors/)
  await bad({ model: file }, /for model/)
  await bad({ scale: '0.5' }, /between 1 and 64 for scale/)
  await bad({ scale: '1e9' }, /for scale/)
  await bad({ scale: '2', width: '9' }, /nothing with scale for width/)
  await bad({ width: '-4' }, /for width/)
  await bad({ quality: 'constructor' }, /for quality/)
  await bad({ out: '/tmp/x' }, /no others than/)
  const named = async (name: string) =>
    (await eventsOf(await send(url, body, { name, scale: '2' }))).at(-1).name as string
  t.equal(await named('../../etc/pass\0wd.png'), 'passwd-192x128.png')
  t.equal(await named('C:\\windows\\a"b\r\nSet-Cookie: x.png'), 'abSet-Cookie x-192x128.png')
  t.equal(await named('.bashrc'), 'bashrc-192x128.png')
  t.equal(safeName('..'), 'picture')
  t.equal(safeName(''), 'picture')
  t.equal([...safeName(`${'😀'.repeat(300)}.png`)].length, 54)
  const odd = (await eventsOf(await send(url, body, { name: 'Grüße (1)’.png' }))).at(-1)
  const download = await fetch(`${url}${odd.result}?download`)
  t.match(
    download.headers.get('content-disposition'),
    /filename\*=UTF-8''Gr%C3%BC%C3%9Fe%20%281%29%E2%80%99-192x128\.png$/,
  )
})

/** Begins a request and sends so much of its body. */
async function half(url: string, length: number, body: Buffer) {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(
    `POST ${ask()} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nX-Wbsr-Client: slow\r\nContent-Length: ${length}\r\n\r\n`,
  )
  socket.write(body)
  return socket
}

t.test('slow uploads', async (t) => {
  const body = readFileSync(small)
  const { server, url } = await serve(t, {
    upload: { bytes: 2e6, seconds: 3, idleSeconds: 0.4 },
  })
  const idle = await half(url, body.length, body.subarray(0, 100))
  const [answer] = await once(idle, 'data')
  t.match(String(answer), /^HTTP\/1.1 408 .*came too slowly/s)
  await until(() => server.pending === 0)

  // Drop by drop, so that it is never idle.
  const dripping = await half(url, 10_000, body.subarray(0, 20))
  const drops = setInterval(() => dripping.write('x'), 100)
  const [late] = await once(dripping, 'data')
  clearInterval(drops)
  t.match(String(late), /^HTTP\/1.1 408/)
})

t.test('broken uploads, too many and too long ones', async (t) => {
  const body = readFileSync(small)
  const { server, url, folder } = await serve(t, { queue: { total: 3, perClient: 2 } })
  const broken = await half(url, body.length, body.subarray(0, 100))
  await until(() => server.pending === 1)
  broken.destroy()
  await until(() => server.pending === 0)
  await until(() => readdirSync(folder).length === 0)
  t.pass('an upload that breaks off leaves nothing')

  const first = await half(url, body.length, body.subarray(0, 50))
  const second = await half(url, body.length, body.subarray(0, 50))
  await until(() => server.pending === 2)
  const third = await half(url, body.length, body.subarray(0, 50))
  t.match(String((await once(third, 'data'))[0]), /^HTTP\/1.1 429 .*Too many of your pictures/s)
  const other = await send(url, body, {}, { 'X-Wbsr-Client': 'other' })
  t.match((await eventsOf(other)).at(-1), { event: 'done' }, 'others are served meanwhile')
  for (const socket of [first, second, third]) socket.destroy()
  await until(() => server.pending === 0)

  const chunked = await fetch(url + ask(), {
    method: 'POST',
    headers: HEADERS,
    duplex: 'half',
    body: (async function* () {
      for (let i = 0; i < 60; i++) yield i === 0 ? body.subarray(0, 1000) : Buffer.alloc(50_000)
    })() as never,
  } as never).catch((error) => error)
  t.ok(chunked instanceof Response ? chunked.status === 413 : chunked instanceof TypeError, 'longer than it may be')
})

t.test('a client that goes away ends the work', async (t) => {
  const { server, url, folder, events } = await serve(t, {
    queue: { total: 2, perClient: 2 },
    pixels: { pixels: 4e6, resultPixels: 16e6 },
  })
  const large = readFileSync(await drawPicture(at('large.png'), 700, 700))
  const stop = new AbortController()
  const running = await fetch(url + ask({ scale: '4' }), {
    method: 'POST',
    body: large as never,
    headers: HEADERS,
    signal: stop.signal,
  })
  const reader = running.body!.getReader()
  for (let text = ''; !/"share":0\.\d/.test(text); ) text += Buffer.from((await reader.read()).value!).toString()
  const waiting = send(url, readFileSync(small), {}, { 'X-Wbsr-Client': 'other' })
  await until(() => server.pending === 2)
  await refused(t, await send(url, readFileSync(small), {}, { 'X-Wbsr-Client': 'third' }), 503, /Too many pictures/)
  stop.abort()
  const told = await eventsOf(await waiting)
  t.match(told[0], { event: 'waiting', ahead: 1 })
  t.match(told.at(-1), { event: 'done' })
  t.equal(server.pending, 0)
  t.equal(readdirSync(folder).length, 1)
  t.notOk(events.some(({ event }) => event === 'failed'))
})

t.test('limits of time and of what is kept', async (t) => {
  const slow = await serve(t, { jobSeconds: 0.05, pixels: { pixels: 4e6, resultPixels: 16e6 } })
  const told = await eventsOf(
    await send(slow.url, readFileSync(await drawPicture(at('slow.png'), 700, 700)), { scale: '4' }),
  )
  t.match(told.at(-1), { event: 'failed', code: 'WBSR_TIMEOUT', message: /at most 0.05 s/ })
  await until(() => readdirSync(slow.folder).length === 0)

  const { url, folder } = await serve(t, { results: { bytes: 1, seconds: 600 } })
  const [first, second] = [
    (await eventsOf(await send(url, readFileSync(small)))).at(-1),
    (await eventsOf(await send(url, readFileSync(small)))).at(-1),
  ]
  await until(() => readdirSync(folder).length === 1)
  t.equal((await fetch(url + first.result)).status, 404, 'the older one made room')
  t.equal((await fetch(url + second.result)).status, 200)
})

t.test('turns are fair', async (t) => {
  const queue = new FairQueue({ total: 10, perClient: 6 })
  const order: string[] = []
  const never = new AbortController().signal
  const enter = (client: string) => queue.enter(client) as Ticket
  const come = (ticket: Ticket, name: string) => ticket.turn(never).then(() => order.push(name))
  const tickets: [string, Ticket][] = []
  for (const name of ['a1', 'a2', 'a3', 'a4', 'b1', 'c1', 'b2']) {
    const ticket = enter(name[0]!)
    tickets.push([name, ticket])
    void come(ticket, name)
  }
  const last = tickets[3]![1]
  t.equal(last.ahead, 6)
  const gone = new AbortController()
  const leaving = enter('d')
  const left = leaving.turn(gone.signal)
  gone.abort(new Error('gone'))
  await t.rejects(left, /gone/)
  leaving.leave()
  leaving.leave()
  while (order.length < 7) {
    await setTimeout(1)
    tickets.find(([name]) => name === order.at(-1))![1].leave()
  }
  t.same(order, ['a1', 'b1', 'c1', 'a2', 'b2', 'a3', 'a4'])
  for (const [, ticket] of tickets) ticket.leave()
  t.equal(queue.size, 0)
  for (let i = 0; i < 6; i++) enter('a')
  t.equal(queue.enter('a'), 'client full')
  for (let i = 0; i < 4; i++) enter('b')
  t.equal(queue.enter('c'), 'full')
})

t.test('the command', { skip: unbuilt }, async (t) => {
  const child = start(['serve', '-m', file, '--port', '0', '--device', 'cpu'])
  const end = ended(child)
  let said = ''
  child.stdout.on('data', (part) => (said += part))
  await until(() => said.includes('\n'))
  t.match(said, /^http:\/\/127\.0\.0\.1:\d+\/\n$/)
  const url = said.trim().slice(0, -1)
  t.match((await eventsOf(await send(url, readFileSync(small)))).at(-1), { event: 'done' })
  const taken = await wbsr(['serve', '-m', file, '--port', new URL(url).port])
  t.equal(taken.status, 1)
  t.match(taken.said, /Cannot listen on 127.0.0.1, port \d+: .*EADDRINUSE/)
  const before = folders().length
  child.kill('SIGINT')
  t.equal((await end).status, 130)
  t.equal(folders().length, before - 1, 'its folder is gone')
  const wrong = async (args: string[], message: RegExp) => {
    const { status, said } = await wbsr(['serve', ...args])
    t.equal(status, 2, said)
    t.match(said, message)
  }
  await wrong(['--port', '70000'], /Expected an integer between 0 and 65535/)
  await wrong(['--host', 'example.com'], /Expected an address/)
})

t.test('the page in a browser', { skip: withoutChromium }, async (t) => {
  const { url, server } = await serve(t, { pixels: { pixels: 1e6, resultPixels: 16e6 } })
  const { page, faults } = await newTab(t)
  await page.goto(url)
  // By keyboard alone: size, file, download.
  await page.keyboard.press('Tab')
  t.equal(await page.evaluate('document.activeElement.name'), 'size')
  await page.getByLabel('Size').selectOption('factor')
  await page.keyboard.type('2.5')
  await screenshot(page, 'serve-empty')
  writeFileSync(at('notes.png'), 'no picture')
  await page.locator('#files').setInputFiles([small, at('notes.png')])
  const download = page.getByRole('link', { name: 'Download small-240x160.png' })
  await download.waitFor({ timeout: 60_000 })
  t.match(await page.locator('.item.failed').textContent(), /notes.png.*Expected a PNG, JPEG/)
  const [saved] = await Promise.all([page.waitForEvent('download'), download.press('Enter')])
  t.equal(saved.suggestedFilename(), 'small-240x160.png')
  t.same(await sizeOf((await saved.path())!), [240, 160])
  const divider = page.getByRole('slider', { name: /Boundary/ })
  await divider.focus()
  await page.keyboard.press('End')
  t.equal(await divider.getAttribute('aria-valuenow'), '100')
  await page.keyboard.press('Home')
  await page.getByLabel('Where the work went').check()
  t.ok((await page.locator('.map path').count()) > 0)
  await screenshot(page, 'serve-done')
  await page.getByRole('button', { name: 'Hide small.png' }).click()
  t.equal(await page.locator('wbsr-viewer').count(), 0)

  // Dropped, and cancelled while it runs.
  await drawPicture(at('big.png'), 900, 900)
  await page.getByLabel('Size').selectOption('4')
  const data = readFileSync(at('big.png')).toString('base64')
  const transfer = await page.evaluateHandle((text) => {
    const { File, DataTransfer } = globalThis as any
    const transfer = new DataTransfer()
    transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], 'dropped.png'))
    return transfer
  }, data)
  await page.dispatchEvent('#drop', 'drop', { dataTransfer: transfer })
  await page.getByText(/^\d+ %$/).waitFor({ timeout: 60_000 })
  await page.getByRole('button', { name: 'Cancel dropped.png' }).click()
  await until(() => server.pending === 0)
  t.equal(await page.locator('.item', { hasText: 'dropped.png' }).count(), 0)
  t.same(
    faults.filter((fault) => !/status of 415/.test(fault)),
    [],
  )

  const phone = await newTab(t, { viewport: { width: 360, height: 700 }, colorScheme: 'dark', hasTouch: true })
  await phone.page.goto(url)
  await phone.page.locator('#files').setInputFiles(await drawPicture(at('phone picture with a long name.jpg'), 80, 60))
  await phone.page.getByRole('link', { name: /^Download/ }).waitFor({ timeout: 60_000 })
  const [wide, seen] = await phone.page.evaluate<[number, number]>('[document.documentElement.scrollWidth, innerWidth]')
  t.ok(wide <= seen, `${wide} of ${seen} pixels`)
  await screenshot(phone.page, 'serve-phone')
  t.same(phone.faults, [])
})

t.test('pictures that the browser sends when the server ends', { skip: withoutChromium }, async (t) => {
  const { url, server } = await serve(t)
  const { page } = await newTab(t)
  await page.goto(url)
  await server.close()
  await page.locator('#files').setInputFiles(small)
  await page.getByText('the connection to the server was lost', { exact: true }).waitFor()
  t.ok(await page.getByRole('button', { name: 'Try again small.png' }).isVisible())
})
