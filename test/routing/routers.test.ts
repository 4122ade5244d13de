import t from 'tap'
import { native } from '../../lib/native.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { calibratedMap } from '../../lib/routing/calibrated.js'
import { classOf, difficultyOf } from '../../lib/routing/classes.js'
import { fitBudget } from '../../lib/routing/fit-budget.js'
import { projectionBudgetMap, projectionMap } from '../../lib/routing/projection.js'
import { checkRouter } from '../../lib/routing/routers.js'
import { fakeState } from '../support/fake-engine.js'
import { picture } from '../support/infer-pictures.js'
import { integer, random } from '../support/random.js'
import { realState } from '../support/real-state.js'

t.test('difficulty and class equal those of the native router to the bit', async (t) => {
  const { engine } = realState(srresnet({ scale: 2, widths: [8], depths: [1] }))
  const [width, height, tile] = [203, 61, 8]
  const data = picture(width, height, 3, 'float').data
  const rects: number[] = []
  for (let y = 0; y < height; y += tile)
    for (let x = 0; x < width; x += tile) rects.push(x, y, Math.min(tile, width - x), Math.min(tile, height - y))
  const vectors = await native.gradientVectors(data, width, height, 3, Int32Array.from(rects))
  const difficulties = Float64Array.from({ length: rects.length / 4 }, (_, i) => difficultyOf(vectors, i))
  // Thresholds that are difficulties themselves, and neighbours of them.
  const thresholds = [...difficulties]
    .sort((a, b) => a - b)
    .filter((_, i) => i % 25 === 7)
    .flatMap((value) => [value * (1 - 2 ** -52), value, value * (1 + 2 ** -52)])
  const routed = await engine.route({ data, width, height, tile, thresholds })
  t.strictSame(routed.difficulties, difficulties)
  const classes = { count: thresholds.length + 1, thresholds, kind: 'interval' as const }
  t.strictSame(
    routed.classes,
    Int32Array.from(difficulties, (value) => classOf(classes, value)),
  )
  t.ok(new Set(routed.classes).size > thresholds.length / 3, 'many classes occur')
  engine.dispose()
})

t.test('classOf counts the thresholds below a difficulty, the length of the gradient vector', async (t) => {
  const classes = { count: 4, thresholds: [0.1, 0.2, 0.4], kind: 'interval' as const }
  t.strictSame(
    [0, 0.1, 0.100001, 0.2, 0.3, 0.4, 0.41, 9].map((s) => classOf(classes, s)),
    [1, 1, 2, 2, 3, 3, 4, 4],
  )
  t.equal(classOf({ count: 1, thresholds: [], kind: 'quantile' }, 1), 1)
  t.equal(difficultyOf(new Float64Array([9, 9, 9, 9, 1, 2, 2, 4]), 1), 5)
})

t.test('the option router finds its row, and offers only what the model can use', async (t) => {
  const calibrated = fakeState()
  const plain = fakeState({ router: null })
  const input = { classes: 4, costs: [0.25, 1], frequency: [0.25, 0.25, 0.25, 0.25], goal: { budget: 1 }, alpha: 1 }
  t.strictSame(checkRouter('projection', plain).map({ ...input, table: null }), [0, 0, 1, 1])
  t.strictSame(checkRouter({ subnet: 1 }, plain).map({ ...input, table: null }), [1, 1, 1, 1])
  t.equal(checkRouter(undefined, plain), checkRouter('projection', plain))
  t.equal(checkRouter(undefined, calibrated), checkRouter('calibrated', calibrated))
  t.throws(() => checkRouter('best', calibrated), {
    code: 'WBSR_INVALID_OPTION',
    message: "Expected 'projection', 'projection-budget', 'calibrated' or { subnet } for router but received \"best\"",
  })
  t.throws(() => checkRouter('calibrated', plain), {
    code: 'WBSR_INVALID_OPTION',
    message:
      /^Expected 'projection', 'projection-budget'(?!.*'calibrated').* or \{ subnet \} \(this model has no router table/,
  })
  t.throws(() => checkRouter('toString', calibrated), { code: 'WBSR_INVALID_OPTION' }, 'a key of Object.prototype')
})

t.test('projection is ceil(k M / K)', async (t) => {
  t.strictSame(
    projectionMap(10, 9).map((m) => m + 1),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 9],
  )
  t.strictSame(
    projectionMap(10, 3).map((m) => m + 1),
    [1, 1, 1, 2, 2, 2, 3, 3, 3, 3],
  )
  t.strictSame(projectionMap(3, 1), [0, 0, 0])
})

t.test('projection-budget is argmin |alpha k C_m / K - C_t|', async (t) => {
  // k C / K of class 1: .05 .1 .2 .4, class 2: .1 .2 .4 .8 ... of K = 2 with costs .1 .2 .4 .8
  t.strictSame(projectionBudgetMap(2, [0.1, 0.2, 0.4, 0.8], 0.2, 1), [2, 1])
  t.strictSame(projectionBudgetMap(2, [0.1, 0.2, 0.4, 0.8], 0.2, 2), [1, 0])
  t.strictSame(projectionBudgetMap(2, [0.1, 0.2, 0.4, 0.8], 0, 1), [0, 0])
  t.strictSame(projectionBudgetMap(1, [1, 3], 2, 1), [0], 'equal distances: the cheaper')
})

function table(next: () => number, classes: number, subnets: number) {
  const costs = Array.from({ length: subnets }, () => 0.1 + next())
    .sort((a, b) => a - b)
    .map((c, _, all) => c / all.at(-1)!)
  const squaredError = Array.from({ length: classes }, (_, k) =>
    costs.map((c) => (k + 1) * (1 / (0.2 + c) + 0.3 * next())),
  )
  const raw = Array.from({ length: classes }, () => next() + 0.02)
  const total = raw.reduce((a, b) => a + b)
  return { costs, squaredError, frequency: raw.map((f) => f / total) }
}

function sum(map: number[], values: (k: number, m: number) => number): number {
  return map.reduce((total, m, k) => total + values(k, m), 0)
}

t.test('calibrated against brute force', async (t) => {
  const next = random(7)
  let exact = 0
  let worst = 0
  const runs = 60
  for (let run = 0; run < runs; run++) {
    const [classes, subnets] = [integer(next, 1, 4), integer(next, 1, 5)]
    const { costs, squaredError, frequency } = table(next, classes, subnets)
    const budget = next()
    const map = calibratedMap(squaredError, costs, frequency, budget)
    const error = (m: number[]) => sum(m, (k, s) => frequency[k]! * squaredError[k]![s]!)
    const cost = (m: number[]) => sum(m, (k, s) => frequency[k]! * costs[s]!)
    let best = Infinity
    for (let code = 0; code < subnets ** classes; code++) {
      const other = Array.from({ length: classes }, (_, k) => Math.floor(code / subnets ** k) % subnets)
      if (cost(other) <= budget) best = Math.min(best, error(other))
    }
    if (best === Infinity) {
      t.strictSame(map, Array(classes).fill(0), 'all cheapest where nothing fits')
      continue
    }
    if (cost(map) > budget + 1e-9) t.fail(`costs ${cost(map)} of ${budget}`)
    if (error(map) <= best + 1e-12) exact++
    worst = Math.max(worst, error(map) / best - 1)
  }
  t.ok(exact > (0.8 * runs) / 2, `${exact} of ${runs} are the optimum`)
  t.ok(worst < 0.05, `the others are at most ${(100 * worst).toFixed(2)} % above it`)
})

t.test('calibrated is the optimum at every point of the Lagrangian sweep', async (t) => {
  const next = random(11)
  for (let run = 0; run < 20; run++) {
    const { costs, squaredError, frequency } = table(next, 10, 9)
    const lambda = 10 * next()
    const wanted = squaredError.map((errors) => {
      const values = errors.map((e, m) => e + lambda * costs[m]!)
      return values.indexOf(Math.min(...values))
    })
    const budget = sum(wanted, (k, m) => frequency[k]! * costs[m]!)
    const map = calibratedMap(squaredError, costs, frequency, budget)
    const error = (m: number[]) => sum(m, (k, s) => frequency[k]! * squaredError[k]![s]!)
    t.ok(Math.abs(error(map) - error(wanted)) < 1e-9, `lambda ${lambda.toFixed(2)}`)
  }
})

t.test('calibrated with hundreds of classes stays within the budget and near the optimum', async (t) => {
  const { costs, squaredError, frequency } = table(random(4), 100, 9)
  const cost = (map: number[]) => sum(map, (k, m) => frequency[k]! * costs[m]!)
  const error = (map: number[]) => sum(map, (k, m) => frequency[k]! * squaredError[k]![m]!)
  const bestAt = (lambda: number) =>
    squaredError.map((errors) => {
      const values = errors.map((e, m) => e + lambda * costs[m]!)
      return values.indexOf(Math.min(...values))
    })
  for (const budget of [0.3, 0.5, 0.7]) {
    const map = calibratedMap(squaredError, costs, frequency, budget)
    t.ok(cost(map) <= budget + 1e-9)
    // No map within the budget is better than the Lagrangian bound at any lambda.
    const bound = Math.max(
      ...Array.from({ length: 640 }, (_, i) => {
        const lambda = 10 ** (-2 + i / 80)
        return (
          sum(bestAt(lambda), (k, m) => frequency[k]! * (squaredError[k]![m]! + lambda * costs[m]!)) - lambda * budget
        )
      }),
    )
    t.ok(error(map) <= 1.01 * bound && error(map) >= bound - 1e-9, `budget ${budget}: ${error(map)}, bound ${bound}`)
  }
})

t.test('calibrated improves with the budget and passes over subnets that cost more and are worse', async (t) => {
  const { costs, squaredError, frequency } = table(random(3), 10, 9)
  let last = Infinity
  for (let budget = 0; budget <= 1.0001; budget += 0.05) {
    const map = calibratedMap(squaredError, costs, frequency, budget)
    const error = sum(map, (k, m) => frequency[k]! * squaredError[k]![m]!)
    t.ok(error <= last * 1.01, `budget ${budget.toFixed(2)}`)
    last = Math.min(last, error)
  }
  t.strictSame(calibratedMap([[3, 5, 1, 2]], [0.1, 0.2, 0.5, 1], [1], 1), [2])
  t.strictSame(calibratedMap([[3, 5, 1, 2]], [0.1, 0.2, 0.5, 1], [1], 0.49), [0])
})

t.test('fitBudget finds the largest effective budget whose actual cost fits', async (t) => {
  const mapAt = (budget: number) => [Math.floor(budget * 8)]
  const shareOf = (map: number[]) => (1.3 * map[0]!) / 8 + 0.05
  t.strictSame(
    fitBudget(1, mapAt, () => 1),
    [8],
    'as it is when it fits',
  )
  t.strictSame(fitBudget(0.8, mapAt, shareOf), [4], '0.70 fits, 0.86 does not')
  t.strictSame(fitBudget(0.04, mapAt, shareOf), [0], 'the cheapest when nothing fits')
})
