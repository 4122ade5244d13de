// Peak memory of a stream, measured so that noise is several times smaller than the signal.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const script = fileURLToPath(new URL('stream-memory.ts', import.meta.url))

/**
 * Peak resident memory in MiB of streaming a picture from file to file through tiles ('copy') or also through a network
 * ('upscale'), or by upscaleFile ('file'). The lesser of two runs, each in a process of its own: garbage that waits for its collection, or pages
 * that malloc keeps, can only raise a peak, never lower it.
 */
export async function peakMemory(what: 'copy' | 'upscale' | 'file', input: string, output: string): Promise<number> {
  const peaks: number[] = []
  for (let i = 0; i < 2; i++) {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [...process.execArgv, '--expose-gc', script, what, input, output],
      // One malloc arena and no heap for large blocks: less noise from what glibc keeps for later.
      { env: { ...process.env, MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '131072' } },
    )
    peaks.push(Number(stdout))
  }
  if (!peaks.every((peak) => peak > 0)) throw new Error(`stream-memory.ts printed ${peaks.join(', ')}`)
  return Math.min(...peaks)
}
