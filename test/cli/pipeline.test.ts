// The three stages of wbsr upscale: what is decoded, runs and is encoded at once, counted and not timed.
import t from 'tap'
import { runPipeline } from '../../lib/cli/upscale/pipeline.js'

/** Work that ends when the test says so. */
function gates() {
  const open = new Map<string, { resolve: () => void; reject: (error: Error) => void }>()
  const events: string[] = []
  const enter = (what: string) => {
    events.push(what)
    return new Promise<void>((resolve, reject) => open.set(what, { resolve, reject }))
  }
  const settle = async (what: string, error?: Error) => {
    const gate = open.get(what)
    if (!gate) throw new Error(`${what} does not run; open are ${[...open.keys()].join(', ')}`)
    open.delete(what)
    error ? gate.reject(error) : gate.resolve()
    for (let i = 0; i < 20; i++) await Promise.resolve()
  }
  return { enter, settle, events, running: () => [...open.keys()].sort() }
}

t.test('one picture decodes while another runs and a third is encoded', async (t) => {
  const { enter, settle, running } = gates()
  const settled: [number, unknown][] = []
  const discarded: number[] = []
  const done = runPipeline<number, number, number>(
    [0, 1, 2, 3],
    {
      decode: async (job) => {
        await enter(`decode ${job}`)
        return job
      },
      run: async (job) => {
        await enter(`run ${job}`)
        return job
      },
      encode: (job) => enter(`encode ${job}`),
      discard: async (job) => {
        discarded.push(job)
      },
    },
    (job, error) => {
      settled.push([job, error])
      return true
    },
  )
  t.same(running(), ['decode 0'])
  await settle('decode 0')
  t.same(running(), ['decode 1', 'run 0'])
  await settle('decode 1')
  t.same(running(), ['run 0'], 'one is decoded ahead, no more')
  await settle('run 0')
  t.same(running(), ['decode 2', 'encode 0', 'run 1'], 'all three stages at once')
  await settle('run 1')
  t.same(running(), ['decode 2', 'encode 0'], 'the next result waits: three pictures are held, no more')
  await settle('encode 0')
  t.same(settled, [[0, undefined]])
  t.same(running(), ['decode 2', 'encode 1'])
  const fault = new Error('of the picture')
  await settle('decode 2', fault)
  // Results are told in order: that of picture 1 comes first.
  t.same(settled.length, 1)
  await settle('encode 1')
  t.same(settled.slice(1), [
    [1, undefined],
    [2, fault],
  ])
  await settle('decode 3')
  await settle('run 3', fault)
  await done
  t.same(settled.at(-1), [3, fault])
  t.same(discarded, [3])
  t.same(running(), [])
})
