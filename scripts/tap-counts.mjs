// Counts tests in TAP output.
//
// A test is an innermost t.test block; a file that asserts outside any block is one test. A block that fails outside its
// inner blocks, a crash and a time-out are one failure each. Skipped and todo points count as skipped, also inside a
// block that passes otherwise.
import { Parser } from 'tap-parser'

/**
 * A line of TAP and, where a subtest ended with it, the points of that subtest.
 *
 * @typedef {import('tap-parser').Result & { block: Point[] | null }} Point
 * @typedef {{ names: string[], reason: string }} Skip
 * @typedef {{ names: string[], diag: any }} Failure
 * @typedef {{ passed: number, failed: number, skipped: number, skips: Skip[], failures: Failure[] }} Counts
 */

/** @returns {Counts} */
export const noCounts = () => ({ passed: 0, failed: 0, skipped: 0, skips: [], failures: [] })

/**
 * Adds to `counts` what `point`, a test file or a block, and everything inside it amount to.
 *
 * @param {Point} point
 * @param {Counts} counts
 * @param {string[]} names of the blocks that it is inside of
 */
export function countPoint(point, counts, names = []) {
  const path = [...names, point.name]
  const failedBefore = counts.failed
  const skip = (/** @type {Point} */ { skip, todo, name }, /** @type {string[]} */ names) => {
    counts.skipped++
    const reason = [skip, todo].find((text) => typeof text === 'string') ?? ''
    counts.skips.push({ names: name === '' ? names : [...names, name], reason: String(reason) })
  }
  let blocks = 0
  let wrong = 0
  for (const inner of point.block ?? []) {
    if (inner.block) {
      blocks++
      countPoint(inner, counts, path)
    } else if (inner.skip || inner.todo) {
      skip(inner, path)
    } else if (!inner.ok) {
      wrong++
      counts.failures.push({ names: [...path, inner.name], diag: inner.diag })
    }
  }
  if (point.skip || point.todo) {
    if (blocks === 0) skip(point, names)
  } else if (!point.ok) {
    // A signal ends a file inside a test that has no line of its own any more.
    const untold = Boolean(point.diag?.signal) || counts.failed === failedBefore
    if (wrong === 0 && untold) counts.failures.push({ names: path, diag: point.diag })
    if (wrong > 0 || untold) counts.failed++
  } else if (blocks === 0) {
    counts.passed++
  }
}

/**
 * Parses TAP as it is written to the returned stream, and calls `onPoint` for each point of the outermost level.
 *
 * @param {(point: Point) => void} onPoint
 */
export function tapPoints(onPoint, parser = new Parser()) {
  /** @type {Point[] | null} the points of the subtest that is open, until the line that ends it */
  let open = null
  parser.on('child', (child) => {
    /** @type {Point[]} */
    const points = []
    tapPoints((point) => points.push(point), child)
    open = points
  })
  parser.on('assert', (result) => {
    // A skipped block is a line alone, as a skipped assertion is.
    onPoint(Object.assign(result, { block: open }))
    open = null
  })
  return parser
}
