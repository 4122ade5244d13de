// `npm run docs` finds nothing that is exported without a description, and no type that the reference would lack.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')

t.test('typedoc has no warnings', async (t) => {
  const { NODE_OPTIONS: _options, ...env } = process.env
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [path.join(root, 'node_modules/typedoc/bin/typedoc'), '--emit', 'none', '--treatWarningsAsErrors'],
    { cwd: root, env, encoding: 'utf8' },
  )
  t.equal(status, 0, `${stdout}${stderr}`)
})
