import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { WbsrError } from '../../lib/errors.js'
import { AtomicFile, writeFileAtomic } from '../../lib/files/atomic.js'
import { onSmallDisk } from '../support/small-disk.js'

const bytes = (text: string) => Buffer.from(text)

t.test('bytes, chunks, async chunks and a function', async (t) => {
  const dir = t.testdir({})
  const file = path.join(dir, 'a.bin')
  await writeFileAtomic(file, bytes('one'))
  t.equal(readFileSync(file, 'utf8'), 'one')
  await writeFileAtomic(file, [bytes('t'), bytes('wo')])
  t.equal(readFileSync(file, 'utf8'), 'two')
  await writeFileAtomic(
    file,
    (async function* () {
      yield bytes('thr')
      yield bytes('ee')
    })(),
  )
  t.equal(readFileSync(file, 'utf8'), 'three')
  await writeFileAtomic(file, async (handle) => {
    await handle.writeFile('four')
  })
  t.equal(readFileSync(file, 'utf8'), 'four')
  t.same(readdirSync(dir), ['a.bin'], 'no temporary file is left')
})

t.test('makes missing folders, takes long names, keeps permissions, follows links', async (t) => {
  const dir = t.testdir({})
  const deep = path.join(dir, 'x/y', `${'n'.repeat(250)}.bin`)
  await writeFileAtomic(deep, bytes('deep'))
  t.equal(readFileSync(deep, 'utf8'), 'deep')
  const file = path.join(dir, 'mode.bin')
  writeFileSync(file, 'old', { mode: 0o640 })
  await writeFileAtomic(file, bytes('new'))
  t.equal(statSync(file).mode & 0o777, 0o640)
  const link = path.join(dir, 'link.bin')
  symlinkSync(file, link)
  await writeFileAtomic(link, bytes('through'))
  t.ok(lstatSync(link).isSymbolicLink(), 'the link stays one')
  t.equal(readFileSync(file, 'utf8'), 'through')
})

t.test('on errors the old file survives and no temporary file is left', async (t) => {
  const dir = t.testdir({ 'a.bin': 'old' })
  const file = path.join(dir, 'a.bin')
  const cause = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  await t.rejects(
    writeFileAtomic(file, async (handle) => {
      await handle.write('half')
      throw cause
    }),
    { name: 'WbsrError', code: 'WBSR_IO', message: `Cannot write ${file}: no space left on the disk`, cause },
  )
  await t.rejects(
    writeFileAtomic(
      file,
      (async function* () {
        yield bytes('half')
        throw new TypeError('source broke')
      })(),
    ),
    { code: 'WBSR_IO', message: `Cannot write ${file}: source broke` },
  )
  await t.rejects(
    writeFileAtomic(file, async () => {
      throw new WbsrError('WBSR_ABORTED', 'training was aborted')
    }),
    { code: 'WBSR_ABORTED', message: 'training was aborted' },
  )
  const atomic = await AtomicFile.open(file)
  await atomic.write(bytes('half'))
  t.equal(readdirSync(dir).length, 2, 'a temporary file lies beside it meanwhile')
  await atomic.discard()
  await atomic.discard()
  t.equal(readFileSync(file, 'utf8'), 'old')
  t.same(readdirSync(dir), ['a.bin'])
})

t.test('refuses what is not a regular file', async (t) => {
  const dir = t.testdir({ folder: {}, plain: 'x' })
  const folder = path.join(dir, 'folder')
  await t.rejects(writeFileAtomic(folder, bytes('x')), {
    code: 'WBSR_IO',
    message: `Cannot write ${folder}: it is a folder, expected the name of a file`,
  })
  await t.rejects(writeFileAtomic(`${dir}/new/`, bytes('x')), {
    code: 'WBSR_IO',
    message: /expected the name of a file, not of a folder/,
  })
  await t.rejects(writeFileAtomic('/dev/null', bytes('x')), {
    code: 'WBSR_IO',
    message: 'Cannot write /dev/null: it is not a regular file',
  })
  t.ok(lstatSync('/dev/null').isCharacterDevice())
  await t.rejects(writeFileAtomic(path.join(dir, 'plain/below'), bytes('x')), {
    code: 'WBSR_IO',
    message: /^Cannot write .*plain\/below: /,
  })
})

t.test('a disk that is really full', async (t) => {
  const disk = path.join(t.testdir({}), 'disk')
  await onSmallDisk(t, disk, '64k', async () => {
    const file = path.join(disk, 'a.bin')
    await writeFileAtomic(file, Buffer.alloc(40_000, 1))
    await t.rejects(writeFileAtomic(file, Buffer.alloc(40_000, 2)), {
      code: 'WBSR_IO',
      message: `Cannot write ${file}: no space left on the disk`,
    })
    t.same(readFileSync(file), Buffer.alloc(40_000, 1))
    t.same(readdirSync(disk), ['a.bin'])
  })
})

t.test('a folder without permission', { skip: process.getuid?.() === 0 && 'root may write anywhere' }, async (t) => {
  const dir = t.testdir({})
  mkdirSync(path.join(dir, 'closed'), { mode: 0o500 })
  await t.rejects(writeFileAtomic(path.join(dir, 'closed/a.bin'), bytes('x')), {
    code: 'WBSR_IO',
    message: /permission denied/,
  })
})
