// The package in a folder of its own, as users have it: a copy of dist/ and of the addon, and a CUDA plugin that the test
// chooses.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')
export const releaseFolder = path.join(root, 'build', 'Release')
export const checksFolder = path.join(root, 'build', 'checks')

/** Reason to skip a test when something that scripts/setup.mjs --test builds is missing (dist/, the addon, `more`), or false. */
export function unbuilt(...more: string[]): string | false {
  const missing = [path.join(root, 'dist', 'index.js'), path.join(releaseFolder, 'wbsr.node'), ...more].filter(
    (file) => !existsSync(file),
  )
  return missing.length > 0 ? `${missing.join(', ')}: not built (node scripts/setup.mjs --test)` : false
}

/** Makes the package in the test's folder, and returns that. */
export function packageFolder(t: Test, plugin: Buffer | string | null): string {
  const folder = t.testdir()
  const built = path.join(folder, 'build', 'Release')
  mkdirSync(built, { recursive: true })
  cpSync(path.join(root, 'dist'), path.join(folder, 'dist'), { recursive: true })
  cpSync(path.join(releaseFolder, 'wbsr.node'), path.join(built, 'wbsr.node'))
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'))
  writeFileSync(path.join(folder, 'package.json'), '{ "type": "module" }')
  if (plugin !== null) writeFileSync(path.join(built, 'libwbsr_cuda.so'), plugin)
  return folder
}

/**
 * The returned function runs a module in the package, which imports from './dist/', in a process of its own, expects exit
 * status 0 and returns its last line, parsed as JSON.
 */
export function packageIn(t: Test, plugin: Buffer | string | null) {
  const folder = packageFolder(t, plugin)
  return (source: string, env: NodeJS.ProcessEnv = {}) => {
    writeFileSync(path.join(folder, 'case.mjs'), source)
    const { NODE_OPTIONS: _options, WBSR_FAKE_CUDA: _fake, ...clean } = process.env
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['case.mjs'], {
      cwd: folder,
      env: { ...clean, ...env },
      encoding: 'utf8',
      timeout: 1_700_000,
    })
    t.equal(signal ?? status, 0, stderr || 'exit status')
    return JSON.parse(stdout.trimEnd().split('\n').at(-1)!)
  }
}
