// What scripts/test.mjs prints last: passed, failed and skipped tests, counted from TAP.
import t from 'tap'
// @ts-expect-error: JavaScript, whose types are checked by tsconfig.scripts.json
import { countPoint, noCounts, tapPoints } from '../../scripts/tap-counts.mjs'

function count(text: string) {
  const counts = noCounts()
  const parser = tapPoints((point: unknown) => countPoint(point, counts))
  parser.end(`TAP version 14\n${text}`)
  const names = (list: { names: string[] }[]) => list.map(({ names }) => names.join(' > '))
  return {
    figures: [counts.passed, counts.failed, counts.skipped],
    failures: names(counts.failures),
    skips: counts.skips.map(
      ({ names, reason }: { names: string[]; reason: string }) => `${names.join(' > ')}: ${reason}`,
    ),
  }
}

t.test('innermost blocks are tests', async (t) => {
  const { figures } = count(`
# Subtest: a.test.ts
    # Subtest: outer
        # Subtest: one
            ok 1 - x
            ok 2 - y
            1..2
        ok 1 - one
        # Subtest: two
            1..0
        ok 2 - two
        1..2
    ok 1 - outer
    ok 2 - an assertion beside blocks is no test
    1..2
ok 1 - a.test.ts
# Subtest: b.test.ts
    ok 1 - a file without blocks is one test
    1..1
ok 2 - b.test.ts
1..2
`)
  t.same(figures, [3, 0, 0])
})

t.test('failures', async (t) => {
  t.same(
    count(`
# Subtest: a.test.ts
    # Subtest: wrong twice
        not ok 1 - x
        not ok 2 - y
        1..2
    not ok 1 - wrong twice
    # Subtest: right
        ok 1 - z
        1..1
    ok 2 - right
    1..2
not ok 1 - a.test.ts
1..1
`),
    { figures: [1, 1, 0], failures: ['a.test.ts > wrong twice > x', 'a.test.ts > wrong twice > y'], skips: [] },
  )
  t.same(
    count(`
# Subtest: a.test.ts
    # Subtest: right
        ok 1 - z
        1..1
    ok 1 - right
    1..1
not ok 1 - a.test.ts
  ---
  exitCode: 7
  ...
1..1
`).figures,
    [1, 1, 0],
    'a file that ends badly after its tests',
  )
  t.same(
    count(`
# Subtest: a.test.ts
    # Subtest: wrong
        not ok 1 - x
        1..1
    not ok 1 - wrong
    1..1
not ok 1 - a.test.ts
  ---
  signal: SIGSEGV
  ...
1..1
`).figures,
    [0, 2, 0],
    'a file that a signal ended is a failure more',
  )
})

t.test('skips are counted wherever they stand, with their reasons', async (t) => {
  t.same(
    count(`
# Subtest: a.test.ts
    ok 1 - whole block # SKIP no GPU
    # Subtest: part
        ok 1 - here
        ok 2 - a full disk # SKIP needs root
        ok 3 - later # TODO
        1..3
    ok 2 - part
    1..2
ok 1 - a.test.ts
ok 2 - b.test.ts # SKIP nothing to do
1..2
`),
    {
      figures: [1, 0, 4],
      failures: [],
      skips: [
        'a.test.ts > whole block: no GPU',
        'a.test.ts > part > a full disk: needs root',
        'a.test.ts > part > later: ',
        'b.test.ts: nothing to do',
      ],
    },
  )
})
