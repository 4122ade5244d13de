#!/usr/bin/env node
// Stands in for node-gyp, the only builder that prebuildify knows (`rebuild --target=... --arch=... --release`): brings
// the CMake build up to date and lays the addon, with the shared libraries that a machine may lack, into build/Release
// of the current folder. scripts/prebuildify.mjs gives it a folder of its own: prebuildify moves the addon away from
// there, and the working build must stay whole.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, realpathSync, rmSync } from 'node:fs'
import path from 'node:path'
import { root, run, SetupError } from './run.mjs'

/** On every machine that runs Node (official builds need them); everything else that the addon needs is shipped. */
const alwaysThere = /^(linux-vdso|ld-linux.*|libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s)\.so/

/**
 * Name and file (null: not found) of the libraries that a machine may lack.
 *
 * @param {string} library
 * @returns {[string, string | null][]}
 */
function needed(library) {
  const found = execFileSync('ldd', [library], { encoding: 'utf8' })
  return [...found.matchAll(/^\s*(\S+) => (\S+)/gm)]
    .map(([, name, file]) => /** @type {[string, string | null]} */ ([name, file === 'not' ? null : file]))
    .filter(([name]) => !alwaysThere.test(name))
}

try {
  const [command, ...options] = process.argv.slice(2)
  const arch = options.find((option) => option.startsWith('--arch='))?.slice('--arch='.length) ?? process.arch
  if (command !== 'rebuild') throw new SetupError(`Expected the command rebuild but received ${command}`)
  if (arch !== process.arch)
    throw new SetupError(`Expected --arch=${process.arch}, the architecture of this machine, but received ${arch}`)
  if (options.includes('--debug')) throw new SetupError('Expected --release but received --debug')
  if (process.cwd() === root) throw new SetupError('Run through npm run prebuildify')
  await run(process.execPath, [path.join(root, 'scripts', 'setup.mjs')], { what: 'the build' })

  const addon = path.join(root, 'build', 'Release', 'wbsr.node')
  const dynamic = execFileSync('readelf', ['-d', addon], { encoding: 'utf8' })
  if (!/\(RPATH\)[^\n]*\[\$ORIGIN\]/.test(dynamic))
    throw new SetupError(`${addon} should have RPATH $ORIGIN:\n${dynamic}`)

  const plugin = path.join(root, 'build', 'Release', 'libwbsr_cuda.so')

  const folder = path.join(process.cwd(), 'build', 'Release')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  copyFileSync(addon, path.join(folder, 'wbsr.node'))
  for (const [name, file] of needed(addon)) {
    if (!file) throw new SetupError(`${name}, which the addon needs, is not found`)
    copyFileSync(realpathSync(file), path.join(folder, name))
  }
  // Built where nvcc is. It is opened at run time, so nobody needs it by name, and it needs nothing: the CUDA runtime is in it.
  if (existsSync(plugin)) {
    const more = needed(plugin).map(([name]) => name)
    if (more.length > 0) throw new SetupError(`${plugin} should need no libraries but needs ${more.join(', ')}`)
    const copy = path.join(folder, 'libwbsr_cuda.so')
    copyFileSync(plugin, copy)
    execFileSync('strip', ['--strip-unneeded', copy])
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
