// `npm run kernel-resources` reports no kernel of native/cuda that uses local memory on sm_90, and those that do on every
// architecture of the plugin. All kernels on all of them would take minutes here.

import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..', '..')

function resources(...files: string[]) {
  return spawnSync(process.execPath, [path.join(root, 'scripts', 'kernel-resources.mjs'), ...files], {
    encoding: 'utf8',
    timeout: 1_700_000,
  })
}

const all = resources('--arch=90')
const skip = all.status === 2 && /no nvcc/.test(all.stderr) ? 'no nvcc on this machine' : false

t.test('the kernels of native/cuda', { skip }, async (t) => {
  t.equal(all.status, 0, all.stderr.slice(-4000) || 'exit status')
  const folder = path.join(root, 'native', 'cuda')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(cu|h)$/.test(name))
  let found = 0
  for (const file of files) {
    const source = readFileSync(path.join(folder, file), 'utf8').replace(
      /__launch_bounds__\((?:[^()]|\([^()]*\))*\)/g,
      '',
    )
    if (!source.includes('__global__')) continue
    const kernels = [...source.matchAll(/__global__\s+void\s+(\w+)\(/g)].map((match) => match[1]!)
    t.equal(kernels.length, source.split('__global__').length - 1, `${file}: all its kernels`)
    found += kernels.length
    // Templates that are never instantiated would be missing here. Those of headers are listed with the files that use them.
    const where = file.endsWith('.cu') ? path.basename(file).replace('.', '\\.') : '\\w+\\.cu'
    for (const kernel of kernels)
      t.match(
        all.stdout,
        new RegExp(`^(\\w+::)*${kernel}\\b.* ${where} +\\d+ +\\d+ +0/0 +0$`, 'm'),
        `${file}: ${kernel}`,
      )
  }
  t.ok(found > 0, 'there are kernels')
})

t.test('a kernel that spills', { skip }, async (t) => {
  const file = path.join(t.testdir(), 'spilling.cu')
  // 512 values that live across a loop do not fit into 32 registers.
  writeFileSync(
    file,
    `
    __global__ void __launch_bounds__(1024, 2) spillingKernel(const float* in, float* out, int n) {
      float values[512];
      #pragma unroll
      for (int i = 0; i < 512; ++i) values[i] = in[i * 1024 + threadIdx.x];
      for (int k = 0; k < n; ++k) {
        #pragma unroll
        for (int i = 0; i < 512; ++i) values[i] = values[i] * values[(i + 1) % 512] + float(k);
      }
      #pragma unroll
      for (int i = 0; i < 512; ++i) out[i * 1024 + threadIdx.x] = values[i];
    }
  `,
  )
  const { status, stdout } = resources('--arch=90', file)
  t.equal(status, 1)
  t.match(stdout, /^spillingKernel +spilling\.cu +\d+ +\d+ +[1-9]\d*\/[1-9]\d* +[1-9]\d*$/m)
  t.match(stdout, /1 kernels in 1 files for sm_90, 1 with local memory/)
})

t.test('a kernel with a stack, on every card', { skip }, async (t) => {
  const file = path.join(t.testdir(), 'stack.cu')
  // An array that is indexed at run time cannot lie in registers.
  writeFileSync(
    file,
    `
    __global__ void stackKernel(const int* in, int* out) {
      int values[16];
      for (int i = 0; i < 16; ++i) values[in[i] & 15] = i;
      out[threadIdx.x] = values[threadIdx.x & 15];
    }
  `,
  )
  const { status, stdout } = resources(file)
  t.equal(status, 1)
  t.equal(stdout.match(/^stackKernel +stack\.cu +\d+ +\d+ +0\/0 +[1-9]\d*$/gm)?.length, 4)
  for (const architecture of [80, 86, 89, 90])
    t.match(stdout, new RegExp(`^1 kernels in 1 files for sm_${architecture}, 1 with local memory`, 'm'))
})

const cuobjdump = process.env.CUOBJDUMP ?? 'cuobjdump'
const noMix = spawnSync(cuobjdump, ['--version']).status === 0 ? skip : 'no cuobjdump in CUOBJDUMP or on PATH'
t.test('the instructions of a kernel', { skip: noMix }, async (t) => {
  const file = path.join(t.testdir(), 'mixed.cu')
  writeFileSync(
    file,
    `
    __global__ void mixedKernel(const uint4* in, uint4* out, int* sum) {
      __shared__ uint4 staged[32];
      staged[threadIdx.x] = in[threadIdx.x];
      __syncthreads();
      out[threadIdx.x] = staged[31 - threadIdx.x];
      atomicAdd(sum, 1);
    }
  `,
  )
  const { status, stdout, stderr } = resources('--mix', '--arch=80,90', file)
  t.equal(status, 0, stderr)
  const lines = stdout.match(/^mixedKernel +mixed\.cu +\d+ instructions: .+$/gm) ?? []
  t.equal(lines.length, 2, stdout)
  for (const line of lines) t.match(line, /LDG\.128 1, .*STG\.128 1, LDS 1, STS 1, .*RED 1, .*BAR 1/)
})

t.test('a file that does not compile', { skip }, async (t) => {
  const file = path.join(t.testdir(), 'broken.cu')
  writeFileSync(file, '__global__ void brokenKernel() { undeclared(); }\n')
  const { status, stderr } = resources(file)
  t.equal(status, 1)
  t.match(stderr, /identifier "undeclared" is undefined/)
})
