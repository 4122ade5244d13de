// Loads the addon; no other file of lib/ does. Its types, written by hand, are in native-addon.ts and native-engine.ts.
//
// Conventions: images are interleaved (height, width, channels). Float images are RGB in [0, 1]. Batches are
// float32 NCHW. Typed arrays given to a job must not be changed before its promise settles. Jobs run on threads of
// their own and reject with an Error whose `code` is a WbsrErrorCode (see wrapError).
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { WbsrError } from './errors.js'
import type { Addon } from './native-addon.js'

export type * from './native-addon.js'
export type * from './native-engine.js'

function load(): Addon {
  // libgomp reads this once, when it is loaded. Threads that spin while they wait for each other starve the event loop
  // and other processes: two to three times slower on a busy two-core machine, no gain on an idle one.
  const policy = process.env['OMP_WAIT_POLICY']
  if (policy === undefined) process.env['OMP_WAIT_POLICY'] = 'passive'
  try {
    return loadBinary()
  } finally {
    if (policy === undefined) delete process.env['OMP_WAIT_POLICY']
  }
}

function loadBinary(): Addon {
  const require = createRequire(import.meta.url)
  const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
  const built = path.join(root, 'build', 'Release', 'wbsr.node')
  try {
    // A local build takes precedence over a prebuilt binary.
    if (existsSync(built)) return require(built) as Addon
    return (require('node-gyp-build') as (dir: string) => Addon)(root)
  } catch (cause) {
    throw new WbsrError(
      'WBSR_INTERNAL',
      [
        `Could not load the wbsr native addon for ${process.platform}-${process.arch}: ${(cause as Error).message}`,
        'Possible solutions:',
        '- install wbsr again, if its prebuilds/ folder is missing or damaged',
        '- the prebuilt binaries are for Linux on x86-64 and 64-bit ARM with glibc 2.34 or newer (Debian 12, Ubuntu 22.04)',
        '- a bundler has copied wbsr away from its addon: mark wbsr and sharp as external (esbuild --external:wbsr, vite ssr.external, webpack externals, serverExternalPackages of Next)',
        '- elsewhere build from a clone of the repository: npm ci && npm run build (needs g++, cmake, ninja and oneDNN, libdnnl-dev on Debian)',
      ].join('\n'),
      { cause },
    )
  }
}

export const native: Addon = load()

// process.exit() runs the destructors of oneDNN, CUDA and cuDNN; no thread may be running their code then.
process.once('exit', () => native.stopJobs())
