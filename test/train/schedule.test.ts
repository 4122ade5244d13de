import t from 'tap'
import { emaDecayAt, learningRateAt, subnetsOfStep } from '../../lib/train/schedule.js'

const equal = (subnets: number): number[] => new Array<number>(subnets).fill(1)

t.test('the learning rate falls along a cosine from the first value to the last', async (t) => {
  t.equal(learningRateAt(0, 101, 2e-4, 1e-7), 2e-4)
  t.ok(Math.abs(learningRateAt(50, 101, 2e-4, 1e-7) - (2e-4 + 1e-7) / 2) < 1e-15)
  t.ok(Math.abs(learningRateAt(25, 101, 1, 0) - (1 + Math.SQRT1_2) / 2) < 1e-12)
  t.ok(Math.abs(learningRateAt(100, 101, 2e-4, 1e-7) - 1e-7) < 1e-18)
  const rates = Array.from({ length: 101 }, (_, step) => learningRateAt(step, 101, 1, 0.1))
  t.ok(rates.every((rate, step) => step === 0 || rate < rates[step - 1]!))
  t.equal(learningRateAt(0, 1, 0.5, 0.1), 0.5)
})

t.test('the moving average forgets its start', async (t) => {
  t.equal(emaDecayAt(0, 0.999), 0.1)
  t.equal(emaDecayAt(8, 0.999), 0.5)
  t.equal(emaDecayAt(1e6, 0.999), 0.999)
  t.equal(emaDecayAt(1e6, 0), 0)
})

t.test('a sandwich is the largest, the smallest and one between, drawn by seed and step', async (t) => {
  const between = new Set<number>()
  const steps = Array.from({ length: 300 }, (_, step) => subnetsOfStep('sandwich', equal(9), 7, step))
  t.ok(steps.every(([largest, smallest, ...others]) => largest === 8 && smallest === 0 && others.length === 1))
  for (const step of steps) between.add(step[2]!)
  t.same([...between].sort(), [1, 2, 3, 4, 5, 6, 7])
  t.same(
    steps,
    Array.from({ length: 300 }, (_, step) => subnetsOfStep('sandwich', equal(9), 7, step)),
  )
  t.notSame(
    steps,
    Array.from({ length: 300 }, (_, step) => subnetsOfStep('sandwich', equal(9), 8, step)),
  )
})

t.test('few subnets are not trained twice in a step', async (t) => {
  t.same(subnetsOfStep('sandwich', equal(1), 1, 5), [0])
  t.same(subnetsOfStep('sandwich', equal(2), 1, 5), [1, 0])
  t.same(subnetsOfStep('sandwich', equal(3), 1, 5), [2, 0, 1])
})

t.test('single draws every subnet about equally often', async (t) => {
  const counts = new Array<number>(4).fill(0)
  for (let step = 0; step < 4000; step++) {
    for (const subnet of subnetsOfStep('single', equal(4), 3, step)) counts[subnet]!++
  }
  t.equal(
    counts.reduce((sum, count) => sum + count),
    4000,
  )
  for (const count of counts) t.ok(Math.abs(count - 1000) < 120, `${count} of 1000`)
})

t.test('single-by-cost draws by the square of the cost', async (t) => {
  const counts = [0, 0, 0]
  for (let step = 0; step < 4000; step++) counts[subnetsOfStep('single-by-cost', [1, 2, 4], 3, step)[0]!]!++
  for (const [m, share] of [1 / 21, 4 / 21, 16 / 21].entries())
    t.ok(Math.abs(counts[m]! / 4000 - share) < 0.025, `${counts[m]} of 4000 for ${share}`)
})
