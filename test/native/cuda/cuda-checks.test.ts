// The CUDA device without a GPU: its kernels and host code run unchanged on the host (test/native/cuda/host_cuda), with
// AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer, and with ThreadSanitizer, which sees each CUDA thread of a
// block as a thread. scripts/setup.mjs --test builds all three.
import t from 'tap'
import { checkNames, inParallel, runCheck, testBuild } from '../../support/native-checks.js'

// Use after return is detected in the other checks; here it would take three quarters of the time.
const addresses = {
  OMP_NUM_THREADS: '1',
  ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=0',
  UBSAN_OPTIONS: 'print_stacktrace=1',
}
// ThreadSanitizer does not see how OpenMP's threads synchronise, so there is only one of them.
const threads = { OMP_NUM_THREADS: '1', TSAN_OPTIONS: 'halt_on_error=1' }

const names = checkNames(true)
const parallel = inParallel()
testBuild('build', names, { OMP_NUM_THREADS: '1' }, parallel)
testBuild('build-asan', names, addresses, parallel)
testBuild('build-tsan', names, threads, parallel)

// host_cuda_check plants these bugs too, but only those that the sanitizer it was built with can find.
for (const [build, bug, env, report] of [
  ['build-asan', 'shared memory too small', addresses, /AddressSanitizer: heap-buffer-overflow/],
  ['build-asan', 'misaligned vector', addresses, /runtime error: .*misaligned address/],
  ['build-asan', 'leak', addresses, /LeakSanitizer: detected memory leaks/],
  ['build-tsan', 'missing barrier', threads, /ThreadSanitizer: data race/],
  ['build-tsan', 'missing warp barrier', threads, /ThreadSanitizer: data race/],
] as const) {
  t.test(`${build} finds a planted bug: ${bug}`, parallel, async (t) => {
    const { status, output } = await runCheck(build, 'host_cuda_check', env, [bug])
    t.not(status, 0, 'the check fails')
    t.match(output, report, 'and the sanitizer says why')
  })
}

// cuda_side_stream_check forgets each wait between the two streams of a training pass itself, one at a time.
for (const bug of ['forgotten fork', 'forgotten join']) {
  t.test(`cuda_side_stream_check finds a planted bug: ${bug}`, parallel, async (t) => {
    const { status, output } = await runCheck('build', 'cuda_side_stream_check', { OMP_NUM_THREADS: '1' }, [bug])
    t.equal(status, 1, 'the check fails')
    t.match(output, /not ok: the gradients of a pass whose streams race/, 'because gradients are wrong')
  })
}
