// Temporary files of processes that end in every way.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { AtomicFile, writeFileAtomic } from '../../lib/files/atomic.js'

const victim = path.resolve('test/support/temporary-victim.ts')

async function end(target: string, way: string, signal?: NodeJS.Signals) {
  const child = spawn(process.execPath, [...process.execArgv, victim, target, way], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  await once(child.stdout, 'data')
  if (signal) child.kill(signal)
  return exited
}

t.test('nothing is left of a process that ends, and a signal means what it did', async (t) => {
  const dir = t.testdir({ 'a.bin': 'old' })
  const file = path.join(dir, 'a.bin')
  const results = await Promise.all([
    end(file, 'exit'),
    end(file, 'throw'),
    end(file, 'wait', 'SIGINT'),
    end(file, 'wait', 'SIGTERM'),
    end(file, 'wait', 'SIGHUP'),
    end(file, 'handled', 'SIGINT'),
  ])
  t.same(results, [
    [3, null],
    [1, null],
    [null, 'SIGINT'],
    [null, 'SIGTERM'],
    [null, 'SIGHUP'],
    [5, null],
  ])
  t.same(readdirSync(dir), ['a.bin'])
  t.equal(readFileSync(file, 'utf8'), 'old')
})

t.test('what SIGKILL leaves is removed by the next run of the same target', async (t) => {
  const dir = t.testdir({ 'a.bin': 'old' })
  const file = path.join(dir, 'a.bin')
  const other = path.join(dir, 'b.bin')
  const living = await AtomicFile.open(file)
  t.same(await end(file, 'wait', 'SIGKILL'), [null, 'SIGKILL'])
  t.same(await end(other, 'wait', 'SIGKILL'), [null, 'SIGKILL'])
  writeFileSync(path.join(dir, '.a.bin.0123abcd-1-1.0123456789ab.tmp'), 'of another machine')
  t.equal(readdirSync(dir).length, 5)
  // A process of its own: this one has listed the folder already.
  await end(file, 'exit')
  const left = readdirSync(dir)
  t.ok(left.includes(path.basename(living.temporary)), 'that of a live process stays')
  t.ok(
    left.some((name) => name.startsWith('.b.bin.')),
    'that of another target stays',
  )
  t.ok(left.includes('.a.bin.0123abcd-1-1.0123456789ab.tmp'), 'that of another machine stays')
  t.equal(left.length, 4, 'the stale one is gone')
  await living.discard()
  await writeFileAtomic(other, Buffer.from('new'))
  t.notOk(readdirSync(dir).every((name) => !name.startsWith('.a.bin.')))
})
