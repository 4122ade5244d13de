// Brings the peers into bench/peers (ignored by git): ONNX Runtime from npm, PyTorch through pip where there is a
// package index or a wheel (PIP_FIND_LINKS). Each is { ... } or { missing: why }; a benchmark says why and goes on.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { root, run, which } from '../scripts/run.mjs'

const folder = path.join(root, 'bench', 'peers')
export const versions = { onnxruntime: '1.30.0', torch: '2.13.0' }

const reason = (error) =>
  String(error.message)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /err|no matching|could not|failed|ENOTFOUND/i.test(line))
    .at(-1) ?? error.message

/** { folder } with onnxruntime-node in its node_modules. Only its npm package is fetched: CPU libraries are inside. */
export async function onnxRuntime() {
  const home = path.join(folder, 'onnxruntime')
  const works = () =>
    run(process.execPath, ['-e', "require('onnxruntime-node')"], { cwd: home }).then(
      () => true,
      () => false,
    )
  if (!existsSync(path.join(home, 'node_modules', 'onnxruntime-node')) || !(await works())) {
    mkdirSync(home, { recursive: true })
    writeFileSync(path.join(home, 'package.json'), '{ "private": true }\n')
    console.log(`bench: installing onnxruntime-node ${versions.onnxruntime} into bench/peers`)
    try {
      const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip', ONNXRUNTIME_NODE_INSTALL_CUDA: 'skip' }
      await run(
        'npm',
        [
          'install',
          '--no-audit',
          '--no-fund',
          '--ignore-scripts',
          '--no-package-lock',
          `onnxruntime-node@${versions.onnxruntime}`,
        ],
        { cwd: home, env },
      )
      if (!(await works())) return { missing: 'onnxruntime-node was installed but cannot be loaded' }
    } catch (error) {
      return { missing: `onnxruntime-node could not be installed: ${reason(error)}` }
    }
  }
  return { folder: home, version: versions.onnxruntime }
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
