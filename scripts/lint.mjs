// Formatting and lint rules of the whole tree: biome for TypeScript, JavaScript and JSON, clang-format for C++ and CUDA.
//
//   npm run lint      reports what is not as biome.json and .clang-format say; exit status 1 if anything is
//   npm run format    writes formatting and safe fixes
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { root, run, runTool, SetupError } from './run.mjs'

const write = process.argv.includes('--write')
const native = /\.(cc|h|cu|inc)$/

/** Tracked and new files, without ignored ones. Outside a git checkout there is nothing to check against. */
function sources() {
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate'], {
    cwd: root,
    encoding: 'utf8',
  })
  const gone = new Set(
    execFileSync('git', ['ls-files', '-z', '--deleted'], { cwd: root, encoding: 'utf8' }).split('\0').filter(Boolean),
  )
  return list.split('\0').filter((file) => native.test(file) && !gone.has(file))
}

try {
  // npm's copy of clang-format is the same version everywhere; its launcher is skipped, since it globs by itself.
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
  for (const { reason } of await Promise.allSettled(checks)) {
    if (reason === undefined) continue
    if (!(reason instanceof SetupError)) throw reason
    console.error(reason.message.replace(/: \S+ .*/, write ? '' : '; npm run format mends formatting'))
    process.exitCode = 1
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
