// Runs the native checks (test/native/*_check.cc, one executable each) as they are built for use and again with
// AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer. scripts/setup.mjs --test builds both.
import t from 'tap'
import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')
const sources = readdirSync(path.join(root, 'test', 'native')).filter((name) => name.endsWith('_check.cc')).map((name) => path.basename(name, '.cc')).sort()

const sanitizers = {
  OMP_NUM_THREADS: '2',
  ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
}

function run(file: string, env: Record<string, string>): Promise<{ code: number | null; signal: string | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, [], { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    const take = (text: string) => { output += text }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, output }))
  })
}

for (const [build, env] of [['build', {}], ['build-asan', sanitizers]] as const) {
  t.test(`${build}: every check is built`, async (t) => {
    t.ok(sources.length > 0, 'there are native checks')
    for (const name of sources) t.ok(existsSync(path.join(root, build, 'checks', name)), `${build}/checks/${name} exists (node scripts/setup.mjs --test builds it)`)
  })
  for (const name of sources) {
    t.test(`${build}: ${name}`, async (t) => {
      const { code, signal, output } = await run(path.join(root, build, 'checks', name), env)
      t.equal(signal ?? code, 0, `exit status\n${output.slice(-4000)}`)
    })
  }
}

// Other machines: oneDNN and our kernels as they would run without AVX-512, and without AVX2.
for (const isa of ['AVX2', 'SSE41']) {
  t.test(`the network check on ${isa}`, async (t) => {
    const { code, signal, output } = await run(path.join(root, 'build', 'checks', 'network_check'), { DNNL_MAX_CPU_ISA: isa })
    t.equal(signal ?? code, 0, `exit status\n${output.slice(-4000)}`)
  })
}
