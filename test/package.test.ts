// The tarball of `npm pack`, installed into an empty folder, works with its prebuilt binary: without a compiler, with the
// shared libraries of the package instead of the system's, by import and by require().

import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
// @ts-expect-error: JavaScript, whose types are checked by tsconfig.scripts.json
import { crossMissing } from '../scripts/cross-build.mjs'
// @ts-expect-error: JavaScript, whose types are checked by tsconfig.scripts.json
import { offline as offlineWords } from '../scripts/run.mjs'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'wbsr-package-')))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

// The environment of a user, not of this test run (tap preloads modules through NODE_OPTIONS).
const { NODE_OPTIONS: _options, LD_LIBRARY_PATH: _libraries, ...env } = process.env

function run(command: string, args: string[], cwd: string, extra: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    env: { ...env, ...extra },
    encoding: 'utf8',
    timeout: 900_000,
  })
  return { status, stdout, stderr: error ? `${stderr}${error.message}` : stderr }
}

const plugin = 'libwbsr_cuda.so'
const packed = run('npm', ['pack', '--pack-destination', folder, '--loglevel=error'], root)
t.equal(packed.status, 0, `npm pack\n${packed.stderr}`)
const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))
if (!tarball) throw new Error(`npm pack made no tarball\n${packed.stdout}`)

t.test('publint and arethetypeswrong find nothing', async (t) => {
  const file = path.join(folder, tarball)
  // ESM only: require() of it works in every Node that `engines` allows, which is tested below.
  for (const [tool, ...args] of [
    ['publint/src/cli.js', 'run', file, '--strict'],
    ['@arethetypeswrong/cli/dist/index.js', file, '--profile', 'esm-only', '--no-definitely-typed'],
  ]) {
    const { status, stdout, stderr } = run(process.execPath, [path.join(root, 'node_modules', tool!), ...args], folder)
    t.equal(status, 0, `${tool}\n${stdout}${stderr}`)
  }
})

const app = path.join(folder, 'app')
mkdirSync(app)
writeFileSync(path.join(app, 'package.json'), '{ "private": true }\n')
const install = (...options: string[]) =>
  run(
    'npm',
    [
      'install',
      path.join('..', tarball),
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
      '--fetch-retries=0',
      ...options,
    ],
    app,
  )
let installed = install('--offline')
if (installed.status !== 0) installed = install('--prefer-offline')
const offline = installed.status !== 0 && offlineWords.test(installed.stderr)
const skip = offline ? 'its dependencies are neither in the npm cache nor to be had: no network' : false

t.test('the tarball installs into an empty folder', { skip }, async (t) => {
  t.equal(installed.status, 0, installed.stderr)
  const home = path.join(app, 'node_modules', 'wbsr')
  t.notOk(readdirSync(home).includes('build'), 'nothing was compiled')
  const shipped = readdirSync(path.join(home, 'prebuilds', `linux-${process.arch}`)).sort()
  t.match(
    shipped.filter((name) => name !== plugin).join(' '),
    process.arch === 'x64'
      ? /^libOpenCL\.so\.1 libdnnl\.so\.2 libgomp\.so\.1 wbsr\.glibc\.node$/
      : /^libdnnl\.so\.2 libgomp\.so\.1 wbsr\.glibc\.node$/,
  )
  // Where the cross compiler is installed. Debian's oneDNN for ARM needs no OpenCL.
  const arm64 = path.join(home, 'prebuilds', 'linux-arm64')
  t.equal(existsSync(arm64), process.arch === 'arm64' || crossMissing() === null)
  if (process.arch !== 'arm64' && existsSync(arm64))
    t.same(readdirSync(arm64).sort(), ['libdnnl.so.2', 'libgomp.so.1', 'wbsr.glibc.node'])
  t.equal(
    shipped.includes(plugin),
    existsSync(path.join(root, 'build', 'Release', plugin)),
    'the CUDA plugin, where it is built',
  )
  t.ok(
    readdirSync(path.join(home, 'third-party')).includes('Apache-2.0.txt'),
    'licences of the shipped libraries are there',
  )
  t.same(
    readdirSync(path.join(home, 'weights')).sort(),
    readdirSync(path.join(root, 'weights')).sort(),
    'the models, their cards and the authors of the photographs',
  )
  for (const [link, target] of readFileSync(path.join(home, 'README.md'), 'utf8').matchAll(/\]\(([^()#\s]+)\)/g))
    if (!/^[a-z]+:/.test(target!)) t.ok(existsSync(path.join(home, target!)), `the README's ${link} is there`)
})

t.test('the models of the package load by name', { skip }, async (t) => {
  const names = readdirSync(path.join(root, 'weights'))
    .filter((name) => name.endsWith('.safetensors'))
    .map((name) => `wbsr:${path.parse(name).name}`)
  writeFileSync(
    path.join(app, 'shipped.mjs'),
    `import { loadSupernet, shippedModels } from 'wbsr'
     const scales = await Promise.all(shippedModels().map(async ({ name }) => (await loadSupernet(name)).scale))
     const nope = await loadSupernet('wbsr:nope').catch(({ message }) => message)
     console.log(JSON.stringify({ names: shippedModels().map(({ name }) => name), scales, nope }))`,
  )
  const { status, stdout, stderr } = run(process.execPath, ['shipped.mjs'], app)
  t.equal(status, 0, stderr)
  const answer = JSON.parse(stdout)
  t.same(answer.names, names.sort())
  t.same(
    answer.scales,
    names.map((name) => Number(name['wbsr:x'.length])),
  )
  t.match(answer.nope, /^Expected a file or a model of the package \(/)
})

// Loads the addon through the package's own loader, lets it compute, and prints which files were mapped to do so.
const use = `
  const { createRequire } = await import('node:module')
  const { readFileSync } = await import('node:fs')
  const { native } = await import(new URL('native.js', 'file://' + createRequire(process.cwd() + '/x.js').resolve('wbsr')))
  const half = await native.resizeBicubic(new Uint8Array(16 * 16 * 3).fill(77), 16, 16, 3, 8, 8, 0)
  const info = native.findDevices('cpu').devices[0]
  const cuda = native.findDevices('cuda')
  const files = new Set(readFileSync('/proc/self/maps', 'utf8').match(/\\/\\S*(?:\\.node|\\.so[.0-9]*)$/gm))
  console.log(JSON.stringify({ name: wbsr.WbsrError.name, half: [...new Set(half)], length: half.length, onednn: info.details.split(', oneDNN ')[1], cuda, files: [...files] }))
`

t.test('the program runs', { skip }, async (t) => {
  const { status, stdout, stderr } = run(path.join(app, 'node_modules', '.bin', 'wbsr'), ['doctor', '--json'], app)
  t.equal(status, 0, stderr)
  t.match(JSON.parse(stdout), { wbsr: /^\d/, test: { ok: true } })
})

for (const [how, file, load] of [
  ['import', 'esm.mjs', "import * as wbsr from 'wbsr'\n"],
  ['require()', 'commonjs.cjs', "const wbsr = require('wbsr')\n;(async () => {"],
] as const) {
  t.test(`the prebuilt binary alone serves ${how}`, { skip }, async (t) => {
    writeFileSync(path.join(app, file), `${load}${use}${load.includes('=> {') ? '})()' : ''}`)
    // A PATH that has node only: no compiler, no cmake.
    const bin = path.join(folder, 'bin')
    mkdirSync(bin, { recursive: true })
    if (!readdirSync(bin).includes('node')) symlinkSync(process.execPath, path.join(bin, 'node'))
    const { status, stdout, stderr } = run('node', [file], app, { PATH: bin })
    t.equal(status, 0, stderr)
    const answer = JSON.parse(stdout)
    t.same([answer.name, answer.half, answer.length], ['WbsrError', [77], 8 * 8 * 3])
    t.match(answer.onednn, /^\d+\.\d+/)
    t.equal(answer.cuda.reason === '', answer.cuda.devices.length > 0, answer.cuda.reason)
    t.notMatch(answer.cuda.reason, /cannot be opened|another build/)
    const prebuilds = path.join(app, 'node_modules', 'wbsr', 'prebuilds', `linux-${process.arch}`)
    const names = readdirSync(prebuilds)
    t.ok(names.length >= 4)
    for (const name of names) {
      t.same(
        answer.files.filter((file: string) => path.basename(file) === name || file.includes(`/${name}.`)),
        [path.join(prebuilds, name)],
        `${name} is the package's own`,
      )
    }
  })
}
