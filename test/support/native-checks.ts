// Running the native checks (test/native/*/*_check.cc, one executable each) of a build folder.

import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')

/** Names of the checks: those of test/native/cuda, which run the CUDA device on the host, or all the others. */
export function checkNames(cuda: boolean): string[] {
  const all = readdirSync(path.join(root, 'test', 'native'), { recursive: true, encoding: 'utf8' })
  return all
    .filter((file) => file.endsWith('_check.cc') && (path.dirname(file) === 'cuda') === cuda)
    .map((file) => path.basename(file, '.cc'))
    .sort()
}

export interface Outcome {
  /** Exit status, or the signal that ended it. */
  status: number | string | null
  output: string
}

export function runCheck(
  build: string,
  name: string,
  env: Record<string, string>,
  args: string[] = [],
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(path.join(root, build, 'checks', name), args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    const take = (text: string) => {
      output += text
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ status: signal ?? code, output }))
  })
}

/** Checks of one thread run on all cores. Tests that come after are buffered: `t.jobs` holds for the whole file. */
export function inParallel(): { buffered: true } {
  t.jobs = os.availableParallelism()
  return { buffered: true }
}

/** One test per check, and one that all are there. */
export function testBuild(
  build: string,
  names: string[],
  env: Record<string, string>,
  options: { buffered?: boolean } = {},
): void {
  t.test(`${build}: every check is built`, async (t) => {
    t.ok(names.length > 0, 'there are native checks')
    for (const name of names)
      t.ok(
        existsSync(path.join(root, build, 'checks', name)),
        `${build}/checks/${name} exists (node scripts/setup.mjs --test builds it)`,
      )
  })
  for (const name of names) {
    t.test(`${build}: ${name}`, options, async (t) => {
      const { status, output } = await runCheck(build, name, env)
      t.equal(status, 0, `exit status\n${output.slice(-4000)}`)
    })
  }
}
