// A short run of scripts/fuzz.mjs, always the same inputs. `npm run fuzz -- --count 10000 --seed 7` is a longer one.
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { unbuilt } from './support/package.js'

t.test('damaged files end with a WbsrError that is no WBSR_INTERNAL', { skip: unbuilt() }, (t) => {
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    ['scripts/fuzz.mjs', '--count', '150', '--seed', '1'],
    { encoding: 'utf8', timeout: 500_000 },
  )
  t.equal(signal ?? status, 0, stderr.slice(-2000) || stdout.slice(-4000))
  const report = JSON.parse(stdout)
  t.same(report.failures, [])
  t.ok(report.accepted > 0 && Object.keys(report.refused).length > 1, JSON.stringify(report.refused))
  t.end()
})
