// Training and validation LR that was blurred, got noise and was stored as JPEG: drawn by seed and step alone, aligned with HR.
import path from 'node:path'
import t from 'tap'
import { type BatchFacts, type BatchPlanes, Dataset, type DatasetOptions } from '../../lib/data/dataset.js'
import { checkDegradation, type DegradationDraw, drawDegradation } from '../../lib/data/degradation.js'
import { degrade } from '../../lib/data/degrade.js'
import type { DataOptions } from '../../lib/data/options.js'
import { ValidationSet } from '../../lib/data/validation.js'
import { randomFor } from '../../lib/random.js'
import { picture, save } from '../support/data-pictures.js'
import { largestDifference } from '../support/pictures.js'

type Planes = BatchFacts & BatchPlanes

const none: DegradationDraw = { blur: 0, noise: 0, noiseSeed: 1, jpeg: null, left: 4, above: 4 }
const meanDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length

t.test('options', async (t) => {
  t.same(checkDegradation({ blur: { probability: 1, sigma: [0, 1] } }), {
    blur: { probability: 1, sigma: [0, 1] },
    validation: true,
  })
  t.match(checkDegradation('photo').jpeg, { quality: [50, 95], subsampling: 0.5 })
  t.same(checkDegradation(checkDegradation('photo')), checkDegradation('photo'), 'checked options may be checked again')
  const jpeg = { probability: 1, quality: [50, 95] }
  for (const [value, message] of [
    ['web', /Expected 'photo' or an object for data\.degradation but received "web"/],
    [{}, /Expected one of blur, noise and jpeg for data\.degradation/],
    [{ fog: 1 }, /no other keys than blur, noise, jpeg, validation for data\.degradation/],
    [{ blur: { probability: 2, sigma: [0, 1] } }, /between 0 and 1 for data\.degradation\.blur\.probability/],
    [
      { blur: { probability: 1, sigma: [1, 0.5] } },
      /\[from, to\] with 0 <= from <= to <= 2 for data\.degradation\.blur\.sigma/,
    ],
    [{ blur: { probability: 1, sigma: [0, 3] } }, /data\.degradation\.blur\.sigma/],
    [{ noise: { probability: 1, sigma: 3 } }, /data\.degradation\.noise\.sigma/],
    [{ noise: { probability: 1, sigma: [0, Number.NaN] } }, /data\.degradation\.noise\.sigma/],
    [{ jpeg: { probability: 1, quality: [0, 90] } }, /data\.degradation\.jpeg\.quality/],
    [{ jpeg: { probability: 1, quality: [50.5, 90] } }, /two integers for data\.degradation\.jpeg\.quality/],
    [{ jpeg: { ...jpeg, subsampling: -1 } }, /data\.degradation\.jpeg\.subsampling/],
    [{ jpeg, validation: 1 }, /a boolean for data\.degradation\.validation/],
  ] as const)
    t.throws(() => checkDegradation(value), { code: 'WBSR_INVALID_OPTION', message })
})

t.test('draws follow probabilities and ranges, and one part does not shift another', async (t) => {
  const options = checkDegradation({
    blur: { probability: 0.3, sigma: [0.2, 0.8] },
    noise: { probability: 0.5, sigma: [1, 3] },
    jpeg: { probability: 0.8, quality: [60, 62], subsampling: 0.25 },
  })
  const draws = Array.from({ length: 4000 }, (_, i) => drawDegradation(options, randomFor(5, i)))
  const share = (is: (draw: DegradationDraw) => boolean) => draws.filter(is).length / draws.length
  t.ok(Math.abs(share(({ blur }) => blur > 0) - 0.3) < 0.03)
  t.ok(Math.abs(share(({ noise }) => noise > 0) - 0.5) < 0.03)
  t.ok(Math.abs(share(({ jpeg }) => jpeg !== null) - 0.8) < 0.03)
  t.ok(Math.abs(share(({ jpeg }) => jpeg?.chromaSubsampling === '4:2:0') - 0.2) < 0.03)
  for (const quality of [60, 61, 62]) t.ok(Math.abs(share(({ jpeg }) => jpeg?.quality === quality) - 0.8 / 3) < 0.03)
  t.ok(draws.every(({ blur, noise }) => (blur === 0 || (blur >= 0.2 && blur <= 0.8)) && (noise === 0 || noise >= 1)))
  t.same(
    [...new Set(draws.map(({ left }) => left))].sort((a, b) => a - b),
    Array.from({ length: 16 }, (_, i) => i + 4),
  )
  const { blur: _, ...withoutBlur } = options
  draws.forEach((draw, i) => {
    const other = drawDegradation(withoutBlur, randomFor(5, i))
    if (other.blur !== 0 || JSON.stringify({ ...other, blur: draw.blur }) !== JSON.stringify(draw)) t.fail(`draw ${i}`)
  })
})

t.test('each part does what it says, and moves nothing', async (t) => {
  const dot = { data: new Uint8Array(15 * 15 * 3), width: 15, height: 15 }
  dot.data.fill(200, (7 * 15 + 7) * 3, (7 * 15 + 7) * 3 + 3)
  t.same((await degrade(dot, none)).data, dot.data)
  const { data } = await degrade(dot, { ...none, blur: 1 })
  const at = (x: number, y: number): number => data[(y * 15 + x) * 3]!
  // exp(-r^2 / 2) / (2 pi), cut off at 2.5 deviations.
  t.ok(Math.abs(at(7, 7) - 200 / (2 * Math.PI)) <= 1, `${at(7, 7)}`)
  t.ok(Math.abs(at(8, 7) - (200 / (2 * Math.PI)) * Math.exp(-0.5)) <= 1)
  t.same([at(6, 7), at(7, 6), at(7, 8)], [at(8, 7), at(8, 7), at(8, 7)], 'symmetric')
  t.equal(at(0, 0), 0)

  const grey = { data: new Uint8Array(64 * 64 * 3).fill(128), width: 64, height: 64 }
  const noisy = await degrade(grey, { ...none, noise: 4, noiseSeed: 9 })
  const mean = noisy.data.reduce((a, b) => a + b, 0) / noisy.data.length
  const variance = noisy.data.reduce((a, b) => a + (b - mean) ** 2, 0) / noisy.data.length
  t.ok(Math.abs(mean - 128) < 0.2, `mean ${mean}`)
  // Rounding adds 1/12.
  t.ok(Math.abs(Math.sqrt(variance - 1 / 12) - 4) < 0.15, `deviation ${Math.sqrt(variance)}`)
  t.ok(largestDifference(noisy.data, (await degrade(grey, { ...none, noise: 4, noiseSeed: 10 })).data) > 0)

  const photo = picture(40, 33, 3)
  const errors = await Promise.all(
    [95, 50].map(async (quality) => {
      const draw: DegradationDraw = { ...none, jpeg: { quality, chromaSubsampling: '4:2:0' } }
      const result = await degrade(photo, draw)
      t.match(result, { width: 40, height: 33 })
      return meanDifference(result.data, photo.data)
    }),
  )
  t.ok(errors[0]! > 0 && errors[0]! < errors[1]! && errors[1]! < 20, `errors ${errors}`)
})

const SIZES = [
  [140, 130],
  [96, 150],
  [171, 104],
]

async function photographs(root: string, scale: number): Promise<void> {
  for (const [i, [width, height]] of SIZES.entries()) {
    await save(path.join(root, 'hr', `${i}.png`), picture(width!, height!, i, 30))
    const lr = picture(Math.floor(width! / scale), Math.floor(height! / scale), 50 + i, 30)
    await save(path.join(root, 'lr', `${i}.png`), lr)
  }
}

const open = (root: string, data: Partial<DataOptions>, more: Partial<DatasetOptions> = {}): Promise<Dataset> =>
  Dataset.open({
    data: { train: path.join(root, 'hr'), cache: false, ...data },
    scale: 2,
    patchSize: 32,
    batchSize: 5,
    steps: 30,
    seed: 3,
    ...more,
  })

for (const lrFiles of [false, true]) {
  t.test(`batches (${lrFiles ? 'LR files' : 'LR by bicubic'})`, async (t) => {
    const root = t.testdir()
    await photographs(root, 2)
    const lr = lrFiles ? { lr: path.join(root, 'lr') } : {}
    const clean = await open(root, lr)
    const whole = await open(root, { ...lr, degradation: 'photo' })
    const ahead = await open(root, { ...lr, degradation: 'photo', memory: 100_000 })
    const seeded = await open(root, { ...lr, degradation: 'photo' }, { seed: 4 })
    // HR, and patches that nothing is drawn for, are those of the clean run.
    const never = await open(root, { ...lr, degradation: { jpeg: { probability: 0, quality: [50, 50] } } })
    let [changed, total] = [0, 0]
    for (const step of [4, 5, 6, 29, 0]) {
      const [a, b, again]: Planes[] = [await clean.batch(step), await whole.batch(step), await whole.batch(step)]
      const kept = await ahead.batch(step)
      // A comparison by tap takes seconds.
      t.equal(largestDifference(b!.hr, a!.hr), 0)
      t.equal(largestDifference(again!.lr, b!.lr), 0, 'a step gives the same however often it is asked for')
      t.equal(largestDifference(kept.lr, b!.lr), 0, 'and with crops kept in place of images')
      t.equal(largestDifference(kept.hr, b!.hr), 0)
      t.equal(largestDifference((await never.batch(step)).lr, a!.lr), 0)
      t.ok(largestDifference((await seeded.batch(step)).lr, b!.lr) > 0)
      const size = 3 * 16 * 16
      for (let n = 0; n < 5; n++) {
        const [one, other] = [a!, b!].map(({ lr }) => lr.subarray(n * size, (n + 1) * size))
        const error = meanDifference(one!, other!)
        total++
        if (error > 0) changed++
        t.ok(error < 0.05, `patch ${n} of step ${step} stays aligned: mean error ${error}`)
      }
    }
    t.ok(ahead.memory.bytes > 0 && ahead.memory.bytes <= 100_000, 'crops were kept')
    t.ok(changed > total / 2, `${changed} of ${total} patches are degraded`)
    for (const dataset of [clean, whole, ahead, seeded, never]) dataset.close()
  })
}

t.test('the blocks of JPEG lie anywhere on a patch', async (t) => {
  const root = t.testdir()
  await photographs(root, 2)
  const jpeg = { probability: 1, quality: [10, 10], subsampling: 0 } as const
  const dataset = await open(root, { degradation: { jpeg } }, { steps: 60 })
  // At quality 10 the largest steps between columns are those between blocks.
  const phases = new Set<number>()
  for (let step = 0; step < 60; step++) {
    const { lr } = await dataset.batch(step)
    for (let n = 0; n < 5; n++) {
      const steps = new Array<number>(8).fill(0)
      for (let y = 0; y < 16; y++)
        for (let x = 0; x < 15; x++) {
          const at = n * 3 * 256 + y * 16 + x
          steps[x % 8]! += Math.abs(lr[at + 1]! - lr[at]!) / (x % 8 === 7 ? 1 : 2)
        }
      phases.add(steps.indexOf(Math.max(...steps)))
    }
  }
  t.equal(phases.size, 8)
  dataset.close()
})

t.test('validation images are degraded in one way each, or not at all', async (t) => {
  const root = t.testdir()
  await photographs(root, 2)
  const hr = path.join(root, 'hr')
  const read = async (spec: string, degradation?: unknown) => {
    const checked = degradation === undefined ? {} : { degradation: checkDegradation(degradation) }
    const set = await ValidationSet.open(spec, { scale: 2, ...checked })
    const images = []
    for await (const { lr } of set.images()) images.push(lr)
    return images
  }
  const jpeg = { probability: 1, quality: [60, 90] }
  const clean = await read(hr)
  const degraded = await read(hr, { jpeg })
  degraded.forEach((lr, i) => {
    t.match(lr, { width: clean[i]!.width, height: clean[i]!.height })
    const error = meanDifference(lr.data, clean[i]!.data)
    t.ok(error > 0.1 && error < 10, `image ${i}: mean error ${error}`)
  })
  const [alone] = await read(path.join(hr, '1.png'), { jpeg })
  t.equal(largestDifference(alone!.data, degraded[1]!.data), 0, 'whatever other images there are')
  const left = await read(hr, { jpeg, validation: false })
  t.ok(left.every(({ data }, i) => largestDifference(data, clean[i]!.data) === 0))
})
