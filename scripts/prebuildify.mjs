// Makes prebuilds/linux-<arch>/: the addon and the shared libraries it needs, for `npm pack`. The libc is part of the
// file's name, so that a musl system gets a clear "no native build" instead of a crash.
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { root, runTool, SetupError } from './run.mjs'

const stage = path.join(root, 'build', 'prebuildify')
const folder = path.join(root, 'prebuilds', `linux-${process.arch}`)
try {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(stage, { recursive: true })
  const script = path.join(root, 'scripts', 'node-gyp.mjs')
  await runTool(
    'prebuildify/bin.js',
    [
      '--napi',
      '--strip',
      '--tag-libc',
      '--name',
      'wbsr',
      '--target',
      process.versions.node,
      '--node-gyp',
      script,
      '--cwd',
      stage,
      '--out',
      root,
    ],
    { what: 'prebuildify' },
  )
  rmSync(stage, { recursive: true, force: true })
  const files = readdirSync(folder).map(
    (name) => `${name} ${(statSync(path.join(folder, name)).size / 1e6).toFixed(1)} MB`,
  )
  console.error(`prebuilds/linux-${process.arch}: ${files.join(', ')}`)
  if (!existsSync(path.join(folder, 'libwbsr_cuda.so')))
    console.error(
      'prebuildify: no libwbsr_cuda.so, since it was not built here (no nvcc): this package will have no CUDA device',
    )
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.error(`prebuildify: ${error.message}`)
  process.exitCode = 1
}
