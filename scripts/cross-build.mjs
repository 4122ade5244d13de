// Cross build for 64-bit ARM in build-arm64/: the addon, or the targets that are named (native checks).
//
//   node scripts/cross-build.mjs [TARGET ...]
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { root, run, runTool, SetupError, which } from './run.mjs'

export const buildFolder = path.join(root, 'build-arm64')
export const prefix = 'aarch64-linux-gnu-'

/**
 * The file of a shared library that the cross compiler would link, or null.
 *
 * @param {string} name libdnnl.so.2
 */
export function crossLibrary(name) {
  const file = execFileSync(`${prefix}g++`, [`-print-file-name=${name}`], { encoding: 'utf8' }).trim()
  return file === name ? null : file
}

/** Why a cross build cannot run here and what to install; null: it can. */
export function crossMissing() {
  const missing = [
    which(`${prefix}g++`) ? null : 'g++-aarch64-linux-gnu',
    which(`${prefix}g++`) && crossLibrary('libdnnl.so.2') ? null : 'libdnnl2:arm64',
  ].filter((name) => name !== null)
  if (missing.length === 0) return null
  return `These are missing: ${missing.join(', ')}; on Debian: dpkg --add-architecture arm64 && apt-get update && apt-get install --no-install-recommends ${missing.join(' ')}`
}

/** @param {string[]} targets of ninja */
export async function crossBuild(targets) {
  const missing = crossMissing()
  if (missing) throw new SetupError(missing)
  if (!existsSync(path.join(buildFolder, 'build.ninja')))
    await runTool(
      'cmake-js/bin/cmake-js',
      [
        'configure',
        '-G',
        'Ninja',
        '--out',
        buildFolder,
        '--CDCMAKE_BUILD_TYPE=Release',
        `--CDCMAKE_TOOLCHAIN_FILE=${path.join(root, 'native', 'aarch64-linux-gnu.cmake')}`,
        '--CDWBSR_CUDA=OFF',
      ],
      { what: 'cmake-js configure' },
    )
  const jobs = String(os.availableParallelism())
  await run('ninja', ['-C', buildFolder, '-j', jobs, ...targets], { what: 'the cross build', lines: 60 })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await crossBuild(process.argv.length > 2 ? process.argv.slice(2) : ['wbsr'])
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.error(`cross-build: ${error.message}`)
    process.exitCode = 1
  }
}
