// train/rivals.mjs at toy size: every router on two models, means and deviations, and nothing is made twice.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { SupernetModel } from '../../lib/models/model.js'
import { unbuilt } from '../support/package.js'
import { realState } from '../support/real-state.js'
import { cuttings, tiny } from '../support/training.js'

const root = path.resolve(import.meta.dirname, '..', '..')

t.test('routers on the models of two seeds', { skip: unbuilt() }, async (t) => {
  const folder = t.testdir({ data: { set5: { hr: {} }, train: { free: {} } } })
  await cuttings(path.join(folder, 'data', 'set5', 'hr'))
  await cuttings(path.join(folder, 'data', 'train', 'free'))
  const models = await Promise.all(
    [3, 4].map(async (gain) => {
      using model = new SupernetModel(realState(tiny, { gain, threads: 1 }))
      const file = path.join(folder, `${gain}.safetensors`)
      await model.save(file)
      return file
    }),
  )
  const out = path.join(folder, 'out')
  const run = (...args: string[]) => {
    const { NODE_OPTIONS: _options, ...env } = process.env
    const common = ['--data', path.join(folder, 'data'), '--out', out, '--sets', 'set5', '--budgets', '0.5,1']
    const small = ['--images', '2', '--pixels', '8192', '--steps', '2', '--threads', '1']
    return spawnSync(process.execPath, ['train/rivals.mjs', ...common, ...small, ...args], {
      cwd: root,
      env: { ...env, XDG_CACHE_HOME: folder },
      encoding: 'utf8',
      timeout: 900_000,
    })
  }
  t.match(run(), { status: 1, stderr: /expected models: files, or folders/ })
  const json = path.join(folder, 'all.json')
  const first = run(...models, '--json', json)
  t.equal(first.status, 0, first.stderr)
  const { rows, models: made } = JSON.parse(readFileSync(json, 'utf8'))
  const routers = ['random', 'projection-budget', 'calibrated', 'arm', 'classsr', 'predictor', 'oracle']
  t.same(
    rows.map((row: { run: string }) => row.run),
    [
      ...['subnet 0', 'subnet 1', 'subnet 2', 'subnet 3', 'projection', 'classsr'],
      ...routers.flatMap((name) => [`${name} 0.5`, `${name} 1`]),
    ],
  )
  for (const [i, { run: name, share, y, gain }] of rows.entries()) {
    const [a, b] = made.map(({ scores }: { scores: { y: number }[] }) => scores[i]!.y) as [number, number]
    t.ok(Math.abs(y.mean - (a + b) / 2) < 1e-9 && Math.abs(y.deviation - Math.abs(a - b) / Math.SQRT2) < 1e-9, name)
    if (name.endsWith(' 0.5')) t.ok(share.mean <= 0.5, `${name}: ${share.mean}`)
    if (/^subnet [03]$/.test(name)) t.ok(gain.mean <= 1e-9, `${name} is not above the fixed subnets: ${gain.mean}`)
  }
  const shown = first.stdout.split('\n').find((line) => line.startsWith('| oracle 0.5 |'))!
  const oracle = rows.find((row: { run: string }) => row.run === 'oracle 0.5')
  t.ok(shown.includes(`| ${oracle.y.mean.toFixed(3)} ± ${oracle.y.deviation.toFixed(3)} |`), shown)

  const kept = readdirSync(out).filter((name) => name.endsWith('.safetensors'))
  t.equal(kept.length, 2)
  const times = () => kept.map((name) => statSync(path.join(out, name)).mtimeMs)
  const before = times()
  const second = run(...models)
  t.equal(second.stdout, first.stdout)
  t.same(times(), before)
  t.notMatch(second.stderr, /calibrated/)

  const some = run(...models, '--sets', 'set5/2', '--json', json)
  t.equal(some.status, 0, some.stderr)
  const part = JSON.parse(readFileSync(json, 'utf8'))
  t.equal(part.sets, 'set5/2')
  t.notSame(part.rows[0].y, rows[0].y, 'of every second picture')
  t.match(run(...models, '--sets', 'set5/0'), { status: 1, stderr: /N of 1 or more for --sets but received set5\/0/ })
})
