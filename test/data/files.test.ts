import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import t from 'tap'
import { findImages, type SkippedImage } from '../../lib/data/files.js'
import { expandBraces, isPattern } from '../../lib/data/glob.js'

async function tree(root: string, files: string[]): Promise<void> {
  for (const file of files) {
    await mkdir(path.dirname(path.join(root, file)), { recursive: true })
    await writeFile(path.join(root, file), '')
  }
}

t.test('finding images', async (t) => {
  const root = t.testdir()
  await tree(root, [
    'b.png',
    'a.JPG',
    'B.webp',
    'notes.txt',
    '.hidden.png',
    '._a.jpg',
    'sub/c.tiff',
    'sub/deep/d.avif',
    'sub/deep/e.tif',
    '.git/f.png',
    'other/g.jpeg',
    'odd[1]*.png',
  ])
  await mkdir(path.join(root, 'empty'))
  await symlink('..', path.join(root, 'sub', 'loop'))
  await symlink('b.png', path.join(root, 'linked.png'))
  await symlink('nowhere', path.join(root, 'broken.png'))
  const find = async (spec: string | string[]): Promise<string[]> => {
    const list = Array.isArray(spec) ? spec : [spec]
    const full = list.map((item) => path.join(root, item))
    return (await findImages(Array.isArray(spec) ? full : full[0]!, 'data.train')).map((file) =>
      path.relative(root, file),
    )
  }
  t.same(await find('sub/deep'), ['sub/deep/d.avif', 'sub/deep/e.tif'])
  t.same(await find('.'), [
    'B.webp',
    'a.JPG',
    'b.png',
    'linked.png',
    'odd[1]*.png',
    'other/g.jpeg',
    'sub/c.tiff',
    'sub/deep/d.avif',
    'sub/deep/e.tif',
  ])
  t.same(await find('*'), ['B.webp', 'a.JPG', 'b.png', 'linked.png', 'odd[1]*.png'], 'only images')
  t.same(await find('*.png'), ['b.png', 'linked.png', 'odd[1]*.png'])
  t.same(await find('?.png'), ['b.png'])
  t.same(await find('**/*.tif*'), ['sub/c.tiff', 'sub/deep/e.tif'])
  t.same(await find('**'), [
    'B.webp',
    'a.JPG',
    'b.png',
    'linked.png',
    'odd[1]*.png',
    'other/g.jpeg',
    'sub/c.tiff',
    'sub/deep/d.avif',
    'sub/deep/e.tif',
  ])
  t.same(await find('sub/**/d.avif'), ['sub/deep/d.avif'])
  t.same(await find('**/deep/*'), ['sub/deep/d.avif', 'sub/deep/e.tif'])
  t.same(await find('{sub,other}/*.{tiff,jpeg,nothing}'), ['other/g.jpeg', 'sub/c.tiff'])
  t.same(await find('{other,sub/deep}'), ['other/g.jpeg', 'sub/deep/d.avif', 'sub/deep/e.tif'], 'folders in braces')
  t.same(await find('.hidden.*'), ['.hidden.png'], 'hidden files by name')
  t.same(await find('odd[1]*.png'), ['odd[1]*.png'], 'a file that exists is no pattern')
  t.same(
    await find(['b.png', 'other', 'a.JPG', './b.png', '*.JPG', 'notes.txt']),
    ['a.JPG', 'b.png', 'notes.txt', 'other/g.jpeg'],
    'each once, sorted',
  )

  await t.rejects(find('missing'), { code: 'WBSR_NOT_FOUND', message: /data\.train.*missing/ })
  await t.rejects(find(['b.png', 'missing.png']), { code: 'WBSR_NOT_FOUND', message: /missing\.png/ })
  await t.rejects(find('{sub,missing}'), { code: 'WBSR_NOT_FOUND', message: /missing/ })
  await t.rejects(find('{sub,missing'), { code: 'WBSR_NOT_FOUND', message: /\{sub,missing/ }, 'an open brace')
  await t.rejects(find('empty'), { code: 'WBSR_NO_DATA', message: /data\.train.*empty/ })
  await t.rejects(find('*.gif'), { code: 'WBSR_NO_DATA', message: /\*\.gif/ })
  await t.rejects(find('b.png/*'), { code: 'WBSR_NO_DATA' })
  for (const bad of [[], '', [1], 7, null, undefined, ['a', '']]) {
    await t.rejects(findImages(bad as never, 'data.train'), {
      code: 'WBSR_INVALID_OPTION',
      message: /^Expected .* for data\.train but received /,
    })
  }
  const here = process.cwd()
  process.chdir(root)
  t.same(await findImages('s*/**/*.avif', 'x'), ['sub/deep/d.avif'], 'relative patterns')
  t.same(await findImages('**/g.jpeg', 'x'), ['other/g.jpeg'])
  process.chdir(here)
})

t.test('braces', async (t) => {
  t.same(expandBraces('a{b,c{d,e}}f'), ['abf', 'acdf', 'acef'])
  t.same(expandBraces('{a,b}{c,d}'), ['ac', 'ad', 'bc', 'bd'])
  t.same(expandBraces('{a}{b,c}'), ['{a}b', '{a}c'])
  t.same(expandBraces('{a,b'), ['{a,b'])
  t.same(expandBraces('x{,y}'), ['x', 'xy'])
  t.same(expandBraces('{08..10}.png'), ['08.png', '09.png', '10.png'])
  t.same(expandBraces('odd[1]\\b'), ['odd[1]\\b'])
  t.equal(isPattern('{a,b'), false)
  t.equal(isPattern('{1..3}'), true)
  t.equal(isPattern('{a}/b'), false)
  t.equal(isPattern('{a,b}/b'), true)
})

t.test('what is no file is named, and never read', async (t) => {
  const root = t.testdir()
  await tree(root, ['good.png', 'sub/more.jpg', 'inside.png/picture.png'])
  await mkdir(path.join(root, 'folder.png'))
  await symlink('nowhere', path.join(root, 'dangling.jpg'))
  await symlink('circle.webp', path.join(root, 'circle.webp'))
  execFileSync('mkfifo', [path.join(root, 'pipe.png'), path.join(root, 'pipe.txt')])
  // By a relative path: addresses of sockets have at most 107 bytes.
  const folder = process.cwd()
  process.chdir(root)
  const server = createServer().listen('socket.tif')
  t.teardown(() => server.close())
  await once(server, 'listening').finally(() => process.chdir(folder))
  const at = (...names: string[]): string[] => names.map((name) => path.join(root, name))
  const reasons = async (spec: string | string[]): Promise<[string, string][]> => {
    const skipped: SkippedImage[] = []
    await findImages(spec, 'data.train', skipped)
    return skipped.map(({ file, reason }) => [path.relative(root, file), reason])
  }
  t.same(await findImages(root, 'data.train'), at('good.png', 'inside.png/picture.png', 'sub/more.jpg'))
  t.same(await reasons(root), [
    ['circle.webp', 'is a link that leads nowhere, not a file'],
    ['dangling.jpg', 'is a link that leads nowhere, not a file'],
    ['folder.png', 'is a folder, not a file'],
    ['pipe.png', 'is a FIFO, not a file'],
    ['socket.tif', 'is a socket, not a file'],
  ])
  t.same(await reasons(path.join(root, '*.png')), [
    ['folder.png', 'is a folder, not a file'],
    ['inside.png', 'is a folder, not a file'],
    ['pipe.png', 'is a FIFO, not a file'],
  ])
  t.same(await reasons(at('pipe.png', 'dangling.jpg', 'good.png')), [
    ['dangling.jpg', 'is a link that leads nowhere, not a file'],
    ['pipe.png', 'is a FIFO, not a file'],
  ])
  for (const only of ['pipe.png', 'dangling.jpg', 'folder.png', 'p*.png'])
    await t.rejects(findImages(path.join(root, only), 'data.train'), {
      code: 'WBSR_NO_DATA',
      message: /data\.train: no image/,
    })
  await t.rejects(findImages(path.join(root, 'pipe.png'), 'data.train'), { message: /\n- .*pipe\.png is a FIFO/ })
  await t.rejects(findImages('/dev/null', 'data.train'), { code: 'WBSR_NO_DATA', message: /\/dev\/null is a device/ })
})
