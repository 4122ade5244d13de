// The page about a training run: what it shows, how it goes on, what it does to the run (nothing), and the page in a browser.
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { psnr } from '../../lib/index.js'
import { trainSupernet } from '../../lib/train/index.js'
import { addValidation, newRecord, type RunRecord } from '../../lib/train/report/record.js'
import { noSeries, Series, seriesUntil } from '../../lib/train/report/series.js'
import { closeBrowser, newTab, screenshot, withoutChromium } from '../support/browser.js'
import { cuttings, numbers, recorder, run, weights } from '../support/training.js'

const home = t.testdir()
const at = (...names: string[]) => path.join(home, ...names)
mkdirSync(at('hr'))
const train = await cuttings(at('hr'))
t.teardown(closeBrowser)

function recordOf(file: string): RunRecord {
  const html = readFileSync(file, 'utf8')
  return JSON.parse(/<script type="application\/json" id="run">(.*?)<\/script>/s.exec(html)![1]!)
}

const options = (name: string, more = {}) =>
  run(train, {
    checkpoint: { directory: at(name), everySteps: 2 },
    data: { train, validation: train },
    validateEverySteps: 2,
    report: { file: at(name, 'report.html'), everySeconds: 0, examples: 2 },
    ...more,
  })

t.test('a run with a report has the numbers of one without', async (t) => {
  const [plain, told] = [recorder(), recorder()]
  await using without = await trainSupernet({ ...options('plain', { report: false }), onStep: plain.onStep })
  await using model = await trainSupernet({ ...options('told'), onStep: told.onStep })
  t.same(told.reports.map(numbers), plain.reports.map(numbers))
  t.notOk(existsSync(at('plain', 'report.html')))
  await Promise.all([without.save(at('plain.safetensors')), model.save(at('told.safetensors'))])
  t.same(await weights(at('told.safetensors')), await weights(at('plain.safetensors')))

  const record = recordOf(at('told', 'report.html'))
  t.match(record, { status: 'finished', step: 6, steps: 6, resumed: [], exampleStep: 6, exampleSource: 'validation' })
  t.same(record.series.steps, [1, 2, 3, 4, 5, 6])
  const close = (a: number, b: number) => Math.abs(a - b) <= 1e-4 * Math.abs(b)
  for (const [i, { loss, data, learningRate }] of told.reports.entries()) {
    const { values } = record.series
    t.ok(close(values.loss[i]!, loss) && close(values.data[i]!, data) && close(values.learningRate[i]!, learningRate))
  }
  t.equal(
    record.drawn.counts.reduce((sum, count) => sum + count, 0),
    6 * 2,
    'two patches a step',
  )
  t.equal(record.validations.length, 3)
  const { classes, largest, bicubic } = record.validations.at(-1)!
  t.ok(classes.largest.filter((value) => value !== null).length > 2)
  t.ok(Math.min(...(classes.bicubic.filter((v) => v !== null) as number[])) < bicubic!)
  t.ok(Math.max(...(classes.largest.filter((v) => v !== null) as number[])) > largest!)
})

t.test('the PSNR of the classes is that of their pixels', async (t) => {
  // One class holds everything: its PSNR is that of the picture.
  const one = at('one')
  mkdirSync(one)
  writeFileSync(path.join(one, 'a.png'), readFileSync(path.join(train, 'nagasaki-boats.png')))
  const file = at('classes.html')
  await using model = await trainSupernet(
    run(train, {
      data: { train, validation: one },
      sampler: { classes: 2, thresholds: 'quantile' },
      report: { file, examples: 1 },
      steps: 2,
    }),
  )
  const [last] = recordOf(file).validations.slice(-1)
  const { subnets } = model
  const hr = path.join(one, 'a.png')
  const { resizeBicubic } = await import('../../lib/index.js')
  const lr = await resizeBicubic(hr, { scale: 1 / 2 })
  const { data, width, height } = await model.upscale(lr, { router: { subnet: subnets.length - 1 } })
  const whole = await psnr(hr, { data, width, height, channels: 3 }, { shave: 2 })
  t.ok(Math.abs(last!.largest! - whole) < 1e-9)
  // Of both classes together: their pixels are not known here, so their PSNR lies on both sides of it.
  const parts = last!.classes.largest.filter((value) => value !== null) as number[]
  t.ok(Math.min(...parts) <= whole + 1e-9 && Math.max(...parts) >= whole - 1e-9)
})

t.test('a stopped run goes on in the same report', async (t) => {
  const file = at('again', 'report.html')
  const stop = new AbortController()
  await t.rejects(
    trainSupernet({
      ...options('again'),
      signal: stop.signal,
      onStep: ({ step }) => void (step === 3 && stop.abort()),
    }),
    { code: 'WBSR_ABORTED' },
  )
  const stopped = recordOf(file)
  t.match(stopped, { status: 'stopped', step: 3, message: null })
  await using first = await trainSupernet(options('again'))
  t.equal(first.scale, 2)
  const record = recordOf(file)
  t.match(record, { status: 'finished', step: 6, resumed: [3], begun: stopped.begun })
  t.same(record.series.steps, [1, 2, 3, 4, 5, 6])
  t.ok(record.seconds > stopped.seconds)
  t.same(record.drawn, recordOf(at('told', 'report.html')).drawn, 'the patches of every step once')
  t.same(
    record.validations.map(({ step }) => step),
    [2, 4, 6],
  )

  // A report that is ahead of the checkpoint, as after a kill: the steps that are done again replace those in it.
  writeFileSync(at('again', 'ahead.html'), readFileSync(file))
  rmSync(at('again', 'checkpoint.safetensors'))
  const short = new AbortController()
  await t.rejects(
    trainSupernet({
      ...options('again'),
      signal: short.signal,
      onStep: ({ step }) => void (step === 4 && short.abort()),
    }),
  )
  writeFileSync(file, readFileSync(at('again', 'ahead.html')))
  await using second = await trainSupernet(options('again'))
  t.equal(second.scale, 2)
  const ahead = recordOf(file)
  t.same(ahead.series.steps, [1, 2, 3, 4, 5, 6])
  t.same(ahead.drawn, record.drawn)
  await using longer = await trainSupernet(options('again', { steps: 2, extend: at('again') }))
  t.equal(longer.scale, 2)
  t.match(recordOf(file), { step: 8, steps: 8, resumed: [3, 4, 6] })
})

t.test('what a report does not replace, and what it does not end', async (t) => {
  const other = at('notes.html')
  writeFileSync(other, '<p>my notes</p>')
  await t.rejects(trainSupernet(options('refused', { report: other })), {
    code: 'WBSR_INVALID_FILE',
    message: /Expected a training report of wbsr, or no file, for report but .*notes.html is something else/,
  })
  t.equal(readFileSync(other, 'utf8'), '<p>my notes</p>')
  await t.rejects(trainSupernet(options('refused', { report: home })), { code: 'WBSR_IO' })
  await t.rejects(trainSupernet(options('refused', { report: { file: at('x.html'), every: 1 } })), {
    code: 'WBSR_INVALID_OPTION',
    message: /report/,
  })
  await t.rejects(trainSupernet(options('refused', { report: { file: at('x.html'), examples: 99 } })), {
    message: /Expected an integer between 0 and 12 for report.examples but received 99/,
  })

  // A folder takes the page's place while the run goes on.
  const warnings: string[] = []
  const warned = (warning: Error) => void warnings.push(warning.message)
  process.on('warning', warned)
  t.teardown(() => process.off('warning', warned))
  const file = at('lost', 'report.html')
  await using model = await trainSupernet({
    ...options('lost'),
    onStart: () => {
      rmSync(file)
      mkdirSync(file)
    },
  })
  t.equal(model.scale, 2, 'the run ends well')
  await new Promise((resolve) => setImmediate(resolve))
  t.match(warnings, [/The report is not up to date: Cannot write .*report.html: it is a folder/])

  const failed = at('failed', 'report.html')
  await t.rejects(trainSupernet(options('failed', { optimizer: { learningRate: 1e30 } })), { code: 'WBSR_NON_FINITE' })
  t.match(recordOf(failed), { status: 'failed', message: /not finite/ })
})

t.test('the room that a long run takes', async (t) => {
  const series = new Series(noSeries())
  const values = {
    loss: 0,
    data: 0.012345678,
    balance: 0,
    frequency: 0,
    learningRate: 1e-4,
    sigma: 0,
    imagesPerSecond: 9,
    waitForData: 0,
  }
  for (let step = 1; step <= 100_000; step++) series.add(step, { ...values, loss: step })
  const state = series.state()
  t.ok(state.steps.length <= 1000 && state.steps.length > 400, `${state.steps.length} means`)
  t.equal(state.steps.at(-1), 100_000)
  t.equal(
    state.counts.reduce((sum, count) => sum + count, 0),
    100_000,
  )
  const i = 10
  const [from, to] = [state.steps[i - 1]! + 1, state.steps[i]!]
  t.ok(Math.abs(state.values.loss[i]! - (from + to) / 2) < 1e-4 * to, 'means')
  const before = seriesUntil(state, 50_000)
  t.ok(before.steps.at(-1)! <= 50_000 && before.steps.at(-1)! > 50_000 - state.every)
  const goesOn = new Series(before)
  for (let step = 50_001; step <= 50_300; step++) goesOn.add(step, values)
  t.equal(goesOn.state().steps.at(-1), 50_300)

  const record = newRecord({
    facts: { rows: [], options: {} },
    steps: 9,
    epochs: 1,
    everySeconds: 1,
    classes: ['1'],
    indexed: [1],
    exampleSource: 'training',
  })
  const classes = { bicubic: [1], smallest: [1], largest: [1] }
  for (let step = 1; step <= 5000; step++)
    addValidation(record, { step, bicubic: 1, smallest: 1, largest: 1, best: step === 777, seconds: 1, classes })
  t.ok(record.validations.length <= 300)
  t.ok(record.validations.some(({ step }) => step === 777))
  t.equal(record.validations.at(-1)!.step, 5000)
  t.ok(statSync(at('told', 'report.html')).size < 3e6)
})

t.test('the page in a browser', { skip: withoutChromium }, async (t) => {
  const file = at('told', 'report.html')
  const { page, faults } = await newTab(t)
  await page.goto(pathToFileURL(file).href)
  t.match(await page.title(), /^finished, step 6 of 6/)
  t.equal(await page.locator('.chart svg').count(), 9)
  t.match(
    await page.getByRole('img', { name: /^PSNR of the validation images/ }).getAttribute('aria-label'),
    /Last values: bicubic: [\d.]+, smallest subnet: [\d.]+, largest subnet: [\d.]+ dB/,
  )
  t.equal(await page.locator('wbsr-viewer').count(), 2)
  await page.getByRole('button', { name: 'error of SR' }).first().click()
  t.equal(await page.getByRole('combobox', { name: 'Right picture' }).first().inputValue(), '5')
  t.match(await page.locator('.figures').first().textContent(), /PSNR on Y: bicubic .* dB, SR .* dB/)
  await page.getByRole('button', { name: /^SR$/ }).first().click()
  await page.getByLabel('Where the work went').first().check()
  t.ok((await page.locator('.map path').count()) > 0)
  t.equal(await page.locator('#refresh').isVisible(), false, 'a finished run is not loaded again')
  await screenshot(page, 'report')
  t.same(faults, [])

  const running = at('running.html')
  const record = { ...recordOf(file), status: 'running' as const, everySeconds: 5 }
  const { reportPage } = await import('../../lib/train/report/page.js')
  writeFileSync(running, reportPage(record))
  const phone = await newTab(t, { viewport: { width: 360, height: 640 }, colorScheme: 'dark' })
  await phone.page.goto(pathToFileURL(running).href)
  t.ok(await phone.page.getByLabel(/load this page again/).isChecked())
  const [wide, seen] = await phone.page.evaluate<[number, number]>('[document.documentElement.scrollWidth, innerWidth]')
  t.ok(wide <= seen, `${wide} of ${seen} pixels`)
  await screenshot(phone.page, 'report-phone')
  writeFileSync(running, reportPage({ ...record, status: 'finished' }))
  await phone.page.getByText('finished', { exact: true }).waitFor({ timeout: 60_000 })
  t.pass('it was loaded again')
  t.same(phone.faults, [])
})
