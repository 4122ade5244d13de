import { rm } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { type BatchFacts, type BatchPlanes, Dataset, type DatasetOptions } from '../../lib/data/dataset.js'
import { native } from '../../lib/native.js'
import { crop, type Picture, picture, save } from '../support/data-pictures.js'
import { naming } from '../support/naming.js'
import { largestDifference } from '../support/pictures.js'

type Planes = BatchFacts & BatchPlanes

/** Three pictures with sides that are no multiples of the scale, and one of exactly a patch. */
async function photographs(root: string): Promise<Map<string, Picture>> {
  const pictures = new Map<string, Picture>()
  for (const [i, [width, height]] of [
    [97, 83],
    [64, 121],
    [150, 70],
    [32, 32],
  ].entries()) {
    const one = picture(width!, height!, i)
    pictures.set(await save(path.join(root, 'hr', `${i}.png`), one), one)
  }
  return pictures
}

function options(root: string, more: Partial<DatasetOptions> = {}): DatasetOptions {
  return {
    data: { train: path.join(root, 'hr'), cache: false },
    scale: 2,
    patchSize: 32,
    batchSize: 6,
    steps: 40,
    seed: 3,
    ...more,
  }
}

async function lrOf({ data, width, height }: Picture, scale: number): Promise<Picture> {
  const w = Math.floor(width / scale),
    h = Math.floor(height / scale)
  const even = new Uint8Array(w * h * scale * scale * 3)
  for (let y = 0; y < h * scale; y++)
    even.set(data.subarray(y * width * 3, (y * width + w * scale) * 3), y * w * scale * 3)
  return {
    data: (await native.resizeBicubic(even, w * scale, h * scale, 3, w, h, 0)) as Uint8Array,
    width: w,
    height: h,
  }
}

t.test('a batch holds the crops it names, HR and LR', async (t) => {
  const root = t.testdir()
  const pictures = await photographs(root)
  for (const scale of [2, 4]) {
    const dataset = await Dataset.open(options(root, { scale }))
    const lowers = new Map(
      await Promise.all([...pictures].map(async ([file, one]) => [file, await lrOf(one, scale)] as const)),
    )
    const seen = { flipX: 0, flipY: 0, transpose: 0 }
    for (const step of [0, 1, 39]) {
      const batch = await dataset.batch(step)
      t.match(batch, { step, batchSize: 6, hrSize: 32, lrSize: 32 / scale, level: step < 28 ? 'sample' : 'class' })
      t.equal(batch.hr.length, 6 * 3 * 32 * 32)
      t.equal(batch.lr.length, batch.hr.length / scale ** 2)
      const { crops, patches } = dataset.crops(step)
      t.same(batch.patches, patches)
      crops.forEach((spec, n) => {
        const file = dataset.index.images[spec.image]!.hr
        const hr = crop(pictures.get(file)!, spec.x, spec.y, 32, spec)
        const lr = crop(lowers.get(file)!, spec.x / scale, spec.y / scale, 32 / scale, spec)
        t.ok(
          largestDifference(batch.hr.subarray(n * hr.length, (n + 1) * hr.length), hr) < 1e-6,
          `HR ${n} of step ${step}`,
        )
        t.ok(
          largestDifference(batch.lr.subarray(n * lr.length, (n + 1) * lr.length), lr) < 1e-6,
          `LR ${n} of step ${step}`,
        )
        for (const key of ['flipX', 'flipY', 'transpose'] as const) if (spec[key]) seen[key]++
      })
      batch.classes.forEach((k, n) => t.ok(k >= 1 && k <= 10 && dataset.sampler.members[k - 1]!.includes(patches[n]!)))
    }
    for (const n of Object.values(seen)) t.ok(n > 1 && n < 17, 'turned now and then')
    dataset.close()
  }
})

t.test('crops stay inside, on the LR grid, within half a step of their patch, and spread', async (t) => {
  const root = t.testdir()
  await photographs(root)
  for (const scale of [2, 3, 4]) {
    const patchSize = 24
    const dataset = await Dataset.open(options(root, { scale, patchSize, steps: 400 }))
    const shifts = new Set<number>()
    let wrong = 0
    for (let step = 0; step < 400; step++) {
      const { crops, patches } = dataset.crops(step)
      crops.forEach((spec, n) => {
        const from = dataset.index.position(patches[n]!)
        const { width, height } = dataset.index.images[spec.image]!
        if (
          spec.image !== from.image ||
          spec.x < 0 ||
          spec.y < 0 ||
          spec.x + patchSize > width ||
          spec.y + patchSize > height
        )
          wrong++
        if (spec.x % scale !== 0 || spec.y % scale !== 0) wrong++
        if (Math.abs(spec.x - from.x) > patchSize / 4 || Math.abs(spec.y - from.y) > patchSize / 4) wrong++
        shifts.add(spec.x - from.x)
      })
    }
    t.equal(wrong, 0)
    t.equal(shifts.size, 2 * Math.floor(patchSize / 4 / scale) + 1, `every shift at scale ${scale}`)
    dataset.close()
  }
})

t.test('a step is the same in a resumed run, whatever the memory', async (t) => {
  const root = t.testdir()
  await photographs(root)
  const straight = await Dataset.open(options(root))
  const batches: Planes[] = []
  for (let step = 0; step < 6; step++) batches.push(await straight.batch(step))
  const resumed = await Dataset.open(options(root, { data: { train: path.join(root, 'hr'), cache: false, memory: 0 } }))
  // (tap compares arrays of this size in minutes)
  const differs = (one: Planes, other: Planes): boolean =>
    largestDifference(one.lr, other.lr) +
      largestDifference(one.hr, other.hr) +
      largestDifference(one.patches, other.patches) +
      largestDifference(one.classes, other.classes) >
    0
  for (const step of [4, 5, 3]) t.notOk(differs(await resumed.batch(step), batches[step]!), `step ${step}`)
  const both = await Promise.all([resumed.batch(1), resumed.batch(2)])
  both.forEach((batch, i) => t.notOk(differs(batch, batches[i + 1]!), 'side by side'))
  t.equal(resumed.index.fingerprint, straight.index.fingerprint)
  t.ok(differs(batches[4]!, batches[5]!))
  const other = await Dataset.open(options(root, { seed: 4 }))
  t.ok(differs(await other.batch(4), batches[4]!), 'another seed')
  t.equal(straight.memory.loads, 4, 'each image was decoded once')
  t.equal(straight.memory.bytes, (96 * 82 + 64 * 120 + 150 * 70 + 32 * 32) * 3)
  t.ok(resumed.memory.loads > 4)
  t.equal(resumed.memory.bytes, 0)
  const tight = await Dataset.open(
    options(root, { data: { train: path.join(root, 'hr'), cache: false, memory: 40_000 } }),
  )
  for (let step = 0; step < 10; step++) await tight.batch(step)
  t.ok(tight.memory.bytes <= 40_000 && tight.memory.bytes > 0, `${tight.memory.bytes} bytes held`)
})

t.test('LR files are cropped where HR is', async (t) => {
  const root = t.testdir()
  const pictures = await photographs(root)
  const lowers = new Map<string, Picture>()
  for (const [file, { width, height }] of pictures) {
    const lr = picture(Math.floor(width / 4), Math.floor(height / 4), 50 + width)
    lowers.set(file, lr)
    await save(path.join(root, 'lr', `${path.parse(file).name}x4.png`), lr)
  }
  const data = { train: path.join(root, 'hr'), lr: path.join(root, 'lr'), cache: false as const }
  const dataset = await Dataset.open(options(root, { data, scale: 4 }))
  const batch = await dataset.batch(7)
  dataset.crops(7).crops.forEach((spec, n) => {
    const file = dataset.index.images[spec.image]!.hr
    t.ok(
      largestDifference(
        batch.hr.subarray(n * 3072, (n + 1) * 3072),
        crop(pictures.get(file)!, spec.x, spec.y, 32, spec),
      ) < 1e-6,
    )
    t.ok(
      largestDifference(
        batch.lr.subarray(n * 192, (n + 1) * 192),
        crop(lowers.get(file)!, spec.x / 4, spec.y / 4, 8, spec),
      ) < 1e-6,
    )
  })
  await save(path.join(root, 'lr', '2x4.png'), picture(38, 17, 1))
  await t.rejects(Dataset.open(options(root, { data, scale: 4 })), {
    code: 'WBSR_INVALID_IMAGE',
    message: /Expected 37x17 for LR image .*2x4\.png \(1\/4 of .*2\.png, 150x70\) but it is 38x17/,
  })
  await rm(path.join(root, 'lr', '2x4.png'))
  const rest = await Dataset.open(options(root, { data, scale: 4 }))
  t.equal(rest.index.images.length, 3)
  t.match(rest.skipped, [
    { file: path.join(root, 'hr/2.png'), reason: /^no LR file in .*lr \(looked for 2, 2x4, 2_x4/ },
  ])
})

t.test('length in epochs', async (t) => {
  const root = t.testdir()
  await photographs(root)
  const dataset = await Dataset.open(options(root, { steps: undefined, epochs: 10 }))
  t.equal(dataset.stepsPerEpoch, Math.ceil(dataset.index.difficulties.length / 6))
  t.equal(dataset.steps, 10 * dataset.stepsPerEpoch)
  t.equal(dataset.sampler.classLevelStep, 7 * dataset.stepsPerEpoch)
  t.equal(dataset.classes.count, 10)
})

t.test('files that change during a run, abort, close', async (t) => {
  const root = t.testdir()
  const [first] = [...(await photographs(root)).keys()]
  const data = { train: path.join(root, 'hr'), cache: false as const, memory: 0 }
  const controller = new AbortController()
  const dataset = await Dataset.open(options(root, { data, batchSize: 60, signal: controller.signal }))
  await save(first!, picture(99, 83, 0))
  await t.rejects(dataset.batch(0), {
    code: 'WBSR_INVALID_IMAGE',
    message: `${first}: changed during the run: expected 96x82 but it is 98x82`,
  })
  await rm(first!)
  await t.rejects(dataset.batch(0), { code: 'WBSR_NOT_FOUND', message: naming(first!) })
  await save(first!, picture(97, 83, 0))
  t.equal((await dataset.batch(0)).batchSize, 60)
  const pending = dataset.batch(1)
  controller.abort('stop')
  await t.rejects(pending, { code: 'WBSR_ABORTED', cause: 'stop' })
  await t.rejects(dataset.batch(2), { code: 'WBSR_ABORTED' })
  await t.rejects(Dataset.open(options(root, { signal: controller.signal })), { code: 'WBSR_ABORTED' })
  const other = await Dataset.open(options(root))
  await other.batch(0)
  other.close()
  t.equal(other.memory.bytes, 0)
  await t.rejects(other.batch(1), { code: 'WBSR_DISPOSED' })
})

t.test('pixels for the mixture come from all images, by size', async (t) => {
  const root = t.testdir()
  // Three pictures of one colour each, one of them four times as large.
  for (const [value, side] of [
    [10, 32],
    [20, 32],
    [30, 64],
  ] as const)
    await save(path.join(root, 'hr', `${value}.png`), {
      data: new Uint8Array(side * side * 3).map((_, i) => value + (i % 3)),
      width: side,
      height: side,
    })
  const dataset = await Dataset.open(options(root))
  const sample = await dataset.pixelSample(601, 5)
  t.equal(sample.length, 601 * 3)
  const counts = new Map<number, number>()
  for (let i = 0; i < 601; i++) {
    t.same([sample[3 * i + 1]! - sample[3 * i]!, sample[3 * i + 2]! - sample[3 * i]!], [1, 2])
    counts.set(sample[3 * i]!, (counts.get(sample[3 * i]!) ?? 0) + 1)
  }
  t.ok(
    Math.abs(counts.get(10)! - 100) <= 1 &&
      Math.abs(counts.get(20)! - 100) <= 1 &&
      Math.abs(counts.get(30)! - 400) <= 1,
    [...counts].join(' '),
  )
  t.same(await dataset.pixelSample(601, 5), sample)
  t.notSame(await dataset.pixelSample(601, 6), sample)
})

t.test('options', async (t) => {
  const root = t.testdir()
  await photographs(root)
  const bad: [Partial<DatasetOptions> | Record<string, unknown>, RegExp][] = [
    [{ batchSize: 0 }, /batchSize/],
    [{ patchSize: 33 }, /a multiple of the scale 2 for patchSize but received 33/],
    [{ steps: 0 }, /steps/],
    [{ steps: 3, epochs: 3 }, /exactly one of steps and epochs/],
    [{ steps: undefined }, /exactly one/],
    [{ steps: undefined, epochs: 1.5 }, /epochs/],
    [{ seed: -1 }, /seed/],
    [{ sampler: { delta: 7 } }, /sampler\.delta/],
    [{ data: { train: root, memory: -1 } }, /data\.memory/],
    [{ data: { train: root, cach: 1 } }, /no other keys .* for data but received "cach"/],
    [{ data: { train: 5 } }, /data\.train/],
    [{ data: {} }, /data\.train/],
    [{ data: root }, /an object for data/],
    [{ data: { train: root, cache: true } }, /data\.cache/],
    [{ data: { train: root, lr: [] } }, /data\.lr/],
    [{ data: { train: root, step: 7, cache: false } }, /data\.step/],
    [{ data: { train: root, validationLr: root } }, /data\.validationLr/],
  ]
  for (const [more, message] of bad)
    await t.rejects(Dataset.open(options(root, more as never)), { code: 'WBSR_INVALID_OPTION', message })
  await t.rejects(Dataset.open(options(root, { data: { train: path.join(root, 'none') } })), {
    code: 'WBSR_NOT_FOUND',
    message: /data\.train/,
  })
  await t.rejects(Dataset.open(options(root, { patchSize: 256 })), {
    code: 'WBSR_NO_DATA',
    message: /smaller than a patch of 256x256/,
  })
})
