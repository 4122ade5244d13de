// calibrateRouter: the table that training measures, for models that have none.
import path from 'node:path'
import t from 'tap'
import { calibrateRouter, loadSupernet, trainSupernet } from '../../lib/index.js'
import { cuttings, run } from '../support/training.js'

t.test('a checkpoint gets the table that its training measured', async (t) => {
  const folder = t.testdir({ runs: {} })
  const train = await cuttings(folder)
  const directory = path.join(folder, 'runs')
  const options = run(train, { loss: 'l1', steps: 4, checkpoint: { directory } })
  const made = await trainSupernet({ ...options, calibration: { tileSize: 32 } })
  const checkpoint = path.join(directory, 'checkpoint.safetensors')
  const net = await loadSupernet(checkpoint, { device: 'cpu', threads: 1 })
  t.equal(net.router, null)
  await t.rejects(net.upscale(path.join(train, 'nagasaki-boats.png'), { router: 'calibrated' }), {
    code: 'WBSR_INVALID_OPTION',
  })
  const steps: number[] = []
  const onProgress = ({ done, total }: { done: number; total: number }) => void steps.push(done / total)
  await calibrateRouter(net, { hr: train, tileSize: 32, onProgress })
  t.same(net.router, made.router)
  t.same(net.classes, made.classes)
  t.equal(steps.at(-1), 1)
  await net.upscale(path.join(train, 'nagasaki-boats.png'), { router: 'calibrated' })
  await net.save(path.join(folder, 'calibrated.safetensors'))
  using again = await loadSupernet(path.join(folder, 'calibrated.safetensors'), { device: 'cpu' })
  t.same(again.router, made.router)

  const jpeg = { probability: 1, quality: [40, 40] } as const
  await calibrateRouter(net, { hr: train, tileSize: 32, degradation: { jpeg } })
  t.not(net.router!.squaredError[0]![0], made.router!.squaredError[0]![0])
  await calibrateRouter(net, { hr: train, classes: 5, thresholds: 'quantile', images: 2 })
  t.match(net.classes, { count: 5, kind: 'quantile' })
  t.match(net.router, { squaredError: { length: 5 }, tileSize: 64 })
  made.dispose()

  const before = JSON.stringify(net.router)
  await t.rejects(calibrateRouter(net, { hr: path.join(folder, 'none') }), { code: 'WBSR_NOT_FOUND' })
  await t.rejects(calibrateRouter(net, { hr: train, signal: AbortSignal.abort() }), { code: 'WBSR_ABORTED' })
  for (const [bad, message] of [
    [{}, /for options\.hr/],
    [{ hr: train, classes: 1 }, /for classes but received 1/],
    [{ hr: train, tileSize: 8 }, /for tileSize but received 8/],
    [{ hr: train, images: 0 }, /for images but received 0/],
    [{ hr: train, tiles: 3 }, /for options but received "tiles"/],
  ] as [never, RegExp][])
    await t.rejects(calibrateRouter(net, bad), { code: 'WBSR_INVALID_OPTION', message })
  t.equal(JSON.stringify(net.router), before, 'a failure leaves the table that there was')
  net.dispose()
  await t.rejects(calibrateRouter(net, { hr: train }), { code: 'WBSR_DISPOSED' })
})
