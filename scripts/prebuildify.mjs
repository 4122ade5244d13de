// Makes prebuilds/linux-<arch>/: the addon and the shared libraries it needs, for `npm pack`. The libc is part of the
// file's name, so that a musl system gets a clear "no native build" instead of a crash.
//
//   node scripts/prebuildify.mjs [--arch ARCH]   ARCH: this machine's, or arm64 by a cross build; without it this
//                                                machine's and, where the cross compiler is installed, arm64
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { crossMissing, prefix } from './cross-build.mjs'
import { root, runTool, SetupError } from './run.mjs'

/** @param {string} arch */
async function prebuild(arch) {
  if (arch !== process.arch && arch !== 'arm64')
    throw new SetupError(`Expected --arch ${process.arch}, this machine's, or arm64 but received ${arch}`)
  const stage = path.join(root, 'build', 'prebuildify')
  const folder = path.join(root, 'prebuilds', `linux-${arch}`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(stage, { recursive: true })
  const script = path.join(root, 'scripts', 'node-gyp.mjs')
  await runTool(
    'prebuildify/bin.js',
    [
      '--napi',
      '--strip',
      '--strip-bin',
      arch === process.arch ? 'strip' : `${prefix}strip`,
      '--arch',
      arch,
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
  console.error(`prebuilds/linux-${arch}: ${files.join(', ')}`)
  if (arch === process.arch && !existsSync(path.join(folder, 'libwbsr_cuda.so')))
    console.error(
      'prebuildify: no libwbsr_cuda.so, since it was not built here (no nvcc): this package will have no CUDA device',
    )
}

try {
  const { values } = parseArgs({ options: { arch: { type: 'string' } } })
  if (values.arch !== undefined) {
    await prebuild(values.arch)
  } else {
    await prebuild(process.arch)
    if (process.arch !== 'arm64') {
      const missing = crossMissing()
      if (missing) {
        // Not that of an earlier build, which may not match this package.
        rmSync(path.join(root, 'prebuilds', 'linux-arm64'), { recursive: true, force: true })
        console.error(`prebuildify: no linux-arm64 in this package. ${missing}`)
      } else {
        await prebuild('arm64')
      }
    }
  }
} catch (error) {
  const badArguments = error instanceof TypeError && 'code' in error && `${error.code}`.startsWith('ERR_PARSE_ARGS')
  if (!(error instanceof SetupError || badArguments)) throw error
  console.error(`prebuildify: ${error.message}`)
  process.exitCode = 1
}
