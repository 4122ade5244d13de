// The test runner behind `npm test`: lint, type check, then the tap suite with a line for each file, and the closing line
// `N passed, N failed, N skipped` (scripts/tap-counts.mjs says what counts; lint and type check are a test each).
//
//   npm test [-- FILE|FOLDER|OPTION ...]   everything, or the test files that are named or lie in the folders;
//                                          an option goes to tap: --grep=pattern, --bail
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { root, runTool, SetupError } from './run.mjs'
import { countPoint, noCounts, tapPoints } from './tap-counts.mjs'

const counts = noCounts()

/**
 * The test files that the arguments name, as paths relative to the root. Helpers that lie beside tests are left out.
 *
 * @param {string[]} names files and folders, relative to the current folder; none: all tests
 */
function testFiles(names) {
  const inFolder = (/** @type {string} */ folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.test.ts'))
      .map((name) => path.join(folder, name))
      .sort()
  const files = (names.length > 0 ? names : [path.join(root, 'test')]).flatMap((name) => {
    const file = path.resolve(name)
    if (!existsSync(file)) throw new SetupError(`Expected test files or folders but ${file} does not exist`)
    const found = statSync(file).isDirectory() ? inFolder(file) : [file]
    if (found.length === 0) throw new SetupError(`Expected *.test.ts files in ${file} but there are none`)
    return found
  })
  return [...new Set(files.map((file) => path.relative(root, file)))]
}

/** @param {import('./tap-counts.mjs').Failure} failure */
function showFailure({ names, diag }) {
  console.log(`    not ok: ${names.filter((name) => name).join(' > ')}`)
  const parts = [diag?.diff, diag?.source, diag?.stack]
  if (diag && diag.diff === undefined) {
    for (const key of ['found', 'wanted', 'error', 'message', 'code', 'signal', 'exitCode', 'timeout', 'failure']) {
      if (diag[key] !== undefined && diag[key] !== null)
        parts.push(`${key}: ${typeof diag[key] === 'string' ? diag[key] : JSON.stringify(diag[key])}`)
    }
  }
  for (const part of parts) if (part) console.log(String(part).trimEnd().replace(/^/gm, '      '))
}

/**
 * One line about a test file, one for each test that was skipped, and the details of what failed.
 *
 * @param {import('./tap-counts.mjs').Point} point
 */
function reportFile(point) {
  const own = noCounts()
  countPoint(point, own)
  for (const key of /** @type {const} */ (['passed', 'failed', 'skipped'])) counts[key] += own[key]
  const verdict = own.failed > 0 ? 'FAIL' : own.passed === 0 ? 'skip' : 'ok  '
  const figures = /** @type {const} */ (['passed', 'failed', 'skipped'])
    .filter((key) => own[key] > 0)
    .map((key) => `${own[key]} ${key}`)
  console.log(`${verdict} ${point.name} (${figures.join(', ')}, ${((point.time ?? 0) / 1000).toFixed(1)} s)`)
  for (const { names, reason } of own.skips)
    console.log(`    skipped: ${names.slice(names.length > 1 ? 1 : 0).join(' > ')}${reason ? `: ${reason}` : ''}`)
  own.failures.forEach(showFailure)
}

/**
 * A check that is one program: exit status 0, or a failure with what it printed.
 *
 * @param {string} name
 * @param {Promise<string>[]} programs
 */
async function check(name, programs) {
  const messages = []
  for (const result of await Promise.allSettled(programs)) {
    if (result.status === 'fulfilled') continue
    if (!(result.reason instanceof SetupError)) throw result.reason
    messages.push(result.reason.message)
  }
  counts[messages.length > 0 ? 'failed' : 'passed']++
  console.log(messages.length > 0 ? [`FAIL ${name} (1 failed)`, ...messages].join('\n') : `ok   ${name} (1 passed)`)
}

const lint = () => check('lint', [runTool('../scripts/lint.mjs', [], { what: 'lint', lines: 200 })])

const typeCheck = () =>
  check(
    'type check',
    ['tsconfig.json', 'tsconfig.scripts.json'].map((project) =>
      runTool('typescript/bin/tsc', ['-p', project, '--noEmit'], { what: `tsc -p ${project}`, lines: 200 }),
    ),
  )

/**
 * Runs tap, reports each file as it ends and resolves with tap's exit status.
 *
 * @param {string[]} args
 * @returns {Promise<number>}
 */
function tapSuite(args) {
  // Test files share the cores, two at a time: threads that wait must not spin.
  const env = { OMP_WAIT_POLICY: 'PASSIVE', ...process.env }
  const tap = path.join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')
  const child = spawn(process.execPath, [tap, 'run', '--reporter=tap', '--disable-coverage', ...args], {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const parser = tapPoints(reportFile)
  const parsed = new Promise((resolve) => parser.on('complete', resolve))
  child.stdout.pipe(parser)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => parsed.then(() => resolve(signal ? 1 : (code ?? 1))))
  })
}

try {
  const args = process.argv.slice(2)
  const files = testFiles(args.filter((arg) => !arg.startsWith('-')))
  await lint()
  await typeCheck()
  const before = counts.failed
  const status = await tapSuite([...args.filter((arg) => arg.startsWith('-')), ...files])
  if (status !== 0 && counts.failed === before) {
    console.log(`FAIL tap ended with exit status ${status}`)
    counts.failed++
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.log(`FAIL ${error.message}`)
  counts.failed++
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
process.exitCode = counts.failed > 0 ? 1 : 0
