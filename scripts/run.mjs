// Runs other programs and shows their output only if they fail.
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The project's folder. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')

/** A failure with a message that explains it and what to do; no stack is needed. */
export class SetupError extends Error {}

/**
 * The last non-empty lines of a tool's output, without progress lines that were overwritten.
 *
 * @param {string} text
 */
export function lastLines(text, count = 25) {
  const lines = text
    .split('\n')
    .map((line) => line.slice(line.lastIndexOf('\r') + 1).trimEnd())
    .filter((line) => line !== '')
  return lines
    .slice(-count)
    .map((line) => `  | ${line}`)
    .join('\n')
}

/**
 * Path of a program on PATH, or null.
 *
 * @param {string} program
 */
export function which(program) {
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    if (folder === '') continue
    const file = path.join(folder, program)
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {}
  }
  return null
}

/**
 * Runs a program to its end and resolves with its output. What it printed is shown only in the error.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {object} [options]
 * @param {string} [options.cwd]
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {string} [options.what] the name in messages
 * @param {number} [options.lines] of the output, in the error
 * @param {(text: string) => void} [options.watch] gets the output as it comes
 * @returns {Promise<string>}
 */
export function run(
  command,
  args,
  { cwd = root, env = process.env, what = command, lines = 25, watch = (_text) => {} } = {},
) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    const take = (text) => {
      output += text
      watch(text)
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    child.on('error', (error) => reject(new SetupError(`${what} could not be started: ${error.message}`)))
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(output)
      const how = signal ? `was ended by ${signal}` : `failed with exit status ${code}`
      reject(new SetupError(`${what} ${how}: ${[command, ...args].join(' ')}\n${lastLines(output, lines)}`))
    })
  })
}

/**
 * Runs a JavaScript tool of node_modules by its file: node_modules/.bin may be missing in copied trees.
 *
 * @param {string} file
 * @param {string[]} args
 * @param {Parameters<typeof run>[2]} [options]
 */
export const runTool = (file, args, options) =>
  run(process.execPath, [path.join(root, 'node_modules', file), ...args], options)

/**
 * Runs npm, the one that started this script where there is one.
 *
 * @param {string[]} args
 * @param {Parameters<typeof run>[2]} [options]
 */
export function npm(args, options) {
  const started = process.env.npm_execpath
  const [command, before] = started && /\.c?js$/.test(started) ? [process.execPath, [started]] : ['npm', []]
  return run(command, [...before, ...args], { what: `npm ${args[0]}`, ...options })
}

/** What npm says where a package is neither in its cache nor to be had. */
export const offline = /ENOTCACHED|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH/
