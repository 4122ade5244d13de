#!/usr/bin/env node
// Replaces node-gyp, the only builder that prebuildify can call (`rebuild --target=... --arch=... --release`). Updates the
// CMake build, or the cross build where --arch is another machine's, and copies the addon, with the shared libraries that a machine may lack, to build/Release of the current
// folder. scripts/prebuildify.mjs runs it in a folder of its own, because prebuildify moves the addon away and the
// working build must stay complete.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, realpathSync, rmSync } from 'node:fs'
import path from 'node:path'
import { buildFolder, crossBuild, crossLibrary, prefix } from './cross-build.mjs'
import { root, run, SetupError } from './run.mjs'

/** Libraries of every machine that runs Node (its official builds need them); all others are shipped. */
const alwaysThere = /^(linux-vdso|ld-linux.*|libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s)\.so/

/**
 * Name and file (null: not found) of the libraries that a machine may lack, also of those that these need.
 *
 * @param {string} library
 * @param {boolean} cross
 * @returns {[string, string | null][]}
 */
function needed(library, cross) {
  if (cross) return [...crossNeeded(library)]
  const found = execFileSync('ldd', [library], { encoding: 'utf8' })
  return [...found.matchAll(/^\s*(\S+) => (\S+)/gm)]
    .map(([, name, file]) => /** @type {[string, string | null]} */ ([name, file === 'not' ? null : file]))
    .filter(([name]) => !alwaysThere.test(name))
}

/**
 * The same without ldd, which runs the machine's own loader.
 *
 * @param {string} library
 * @param {Map<string, string | null>} found
 */
function crossNeeded(library, found = new Map()) {
  const dynamic = execFileSync(`${prefix}readelf`, ['-d', library], { encoding: 'utf8' })
  for (const [, name] of dynamic.matchAll(/\(NEEDED\)[^\n]*\[([^\]]+)\]/g)) {
    if (alwaysThere.test(name) || found.has(name)) continue
    const file = crossLibrary(name)
    found.set(name, file)
    if (file) crossNeeded(file, found)
  }
  return found
}

try {
  const [command, ...options] = process.argv.slice(2)
  const arch = options.find((option) => option.startsWith('--arch='))?.slice('--arch='.length) ?? process.arch
  if (command !== 'rebuild') throw new SetupError(`Expected the command rebuild but received ${command}`)
  const cross = arch !== process.arch
  if (cross && arch !== 'arm64')
    throw new SetupError(`Expected --arch=${process.arch}, this machine's, or --arch=arm64 but received ${arch}`)
  if (options.includes('--debug')) throw new SetupError('Expected --release but received --debug')
  if (process.cwd() === root) throw new SetupError('Run through npm run prebuildify')
  if (cross) await crossBuild(['wbsr'])
  else await run(process.execPath, [path.join(root, 'scripts', 'setup.mjs')], { what: 'the build' })

  const release = path.join(cross ? buildFolder : path.join(root, 'build'), 'Release')
  const addon = path.join(release, 'wbsr.node')
  const dynamic = execFileSync('readelf', ['-d', addon], { encoding: 'utf8' })
  if (!/\(RPATH\)[^\n]*\[\$ORIGIN\]/.test(dynamic))
    throw new SetupError(`${addon} should have RPATH $ORIGIN:\n${dynamic}`)

  const plugin = path.join(release, 'libwbsr_cuda.so')

  const folder = path.join(process.cwd(), 'build', 'Release')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  copyFileSync(addon, path.join(folder, 'wbsr.node'))
  for (const [name, file] of needed(addon, cross)) {
    if (!file) throw new SetupError(`${name}, which the addon needs, is not found`)
    copyFileSync(realpathSync(file), path.join(folder, name))
  }
  // Built only where nvcc is found. The addon opens it at run time, so ldd does not list it. It links the CUDA runtime
  // statically and needs no other library.
  if (existsSync(plugin)) {
    const more = needed(plugin, cross).map(([name]) => name)
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
