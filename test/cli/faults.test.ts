// What goes wrong around a running `wbsr upscale`: interrupts, kills, pipes that break, disks and folders that do not take
// the results, files that vanish.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { chmod } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { drawPicture, ended, sizeOf, skip, start, temporaries, tinyModel, until, wbsr } from '../support/cli.js'
import { onSmallDisk } from '../support/small-disk.js'

if (skip) {
  t.pass('the built program', { skip })
  process.exit()
}

const home = t.testdir()
const at = (...names: string[]) => path.join(home, ...names)
const model = await tinyModel(at('x2.safetensors'))
const small = await drawPicture(at('small.png'), 64, 48)
// Takes long enough to be met while it runs.
const large = await drawPicture(at('large.png'), 2400, 1800)

const pictures = (folder: string, count: number, source = small) => {
  mkdirSync(at(folder), { recursive: true })
  for (let i = 0; i < count; i++) copyFileSync(source, at(folder, `${String(i).padStart(3, '0')}.png`))
  return at(folder)
}
const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))

for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  t.test(`${signal} discards the picture in hand and keeps the others`, async (t) => {
    const folder = pictures(`in-${signal}`, 1)
    copyFileSync(large, path.join(folder, '001.png'))
    copyFileSync(small, path.join(folder, '002.png'))
    const out = at(`out-${signal}`)
    const child = start(['upscale', folder, '-m', model, '-o', out])
    const end = ended(child)
    await until(() => existsSync(path.join(out, '000.png')) && temporaries(out).length > 0)
    child.kill(signal)
    const ran = await end
    t.equal(ran.status, status, ran.said)
    t.match(ran.said, /1 written, 2 not done/)
    t.same(readdirSync(out), ['000.png'])
    t.same(await sizeOf(path.join(out, '000.png')), [128, 96])
  })

t.test('an interrupt while standard input has no end', async (t) => {
  const child = start(['upscale', '-', '-m', model, '-o', at('endless.png')])
  const end = ended(child)
  // More than a pipe holds: it is read, so the program listens to signals.
  await new Promise((taken) => child.stdin.write(Buffer.alloc(1 << 21), taken))
  child.kill('SIGINT')
  const { status, said } = await end
  t.equal(status, 130)
  t.match(said, /^0 written, 1 not done/m)
  t.notOk(existsSync(at('endless.png')))
})

t.test('killed, and run again', async (t) => {
  const folder = pictures('in-kill', 1)
  copyFileSync(large, path.join(folder, '001.png'))
  const out = at('out-kill')
  const child = start(['upscale', folder, '-m', model, '-o', out])
  const end = ended(child)
  await until(() => existsSync(path.join(out, '000.png')) && temporaries(out).length > 0)
  child.kill('SIGKILL')
  t.equal((await end).status, 'SIGKILL')
  t.notOk(existsSync(path.join(out, '001.png')))
  const again = await wbsr(['upscale', folder, '-m', model, '-o', out, '--skip-existing'])
  t.equal(again.status, 0, again.said)
  t.match(again.said, /1 written, 1 there already/)
  t.same(readdirSync(out).sort(), ['000.png', '001.png'], 'what the kill left is gone')
  t.same(await sizeOf(path.join(out, '001.png')), [4800, 3600])
})

t.test('a reader of standard output that goes away', async (t) => {
  const own = at('tmp')
  mkdirSync(own)
  const child = start(['upscale', large, '-m', model, '-o', '-', '--compression', '0'], { env: { TMPDIR: own } })
  const end = ended(child)
  child.stdout.once('data', () => child.stdout.destroy())
  const { status, said } = await end
  t.equal(status, 141)
  t.notMatch(said, /error/i)
  t.same(readdirSync(own), [], 'nothing is left in the folder of temporary files')

  const out = at('out-pipe')
  const many = start(['upscale', pictures('in-pipe', 40), '-m', model, '-o', out, '--json'])
  const over = ended(many)
  createInterface(many.stdout).once('line', () => many.stdout.destroy())
  const ran = await over
  t.equal(ran.status, 141, ran.said)
  t.ok(readdirSync(out).length < 40, 'the rest is not done')
  t.same(temporaries(out), [])
})

t.test('a file that vanishes, and one that appears in the place of a folder', async (t) => {
  const folder = pictures('in-vanish', 12)
  const child = start(['upscale', folder, '-m', model, '-o', at('out-vanish'), '--json'])
  const end = ended(child)
  child.stdout.once('data', () => rmSync(path.join(folder, '011.png')))
  const { status, text } = await end
  t.equal(status, 3)
  const events = lines(text)
  t.match(events.at(-1), { written: 11, failed: 1 })
  t.match(
    events.find(({ status: what }) => what === 'failed'),
    { input: path.join(folder, '011.png'), code: 'WBSR_NOT_FOUND' },
  )
})

t.test('two processes that write one result', async (t) => {
  const out = at('both.png')
  const both = await Promise.all(
    [1, 2].map(() => wbsr(['upscale', large, '-m', model, '-o', out, '--compression', '1'])),
  )
  t.same(
    both.map(({ status }) => status),
    [0, 0],
  )
  t.same(await sizeOf(out), [4800, 3600])
  t.same(temporaries(home), [])
})

t.test('folders that take no files', async (t) => {
  writeFileSync(at('plain'), 'a file')
  const below = await wbsr(['upscale', small, '-m', model, '-o', at('plain', 'x.png')])
  t.equal(below.status, 3)
  t.match(below.said, /error: .*Cannot write .*plain\/x\.png/)
  // Files below the home folder of root are closed to others.
  const open = mkdtempSync(path.join(tmpdir(), 'wbsr-cli-'))
  t.teardown(() => rmSync(open, { recursive: true, force: true }))
  await chmod(open, 0o755)
  for (const file of [model, small]) copyFileSync(file, path.join(open, path.basename(file)))
  mkdirSync(path.join(open, 'closed'), { mode: 0o555 })
  const root = process.getuid?.() === 0
  const args = ['upscale', path.join(open, 'small.png'), '-m', path.join(open, 'x2.safetensors')]
  const ran = await wbsr([...args, '-o', path.join(open, 'closed/x.png')], root ? { uid: 65534, cwd: open } : {})
  const why = /Cannot find module|EACCES: permission denied, (open|lstat|scandir)|Could not load/.test(ran.said)
  if (root && why) t.pass('another user', { skip: 'the program lies in a folder that other users may not enter' })
  else {
    t.equal(ran.status, 3, ran.said)
    t.match(ran.said, /Cannot write .*closed\/x\.png: permission denied/)
  }
})

t.test('a disk that is full', async (t) => {
  const disk = at('disk')
  await onSmallDisk(t, disk, '900k', async () => {
    const noisy = await drawPicture(at('noisy.png'), 300, 300)
    const folder = pictures('in-disk', 8, noisy)
    const { status, said } = await wbsr(['upscale', folder, '-m', model, '-o', path.join(disk, 'out'), '-f', 'png'])
    t.equal(status, 3, said)
    t.match(said, /no space left on the disk|MB are free/)
    const there = readdirSync(path.join(disk, 'out'))
    t.ok(there.length > 0 && there.length < 8, `${there.length} results`)
    for (const name of there) t.same(await sizeOf(readFileSync(path.join(disk, 'out', name))), [600, 600])
  })
})
