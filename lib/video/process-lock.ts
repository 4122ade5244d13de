// A folder that one process holds at a time. Its lock names the process, so that one that was killed does not hold it. Locks
// are numbered: who takes over from a process that is gone makes the next number, which only one can.
import { open, readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { WbsrError } from '../errors.js'
import { processStart } from '../files/temporaries.js'

const TRIES = 20
/** Between the creation of a lock and its text, which no process needs so long for. */
const BEGUN_MS = 1000
const LOOK_MS = 20
const NAME = /^lock-(\d{1,9})$/

export class ProcessLock {
  readonly #file: string

  private constructor(file: string) {
    this.#file = file
  }

  static isLock(name: string): boolean {
    return NAME.test(name)
  }

  /**
   * Takes the lock of a folder, also where the process that has it is gone.
   *
   * @param result what the holder writes, for messages
   * @throws WbsrError WBSR_IO: another process, or this one, holds it; what the file system says
   */
  static async take(folder: string, result: string): Promise<ProcessLock> {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const left = await heldBy(folder, result)
      const file = path.join(folder, `lock-${Math.max(-1, ...left) + 1}`)
      try {
        await writeExclusive(file, `${process.pid} ${processStart(process.pid)}`)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue
        throw error
      }
      try {
        // Locks that came after the look at the folder count as well.
        const others = await heldBy(folder, result, file)
        for (const number of others) await rm(path.join(folder, `lock-${number}`), { force: true })
      } catch (error) {
        await rm(file, { force: true })
        throw error
      }
      return new ProcessLock(file)
    }
    throw new WbsrError('WBSR_IO', `Cannot write ${result}: other processes are about to write it`)
  }

  /** Never throws. */
  async release(): Promise<void> {
    await rm(this.#file, { force: true }).catch(() => {})
  }
}

/** The numbers of locks whose processes are gone. @throws WbsrError WBSR_IO: a process has the folder */
async function heldBy(folder: string, result: string, own?: string): Promise<number[]> {
  const gone: number[] = []
  for (const name of await readdir(folder)) {
    const [, number] = NAME.exec(name) ?? []
    const file = path.join(folder, name)
    if (number === undefined || file === own) continue
    const [pid, start] = (await holderOf(file))?.split(' ') ?? []
    if (pid && processStart(Number(pid)) === start)
      throw new WbsrError('WBSR_IO', `Cannot write ${result}: process ${pid} is writing it`)
    gone.push(Number(number))
  }
  return gone
}

/** The text of a lock, which stands in it a moment after the lock itself; null: it is not there any more. */
async function holderOf(file: string): Promise<string | null> {
  for (let waited = 0; ; waited += LOOK_MS) {
    const text = await readFile(file, 'utf8').catch(() => null)
    if (text !== '' || waited >= BEGUN_MS) return text
    await setTimeout(LOOK_MS)
  }
}

async function writeExclusive(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx')
  await handle.writeFile(text).finally(() => handle.close())
}
