import t from 'tap'
import { buildClasses, checkSamplerOptions, Sampler, type SamplerOptions } from '../../lib/data/sampler.js'
import { classOf } from '../../lib/routing/classes.js'

const ascending = <T>(n: number, value: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => value(i))

t.test('quantile thresholds: t_k = t[k N / K], classes (t_(k-1), t_k]', async (t) => {
  // Sorted: 1 .. 12, K = 4 -> t[3], t[6], t[9].
  const table = buildClasses([5, 1, 9, 12, 2, 7, 3, 11, 4, 10, 6, 8], { classes: 4, thresholds: 'quantile' })
  t.same(table, { count: 4, kind: 'quantile', thresholds: [3, 6, 9] })
  t.same(
    [0, 1, 3, 3.0001, 6, 9, 9.5, 12, 99].map((s) => classOf(table, s)),
    [1, 1, 1, 2, 2, 3, 4, 4, 4],
  )
  // Fewer values than classes: still a class for everything.
  const few = buildClasses([2, 1], { classes: 5, thresholds: 'quantile' })
  t.same(few.thresholds, [1, 1, 2, 2])
  t.same(
    [1, 2, 3].map((s) => classOf(few, s)),
    [1, 3, 5],
  )
})

t.test('interval thresholds: the 0.5 % .. 99.5 % range in even parts', async (t) => {
  // 0 .. 1000: quantiles are 5 and 995, parts of 99.
  const table = buildClasses(
    ascending(1001, (i) => 1000 - i),
    { classes: 10, thresholds: 'interval' },
  )
  t.equal(table.thresholds.length, 9)
  table.thresholds.forEach((threshold, i) =>
    t.ok(Math.abs(threshold - (5 + 99 * (i + 1))) < 1e-9, `t_${i + 1} = ${threshold}`),
  )
  t.same(
    [0, 104, 104.5, 995, 2000].map((s) => classOf(table, s)),
    [1, 1, 2, 10, 10],
  )
  // An outlier does not stretch the range.
  const outlier = buildClasses([...ascending(1000, (i) => i), 1e9], { classes: 10, thresholds: 'interval' })
  t.ok(outlier.thresholds[8]! < 1000)
  t.same(buildClasses([3, 3, 3], { classes: 4, thresholds: 'interval' }).thresholds, [3, 3, 3])
  t.equal(classOf(buildClasses([3], { classes: 4, thresholds: 'interval' }), 3), 1)
})

t.test('sample level: each patch once an epoch, orders differ', async (t) => {
  const patches = 23,
    batchSize = 4
  const sampler = new Sampler(
    ascending(patches, (i) => i),
    { batchSize, steps: 100, seed: 5 },
    { kind: 'uniform' },
  )
  const sequence = ascending(100, (i) => i).flatMap((step) => [...sampler.draw(step)])
  const epochs = ascending(17, (e) => sequence.slice(e * patches, (e + 1) * patches))
  for (const [e, epoch] of epochs.entries())
    t.same(
      [...epoch].sort((a, b) => a - b),
      ascending(patches, (i) => i),
      `epoch ${e}`,
    )
  t.equal(new Set(epochs.map(String)).size, 17)
  const other = new Sampler(
    ascending(patches, (i) => i),
    { batchSize, steps: 100, seed: 6 },
    { kind: 'uniform' },
  )
  t.notSame([...other.draw(0)], [...sampler.draw(0)], 'another seed, another order')
  t.equal(sampler.level(99), 'sample')
})

t.test('class level: class k with weight delta^(K - k), uniform inside, empty classes never', async (t) => {
  // Interval classes over 0 .. 1: class 1 crowded, class 3 empty, class 4 with ten patches.
  const difficulties = [
    ...ascending(300, (i) => i / 1300),
    ...ascending(50, (i) => 0.26 + i / 250),
    ...ascending(10, (i) => 0.91 + i / 100),
  ]
  const batchSize = 40,
    steps = 500
  const sampler = new Sampler(
    difficulties,
    { batchSize, steps, seed: 1 },
    { classes: 4, classLevelFrom: 0, delta: 0.5 },
  )
  t.same(
    sampler.members.map((list) => list.length),
    [300, 50, 0, 10],
  )
  const perPatch = new Float64Array(difficulties.length)
  for (let step = 0; step < steps; step++) for (const patch of sampler.draw(step)) perPatch[patch]!++
  const total = batchSize * steps
  // 1/8 : 1/4 : 0 : 1 of 11/8.
  const expected = [1 / 11, 2 / 11, 0, 8 / 11]
  sampler.members.forEach((list, i) => {
    const counts = [...list].map((patch) => perPatch[patch]!)
    const n = counts.reduce((sum, c) => sum + c, 0)
    const p = expected[i]!
    t.ok(Math.abs(n - p * total) <= 4 * Math.sqrt(p * (1 - p) * total), `class ${i + 1}: ${n} of ${p * total}`)
    if (list.length < 2) return
    const mean = n / list.length
    const chiSquare = counts.reduce((sum, c) => sum + (c - mean) ** 2 / mean, 0)
    const freedom = list.length - 1
    t.ok(
      Math.abs(chiSquare - freedom) <= 4 * Math.sqrt(2 * freedom),
      `inside class ${i + 1}: chi square ${chiSquare} at ${freedom}`,
    )
  })
  const even = new Sampler(
    difficulties,
    { batchSize: 3000, steps: 1, seed: 1 },
    { classes: 4, classLevelFrom: 0, delta: 1 },
  )
  const drawn = [0, 0, 0, 0]
  for (const patch of even.draw(0)) drawn[classOf(even.classes, difficulties[patch]!) - 1]!++
  t.equal(drawn[2], 0)
  for (const i of [0, 1, 3]) t.ok(Math.abs(drawn[i]! - 1000) < 110, `delta 1: ${drawn}`)
})

t.test('the samplers that HES is compared with', async (t) => {
  const difficulties = [...ascending(90, (i) => i / 1000), ...ascending(10, (i) => 0.9 + i / 100)]
  const run = { batchSize: 5, steps: 800, seed: 3 }
  const counts = (options: SamplerOptions, list = difficulties) => {
    const sampler = new Sampler(list, run, options)
    const drawn = new Float64Array(list.length)
    for (let step = 0; step < run.steps; step++) for (const patch of sampler.draw(step)) drawn[patch]!++
    t.equal(sampler.level(run.steps - 1), 'sample')
    t.same([...sampler.draw(7)], [...new Sampler(list, run, options).draw(7)], 'a function of seed and step')
    return [...drawn]
  }
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0)
  const total = run.batchSize * run.steps

  const hardest = counts({ kind: 'hardest', share: 0.1 })
  t.same(hardest.slice(0, 90), Array(90).fill(0))
  t.ok(Math.max(...hardest.slice(90)) - Math.min(...hardest.slice(90)) <= 1, 'each once an epoch')
  t.ok(counts({ kind: 'hardest', share: 1 }).every((n) => n === total / 100))
  t.equal(counts({ kind: 'hardest', share: 0.001 })[99], total, 'at least one')

  // Class 1 has 90 patches, class 2 has 10: half uniformly, half a class each.
  const balanced = counts({ kind: 'balanced', classes: 2 })
  const easy = total * (0.5 * 0.9 + 0.25)
  t.ok(
    Math.abs(sum(balanced.slice(0, 90)) - easy) < 4 * Math.sqrt(total / 8),
    `${sum(balanced.slice(0, 90))} of ${easy}`,
  )
  t.ok(
    balanced.every((n) => n >= total / 200 - 1),
    'every patch once in two epochs',
  )

  const proportional = counts({ kind: 'difficulty' })
  t.equal(proportional[0], 0, 'difficulty 0')
  const whole = sum(difficulties)
  const share = sum(difficulties.slice(90)) / whole
  const hard = sum(proportional.slice(90))
  t.ok(Math.abs(hard - share * total) < 4 * Math.sqrt(share * (1 - share) * total), `${hard} of ${share * total}`)
  t.ok(proportional.slice(90).every((n, i) => Math.abs(n - (difficulties[90 + i]! / whole) * total) < 80))
  t.ok(
    counts({ kind: 'difficulty' }, Array(10).fill(0)).every((n) => n === total / 10),
    'uniform where all are flat',
  )
  for (const bad of [{ kind: 'random' }, { share: 0 }, { share: 2 }])
    t.throws(() => checkSamplerOptions(bad), { code: 'WBSR_INVALID_OPTION' })
})

t.test('the schedule switches at classLevelFrom', async (t) => {
  const difficulties = ascending(50, (i) => i)
  for (const [steps, from, first] of [
    [10, 0.7, 7],
    [100, 0.07, 7],
    [100, 0.7, 70],
    [3000, 0.7, 2100],
    [10, 0.65, 7],
    [10, 0, 0],
    [10, 1, 10],
  ] as const) {
    const sampler = new Sampler(difficulties, { batchSize: 2, steps, seed: 1 }, { classLevelFrom: from })
    t.equal(sampler.classLevelStep, first, `${from} of ${steps}`)
    if (first > 0) t.equal(sampler.level(first - 1), 'sample')
    if (first < steps) t.equal(sampler.level(first), 'class')
  }
  t.equal(new Sampler(difficulties, { batchSize: 2, steps: 10, seed: 1 }, { kind: 'uniform' }).classLevelStep, 10)
})

t.test('a step depends on seed, step and number of steps only', async (t) => {
  const difficulties = ascending(37, (i) => (i * 7) % 37)
  const make = (steps = 40): Sampler => new Sampler(difficulties, { batchSize: 5, steps, seed: 11 })
  const straight = make()
  const all = ascending(40, (step) => [...straight.draw(step)])
  for (const step of [39, 3, 27, 28, 0, 15]) t.same([...make().draw(step)], all[step], `step ${step} alone`)
  t.same([...straight.draw(2)], all[2], 'backwards')
  t.same([...make(80).draw(30)].length, 5)
  t.notSame([...make(80).draw(30)], all[30], 'in a run of 80 steps, step 30 is at sample level')
})

t.test('options', async (t) => {
  t.same(checkSamplerOptions(undefined), {
    kind: 'hes',
    classes: 10,
    classLevelFrom: 0.7,
    delta: 0.9,
    thresholds: 'interval',
  })
  const bad: [unknown, RegExp][] = [
    [
      { kind: 'HES' },
      /^Expected one of 'hes', 'uniform', 'balanced', 'hardest', 'difficulty' for sampler\.kind but received "HES"$/,
    ],
    [{ classes: 1 }, /sampler\.classes but received 1$/],
    [{ classes: 2.5 }, /sampler\.classes/],
    [{ classes: '10' }, /sampler\.classes/],
    [{ classLevelFrom: 1.1 }, /sampler\.classLevelFrom/],
    [{ classLevelFrom: NaN }, /sampler\.classLevelFrom/],
    [{ delta: 0 }, /above 0 and at most 1 for sampler\.delta but received 0$/],
    [{ delta: 2 }, /sampler\.delta/],
    [{ thresholds: 'even' }, /sampler\.thresholds/],
    [{ kinds: 'hes' }, /for sampler but received "kinds"$/],
    [7, /an object for sampler/],
    [[], /an object for sampler/],
  ]
  for (const [options, message] of bad)
    t.throws(() => checkSamplerOptions(options), { code: 'WBSR_INVALID_OPTION', message })
})
