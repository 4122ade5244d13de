// How much of a processor the turns of this thread's event loop take: unlike the delay of timers it does not depend on what
// else the machine does.
import { closeSync, openSync, readSync } from 'node:fs'

/** Measures until `stop` is called, which gives the milliseconds of CPU of each turn, the longest first. Linux. */
export function measureTurns(): { stop: () => number[] } {
  const file = openSync('/proc/thread-self/schedstat', 'r')
  const buffer = Buffer.alloc(64)
  const cpu = () => Number(buffer.toString('latin1', 0, readSync(file, buffer, 0, 64, 0)).split(' ')[0]) / 1e6
  const turns: number[] = []
  let last = cpu()
  let immediate: NodeJS.Immediate
  const turn = () => {
    const now = cpu()
    turns.push(now - last)
    last = now
    immediate = setImmediate(turn)
  }
  immediate = setImmediate(turn)
  return {
    stop: () => {
      clearImmediate(immediate)
      closeSync(file)
      return turns.sort((a, b) => b - a)
    },
  }
}
