// Loading the addon: the error of a bundled build, and the C library that the addon needs.
import { execFileSync } from 'node:child_process'
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')

t.test('a copy of the code without its addon says what bundlers must be told', (t) => {
  const dir = t.testdir({ 'package.json': '{"type":"module"}' })
  cpSync(path.join(root, 'dist'), path.join(dir, 'dist'), { recursive: true })
  symlinkSync(path.join(root, 'node_modules'), path.join(dir, 'node_modules'))
  writeFileSync(path.join(dir, 'app.mjs'), "await import('./dist/index.js').catch((e) => console.log(e.message))")
  const output = execFileSync(process.execPath, ['app.mjs'], { cwd: dir, encoding: 'utf8' })
  t.match(output, /Could not load the wbsr native addon/)
  t.match(output, /mark wbsr and sharp as external/)
  t.end()
})

t.test('the addon needs no newer C library than the README says', (t) => {
  const claimed = /glibc (\d+)\.(\d+) or newer/.exec(readFileSync(path.join(root, 'README.md'), 'utf8'))
  const symbols = execFileSync('objdump', ['-T', path.join(root, 'build', 'Release', 'wbsr.node')], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  const minors = [...symbols.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor))
  t.ok(minors.length > 0)
  t.ok(
    claimed && Number(claimed[1]) === 2 && Math.max(...minors) <= Number(claimed[2]),
    `glibc 2.${Math.max(...minors)}`,
  )
  t.end()
})
