// train/ship.mjs: a trained checkpoint becomes a model of the package, with its card and its row of the table.
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { readSafetensors } from '../../lib/files/safetensors.js'
import { loadSupernet, psnr, resizeBicubic, trainSupernet } from '../../lib/index.js'
import { unbuilt } from '../support/package.js'
import { cuttings, run } from '../support/training.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')

t.test('a checkpoint is calibrated, converted, measured and written', { skip: unbuilt() }, async (t) => {
  const folder = t.testdir({ set5: { hr: {} }, train: { free: {} }, weights: {}, plain: {}, photo: {} })
  await cuttings(path.join(folder, 'set5', 'hr'))
  await cuttings(path.join(folder, 'train', 'free'))
  copyFileSync(path.join(root, 'weights', 'README.md'), path.join(folder, 'weights', 'README.md'))
  const train = path.join(folder, 'train', 'free')
  const checkpoints: string[] = []
  for (const degradation of [undefined, 'photo'] as const) {
    const directory = path.join(folder, degradation ?? 'plain')
    const options = run(train, {
      steps: 4,
      loss: 'l1',
      checkpoint: { directory },
      ...(degradation && { data: { train, degradation } }),
    })
    const made = await trainSupernet(options)
    made.dispose()
    checkpoints.push(path.join(directory, 'checkpoint.safetensors'))
  }
  const ship = (...args: string[]) => {
    const { NODE_OPTIONS: _options, ...env } = process.env
    const all = ['train/ship.mjs', ...args, '--data', folder, '--weights', path.join(folder, 'weights')]
    return spawnSync(process.execPath, all, { cwd: root, env, encoding: 'utf8', timeout: 600_000 })
  }
  for (const [i, name] of ['x2', 'x2-photo'].entries()) {
    const { status, stdout, stderr } = ship(checkpoints[i]!, name)
    t.equal(status, 0, stderr)
    t.match(stdout, /half floats change PSNR by at most 0\.00\d+ dB: stored as f16/)
  }
  const weights = path.join(folder, 'weights')
  t.same(readdirSync(weights).sort(), [
    'README.md',
    'x2-photo.json',
    'x2-photo.safetensors',
    'x2.json',
    'x2.safetensors',
  ])
  const [plain, photo] = ['x2', 'x2-photo'].map((name) =>
    JSON.parse(readFileSync(path.join(weights, `${name}.json`), 'utf8')),
  )
  t.match(plain, {
    name: 'wbsr:x2',
    scale: 2,
    input: 'clean',
    precision: 'f16',
    recipe: { steps: 4, seed: 1 },
    scores: { length: 1 },
  })
  t.match(photo, { name: 'wbsr:x2-photo', input: 'lossy', recipe: { degradation: { jpeg: { quality: [50, 95] } } } })
  t.same(
    photo.scores.map(({ set, lr }: { set: string; lr: string }) => [set, lr]),
    [
      ['set5', 'bicubic'],
      ['set5', 'bicubic, then JPEG of quality 75, 4:2:0'],
    ],
  )

  const file = path.join(weights, 'x2.safetensors')
  const { tensors, metadata } = await readSafetensors(file)
  t.ok([...tensors.values()].every(({ dtype }) => dtype === 'F16'))
  t.notOk('wbsr.checkpoint' in metadata)
  using model = await loadSupernet(file, { device: 'cpu', threads: 1 })
  t.not(model.router, null)
  t.match(model.training, { steps: 4, calibration: { pictures: 'free', tileSize: 64 } })
  let sum = 0
  const pictures = readdirSync(path.join(folder, 'set5', 'hr')).map((name) => path.join(folder, 'set5', 'hr', name))
  for (const picture of pictures) {
    const sr = await model.upscale(await resizeBicubic(picture, { scale: 1 / 2 }), { router: { subnet: 3 } })
    sum += await psnr(picture, sr, { shave: 2 })
  }
  t.ok(Math.abs(sum / pictures.length - plain.scores[0].largest) < 0.001, 'the score is that of the file')

  const readme = readFileSync(path.join(weights, 'README.md'), 'utf8')
  t.match(readme, /\| `wbsr:x2` \| 8\/16 x 1\/2 \| \d+ \| \d+ \| 4 \| set5 \(3\) \| bicubic \|/)
  t.match(readme, /\| `wbsr:x2-photo` \|[^\n]*\n\|[ |]*set5 \(3\) \| bicubic, then JPEG/)
  t.notMatch(readme, /None yet/)

  t.match(ship(checkpoints[0]!, 'x4'), { status: 1, stderr: /expected a model of scale 4 for x4 but .* has scale 2/ })
  t.match(ship(checkpoints[0]!), { status: 2, stderr: /^Usage: node train\/ship\.mjs/ })
  t.notOk(existsSync(path.join(weights, 'x4.json')))
})
