// Many calls of one model at once: a few run, the others wait in order, a bound, aborts; and many in a row.
import { execFileSync } from 'node:child_process'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { CallQueue, checkQueueOptions } from '../../lib/models/call-queue.js'
import { SupernetModel, shareModel } from '../../lib/models/model.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { picture } from '../support/infer-pictures.js'
import { samePicture } from '../support/pictures.js'
import { realState } from '../support/real-state.js'

t.test('calls wait in order, and leave the queue', async (t) => {
  const queue = new CallQueue({ concurrency: 2, maxWaiting: 3 })
  const started: number[] = []
  const ends: ((error?: Error) => void)[] = []
  const call = (index: number, signal?: AbortSignal) =>
    queue.run(`call ${index}`, signal, () => {
      started.push(index)
      return new Promise<number>((resolve, reject) => {
        ends[index] = (error) => (error ? reject(error) : resolve(index))
      })
    })
  const abort = new AbortController()
  const calls = [call(0), call(1), call(2), call(3, abort.signal), call(4)]
  await t.rejects(call(5), { code: 'WBSR_BUSY', message: /^2 calls of this model run and 3 wait: call 5 was refused/ })
  t.same([started, queue.running, queue.waiting], [[0, 1], 2, 3])
  abort.abort()
  await t.rejects(calls[3]!, { code: 'WBSR_ABORTED' })
  t.equal(queue.waiting, 2)
  // A call that fails gives its place to the next one.
  ends[1]!(new Error('of the call'))
  await t.rejects(calls[1]!, { message: 'of the call' })
  t.same(started, [0, 1, 2])
  ends[2]!()
  t.equal(await calls[2], 2)
  t.same(started, [0, 1, 2, 4])
  for (const index of [0, 4]) ends[index]!()
  await Promise.all([calls[0], calls[4]])
  t.same([queue.running, queue.waiting], [0, 0])
  const gone = AbortSignal.abort()
  const full = [call(0), call(1)]
  await t.rejects(call(2, gone), { code: 'WBSR_ABORTED' })
  for (const index of [0, 1]) ends[index]!()
  await Promise.all(full)
  t.same(checkQueueOptions({}), { concurrency: 2, maxWaiting: 1000 })
  t.throws(() => checkQueueOptions({ concurrency: 0 }), { code: 'WBSR_INVALID_OPTION', message: /for concurrency/ })
  t.throws(() => checkQueueOptions({ maxWaiting: 0.5 }), { message: /for maxWaiting/ })
})

t.test('a hundred upscales at once', async (t) => {
  const made = () => new SupernetModel(realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })))
  await using model = shareModel(made(), { concurrency: 3, maxWaiting: 96 })
  const image = picture(40, 30)
  const { data, width, height, channels } = await model.upscale(image)
  const expected = { data, width, height, channels }
  const running = new Set<number>()
  const finished: number[] = []
  let most = 0
  const abort = new AbortController()
  const calls = Array.from({ length: 99 }, (_, i) =>
    model
      .upscale(image, {
        ...(i === 50 && { signal: abort.signal }),
        onProgress: () => {
          running.add(i)
          most = Math.max(most, running.size)
          return setTimeout(1)
        },
      })
      .finally(() => {
        running.delete(i)
        finished.push(i)
      }),
  )
  const refused = model.upscale(image)
  await t.rejects(refused, { code: 'WBSR_BUSY' })
  // Wrong options are told at once, whatever waits.
  await t.rejects(model.upscale(image, { budget: 2 }), { code: 'WBSR_INVALID_OPTION' })
  abort.abort()
  await t.rejects(calls[50]!, { code: 'WBSR_ABORTED' })
  t.ok(finished.length < 10, 'while the others wait')
  const results = await Promise.all(calls.filter((_, i) => i !== 50))
  t.ok(results.every((result) => samePicture({ ...expected, data: result.data }, expected)))
  t.ok(most >= 1 && most <= 3, `${most} at once`)
  const order = finished.filter((i) => i !== 50)
  t.ok(
    order.every((i, place) => Math.abs(i - place) <= 3),
    'first come, first served',
  )
  // What waits for a model that is disposed of ends, too.
  const other = shareModel(made(), { concurrency: 1, maxWaiting: 10 })
  const [first, second] = [other.upscale(image), other.upscale(image)]
  first.catch(() => {})
  second.catch(() => {})
  other.dispose()
  await t.rejects(second, { code: 'WBSR_DISPOSED' })
})

t.test('many pictures in a row need no more memory', async (t) => {
  const script = fileURLToPath(new URL('../support/many-pictures.ts', import.meta.url))
  const counts = [250, 1000]
  const out = execFileSync(process.execPath, [...process.execArgv, '--expose-gc', script, ...counts.map(String)])
  const [early, late] = JSON.parse(out.toString()) as [number, number]
  t.comment(`resident after ${counts[0]} pictures ${early} MiB, after ${counts[1]} ${late} MiB`)
  // A leak of each result's 30 KB of pixels, of its floats (120 KB) or its file would be some 20 to 100 MiB.
  t.ok(late - early < 20, `${late} MiB against ${early} MiB`)
})
