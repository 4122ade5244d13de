// Many processes that want one lock: one of them gets it, whoever held it before.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import t from 'tap'
import { processStart } from '../../lib/files/temporaries.js'
import { ProcessLock } from '../../lib/video/process-lock.js'

const home = t.testdir()
const at = (name: string) => path.join(home, name)
/** Of a process that is gone. */
const GONE = `${2 ** 22 + 1} 1`

t.test('a lock that is held, released, and left behind', async (t) => {
  const folder = at('one')
  mkdirSync(folder)
  const held = { code: 'WBSR_IO', message: `Cannot write out.mp4: process ${process.pid} is writing it` }
  for (const left of [[], ['lock-7'], ['lock-7', 'lock-8']]) {
    for (const name of left) writeFileSync(path.join(folder, name), GONE)
    const lock = await ProcessLock.take(folder, 'out.mp4')
    await t.rejects(ProcessLock.take(folder, 'out.mp4'), held)
    t.equal(readdirSync(folder).length, 1, 'those of processes that are gone go')
    await lock.release()
    t.same(readdirSync(folder), [])
  }
})

t.test('a lock whose text is still to come is held', async (t) => {
  const folder = at('begun')
  mkdirSync(folder)
  const file = path.join(folder, 'lock-0')
  writeFileSync(file, '')
  const taking = ProcessLock.take(folder, 'out.mp4')
  await setTimeout(60)
  t.equal(readFileSync(file, 'utf8'), '')
  writeFileSync(file, `${process.ppid} ${processStart(process.ppid)}`)
  await t.rejects(taking, { message: new RegExp(`process ${process.ppid} is writing it`) })
})

const built = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../dist/video/process-lock.js')
t.test(
  'processes that take it at the same moment',
  { skip: existsSync(built) ? false : `${built}: not built (npm run build:ts)` },
  async (t) => {
    const [processes, rounds, every] = [4, 30, 15]
    for (let i = 0; i < rounds; i++) {
      mkdirSync(at(`race-${i}`))
      if (i % 2) writeFileSync(path.join(at(`race-${i}`), 'lock-3'), GONE)
    }
    const script = `
    const { ProcessLock } = await import(${JSON.stringify(pathToFileURL(built).href)})
    process.stdout.write('ready\\n')
    const start = Number(await new Promise((resolve) => process.stdin.once('data', resolve)))
    for (let i = 0; i < ${rounds}; i++) {
      await new Promise((resolve) => setTimeout(resolve, start + i * ${every} - Date.now()))
      await ProcessLock.take(${JSON.stringify(at('race-'))} + i, 'it').then(() => process.stdout.write('won ' + i + '\\n'), () => {})
    }
    process.stdout.write('done\\n')
    await new Promise((resolve) => process.stdin.once('data', resolve))
    process.exit()`
    const children = await Promise.all(
      Array.from({ length: processes }, async () => {
        const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
          stdio: ['pipe', 'pipe', 'inherit'],
        })
        let said = ''
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          said += text
        })
        await once(child.stdout, 'data')
        return { child, said: () => said }
      }),
    )
    const start = Date.now() + 20
    for (const { child } of children) child.stdin.write(String(start))
    // A lock of a process that ended could be taken by the others.
    for (const { child, said } of children) while (!said().endsWith('done\n')) await once(child.stdout, 'data')
    const ends = children.map(({ child }) => once(child, 'close'))
    for (const { child } of children) child.stdin.write('end')
    await Promise.all(ends)
    const won = children.flatMap(({ said }) =>
      said()
        .split('\n')
        .filter((line) => line.startsWith('won')),
    )
    t.equal(won.length, rounds, 'each is won')
    t.equal(new Set(won).size, rounds, 'each once')
  },
)
