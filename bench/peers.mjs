// Brings the peers into bench/peers (ignored by git): ONNX Runtime from npm, PyTorch through pip where there is a
// package index or a wheel (PIP_FIND_LINKS). Each is { ... } or { missing: why }; a benchmark says why and goes on.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { root, run, which } from '../scripts/run.mjs'

const folder = path.join(root, 'bench', 'peers')
export const versions = {
  'onnxruntime-node': '1.30.0',
  'onnxruntime-web': '1.30.0',
  '@tensorflow/tfjs': '4.11.0',
  '@tensorflow/tfjs-backend-wasm': '4.11.0',
  '@upscalerjs/default-model': '1.0.0',
  torch: '2.13.0',
}

const reason = (error) =>
  String(error.message)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /err|no matching|could not|failed|ENOTFOUND/i.test(line))
    .at(-1) ?? error.message

/** Installs npm packages into bench/peers/NAME, whose scripts do not run. { folder } with them, or { missing }. */
export async function npmPackages(name, packages, env = {}) {
  const home = path.join(folder, name)
  const loads = packages.map((one) => `require.resolve('${one}')`).join(';')
  const works = () =>
    run(process.execPath, ['-e', loads], { cwd: home }).then(
      () => true,
      () => false,
    )
  if (!existsSync(path.join(home, 'node_modules')) || !(await works())) {
    mkdirSync(home, { recursive: true })
    writeFileSync(path.join(home, 'package.json'), '{ "private": true }\n')
    const wanted = packages.map((one) => `${one}@${versions[one]}`)
    console.log(`bench: installing ${wanted.join(', ')} into bench/peers`)
    const flags = ['--no-audit', '--no-fund', '--ignore-scripts', '--no-package-lock']
    try {
      await run('npm', ['install', ...flags, ...wanted], { cwd: home, env: { ...process.env, ...env } })
      if (!(await works())) return { missing: `${packages.join(', ')} installed but not found` }
    } catch (error) {
      return { missing: `${packages.join(', ')} could not be installed: ${reason(error)}` }
    }
  }
  return { folder: home }
}

/** { folder } with onnxruntime-node in its node_modules. Only its npm package is fetched: CPU libraries are inside. */
export async function onnxRuntime() {
  const env = { ONNXRUNTIME_NODE_INSTALL: 'skip', ONNXRUNTIME_NODE_INSTALL_CUDA: 'skip' }
  const found = await npmPackages('onnxruntime', ['onnxruntime-node'], env)
  if (found.missing) return found
  try {
    await run(process.execPath, ['-e', "require('onnxruntime-node')"], { cwd: found.folder })
  } catch {
    return { missing: 'onnxruntime-node was installed but cannot be loaded' }
  }
  return found
}

/** { python } whose `import torch` works. */
export async function torch() {
  const home = path.join(folder, 'torch')
  const python = path.join(home, 'bin', 'python')
  const works = () =>
    run(python, ['-W', 'ignore', '-c', 'import torch; torch.nn.Conv2d(1, 1, 1)']).then(
      () => true,
      () => false,
    )
  if (existsSync(python) && (await works())) return { python, version: versions.torch }
  if (!which('python3')) return { missing: 'python3 is not installed' }
  console.log(`bench: installing PyTorch ${versions.torch} (CPU) into bench/peers; this can take minutes`)
  mkdirSync(folder, { recursive: true })
  const pip = (...args) =>
    run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--retries', '0', ...args])
  try {
    await run('python3', ['-m', 'venv', '--clear', home])
    try {
      await pip(`torch==${versions.torch}`)
    } catch (error) {
      // One missing dependency fails the whole of it; what `import torch` really needs may still be there.
      await pip('--no-deps', `torch==${versions.torch}`)
      for (const name of [
        'typing-extensions',
        'filelock',
        'sympy',
        'mpmath',
        'networkx',
        'jinja2',
        'markupsafe',
        'fsspec',
      ])
        await pip('--no-deps', name).catch(() => {})
      if (!(await works())) throw error
    }
  } catch (error) {
    return { missing: `PyTorch could not be installed: ${reason(error)}` }
  }
  return (await works())
    ? { python, version: versions.torch }
    : { missing: 'PyTorch was installed but cannot be imported' }
}
