import { mkdir, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { checkPair, findImages, pairImages } from '../../lib/data/files.js'
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
  t.equal(isPattern('{a}/b'), false)
  t.equal(isPattern('{a,b}/b'), true)
})

t.test('pairing', async (t) => {
  const root = t.testdir()
  const at = (...files: string[]): string[] => files.map((file) => path.join(root, file))
  await tree(root, [
    'hr/a.png',
    'hr/0801.png',
    'hr/b.jpg',
    'hr/n.png',
    'lr/a.png',
    'lr/0801x4.png',
    'lr/0801x2.png',
    'lr/b_x4.webp',
    'lr/nx4.png',
    'lr/n.png',
    'two/hr/x/p.png',
    'two/hr/y/p.png',
    'two/lr/x/p.png',
    'two/lr/y/p.png',
  ])
  t.same(await pairImages(at('hr/0801.png', 'hr/a.png', 'hr/b.jpg'), path.join(root, 'lr'), 4, 'data.lr'), [
    { hr: at('hr/0801.png')[0], lr: at('lr/0801x4.png')[0] },
    { hr: at('hr/a.png')[0], lr: at('lr/a.png')[0] },
    { hr: at('hr/b.jpg')[0], lr: at('lr/b_x4.webp')[0] },
  ])
  t.same(
    (await pairImages(at('two/hr/x/p.png', 'two/hr/y/p.png'), path.join(root, 'two/lr'), 2, 'data.lr')).map(
      (pair) => pair.lr,
    ),
    at('two/lr/x/p.png', 'two/lr/y/p.png'),
  )
  await t.rejects(pairImages(at('hr/a.png', 'hr/b.jpg'), path.join(root, 'lr'), 2, 'data.lr'), {
    code: 'WBSR_NOT_FOUND',
    message: /data\.lr.*hr\/b\.jpg.*b_x2/,
  })
  await t.rejects(pairImages(at('hr/n.png'), path.join(root, 'lr'), 4, 'data.lr'), {
    code: 'WBSR_INVALID_OPTION',
    message: /one LR file for .*hr\/n\.png for data\.lr but received \[.*nx4/,
  })
  await t.rejects(
    pairImages(at('hr/0801.png'), path.join(root, 'hr'), 4, 'data.lr'),
    { code: 'WBSR_NOT_FOUND' },
    'the HR file is not its own LR file',
  )
  await t.rejects(pairImages(at('hr/a.png'), path.join(root, 'nowhere'), 4, 'data.lr'), {
    code: 'WBSR_NOT_FOUND',
    message: /data\.lr.*nowhere/,
  })
})

t.test('sizes of pairs', async (t) => {
  const pair = { hr: 'hr/a.png', lr: 'lr/a.png' }
  t.doesNotThrow(() => checkPair(pair, { width: 321, height: 482 }, { width: 80, height: 120 }, 4))
  t.throws(() => checkPair(pair, { width: 321, height: 482 }, { width: 81, height: 120 }, 4), {
    code: 'WBSR_INVALID_IMAGE',
    message: 'Expected 80x120 for LR image lr/a.png (1/4 of hr/a.png, 321x482) but it is 81x120',
  })
})
