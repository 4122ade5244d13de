// Colour, progress and estimates on a terminal, and nothing of them elsewhere. script(1) makes the terminal.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { drawPicture, program, tinyModel, skip as unbuilt, wbsr } from '../support/cli.js'

const skip =
  unbuilt || (spawnSync('script', ['--version']).status === 0 ? false : 'script (util-linux) is not installed')
if (skip) {
  t.pass('a terminal', { skip })
  process.exit()
}

const home = t.testdir()
const model = await tinyModel(path.join(home, 'x2.safetensors'))
const picture = await drawPicture(path.join(home, 'p.png'), 700, 500)
writeFileSync(path.join(home, 'bad.png'), 'no picture')
// With three of them one line of progress at least comes after the first result.
const more = await Promise.all(['q', 'r'].map((name) => drawPicture(path.join(home, `${name}.png`), 200, 200)))
const args = ['upscale', picture, path.join(home, 'bad.png'), ...more, '-m', model, '-o', path.join(home, 'out')]

function onTerminal(env: NodeJS.ProcessEnv = {}): string {
  const file = path.join(home, 'typescript')
  const { NODE_OPTIONS: _options, NO_COLOR: _colour, ...clean } = process.env
  const command = [process.execPath, program, ...args].map((word) => `'${word}'`).join(' ')
  spawnSync('script', ['-qec', command, file], { env: { TERM: 'xterm', ...clean, ...env }, stdio: 'ignore' })
  return readFileSync(file, 'utf8')
}

t.test('a terminal', async (t) => {
  const seen = onTerminal()
  t.match(seen, /\r\x1b\[2K\[\d\/4\] [\d.]+ %/, 'progress')
  t.match(seen, /to go/, 'an estimate')
  t.match(seen, /\x1b\[31merror:\x1b\[39m/, 'colour')
  t.match(seen, /3 written, 1 failed/)
})

t.test('NO_COLOR, and a terminal without control', async (t) => {
  const plain = onTerminal({ NO_COLOR: '1' })
  t.match(plain, /\r\x1b\[2K/, 'progress')
  t.notMatch(plain, /\x1b\[3\d/)
  t.notMatch(onTerminal({ TERM: 'dumb' }), /\x1b/)
})

t.test('no terminal', async (t) => {
  const { said, text } = await wbsr(args)
  t.notMatch(said + text, /[\x1b\r]/)
  t.notMatch(said, /to go/)
  t.match(said, /3 written, 1 failed/)
})
