import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { checkPair, cropPair, pairImages } from '../../lib/data/pairs.js'

async function tree(root: string, files: string[]): Promise<void> {
  for (const file of files) {
    await mkdir(path.dirname(path.join(root, file)), { recursive: true })
    await writeFile(path.join(root, file), '')
  }
}

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
  t.same((await pairImages(at('hr/0801.png', 'hr/a.png', 'hr/b.jpg'), path.join(root, 'lr'), 4, 'data.lr')).pairs, [
    { hr: at('hr/0801.png')[0], lr: at('lr/0801x4.png')[0] },
    { hr: at('hr/a.png')[0], lr: at('lr/a.png')[0] },
    { hr: at('hr/b.jpg')[0], lr: at('lr/b_x4.webp')[0] },
  ])
  t.same(
    (await pairImages(at('two/hr/x/p.png', 'two/hr/y/p.png'), path.join(root, 'two/lr'), 2, 'data.lr')).pairs.map(
      (pair) => pair.lr,
    ),
    at('two/lr/x/p.png', 'two/lr/y/p.png'),
  )
  const { pairs, skipped } = await pairImages(at('hr/a.png', 'hr/b.jpg'), path.join(root, 'lr'), 2, 'data.lr')
  t.same(pairs, [{ hr: at('hr/a.png')[0], lr: at('lr/a.png')[0] }], 'a missing LR file costs its pair, not the run')
  t.match(skipped, [{ file: at('hr/b.jpg')[0], reason: /^no LR file in .*lr \(looked for b, bx2, b_x2 / }])
  await t.rejects(pairImages(at('hr/b.jpg'), path.join(root, 'lr'), 2, 'data.lr'), {
    code: 'WBSR_NOT_FOUND',
    message: /data\.lr: none of 1 HR files has an LR file.*hr\/b\.jpg.*b_x2/,
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

t.test('names with marks', async (t) => {
  const cases: [scale: number, hr: string[], lr: string[], expected: (string | null)[]][] = [
    [4, ['img_001_SRF_4_HR.png'], ['img_001_SRF_4_LR.png', 'img_001_SRF_2_LR.png'], ['img_001_SRF_4_LR.png']],
    [
      4,
      ['baby_HR_x4.png', 'bird_HR_x4.png'],
      ['baby_LRBI_x4.png', 'BIRD_lrbi_X4.PNG'],
      ['baby_LRBI_x4.png', 'BIRD_lrbi_X4.PNG'],
    ],
    [4, ['Canon_001_HR.png'], ['Canon_001_LR4.png', 'Canon_001_LR2.png'], ['Canon_001_LR4.png']],
    [2, ['Canon_001_HR.png'], ['Canon_001_LR4.png', 'Canon_001_LR2.jpg'], ['Canon_001_LR2.jpg']],
    [4, ['0801.png'], ['0801x4m.png', '0801x2.png'], ['0801x4m.png']],
    [3, ['photo.JPG'], ['Photo.jpeg'], ['Photo.jpeg']],
    [2, ['a.png', 'b.png'], ['lr_a.png', 'b_LR.tif'], ['lr_a.png', 'b_LR.tif']],
    [4, ['a_gt.png'], ['a_lq.webp'], ['a_lq.webp']],
    [4, ['scene1/hr.png', 'scene2/hr.png'], ['scene1/lr.png', 'scene2/lr.png'], ['scene1/lr.png', 'scene2/lr.png']],
    [4, ['hr/a.png'], ['lr_x2/a.png', 'lr_x4/a.png', 'lr_x3/a.png'], ['lr_x4/a.png']],
    [2, ['HR/0801.png'], ['LR_bicubic/X2/0801x2.png', 'LR_bicubic/X4/0801x4.png'], ['LR_bicubic/X2/0801x2.png']],
    [2, ['x1/p.png', 'x2/p.png'], ['l/x1/p.png', 'l/x2/p.png'], ['l/x1/p.png', 'l/x2/p.png']],
    // No mark of this scale, nor a mark at all.
    [4, ['a.png', 'mix2.png', 'b.png'], ['ax3.png', 'mix2.png', 'b_2.png'], [null, 'mix2.png', null]],
  ]
  for (const [i, [scale, hr, lr, expected]] of cases.entries()) {
    const root = t.testdir({})
    const at = (side: string, files: string[]) => files.map((file) => path.join(root, String(i), side, file))
    await tree(path.join(root, String(i), 'h'), hr)
    await tree(path.join(root, String(i), 'l'), lr)
    const { pairs, skipped } = await pairImages(at('h', hr), path.join(root, String(i), 'l'), scale, 'data.lr')
    const found = new Map(pairs.map((pair) => [pair.hr, pair.lr]))
    at('h', hr).forEach((file, n) => {
      const wanted = expected[n]!
      t.equal(found.get(file) ?? null, wanted === null ? null : at('l', [wanted])[0], `${scale}: ${hr[n]}`)
    })
    t.same(
      skipped.map(({ file }) => file),
      at('h', hr).filter((_, n) => expected[n] === null),
    )
  }
})

t.test('HR and LR files in one folder', async (t) => {
  const root = t.testdir()
  const names = ['a_SRF_4_HR.png', 'a_SRF_4_LR.png', 'b.png', 'bx4.png', 'c_HR.png']
  await tree(root, names)
  const files = names.map((name) => path.join(root, name))
  const { pairs, skipped } = await pairImages(files, root, 4, 'data.lr')
  t.same(pairs, [
    { hr: files[0], lr: files[1] },
    { hr: files[2], lr: files[3] },
  ])
  t.same(
    skipped.map(({ file }) => file),
    [files[4]],
    'LR files are not taken for HR files without a partner',
  )
  await t.rejects(pairImages([files[1]!], root, 4, 'data.lr'), { code: 'WBSR_NOT_FOUND', message: /are LR files/ })
})

t.test('sizes of pairs', async (t) => {
  const pair = { hr: 'hr/a.png', lr: 'lr/a.png' }
  t.doesNotThrow(() => checkPair(pair, { width: 321, height: 482 }, { width: 80, height: 120 }, 4))
  t.throws(() => checkPair(pair, { width: 321, height: 482 }, { width: 81, height: 120 }, 4), {
    code: 'WBSR_INVALID_IMAGE',
    message: 'Expected 80x120 for LR image lr/a.png (1/4 of hr/a.png, 321x482) but it is 81x120',
  })
  t.doesNotThrow(() => checkPair(pair, { width: 321, height: 482 }, { width: 81, height: 121 }, 4), 'rounded up')
  const data = Uint8Array.from({ length: 81 * 121 * 3 }, (_, i) => i % 251)
  const low = cropPair(pair, { width: 321, height: 482 }, { data, width: 81, height: 121 }, 4)
  t.match(low, { width: 80, height: 120 })
  t.same(low.data.subarray(240, 480), data.subarray(243, 483), 'row 1')
})
