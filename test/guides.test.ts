// Every code block of README.md and docs/ runs as it stands, in a folder with the files that it names, or says why it does not.
// A comment before a block (which pages do not show) says so: test/support/guide-blocks.ts has the words.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { makeProgram } from '../lib/cli/program.js'
import { type Block, blocksOf, codeOf, guides } from './support/guide-blocks.js'
import { copyGuideFolder, guideFolder } from './support/guide-folder.js'
import { unbuilt } from './support/package.js'
import { freePort, RedisServer, withoutRedis } from './support/redis.js'
import { withoutFfmpeg } from './support/video.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const skip = unbuilt()
const documents = guides(root).map((document) => ({ document, blocks: blocksOf(root, document) }))
const isShell = (block: Block) => block.language === 'sh'
const isScript = (block: Block) => block.language === 'js'
const runs = (block: Block) => block.notRun === undefined && block.file === undefined

t.test('every block is run, a file, or says why it is not run', async (t) => {
  const all = documents.flatMap(({ blocks }) => blocks)
  t.ok(all.filter(runs).length > 25, `${all.filter(runs).length} blocks run`)
  for (const block of all) {
    const where = `${block.document}:${block.line}`
    if (block.notRun !== undefined) t.ok(block.notRun.length > 8, `${where}: ${block.notRun}`)
    else if (block.file === undefined)
      t.ok(isShell(block) || isScript(block), `${where}: ${block.language} cannot be run`)
    if (block.language === 'json') t.doesNotThrow(() => JSON.parse(block.text), where)
  }
})

t.test('commands and options that the documents name exist', async (t) => {
  const program = makeProgram()
  let options = 0
  for (const { document, blocks } of documents) {
    const prose = readFileSync(path.join(root, document), 'utf8').replace(/^```.*?^```$/gms, '')
    const code = [...prose.matchAll(/`([^`]+)`/g)].map(([, code]) => code!.replaceAll('\n', ' '))
    code.push(...blocks.filter(isShell).flatMap(({ text }) => text.replace(/ +#.*$/gm, '').split('\n')))
    for (const line of code) {
      const [name = '', ...words] = (/^(?:npx )?wbsr (.*)$/.exec(line.trim())?.[1] ?? '').split(' ')
      if (name === '' || name === 'COMMAND' || name.startsWith('-')) continue
      const command = program.commands.find((command) => command.name() === name)
      if (!command) {
        t.fail(`${document}: ${line}: there is no such command`)
        continue
      }
      for (const word of words.filter((word) => /^-+[a-z]/.test(word))) {
        options++
        if (!command.options.some(({ long, short }) => [long, short].includes(word.split('=')[0]!)))
          t.fail(`${document}: ${line}: ${name} has no option ${word}`)
      }
    }
  }
  t.ok(options > 30, `${options} options`)
})

interface Job {
  name: string
  blocks: Block[]
  files: Block[]
}

// A guide's scripts are one process and its commands another, each in a folder of its own.
const jobs = documents.flatMap(({ document, blocks }): Job[] =>
  [isScript, isShell].flatMap((kind) => {
    const own = blocks.filter((block) => kind(block) && runs(block))
    const files = blocks.filter(({ file }) => file !== undefined)
    return own.length > 0 ? [{ name: `${document}, ${own[0]!.language}`, blocks: own, files }] : []
  }),
)

/** Reason to skip a job, or false. */
function withoutPrograms({ blocks }: Job): string | false {
  const code = blocks.map(codeOf).join('\n')
  return (
    (/fleet/.test(code) && withoutRedis()) ||
    (/video|ffmpeg/i.test(code) && withoutFfmpeg('libx264', 'libx265')) ||
    false
  )
}

const IMPORTS = `
for (const name of process.argv.slice(2)) {
  console.log('# ' + name)
  await import('./' + name)
}`

/** What runs the scripts: each a module whose lines have the numbers that they have in the document. */
function scriptCommand(folder: string, blocks: readonly Block[]): string[] {
  const names = blocks.map((block) => {
    const name = `${path.basename(block.document)}-${block.line}.mjs`
    writeFileSync(path.join(folder, name), '\n'.repeat(block.line - 1) + codeOf(block))
    return name
  })
  writeFileSync(path.join(folder, 'import.mjs'), IMPORTS)
  return [process.execPath, 'import.mjs', ...names]
}

/** What runs the commands, with the ports that this test has in place of those of the guides. */
function shellCommand(blocks: readonly Block[], ports: readonly number[]): string[] {
  const code = blocks.map((block) => `echo '# ${block.document}:${block.line}'\n${codeOf(block)}`).join('\n')
  const script = code.replaceAll(':8480', `:${ports[0]}`).replaceAll('--port 9000', `--port ${ports[1]}`)
  const stop = "trap 'touch background.pids; kill $(cat background.pids) 2>&- || true' EXIT"
  return ['bash', '-euo', 'pipefail', '-c', `${stop}\n${script}`]
}

t.test('the blocks run', { skip, jobs: 2, buffered: true }, async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'wbsr-guides-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const template = path.join(folder, 'template')
  mkdirSync(template)
  await guideFolder(root, template, withoutFfmpeg('libx264') === false)

  for (const [i, job] of jobs.entries()) {
    t.test(job.name, { skip: withoutPrograms(job) }, async (t) => {
      const cwd = copyGuideFolder(template, path.join(folder, String(i)))
      for (const { file, text } of job.files) writeFileSync(path.join(cwd, file!), text)
      const ports = [await freePort(), await freePort()]
      const { NODE_OPTIONS: _options, ...env } = process.env
      Object.assign(env, { PATH: `${cwd}/bin:${path.dirname(process.execPath)}:${env['PATH']}`, XDG_CACHE_HOME: cwd })
      env['GUIDE_PORT'] = String(ports[0])
      if (job.blocks.some((block) => /fleet/.test(codeOf(block)))) {
        const redis = await RedisServer.start('--maxmemory-policy', 'noeviction')
        t.teardown(() => redis.remove())
        env['WBSR_REDIS'] = redis.url
        env['WBSR_STORE'] = path.join(cwd, 'store')
      }
      const [command, ...args] = isShell(job.blocks[0]!)
        ? shellCommand(job.blocks, ports)
        : scriptCommand(cwd, job.blocks)
      const log = path.join(cwd, 'log')
      // env(1) drops what tap preloads into every process.
      const child = spawn('bash', ['-c', 'exec env -u NODE_OPTIONS "$@" > log 2>&1', '-', command!, ...args], {
        cwd,
        env,
      })
      const [code] = (await once(child, 'close')) as [number]
      t.equal(code, 0, readFileSync(log, 'utf8').slice(-3000))
    })
  }
})
