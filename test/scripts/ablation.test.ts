// train/ablation.mjs at toy size: configurations times seeds, means and deviations, and nothing is made twice.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { loadSupernet, psnr, resizeBicubic } from '../../lib/index.js'
import { unbuilt } from '../support/package.js'
import { cuttings } from '../support/training.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')

t.test('configurations times seeds', { skip: unbuilt() }, async (t) => {
  const folder = t.testdir({ data: { set5: { hr: {} }, train: { free: {} } } })
  await cuttings(path.join(folder, 'data', 'set5', 'hr'))
  await cuttings(path.join(folder, 'data', 'train', 'free'))
  const plan = {
    base: {
      network: { family: 'srresnet', scale: 2, widths: [8, 16], depths: [1, 2] },
      data: { train: 'train/free' },
      batchSize: 2,
      patchSize: 32,
    },
    configurations: { plain: { loss: 'l1' }, taught: { loss: 'l1', distillation: 0.5 }, unused: { loss: 'none' } },
  }
  const planFile = path.join(folder, 'plan.json')
  writeFileSync(planFile, JSON.stringify(plan))
  const out = path.join(folder, 'out')
  const run = (...args: string[]) => {
    const { NODE_OPTIONS: _options, ...env } = process.env
    const common = [
      '--plan',
      planFile,
      '--data',
      path.join(folder, 'data'),
      '--out',
      out,
      '--steps',
      '2',
      '--sets',
      'set5',
    ]
    return spawnSync(
      process.execPath,
      [
        'train/ablation.mjs',
        ...common,
        '--configurations',
        'plain,taught',
        '--seeds',
        '1,2',
        '--threads',
        '1',
        ...args,
      ],
      { cwd: root, env: { ...env, XDG_CACHE_HOME: folder }, encoding: 'utf8', timeout: 900_000 },
    )
  }
  t.match(run('--print'), { status: 1, stderr: /no run of 2 steps is done/ })
  const first = run('--json', path.join(folder, 'all.json'))
  t.equal(first.status, 0, first.stderr)
  t.match(first.stderr, /plain, seed 1[\s\S]*taught, seed 1[\s\S]*plain, seed 2[\s\S]*taught, seed 2/, 'seed by seed')
  const files = readdirSync(out).filter((name) => name.endsWith('.json'))
  t.same(files.sort(), ['plain-2-1.json', 'plain-2-2.json', 'taught-2-1.json', 'taught-2-2.json'])

  const all = JSON.parse(readFileSync(path.join(folder, 'all.json'), 'utf8'))
  t.equal(all.runs.length, 4)
  const value = (name: string, seed: number): number =>
    all.runs.find((r: { name: string; seed: number }) => r.name === name && r.seed === seed).scores.set5.largest.y
  const row = all.means.rows.find((r: { name: string; run: string }) => r.name === 'taught' && r.run === 'largest')
  const [a, b] = [value('taught', 1), value('taught', 2)]
  t.ok(Math.abs(row.mean - (a + b) / 2) < 1e-9)
  t.ok(Math.abs(row.deviation - Math.abs(a - b) / Math.SQRT2) < 1e-9, 'the deviation of a sample')
  t.ok(Math.abs(row.difference.mean - (a + b - value('plain', 1) - value('plain', 2)) / 2) < 1e-9)
  const shown = first.stdout.split('\n').filter((line) => line.startsWith('| taught | 2 |'))
  t.equal(shown.length, 3, 'smallest, calibrated, largest')
  t.ok(shown.at(-1)!.includes(`${row.mean.toFixed(3)} ± ${row.deviation.toFixed(3)} (`))

  // The figures are those of the model that the run left.
  using model = await loadSupernet(path.join(out, 'taught-2-1', 'checkpoint.safetensors'), {
    device: 'cpu',
    threads: 1,
  })
  const hr = path.join(folder, 'data', 'set5', 'hr')
  let sum = 0
  for (const name of readdirSync(hr)) {
    const sr = await model.upscale(await resizeBicubic(path.join(hr, name), { scale: 1 / 2 }), {
      router: { subnet: 3 },
    })
    sum += await psnr(path.join(hr, name), sr, { shave: 2 })
  }
  t.ok(Math.abs(a - sum / readdirSync(hr).length) < 1e-6)

  const before = files.map((name) => statSync(path.join(out, name)).mtimeMs)
  rmSync(path.join(out, 'taught-2-2.json'))
  const second = run()
  t.equal(second.stdout, first.stdout, 'what is gone is made again, to the same figures')
  t.notMatch(second.stderr, /plain/)
  t.same(
    files.slice(0, 3).map((name) => statSync(path.join(out, name)).mtimeMs),
    before.slice(0, 3),
  )

  writeFileSync(planFile, JSON.stringify({ ...plan, base: { ...plan.base, batchSize: 3 } }))
  t.match(run(), { status: 1, stderr: /was made with other options; remove it to make it anew/ })
  t.match(run('--configurations', 'none'), { status: 1, stderr: /but none is none/ })
})
