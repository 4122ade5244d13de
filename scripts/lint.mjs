// Formatting and lint rules of the whole tree: biome for TypeScript, JavaScript and JSON, clang-format for C++ and CUDA.
//
//   npm run lint      reports what differs from biome.json and .clang-format; exit status 1 if anything does
//   npm run format    writes formatting and safe fixes
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { root, run, runTool, SetupError } from './run.mjs'

const write = process.argv.includes('--write')

/** C++ and CUDA sources. Walks folders instead of asking git: a source tarball has no git metadata. */
function sources() {
  const ignored = path.join('bench', 'peers') + path.sep
  return ['native', 'test', 'bench'].flatMap((folder) =>
    readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
      .map((name) => path.join(folder, name))
      .filter((file) => /\.(cc|h|cu|inc)$/.test(file) && !file.startsWith(ignored)),
  )
}

try {
  // The copy in the npm package has the same version everywhere. Its launcher is skipped: it would expand patterns.
  const clangFormat = path.join(root, 'node_modules', 'clang-format', 'bin', 'linux_x64', 'clang-format')
  const checks = [
    runTool('@biomejs/biome/bin/biome', ['check', ...(write ? ['--write'] : []), '--error-on-warnings', '.'], {
      what: 'biome check',
      lines: 200,
    }),
    run(clangFormat, write ? ['-i', ...sources()] : ['--dry-run', '-Werror', ...sources()], {
      what: 'clang-format',
      lines: 60,
    }),
  ]
  for (const result of await Promise.allSettled(checks)) {
    if (result.status === 'fulfilled') continue
    if (!(result.reason instanceof SetupError)) throw result.reason
    // The command line is left out: it names every file.
    console.error(result.reason.message.replace(/: \S+ .*/, write ? '' : '; npm run format mends formatting'))
    process.exitCode = 1
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
