// evaluate(): its figures equal those of upscale, psnr and ssim; measured results are kept; tables and CSV agree.
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import t from 'tap'
import { errorOf, pool } from '../../lib/evaluate/results.js'
import { shuffledAt } from '../../lib/evaluate/rivals.js'
import {
  allocationOverlay,
  type EvaluateOptions,
  type Evaluation,
  evaluate,
  evaluationCsv,
  evaluationTable,
  loadSupernet,
  psnr,
  type RawImage,
  resizeBicubic,
  type SupernetModel,
  ssim,
  trainSupernet,
} from '../../lib/index.js'
import { picture, save } from '../support/data-pictures.js'
import { naming } from '../support/naming.js'
import { cuttings, run } from '../support/training.js'

const shared = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'shared', 'data')

let trained: Promise<string> | null = null
const folder = t.testdir({ photos: {} })

/** A calibrated model of two widths and two depths, x2. */
async function model(): Promise<SupernetModel> {
  trained ??= (async () => {
    await cuttings(path.join(folder, 'photos'))
    const made = await trainSupernet(run(path.join(folder, 'photos'), { steps: 30, loss: 'l1' }))
    const file = path.join(folder, 'model.safetensors')
    await made.save(file)
    made.dispose()
    return file
  })()
  return await loadSupernet(await trained, { device: 'cpu', threads: 2 })
}

/** Two pictures with easy and hard parts, the second one odd in size. */
async function pictures(root: string): Promise<string> {
  await save(path.join(root, 'hr/a.png'), picture(200, 150, 1, 160))
  await save(path.join(root, 'hr/b.png'), picture(141, 179, 2, 160))
  return path.join(root, 'hr')
}

const near = (a: number, b: number, within = 1e-9): boolean => Math.abs(a - b) <= within

t.test('figures are those of upscale, psnr and ssim', async (t) => {
  using net = await model()
  const hr = await pictures(t.testdir())
  const evaluation = await evaluate(net, { sets: { two: hr } })
  t.match(evaluation, {
    protocol: 'full',
    shave: 2,
    model: { network: 'srresnet', scale: 2 },
    sets: [{ name: 'two', lr: 'bicubic', skipped: [] }],
  })
  t.same(
    evaluation.runs.map(({ name }) => name),
    ['bicubic', 'smallest', 'calibrated loss 0.02', 'calibrated 0.4', 'calibrated 0.6', 'calibrated 0.8', 'largest'],
  )
  const [set] = evaluation.sets
  t.same(
    set!.pictures.map(({ name, width, height }) => [name, width, height]),
    [
      ['a', 100, 75],
      ['b', 70, 89],
    ],
  )
  const sums = { y: 0, ssim: 0, flops: 0, pixels: 0, tiles: [0, 0, 0, 0] }
  for (const { file, width, height, results } of set!.pictures) {
    const raw = await sharp(file)
      .extract({ left: 0, top: 0, width: 2 * width, height: 2 * height })
      .raw()
      .toBuffer()
    const original: RawImage = { data: new Uint8Array(raw), width: 2 * width, height: 2 * height, channels: 3 }
    const lr = await resizeBicubic(original, { scale: 1 / 2 })
    const shave = 2
    const bicubic = await resizeBicubic(lr, { scale: 2 })
    t.equal(results['bicubic']!.psnr.y, await psnr(original, bicubic, { shave }))
    t.equal(results['bicubic']!.ssim, await ssim(original, bicubic, { shave }))
    t.equal(results['bicubic']!.flops, 0)
    const own = await net.upscale(lr, { router: 'calibrated', budget: 0.6 })
    const routed = results['calibrated 0.6']!
    t.equal(routed.psnr.y, await psnr(original, own, { shave }))
    t.equal(routed.psnr.rgb, await psnr(original, own, { shave, channel: 'rgb' }))
    t.equal(routed.ssim, await ssim(original, own, { shave }))
    t.same(
      [routed.flops, routed.flopsOfLargest, routed.histogram],
      [own.allocation.flops, own.allocation.flopsOfLargest, own.allocation.histogram],
    )
    t.ok(routed.seconds > 0 && routed.networkSeconds <= routed.seconds)
    // The classes divide the pixels that are measured.
    for (const result of Object.values(results)) {
      const all = pool(result.classes)
      t.equal(all.pixels, (2 * width - 4) * (2 * height - 4))
      t.ok(near(all.psnr!.y, result.psnr.y) && near(all.psnr!.rgb, result.psnr.rgb))
      t.ok(result.classes.filter(({ pixels }) => pixels > 0).length > 1, 'tiles of several classes')
    }
    sums.y += routed.psnr.y
    sums.ssim += routed.ssim!
    sums.flops += routed.flops
    sums.pixels += width * height
    routed.histogram.forEach((n, i) => {
      sums.tiles[i]! += n
    })
  }
  const summary = set!.summary['calibrated 0.6']!
  t.ok(near(summary.psnr.y, sums.y / 2) && near(summary.ssim!, sums.ssim / 2))
  t.ok(near(summary.flops, (sums.flops / sums.pixels) * 1024, 1))
  t.same(summary.histogram, sums.tiles)
  t.ok(summary.share <= 0.6 && summary.share > 0.1)
  t.ok(set!.summary['smallest']!.share < set!.summary['largest']!.share)
})

t.test('classes are those of tiles of 32 LR pixels', async (t) => {
  using net = await model()
  const root = t.testdir()
  // The left half has no structure at all, and bicubic makes no error there.
  const flat = picture(256, 64, 1, 0)
  for (let y = 0; y < 64; y++)
    for (let x = 0; x < 256; x++)
      flat.data.fill(x < 128 ? 90 : 90 + 100 * (((x >> 3) + (y >> 3)) % 2), (y * 256 + x) * 3, (y * 256 + x) * 3 + 3)
  await save(path.join(root, 'flat.png'), flat)
  const { sets } = await evaluate(net, {
    sets: { flat: path.join(root, 'flat.png') },
    runs: [{ router: { subnet: 0 } }],
  })
  const { classes } = sets[0]!.summary['bicubic']!
  const used = classes.flatMap(({ pixels }, k) => (pixels > 0 ? [k] : []))
  t.equal(used[0], 0)
  t.ok(used.length >= 2)
  // Tiles beside the edge see it; the first one does not.
  t.ok(classes[0]!.pixels >= 62 * 60, `${classes[0]!.pixels} easy pixels`)
  t.ok(errorOf(classes[0]!.psnr!.y) < errorOf(classes[used.at(-1)!]!.psnr!.y))
})

t.test('what was measured is kept: stopped, continued, changed', async (t) => {
  using net = await model()
  const root = t.testdir()
  const hr = await pictures(root)
  const directory = path.join(root, 'results')
  const runs = [{ router: { subnet: 0 } }, { budget: 0.5 }] as const
  const options: EvaluateOptions = { sets: { two: hr }, runs, ssim: false }
  const figures = (evaluation: Evaluation) =>
    evaluation.sets.map(({ pictures }) =>
      pictures.map(({ results }) =>
        Object.values(results).map(({ seconds, networkSeconds, ...rest }) => JSON.stringify(rest)),
      ),
    )
  const whole = await evaluate(net, options)
  t.equal(whole.sets[0]!.summary['bicubic']!.ssim, null)

  const measured: string[] = []
  const counting = async (more: Partial<EvaluateOptions> = {}, other: SupernetModel = net) => {
    measured.length = 0
    const before = new Map(files(directory).map((file) => [file, statSync(file).mtimeMs]))
    const result = await evaluate(other, { ...options, directory, ...more })
    for (const file of files(directory)) if (before.get(file) !== statSync(file).mtimeMs) measured.push(file)
    return result
  }
  const stop = new AbortController()
  const seen: string[] = []
  await t.rejects(
    evaluate(net, {
      ...options,
      directory,
      signal: stop.signal,
      onProgress: ({ done, total, picture, run }) => {
        seen.push(`${picture} ${run}`)
        t.equal(total, 6)
        if (done === 4) stop.abort()
      },
    }),
    { code: 'WBSR_ABORTED' },
  )
  t.same(seen, ['a bicubic', 'a subnet 0', 'a calibrated 0.5', 'b bicubic', 'b subnet 0'])
  t.same(names(directory), ['a.json', 'b.json'])
  const stored = JSON.parse(readFileSync(path.join(directory, 'two', 'b.json'), 'utf8'))
  t.equal(Object.keys(stored.results).length, 1, 'bicubic of b was done')

  t.same(figures(await counting()), figures(whole))
  t.same(
    measured.map((file) => path.basename(file)),
    ['b.json'],
    'a was not measured again',
  )
  t.same(figures(await counting()), figures(whole))
  t.same(measured, [])

  // Another run is added to what is there.
  await counting({ runs: [...runs, { budget: 0.7 }] })
  t.equal(measured.length, 2)
  await counting()
  t.same(measured, [])
  // Other pixels under the same name.
  await save(path.join(hr, 'b.png'), picture(141, 179, 3, 160))
  t.notSame(figures(await counting()), figures(whole))
  t.same(
    measured.map((file) => path.basename(file)),
    ['b.json'],
  )
  await counting({ sets: { two: { hr, degradation: { jpeg: { probability: 1, quality: [50, 50] } } } } })
  t.equal(measured.length, 2, 'another degradation')
  writeFileSync(path.join(directory, 'two', 'a.json'), 'damaged')
  await counting()
  t.equal(measured.length, 1)

  // Other weights.
  const other = await loadSupernet((await trained)!, { device: 'cpu' })
  t.same(await counting({}, other).then(() => measured), [])
  other.dispose()
  const trainedMore = await trainSupernet(run(path.join(folder, 'photos'), { steps: 2, loss: 'l1' }))
  await counting({}, trainedMore)
  t.equal(measured.length, 2)
  trainedMore.dispose()
})

const files = (directory: string): string[] =>
  existsSync(directory)
    ? readdirSync(directory, { recursive: true, encoding: 'utf8' })
        .map((name) => path.join(directory, name))
        .filter((file) => file.endsWith('.json'))
    : []
const names = (directory: string): string[] =>
  files(directory)
    .map((file) => path.basename(file))
    .sort()

t.test('pictures: result, error, allocation', async (t) => {
  using net = await model()
  const root = t.testdir()
  const hr = path.join(await pictures(root), 'a.png')
  const directory = path.join(root, 'results')
  const options: EvaluateOptions = {
    sets: { one: hr },
    runs: [{ budget: 0.6 }],
    directory,
    pictures: ['sr', 'error', 'allocation'],
    ssim: false,
  }
  await evaluate(net, options)
  const at = (name: string) => path.join(directory, 'one', 'a', name)
  t.same(readdirSync(path.join(directory, 'one', 'a')).sort(), [
    'bicubic.error.png',
    'bicubic.sr.png',
    'calibrated_0.6.allocation.png',
    'calibrated_0.6.error.png',
    'calibrated_0.6.sr.png',
  ])
  const lr = await resizeBicubic(hr, { scale: 1 / 2 })
  const own = await net.upscale(lr, { budget: 0.6 })
  const pixels = (file: string) => sharp(file).raw().toBuffer()
  t.ok((await pixels(at('calibrated_0.6.sr.png'))).equals(Buffer.from(own.data as Uint8Array)))
  t.ok(
    (await pixels(at('calibrated_0.6.allocation.png'))).equals(
      Buffer.from(allocationOverlay(own, own.allocation).data as Uint8Array),
    ),
  )
  const [map, original] = [await pixels(at('calibrated_0.6.error.png')), await pixels(hr)]
  for (const i of [0, 3 * 777, map.length - 3]) {
    const error = [0, 1, 2].reduce((sum, c) => sum + Math.abs(Number(own.data[i + c]) - original[i + c]!), 0) / 3
    if (error < 0.5) t.same([...map.subarray(i, i + 3)], [38, 70, 200], 'equal pixels are blue')
    if (error >= 32) t.same([...map.subarray(i, i + 3)], [215, 40, 40], 'far ones are red')
  }
  const touched = new Date(1e12)
  const kept = at('bicubic.sr.png')
  utimesSync(kept, touched, touched)
  rmSync(at('calibrated_0.6.error.png'))
  await evaluate(net, options)
  t.ok(existsSync(at('calibrated_0.6.error.png')), 'one that is gone is made again')
  t.equal(statSync(kept).mtimeMs, touched.getTime(), 'and the others are left')
})

t.test("protocol 'paper'", async (t) => {
  using net = await model()
  const root = t.testdir()
  const hr = await pictures(root)
  await save(path.join(hr, 'tiny.png'), picture(60, 70, 5))
  const { sets, shave } = await evaluate(net, {
    sets: { two: hr },
    protocol: 'paper',
    runs: [{ budget: 0.6 }],
    ssim: false,
  })
  t.equal(shave, 4)
  t.match(sets[0]!.skipped, [{ file: /tiny\.png/, reason: /smaller than a tile of protocol 'paper' \(32 LR pixels\)/ }])
  const { file, results } = sets[0]!.pictures[0]!
  const lr = await resizeBicubic(file, { scale: 1 / 2 })
  const own = await net.upscale(lr, { protocol: 'paper', budget: 0.6 })
  // 100 x 75 LR pixels: 32 + 2 x 28 = 88 by 32 + 28 = 60.
  t.same([own.width, own.height], [176, 120])
  const cut = await sharp(file).extract({ left: 0, top: 0, width: 176, height: 120 }).raw().toBuffer()
  const original: RawImage = { data: new Uint8Array(cut), width: 176, height: 120, channels: 3 }
  const result = results['calibrated 0.6']!
  t.equal(result.psnr.rgb, await psnr(original, own, { shave: 4, channel: 'rgb' }))
  t.equal(result.patches, 6)
  t.equal(pool(result.classes).pixels, 168 * 112)
})

t.test('sweeps over K and M', async (t) => {
  using net = await model()
  const hr = await pictures(t.testdir())
  const before = JSON.stringify([net.classes, net.router])
  const { runs, sets } = await evaluate(net, {
    sets: { two: hr },
    sweep: { classes: [2, 5], subnets: [1, 2, 4], budget: 0.7 },
    calibration: { hr: path.join(folder, 'photos'), tileSize: 32 },
    ssim: false,
  })
  t.same(
    runs.map(({ name }) => name),
    [
      'bicubic',
      'calibrated 0.7 K=2',
      'calibrated 0.7 K=5',
      'calibrated 0.7 M=1',
      'calibrated 0.7 M=2',
      'calibrated 0.7 M=4',
    ],
  )
  const { summary } = sets[0]!
  t.match(summary['calibrated 0.7 M=1']!.histogram, [0, 0, 0, /^[1-9]/])
  t.match(summary['calibrated 0.7 M=2']!.histogram.slice(1, 3), [0, 0], 'smallest and largest only')
  for (const name of ['calibrated 0.7 K=2', 'calibrated 0.7 M=2', 'calibrated 0.7 M=4'])
    t.ok(summary[name]!.share <= 0.7, `${name} ${summary[name]!.share}`)
  t.equal(summary['calibrated 0.7 K=2']!.classes.length, 10, "reported by the model's own classes")
  t.equal(JSON.stringify([net.classes, net.router]), before, 'the model is left as it was')
})

t.test('tables and CSV', async (t) => {
  using net = await model()
  const hr = await pictures(t.testdir())
  const evaluation = await evaluate(net, { sets: { 'two, of mine': hr }, runs: [{ name: 'my "run"', budget: 0.6 }] })
  const { summary, pictures: list } = evaluation.sets[0]!
  const table = evaluationTable(evaluation)
  t.match(table, /^two, of mine, x2: 2 pictures, LR: bicubic, protocol full, shave 2\n/)
  const row = table.split('\n').find((line) => line.startsWith('| my "run"'))!
  const { psnr: quality, share, histogram } = summary['my "run"']!
  t.match(row, new RegExp(`${quality.y.toFixed(2)}.*${(100 * share).toFixed(1)} %.*${histogram.join(' ')} \\|$`))
  t.equal(
    new Set(
      table
        .split('\n')
        .slice(2, 6)
        .map((line) => line.length),
    ).size,
    1,
    'columns are aligned',
  )
  t.match(evaluationTable(evaluation, { by: 'picture' }), /\| b +\| my "run" +\|/)
  const classes = evaluationTable(evaluation, { by: 'class' })
  t.match(classes, /\| class \| +area \| bicubic \| my "run" \|/)
  t.throws(() => evaluationTable(evaluation, { by: 'tile' as 'set' }), { code: 'WBSR_INVALID_OPTION' })

  const [header, ...lines] = evaluationCsv(evaluation).trimEnd().split('\n')
  const keys = header!.split(',')
  const rows = lines.map((line) => {
    const cells = [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
      ([, quoted, plain]) => quoted ?? plain!,
    )
    t.equal(cells.length, keys.length, line)
    return Object.fromEntries(cells.map((cell, i) => [keys[i]!, cell.replaceAll('""', '"')]))
  })
  const found = rows.find((r) => r['picture'] === 'b' && r['run'] === 'my "run"')!
  t.equal(Number(found['psnr_y']), list[1]!.results['my "run"']!.psnr.y)
  t.equal(found['set'], 'two, of mine')
  const sets = rows.filter((r) => r['picture'] === '' && r['class'] === '')
  t.same(
    sets.map((r) => [r['run'], Number(r['psnr_rgb'])]),
    ['bicubic', 'my "run"'].map((name) => [name, summary[name]!.psnr.rgb]),
  )
  const used = summary['bicubic']!.classes.filter(({ pixels }) => pixels > 0).length
  t.equal(rows.filter((r) => r['class'] !== '').length, 2 * used)
})

t.test('bad options are named', async (t) => {
  using net = await model()
  const hr = await pictures(t.testdir())
  const sets = { two: hr }
  for (const [options, message] of [
    [{}, 'Expected an object of sets by name for sets but received undefined'],
    [{ sets: {} }, 'Expected at least one set of pictures for sets'],
    [{ sets: { two: { lr: 'x' } } }, 'for sets.two.hr but received undefined'],
    [{ sets: { two: { hr, blur: 1 } } }, 'no other keys than hr, lr, degradation for sets.two but received "blur"'],
    [{ sets: { two: { hr, degradation: 'dust' } } }, 'for sets.two.degradation but received "dust"'],
    [{ sets, runs: [] }, 'Expected at least one run for runs'],
    [{ sets, runs: [{ budget: 2 }] }, 'for budget but received 2'],
    [{ sets, runs: [{ speed: 2 }] }, 'for runs[0] but received "speed"'],
    [
      { sets, runs: [{}, { loss: 0.02 }] },
      'distinct names other than \'bicubic\' for runs but received "calibrated loss 0.02"',
    ],
    [{ sets, runs: [{ subnets: [1, 0] }] }, 'ascending indices of subnets, 0 to 3 for subnets but received [1, 0]'],
    [{ sets, runs: [{ router: { subnet: 1 }, subnets: [1] }] }, 'nothing with router { subnet } for subnets'],
    [{ sets, runs: [{ classes: 5 }] }, 'pictures to measure K = 5 on (runs with classes) for calibration'],
    [{ sets, sweep: { subnets: [5] } }, 'an integer between 1 and 4 for sweep.subnets[0] but received 5'],
    [{ sets, protocol: 'paper', runs: [{ halo: 2 }] }, "nothing with protocol 'paper' for halo"],
    [{ sets, pictures: ['sr'] }, 'nothing without directory for pictures'],
    [{ sets, directory: hr, pictures: ['heat'] }, 'for pictures[0] but received "heat"'],
  ] as [EvaluateOptions, string][])
    await t.rejects(evaluate(net, options), { code: 'WBSR_INVALID_OPTION', message: naming(message) })
  await t.rejects(evaluate(net, { sets: { two: path.join(hr, 'none') } }), {
    code: 'WBSR_NOT_FOUND',
    message: /sets\.two: there is no file or folder/,
  })
})

const set5 = path.join(shared, 'set5')
t.test(
  'bicubic on Set5 is what is published',
  { skip: existsSync(set5) ? false : `${set5} is not there` },
  async (t) => {
    using net = await model()
    const runs = [{ router: { subnet: 0 } }] as const
    const { sets } = await evaluate(net, {
      sets: { made: path.join(set5, 'hr'), files: { hr: path.join(set5, 'hr'), lr: path.join(set5, 'lr_x2') } },
      runs,
    })
    for (const { summary, lr } of sets) {
      const { psnr: quality, ssim: similarity, images } = summary['bicubic']!
      t.equal(images, 5)
      t.ok(near(quality.y, 33.66, 0.02), `${lr}: ${quality.y}`)
      t.ok(near(similarity!, 0.9299, 0.0005), `${lr}: ${similarity}`)
    }
  },
)

t.test('random subnets and the oracle', async (t) => {
  using net = await model()
  const hr = await pictures(t.testdir())
  const last = net.subnets.length - 1
  const evaluation = await evaluate(net, {
    sets: { two: hr },
    ssim: false,
    runs: [
      { router: 'random' },
      { router: 'random', budget: 0.5, seed: 7 },
      { router: 'random', budget: 0.5, seed: 8 },
      { router: 'oracle', loss: 0.02, tile: 32 },
      { router: 'oracle', loss: 0, tile: 32 },
      { router: 'oracle', budget: 0.5 },
      { router: 'calibrated', budget: 0.5 },
      { name: 'largest', router: { subnet: last }, tile: 'image' },
      { name: 'smallest', router: { subnet: 0 }, tile: 'image' },
    ],
  })
  t.same(
    evaluation.runs.slice(1, 7).map(({ name }) => name),
    [
      'random',
      'random 0.5 seed 7',
      'random 0.5 seed 8',
      'oracle loss 0.02 tile 32',
      'oracle loss 0 tile 32',
      'oracle 0.5',
    ],
  )
  const summary = evaluation.sets[0]!.summary
  const tiles = (name: string) => summary[name]!.histogram
  t.equal(
    tiles('random').reduce((a, b) => a + b),
    8,
  )
  t.ok(tiles('random').filter((n) => n > 0).length > 1, 'several subnets')
  t.notSame(tiles('random 0.5 seed 7'), tiles('random 0.5 seed 8'))
  // Halo and blending move a picture a little from the whole one that the oracle saw.
  const [largest, oracle] = [summary['largest']!, summary['oracle loss 0.02 tile 32']!]
  t.ok(oracle.psnr.rgb >= largest.psnr.rgb - 0.03, `${oracle.psnr.rgb} of ${largest.psnr.rgb} dB`)
  t.ok(oracle.share < 1.5 && tiles('oracle loss 0.02 tile 32').some((n, m) => m < last && n > 0))
  t.ok(summary['oracle 0.5']!.psnr.rgb >= summary['random 0.5 seed 7']!.psnr.rgb - 1e-6, 'better than chance')
  const again = await evaluate(net, { sets: { two: hr }, ssim: false, runs: [{ router: 'random' }] })
  t.same(again.sets[0]!.summary['random']!.histogram, tiles('random'), 'the same numbers each time')

  const refuse = (run: object, message: RegExp, options: object = {}) =>
    t.rejects(evaluate(net, { sets: { two: hr }, runs: [run], ...options } as EvaluateOptions), {
      code: 'WBSR_INVALID_OPTION',
      message,
    })
  await refuse({ router: 'oracle', loss: 0.1, budget: 0.5 }, /only one for runs\[0\]\.budget and runs\[0\]\.loss/)
  await refuse({ router: 'random', loss: 0.1 }, /nothing with router 'random' for runs\[0\]\.loss/)
  await refuse({ router: 'calibrated', seed: 1 }, /nothing without router 'random'/)
  await refuse({ router: 'oracle', tile: 'image' }, /runs\[0\]\.tile/)
  await refuse({ router: 'random' }, /'full' with router 'random' for protocol/, { protocol: 'paper' })
})

t.test('the distribution of random subnets has the mean cost that was asked for', async (t) => {
  const costs = [0.1, 0.25, 0.6, 1]
  for (const budget of [0.11, 0.3, 0.4875, 0.7, 0.99]) {
    const p = shuffledAt(costs, budget)
    t.ok(
      near(
        p.reduce((sum, v, m) => sum + v * costs[m]!, 0),
        budget,
        1e-6,
      ),
      `${budget}: ${p}`,
    )
  }
  t.same(shuffledAt(costs, null), [0.25, 0.25, 0.25, 0.25])
  t.ok(shuffledAt(costs, 0.01)[0]! > 0.999, 'below the cheapest')
})
