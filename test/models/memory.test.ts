// Memory of models that come and go, as in a server that loads one per request.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const script = fileURLToPath(new URL('../support/models-memory.ts', import.meta.url))

// Measured: about 20 MiB; 788 where buffers came from malloc, whose arenas (one per thread) keep what models leave.
t.test('a model that is disposed of gives its working memory back', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [...process.execArgv, '--expose-gc', script, '120'])
  t.ok(Number(stdout) < 60, `100 models more, ${stdout} MiB more`)
})
