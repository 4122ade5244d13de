// Sets up what `npm run demo` and `npm test` need in a fresh clone: Debian packages, npm packages, the native addon, the
// TypeScript build. Uses only Node itself, because nothing is installed yet. Each part first checks whether it is needed,
// so that a second run takes a fraction of a second and no network.
//
//   node scripts/setup.mjs          addon and dist/
//   node scripts/setup.mjs --test   and the native checks, plain (build/) and with ASan + UBSan (build-asan/); those of
//                                   the CUDA device also with ThreadSanitizer (build-tsan/)
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { npm, root, run, runTool, SetupError, which } from './run.mjs'

const forTest = process.argv.includes('--test')
const cores = os.availableParallelism()
const at = (...names) => path.join(root, ...names)
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'))

/**
 * Runs `work` and prints one line: what is done, the time it took, and the note that `work` returned. With
 * `announceLater`, `work` calls its argument once there is something to do; without that call nothing is printed.
 */
async function step(text, work, { announceLater = false } = {}) {
  const start = performance.now()
  let announced = false
  const announce = () => {
    if (!announced) process.stdout.write(`setup: ${text} ... `)
    announced = true
  }
  if (!announceLater) announce()
  let note
  try {
    note = await work(announce)
  } catch (error) {
    if (announced) process.stdout.write('failed\n')
    throw error
  }
  if (announced)
    process.stdout.write(`${((performance.now() - start) / 1000).toFixed(1)} s${note ? ` (${note})` : ''}\n`)
}

function checkPlace() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19))
    throw new SetupError(`Node 20.19 or newer is needed, this is ${process.version}`)
  if (process.platform !== 'linux') throw new SetupError(`wbsr builds on Linux, this is ${process.platform}`)
  // CMake reads brackets in the path of file(GLOB) as a pattern, and a semicolon separates list items.
  if (/[[\];]/.test(root))
    throw new SetupError(
      `Expected a folder whose path has none of [ ] ; (CMake cannot build there) but this is ${root}`,
    )
}

/** Debian packages that are missing. Looks for the tools and libraries themselves, since they may come from elsewhere. */
function missingPackages() {
  const prefixes = ['/usr', '/usr/local', ...(process.env.CMAKE_PREFIX_PATH ?? '').split(/[:;]/)].filter(
    (prefix) => prefix !== '',
  )
  return [
    which('g++') || which('c++') ? null : 'g++',
    which('cmake') ? null : 'cmake',
    which('ninja') ? null : 'ninja-build',
    prefixes.some((prefix) => existsSync(path.join(prefix, 'include', 'dnnl.hpp'))) ? null : 'libdnnl-dev',
  ].filter((name) => name !== null)
}

/** How apt-get is run here: as it is, through sudo without a password, or (null) not at all. */
async function aptGet() {
  if (!which('apt-get')) return null
  if (process.getuid?.() === 0) return ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get']
  const allowed =
    which('sudo') &&
    (await run('sudo', ['-n', 'true']).then(
      () => true,
      () => false,
    ))
  return allowed ? ['sudo', '-n', 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get'] : null
}

/** @param {string[]} apt @param {string[]} packages */
async function install([command, ...before], packages) {
  await run(command, [...before, 'update'], { what: 'apt-get update' })
  await run(command, [...before, 'install', '-y', '--no-install-recommends', ...packages], { what: 'apt-get install' })
}

async function debianPackages() {
  const missing = missingPackages()
  if (missing.length === 0) return
  const byHand = `install them and run this again, on Debian: apt-get install ${missing.join(' ')}`
  if (!which('apt-get')) throw new SetupError(`These are missing: ${missing.join(', ')}; ${byHand}`)
  const apt = await aptGet()
  if (!apt)
    throw new SetupError(
      `These Debian packages are missing, and this user is neither root nor has sudo without a password: ${missing.join(', ')}; ${byHand}`,
    )
  await step(`installing Debian packages ${missing.join(', ')} with apt-get`, () => install(apt, missing))
  const still = missingPackages()
  if (still.length > 0) throw new SetupError(`apt-get ran but these are still missing: ${still.join(', ')}`)
}

/** Programs that some tests alone need, which are skipped where they cannot be had. */
const FOR_TESTS = [
  { name: 'ffmpeg', tests: 'video' },
  { name: 'chromium', tests: 'pages' },
  { name: 'redis-server', tests: 'fleets' },
  { name: 'mpirun', packages: ['openmpi-bin'], tests: 'training on several ranks' },
]

async function programsForTests() {
  if (!forTest) return
  for (const { name, packages = [name], tests } of FOR_TESTS) {
    if (which(name)) continue
    const apt = await aptGet()
    if (!apt) return
    await step(`installing ${packages.join(' ')} for the tests of ${tests} with apt-get`, () =>
      install(apt, packages).then(
        () => '',
        () => 'it cannot be had: these tests are skipped',
      ),
    )
  }
}

/** Whether node_modules has the versions of package-lock.json; optional packages of other systems may be absent. */
function npmUpToDate() {
  const installed = at('node_modules', '.package-lock.json')
  if (!existsSync(installed)) return false
  const have = readJson(installed).packages
  return Object.entries(readJson(at('package-lock.json')).packages).every(
    ([name, wanted]) => name === '' || (have[name] ? have[name].version === wanted.version : wanted.optional === true),
  )
}

async function npmPackages() {
  if (npmUpToDate()) return
  // No install script is needed: sharp ships its binaries as packages.
  const args = [
    'ci',
    '--include=dev',
    '--include=optional',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--prefer-offline',
  ]
  await step('installing npm packages', async () => {
    await npm(args)
  })
}

/** Removes a build folder that was configured elsewhere or with another generator: CMake would refuse it. */
function dropForeignBuild(folder) {
  const cache = path.join(folder, 'CMakeCache.txt')
  if (!existsSync(cache)) return
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1]
  const ninja = /^CMAKE_GENERATOR:INTERNAL=Ninja$/m.test(readFileSync(cache, 'utf8'))
  if (home !== root || !ninja) rmSync(folder, { recursive: true, force: true })
}

/** Configures if needed, then runs ninja; prints a line only if something is compiled. */
async function build(folder, what, configure, target) {
  dropForeignBuild(folder)
  await step(
    what,
    async (announce) => {
      if (!existsSync(path.join(folder, 'build.ninja'))) {
        announce()
        await configure()
      }
      // "Re-checking" is ninja's look at the lists of source files, not a compilation.
      const watch = (text) => {
        if (/^\[\d+\/\d+\] (?!Re-checking)/m.test(text)) announce()
      }
      await run('ninja', ['-C', folder, '-j', String(cores), ...(target ? [target] : [])], {
        what: 'the native build',
        lines: 60,
        watch,
      })
      // nvcc is optional (native/cuda/plugin.cmake).
      return /^WBSR_CUDA_STATUS:INTERNAL=(.*)$/m.exec(readFileSync(path.join(folder, 'CMakeCache.txt'), 'utf8'))?.[1]
    },
    { announceLater: true },
  )
}

/** CUDA code for the GPUs here, or for one kind: the package has that of all kinds, which takes four times as long. */
async function cudaArchitectures() {
  const query = ['--query-gpu=compute_cap', '--format=csv,noheader']
  const found = which('nvidia-smi') ? await run('nvidia-smi', query).catch(() => '') : ''
  const kinds = new Set([...found.matchAll(/^(\d+)\.(\d+)\s*$/gm)].map(([, major, minor]) => `${major}${minor}`))
  return kinds.size > 0 ? [...kinds].join(';') : '90'
}

/** The addon, and with --test the native checks beside it. */
function nativeBuild() {
  const configure = async () => {
    const options = ['CMAKE_BUILD_TYPE=Release', `WBSR_CUDA_ARCHITECTURES=${await cudaArchitectures()}`]
    await runTool('cmake-js/bin/cmake-js', ['configure', '-G', 'Ninja', ...options.map((option) => `--CD${option}`)], {
      what: 'cmake-js configure',
    })
  }
  return build(at('build'), 'compiling the native addon', configure, forTest ? null : 'wbsr')
}

/** The native checks alone with AddressSanitizer and UndefinedBehaviorSanitizer, or with ThreadSanitizer, assertions on. */
function sanitizedBuild(name, option, sanitizers) {
  const options = ['-G', 'Ninja', '-DCMAKE_BUILD_TYPE=Sanitize', `-D${option}=ON`]
  const configure = () => run('cmake', ['-S', root, '-B', at(name), ...options], { what: 'cmake' })
  return build(at(name), `compiling the native checks with ${sanitizers}`, configure, null)
}

function filesIn(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .sort()
}

/** Compiles lib/ to dist/ if lib/, the settings or the compiler changed. */
async function typeScriptBuild() {
  const hash = createHash('sha256')
  for (const file of [
    ...filesIn(at('lib')),
    at('tsconfig.json'),
    at('tsconfig.build.json'),
    at('node_modules', 'typescript', 'package.json'),
  ]) {
    hash.update(path.relative(root, file)).update('\0').update(readFileSync(file)).update('\0')
  }
  const digest = hash.digest('hex')
  const stamp = at('build', 'dist.sha256')
  if (existsSync(at('dist', 'index.js')) && existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return
  await step('compiling TypeScript', async () => {
    rmSync(at('dist'), { recursive: true, force: true })
    await runTool('typescript/bin/tsc', ['-p', 'tsconfig.build.json'], { what: 'tsc', lines: 60 })
    mkdirSync(at('build'), { recursive: true })
    writeFileSync(stamp, digest)
  })
}

try {
  checkPlace()
  await debianPackages()
  await programsForTests()
  await npmPackages()
  await nativeBuild()
  if (forTest) {
    await sanitizedBuild('build-asan', 'WBSR_SANITIZE', 'AddressSanitizer and UBSan')
    await sanitizedBuild('build-tsan', 'WBSR_TSAN', 'ThreadSanitizer')
  }
  await typeScriptBuild()
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.error(`setup: ${error.message}`)
  process.exitCode = 1
}
