// Stores: a folder and S3 do the same, and a fleet works on either.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { s3Store, storeOf } from '../../lib/fleet/s3-store.js'
import { checkKey, folderStore, readAll, type Store } from '../../lib/fleet/store.js'

const folder = mkdtempSync(path.join(tmpdir(), 'wbsr-store-'))
mkdirSync(path.join(folder, 's3'))
const S3rver = createRequire(import.meta.url)('s3rver')
const server: Server = await new S3rver({
  port: 0,
  address: '127.0.0.1',
  silent: true,
  directory: path.join(folder, 's3'),
  configureBuckets: [{ name: 'bucket' }],
})
  .run()
  .then((address: { port: number }) => address)
const { port } = server as unknown as { port: number }
const client = {
  endpoint: `http://127.0.0.1:${port}`,
  region: 'us-east-1',
  forcePathStyle: true,
  credentials: { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' },
}
const s3 = await s3Store({ bucket: 'bucket', prefix: 'fleet/one', client })
t.teardown(() => {
  s3.close()
  rmSync(folder, { recursive: true, force: true })
  // s3rver holds its socket open.
  setImmediate(() => process.exit())
})

const large = Buffer.alloc(20 << 20, 'abcdefg')

for (const [name, store] of [
  ['folder', folderStore(path.join(folder, 'store'))],
  ['S3', s3],
] as [string, Store][]) {
  t.test(`${name}: what is written is read, whole and in pieces`, async (t) => {
    t.equal(await store.size('a/b.bin'), null)
    await t.rejects(store.read('a/b.bin', 0, 4), { code: 'WBSR_NOT_FOUND', message: /b\.bin does not exist/ })
    await t.rejects(readAll(store, 'a/b.bin'), { code: 'WBSR_NOT_FOUND' })
    await store.write('a/b.bin', Buffer.from('0123456789'))
    t.equal(await store.size('a/b.bin'), 10)
    t.equal((await store.read('a/b.bin', 3, 4)).toString(), '3456')
    t.equal((await store.read('a/b.bin', 8, 4)).toString(), '89', 'less at the end')
    t.equal((await readAll(store, 'a/b.bin')).toString(), '0123456789')
    await store.write('a/b.bin', [Buffer.from('new'), Buffer.from('er')])
    t.equal((await readAll(store, 'a/b.bin')).toString(), 'newer', 'replaced')
  })

  t.test(`${name}: large objects come in parts, and one that fails is not there`, async (t) => {
    async function* pieces(fail: boolean) {
      for (let at = 0; at < large.length; at += 3 << 20) yield large.subarray(at, at + (3 << 20))
      if (fail) throw new Error('the source broke')
    }
    await store.write('large.bin', pieces(false))
    t.ok((await readAll(store, 'large.bin')).equals(large))
    await t.rejects(store.write('failed.bin', pieces(true)), { message: /the source broke/ })
    t.equal(await store.size('failed.bin'), null)
  })

  t.test(`${name}: listing and removing`, async (t) => {
    for (const key of ['runs/x/1', 'runs/x/2', 'runs/xy/1']) await store.write(key, Buffer.from(key))
    const keys: string[] = []
    for await (const { key, bytes, modified } of store.list('runs/x')) {
      keys.push(key)
      t.equal(bytes, key.length)
      t.ok(Math.abs(modified - Date.now()) < 3600_000)
    }
    t.same(keys.sort(), ['runs/x/1', 'runs/x/2', 'runs/xy/1'])
    await store.removeFolder('runs/x')
    t.equal(await store.size('runs/x/1'), null)
    t.equal(await store.size('runs/xy/1'), 9)
    await store.remove('runs/xy/1')
    await store.remove('runs/xy/1')
    t.equal(await store.size('runs/xy/1'), null)
  })
}

t.test('keys never leave the store', async (t) => {
  for (const key of ['', '/', 'a//b', '../a', 'a/../b', 'a/.hidden', 'a\0', 'a/', '/etc/passwd', 'x'.repeat(900)])
    t.throws(() => checkKey(key, 'key'), { code: 'WBSR_INVALID_OPTION' }, JSON.stringify(key))
  t.equal(checkKey('results/Müller 1 (2).png'.replace('ü', 'u'), 'key'), 'results/Muller 1 (2).png')
})

t.test('names of stores', async (t) => {
  t.equal((await storeOf('some/folder', folderStore)).label, path.resolve('some/folder'))
  const store = await storeOf('s3://bucket/some/prefix/', folderStore)
  t.equal(store.label, 's3://bucket/some/prefix')
  await t.rejects(storeOf('ftp://host/x', folderStore), { code: 'WBSR_INVALID_OPTION', message: /for store/ })
})

t.test('a bucket that is not there is an error, not an empty store', async (t) => {
  const wrong = await s3Store({ bucket: 'nowhere', client })
  t.teardown(() => wrong.close())
  await t.rejects(wrong.write('x', Buffer.from('x')), { code: 'WBSR_IO', message: /s3:\/\/nowhere\/x/ })
})

t.test('a file in the way of a folder is said', async (t) => {
  writeFileSync(path.join(folder, 'file'), '')
  await t.rejects(folderStore(path.join(folder, 'file')).write('a/b', Buffer.from('x')), { code: 'WBSR_IO' })
})
