// train/paper.mjs at toy size: every row of the paper's tables that it can make.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import t from 'tap'
import { loadSupernet } from '../../lib/index.js'
import { unbuilt } from '../support/package.js'
import { cuttings } from '../support/training.js'

const root = path.resolve(import.meta.dirname, '..', '..')

t.test('rows of the tables', { skip: unbuilt() }, async (t) => {
  const folder = t.testdir({ hr: {} })
  const hr = await cuttings(path.join(folder, 'hr'))
  const run = (...args: string[]) => {
    const { NODE_OPTIONS: _options, ...env } = process.env
    return spawnSync(process.execPath, ['train/paper.mjs', ...args], {
      cwd: root,
      env: { ...env, XDG_CACHE_HOME: folder },
      encoding: 'utf8',
      timeout: 900_000,
    })
  }
  const toy = (network: string, method: string, widths: string, depths: string) => {
    const shape = ['--network', network, '--method', method, '--widths', widths, '--depths', depths, '--scale', '2']
    const short = [
      '--steps',
      '2',
      '--batch',
      '1',
      '--patch',
      '32',
      '--images',
      '1',
      '--device',
      'cpu',
      '--threads',
      '1',
    ]
    return run(...shape, ...short, '--train', hr, '--test2k', hr, '--out', path.join(folder, 'out'))
  }
  for (const [network, method, widths, rows, subnets] of [
    ['srresnet', 'baseline', '8,16', ['whole'], 1],
    ['srresnet', 'arm', '8,16', ['ARM-L', 'ARM-M', 'ARM-S', 'whole'], 2],
    ['srresnet', 'wbsr', '8,16', ['projection', 'whole'], 4],
    ['rcan', 'wbsr', '16,32', ['projection', 'whole'], 4],
  ] as const) {
    const { status, stdout, stderr } = toy(network, method, widths, '1,2')
    t.equal(status, 0, stderr)
    const lines = stdout.split('\n').filter((line) => line.startsWith('| test2k'))
    t.same(
      lines.map((line) => line.split(' | ')[1]),
      rows,
    )
    t.ok(
      lines.every((line) => /\| \d+\.\d\d \| \d+\.\d{3} \|/.test(line)),
      stdout,
    )
    using model = await loadSupernet(path.join(folder, 'out', `${network}-${method}`, 'model.safetensors'), {
      device: 'cpu',
    })
    t.equal(model.subnets.length, subnets)
    const largest = (model.subnets.at(-1)!.flops / 1e9).toFixed(3)
    t.ok(lines.at(-1)!.includes(` | ${largest} | `), 'the whole network on every tile')
  }
  t.match(run('--method', 'none'), { status: 1, stderr: /expected baseline or arm or wbsr for --method/ })
  t.match(run(), { status: 1, stderr: /expected --train, and --test2k or --test4k/ })
})
