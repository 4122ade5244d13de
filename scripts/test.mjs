// The test runner behind `npm test`: type check, then the tap suite, one line per file, and one closing line
// `N passed, N failed, N skipped`. Arguments go to tap: files, folders or its options.
//
// What is counted: a test is an innermost t.test block (a file that asserts outside any block is one test), and the
// type check is one. A block that fails outside its inner blocks, a crash, a time-out and a test run that ends with an
// error nobody counted are one failure each. Skipped and todo points are skipped, also where they stand inside a test.
import { spawn } from 'node:child_process'
import path from 'node:path'
import { Parser } from 'tap-parser'
import { root, runTool, SetupError } from './run.mjs'

const count = { passed: 0, failed: 0, skipped: 0 }

/** Counts one block as `gather` has it; `own` is the line that its parent has about it. */
function countBlock(block, own, names, failures) {
  const before = count.failed
  let inner = 0
  let wrong = 0
  for (const point of block.points) {
    if (point.child) {
      inner++
      countBlock(point.child, point, [...names, point.name], failures)
    } else if (point.skip || point.todo) {
      count.skipped++
    } else if (!point.ok) {
      wrong++
      failures.push({ names: [...names, point.name], diag: point.diag })
    }
  }
  if (own.skip || own.todo) {
    if (inner === 0) count.skipped++
  } else if (!own.ok) {
    // A signal ends a file in the middle of a test that has no line of its own any more.
    const killed = Boolean(own.diag?.signal)
    if (wrong === 0 && (killed || count.failed === before)) failures.push({ names, diag: own.diag })
    if (wrong > 0 || killed || count.failed === before) count.failed++
  } else if (inner === 0) {
    count.passed++
  }
}

/** Remembers the points of a parser and, under the point that closes each, those of its children. */
function gather(parser, onPoint = () => {}) {
  const block = { points: [] }
  let open = null
  parser.on('child', (child) => {
    open = gather(child)
  })
  parser.on('assert', (result) => {
    const point = {
      ok: result.ok,
      name: result.name,
      skip: result.skip,
      todo: result.todo,
      diag: result.diag,
      time: result.time,
      child: open,
    }
    open = null
    block.points.push(point)
    onPoint(point)
  })
  return block
}

function showFailure({ names, diag }) {
  console.log(`    not ok: ${names.filter((name) => name).join(' > ')}`)
  const parts = [diag?.diff, diag?.source, diag?.stack]
  if (diag && diag.diff === undefined) {
    for (const key of ['found', 'wanted', 'error', 'message', 'code', 'signal', 'exitCode', 'timeout', 'failure']) {
      if (diag[key] !== undefined && diag[key] !== null)
        parts.push(`${key}: ${typeof diag[key] === 'string' ? diag[key] : JSON.stringify(diag[key])}`)
    }
  }
  for (const part of parts)
    if (part)
      console.log(
        String(part)
          .trimEnd()
          .split('\n')
          .map((line) => `      ${line}`)
          .join('\n'),
      )
}

/** One line about a test file, and what failed in it. */
function reportFile(point) {
  const was = { ...count }
  const failures = []
  const block = point.child ?? { points: [] }
  countBlock(block, point, [point.name], failures)
  const added = Object.entries(count)
    .map(([key, value]) => [key, value - was[key]])
    .filter(([, value]) => value > 0)
  const verdict = count.failed > was.failed ? 'FAIL' : added.length === 1 && added[0][0] === 'skipped' ? 'skip' : 'ok  '
  const reason = verdict === 'skip' && typeof point.skip === 'string' ? `: ${point.skip}` : ''
  console.log(
    `${verdict} ${point.name} (${added.map(([key, value]) => `${value} ${key}`).join(', ')}, ${((point.time ?? 0) / 1000).toFixed(1)} s)${reason}`,
  )
  failures.forEach(showFailure)
}

async function typeCheck() {
  try {
    await runTool('typescript/bin/tsc', ['--noEmit'], { what: 'the type check', lines: 200 })
    count.passed++
    console.log('ok   type check (1 passed)')
    return 0
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    count.failed++
    console.log(`FAIL type check\n${error.message}`)
    return 1
  }
}

/** Runs tap, reports each file as it ends and resolves with tap's exit status. */
function tapSuite(args) {
  // Test files share the cores, two at a time: threads that wait must not spin.
  const env = { OMP_WAIT_POLICY: 'PASSIVE', ...process.env }
  const tap = path.join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')
  const child = spawn(process.execPath, [tap, 'run', '--reporter=tap', '--disable-coverage', ...args], {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const parser = new Parser()
  gather(parser, reportFile)
  child.stdout.pipe(parser)
  const parsed = new Promise((resolve) => parser.on('complete', resolve))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => parsed.then(() => resolve(signal ? 1 : (code ?? 1))))
  })
}

const types = await typeCheck()
const status = await tapSuite(process.argv.slice(2))
if (status !== 0 && count.failed === types) {
  console.log(`FAIL tap ended with exit status ${status}`)
  count.failed++
}
console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`)
process.exitCode = status || types
