import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Prefetcher } from '../../lib/data/prefetcher.js'

t.test('in order, depth ahead, no more', async (t) => {
  const started: number[] = []
  let running = 0
  let most = 0
  const prefetcher = new Prefetcher(
    async (step) => {
      started.push(step)
      most = Math.max(most, ++running)
      await sleep(step === 3 ? 20 : 1) // a slow one is not overtaken
      running--
      return step * 10
    },
    { first: 3, end: 9 },
  )
  t.same(started, [3, 4], 'two ahead at once')
  const values: number[] = []
  for (let i = 0; i < 6; i++) values.push(await prefetcher.next())
  t.same(values, [30, 40, 50, 60, 70, 80])
  t.same(started, [3, 4, 5, 6, 7, 8])
  t.ok(most <= 2)
  await t.rejects(prefetcher.next(), { code: 'WBSR_INTERNAL' })
})

t.test('waiting is measured, work in between is not', async (t) => {
  const { now } = performance
  t.teardown(() => {
    performance.now = now
  })
  let clock = 1000
  performance.now = () => clock
  let deliver = (_step: number) => {}
  const first = new Promise<number>((resolve) => {
    deliver = resolve
  })
  const prefetcher = new Prefetcher((step) => (step === 0 ? first : Promise.resolve(step)), { first: 0, end: 3 })
  const waiting = prefetcher.next()
  clock += 400
  deliver(0)
  t.equal(await waiting, 0)
  t.equal(prefetcher.lastWait, 0.4)
  clock += 20
  t.equal(await prefetcher.next(), 1)
  t.equal(prefetcher.lastWait, 0)
  const last = prefetcher.next()
  clock += 100
  t.equal(await last, 2)
  t.equal(prefetcher.lastWait, 0.1)
  t.equal(prefetcher.waited, 0.5)
})

t.test('a failure reaches the step it belongs to', async (t) => {
  const prefetcher = new Prefetcher(
    async (step) => {
      if (step === 1) throw new Error('step 1')
      return step
    },
    { first: 0, end: 5 },
  )
  await sleep(5)
  t.equal(await prefetcher.next(), 0)
  await t.rejects(prefetcher.next(), { message: 'step 1' })
  await prefetcher.close()
})

t.test('close waits for what runs and starts nothing more', async (t) => {
  let running = 0
  let started = 0
  const prefetcher = new Prefetcher(
    async () => {
      started++
      running++
      await sleep(10)
      running--
    },
    { first: 0, end: 100, depth: 3 },
  )
  await prefetcher.close()
  t.equal(running, 0)
  t.equal(started, 3)
  await sleep(15)
  t.equal(started, 3)
  await t.rejects(prefetcher.next(), { code: 'WBSR_INTERNAL' })
})
