// Runs the native checks (test/native/*/*_check.cc, one executable each) as they are built for use and again with
// AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer. scripts/setup.mjs --test builds both. Those of the CUDA
// device: cuda-checks.test.ts.
import t from 'tap'
import { checkNames, runCheck, testBuild } from '../support/native-checks.js'

const names = checkNames(false)
testBuild('build', names, {})
testBuild('build-asan', names, {
  OMP_NUM_THREADS: '2',
  ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
})

// Other machines: oneDNN and our kernels without AVX-512, and without AVX2.
for (const isa of ['AVX2', 'SSE41']) {
  t.test(`the network check on ${isa}`, async (t) => {
    const { status, output } = await runCheck('build', 'network_check', { DNNL_MAX_CPU_ISA: isa })
    t.equal(status, 0, `exit status\n${output.slice(-4000)}`)
  })
}
