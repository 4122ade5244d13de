// The built package under every version of Node that is supported:
//   node scripts/node-versions.mjs [VERSION ...]
// Each Node is the npm package node-linux-ARCH of that version. npm checks its integrity, and it stays in
// $XDG_CACHE_HOME/wbsr/node (~/.cache/wbsr/node). scripts/node-smoke.mjs runs under each; pixels must be equal.
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { npm, root, run, SetupError } from './run.mjs'

/** The newest releases of the supported lines on 2026-12-01. */
export const versions = ['20.20.2', '22.23.5', '24.22.3', '26.12.1']

const cache = path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'wbsr', 'node')
const name = `node-linux-${process.arch}`

/**
 * The program of a version, from the cache or from the npm registry.
 *
 * @param {string} version
 * @returns {Promise<string>}
 * @throws SetupError with npm's words, as offline (scripts/run.mjs)
 */
export async function nodeOf(version) {
  const program = path.join(cache, `${name}-${version}`)
  if (existsSync(program)) return program
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(path.join(cache, `.${version}-`))
  try {
    const options = [
      '--ignore-scripts',
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--prefer-offline',
      '--fetch-retries=1',
    ]
    await npm(['install', '--prefix', folder, ...options, `${name}@${version}`], { cwd: folder })
    // The rest of the package, npm and headers, is not needed.
    renameSync(path.join(folder, 'node_modules', name, 'bin', 'node'), program)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return program
}

/**
 * Runs the smoke test with a program.
 *
 * @param {string} program
 * @returns {Promise<{ version: string, pixels: string, done: string[], seconds: number }>}
 */
export async function smoke(program) {
  // What tap preloads is of another version.
  const { NODE_OPTIONS: _options, ...env } = process.env
  const start = performance.now()
  const text = await run(program, [path.join(root, 'scripts', 'node-smoke.mjs')], { what: 'the smoke test', env })
  const last = text.trimEnd().split('\n').at(-1) ?? ''
  return { ...JSON.parse(last), seconds: (performance.now() - start) / 1000 }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    /** @type {string | undefined} */
    let first
    for (const version of process.argv.length > 2 ? process.argv.slice(2) : versions) {
      const { version: ran, pixels, done, seconds } = await smoke(await nodeOf(version))
      console.log(`node ${ran}: ${done.join(', ')} (${seconds.toFixed(1)} s)`)
      first ??= pixels
      if (pixels !== first) throw new SetupError(`node ${ran} gives other pixels than the versions before it`)
    }
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.error(`node-versions: ${error.message}`)
    process.exitCode = 1
  }
}
