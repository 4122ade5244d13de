// Runs the benchmark again with all its programs held to AVX2 (avx2_only.c).
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { root, run } from '../scripts/run.mjs'

const library = path.join(root, 'build', 'avx2_only.so')

/** Whether this process sees only AVX2. */
export const heldToAvx2 = () => (process.env.LD_PRELOAD ?? '').split(':').includes(library)

/** Resolves with the exit status of this program, run again with the same arguments. */
export async function againWithAvx2() {
  await run('cc', ['-shared', '-fPIC', '-O2', '-Wall', path.join(root, 'bench', 'avx2_only.c'), '-o', library, '-ldl'])
  const env = { ...process.env, LD_PRELOAD: library }
  return spawnSync(process.execPath, process.argv.slice(1), { stdio: 'inherit', env }).status ?? 1
}
