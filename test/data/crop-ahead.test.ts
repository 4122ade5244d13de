// Crops kept for the next steps, where the images do not fit into memory: the same batches, far fewer decodes.
import path from 'node:path'
import t from 'tap'
import { stepsAhead } from '../../lib/data/crop-ahead.js'
import { type BatchFacts, type BatchPlanes, Dataset } from '../../lib/data/dataset.js'
import { picture, save } from '../support/data-pictures.js'
import { largestDifference } from '../support/pictures.js'

type Planes = BatchFacts & BatchPlanes

const differs = (one: Planes, other: Planes): boolean =>
  largestDifference(one.lr, other.lr) + largestDifference(one.hr, other.hr) > 0

t.test('when to keep crops in place of images', async (t) => {
  const photographs = {
    batchSize: 16,
    patchSize: 128,
    scale: 2,
    margin: 4,
    lrFiles: false,
    images: 100,
    imageBytes: 100 * 36e6,
  }
  t.equal(stepsAhead({ ...photographs, budget: 1.5e9 }), 1000)
  t.equal(stepsAhead({ ...photographs, budget: 1e8 }), 100)
  t.equal(stepsAhead({ ...photographs, budget: 4e9 }), 0, 'all fit')
  t.equal(stepsAhead({ ...photographs, budget: 0 }), 0)
  t.equal(stepsAhead({ ...photographs, budget: 1e6 }), 0, 'not even two steps')
  t.equal(
    stepsAhead({ ...photographs, images: 1e6, imageBytes: 1e6 * 5e4, budget: 1.5e9 }),
    0,
    'images no larger than crops',
  )
})

for (const lrFiles of [false, true]) {
  t.test(`batches are those of whole images (${lrFiles ? 'LR files' : 'LR by bicubic'})`, async (t) => {
    const root = t.testdir()
    for (let i = 0; i < 6; i++) {
      await save(path.join(root, 'hr', `${i}.png`), picture(201 - i, 170 + i, i))
      // Rounded up where HR is odd.
      if (lrFiles)
        await save(
          path.join(root, 'lr', `${i}.png`),
          picture(Math.ceil((201 - i) / 2), Math.ceil((170 + i) / 2), 50 + i),
        )
    }
    const open = (memory?: number): Promise<Dataset> =>
      Dataset.open({
        data: {
          train: path.join(root, 'hr'),
          ...(lrFiles && { lr: path.join(root, 'lr') }),
          cache: false,
          ...(memory !== undefined && { memory }),
        },
        scale: 2,
        patchSize: 16,
        batchSize: 6,
        steps: 60,
        seed: 3,
      })
    const whole = await open()
    const budget = 100_000
    const ahead = await open(budget)
    let most = 0
    for (let step = 0; step < 60; step += 2) {
      // Two at a time, as in the prefetcher.
      const batches = await Promise.all([ahead.batch(step), ahead.batch(step + 1)])
      most = Math.max(most, ahead.memory.bytes)
      for (const [i, batch] of batches.entries())
        if (differs(batch, await whole.batch(step + i))) t.fail(`step ${step + i} differs`)
    }
    const images = lrFiles ? 12 : 6
    t.equal(whole.memory.loads, images)
    // About one decode of each image in as many steps as fit; without crops five of six crops would decode anew.
    t.ok(ahead.memory.loads < images * 16, `${ahead.memory.loads} decodes in 60 steps`)
    t.ok(most > 0 && most <= budget, `${most} bytes`)
    for (const step of [30, 7, 59, 8])
      t.notOk(differs(await ahead.batch(step), await whole.batch(step)), `step ${step} alone`)
    ahead.close()
    t.equal(ahead.memory.bytes, 0)
    await t.rejects(ahead.batch(3), { code: 'WBSR_DISPOSED' })
    whole.close()
  })
}
