// The programs of examples/ do what their first lines say, started as a person starts them.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent, type IncomingMessage, request } from 'node:http'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { ended, until } from './support/cli.js'
import { picture } from './support/data-pictures.js'
import { unbuilt } from './support/package.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const skip = unbuilt()

const encoded = (width: number, height: number, seed = 1) => {
  const { data } = picture(width, height, seed)
  return sharp(data, { raw: { width, height, channels: 3 } })
}

/** Starts an example without what tap preloads; it is killed when the test ends before it does. */
function start(t: Test, name: string, args: string[], env: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
  const command = ['-u', 'NODE_OPTIONS', process.execPath, path.join(root, 'examples', name), ...args]
  const child = spawn('env', command, { env: { ...process.env, ...env }, stdio: 'pipe' })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

/** What a process has written so far, as lines. */
function follow(child: ChildProcessWithoutNullStreams) {
  const text = { out: '', said: '' }
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text.out += part
  })
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    text.said += part
  })
  return text
}

const agent = new Agent({ keepAlive: true })

/** A POST whose body ends when `body` is given, and stays open otherwise. */
function upload(address: string, body?: Buffer) {
  const sent = request(`${address}/upscale`, {
    method: 'POST',
    agent,
    headers: { 'content-type': 'image/png', 'content-length': body?.length ?? 1000 },
  })
  sent.on('error', () => {})
  if (body) sent.end(body)
  else sent.write('x')
  return sent
}

async function answerOf(sent: ReturnType<typeof upload>) {
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  return { status: response.statusCode, body: Buffer.concat(await response.toArray()), headers: response.headers }
}

t.test('upload-server.mjs', { skip }, async (t) => {
  const child = start(t, 'upload-server.mjs', [], { PORT: '0', QUEUE: '0' })
  const text = follow(child)
  await until(() => /listening on \S+/.test(text.out))
  const address = /listening on (\S+)/.exec(text.out)![1]!

  const small = await encoded(48, 32).png().toBuffer()
  const done = await answerOf(upload(address, small))
  t.equal(done.status, 200, done.body.toString('latin1', 0, 200))
  t.match(await sharp(done.body).metadata(), { format: 'png', width: 96, height: 64 })

  const bad = await answerOf(upload(address, Buffer.from('no picture')))
  t.equal(bad.status, 415)
  t.match(JSON.parse(bad.body.toString()), { code: 'WBSR_INVALID_IMAGE', message: /\w/ })

  // An upload that does not end holds the only place.
  const health = async () => ((await (await fetch(`${address}/health`)).json()) as { pictures: number }).pictures
  const waitFor = async (pictures: number) => {
    for (let i = 0; i < 3000 && (await health()) !== pictures; i++) await new Promise((go) => setTimeout(go, 10))
  }
  const slow = upload(address)
  await waitFor(1)
  const refused = await answerOf(upload(address, small))
  t.equal(refused.status, 503)
  t.match(JSON.parse(refused.body.toString()), { code: 'WBSR_BUSY' })
  t.equal(refused.headers['retry-after'], '5')
  slow.destroy()
  await waitFor(0)
  t.equal(await health(), 0, 'who goes away frees the place')
  t.equal((await answerOf(upload(address, small))).status, 200)

  // Connections of this client and of fetch() are open and idle.
  child.kill('SIGTERM')
  const [code] = (await once(child, 'close')) as [number]
  agent.destroy()
  t.equal(code, 0, text.said)
})

t.test('sharp-pipeline.mjs', { skip }, async (t) => {
  const folder = t.testdir()
  const [input, output] = [path.join(folder, 'a.jpg'), path.join(folder, 'a.webp')]
  // Lies on its side: 48 x 64 when it is upright. With alpha and grey it would be flattened and become RGB.
  await encoded(64, 48).withMetadata({ orientation: 6 }).jpeg().toFile(input)
  const { status, text, said } = await ended(start(t, 'sharp-pipeline.mjs', [input, output, '60']))
  t.equal(status, 0, said)
  t.match(text, /a\.webp: 60 x 80, \d+ bytes/)
  t.match(await sharp(output).metadata(), { format: 'webp', width: 60, height: 80 })

  const grey = path.join(folder, 'grey.png')
  await encoded(32, 24).greyscale().ensureAlpha(0.5).png().toFile(grey)
  const second = await ended(start(t, 'sharp-pipeline.mjs', [grey, output]))
  t.match(second, { status: 0, text: /: 64 x 48, / }, second.said)
})

t.test('watch-folder.mjs', { skip }, async (t) => {
  const folder = t.testdir({ in: {} })
  const at = (name: string) => path.join(folder, 'in', name)
  const out = (name: string) => path.join(folder, 'out', name)
  const args = [at(''), out('')]
  const quick = { SETTLE: '0.2', POLL: '0.05' }
  const whole = await encoded(32, 24).png().toBuffer()
  writeFileSync(at('early.png'), whole)

  const child = start(t, 'watch-folder.mjs', args, quick)
  const text = follow(child)
  await until(() => text.out.includes('early.png: 64 x 48'))
  // What has not arrived completely, and what never will be a picture.
  writeFileSync(at('cut.png'), whole.subarray(0, whole.length - 300))
  writeFileSync(at('bad.jpg'), 'no picture')
  mkdirSync(at('folder.png'))
  await until(() => /^cut\.png: /m.test(text.said) && /^bad\.jpg: /m.test(text.said))
  t.notOk(existsSync(out('cut.png')), 'nothing is left of a picture that is cut off')
  writeFileSync(at('cut.png'), whole)
  writeFileSync(at('late.webp'), await encoded(24, 24).webp().toBuffer())
  await until(() => /cut\.png: 64 x 48/.test(text.out) && /late\.webp: 48 x 48/.test(text.out))
  child.kill('SIGTERM')
  const [code] = (await once(child, 'close')) as [number]
  t.equal(code, 0, text.said)
  t.same(readdirSync(out('')).sort(), ['cut.png', 'early.png', 'late.webp'])
  t.match(await sharp(out('late.webp')).metadata(), { format: 'webp', width: 48, height: 48 })

  // Started again it does what is new and nothing else.
  const again = start(t, 'watch-folder.mjs', args, quick)
  const more = follow(again)
  writeFileSync(at('new.png'), whole)
  await until(() => more.out.includes('new.png: 64 x 48'))
  again.kill('SIGINT')
  await once(again, 'close')
  t.equal(more.out.match(/64 x 48|48 x 48/g)!.length, 1, more.out)
})

t.test('train-own.mjs', { skip }, async (t) => {
  const folder = t.testdir({ photos: {} })
  for (let i = 0; i < 4; i++)
    await encoded(96, 80, i + 1)
      .jpeg()
      .toFile(path.join(folder, 'photos', `${i}.jpg`))
  writeFileSync(path.join(folder, 'photos', '0-bad.jpg'), 'no picture')
  const model = path.join(folder, 'own.safetensors')
  const { status, text, said } = await ended(
    start(t, 'train-own.mjs', [path.join(folder, 'photos'), model, '--steps', '2'], { XDG_CACHE_HOME: folder }),
  )
  t.equal(status, 0, said)
  t.match(said, /left out: .*0-bad\.jpg: /)
  t.match(text, /^held-out photographs: [\d.]+ dB, bicubic [\d.]+ dB$/m)
  t.ok(existsSync(model))
  t.match(readFileSync(path.join(folder, 'own.run', 'report.html'), 'utf8'), /<!doctype html>/i)
  const { width, height } = await sharp(path.join(folder, 'own.run', '3-x2.png')).metadata()
  t.same([width, height], [192, 160])
})

t.test('arguments that are missing are said', { skip }, async (t) => {
  for (const name of ['sharp-pipeline.mjs', 'watch-folder.mjs', 'train-own.mjs']) {
    const { status, said } = await ended(start(t, name, []))
    t.equal(status, 2, name)
    t.match(said, new RegExp(`^usage: node ${name} `))
  }
})
