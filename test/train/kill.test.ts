import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { readSafetensors } from '../../lib/files/safetensors.js'
import { cuttings } from '../support/training.js'

t.test('a killed run goes on from its last checkpoint', async (t) => {
  const train = await cuttings(t.testdir())
  const directory = path.join(train, 'run')
  mkdirSync(directory)
  let saved = 0
  for (const steps of [5, 8]) {
    // Inherits tap's TypeScript loader.
    const child = fork(path.join(path.dirname(fileURLToPath(import.meta.url)), '../support/training-victim.ts'), [
      train,
      directory,
    ])
    let first = 0
    let last = 0
    const enough = new Promise<void>((resolve, reject) => {
      child.on('message', (step: number) => {
        first ||= step
        last = step
        if (step >= first + steps) resolve()
      })
      child.once('exit', (code) => reject(new Error(`the run ended by itself with ${code}`)))
    })
    await enough
    child.removeAllListeners('exit')
    child.kill('SIGKILL')
    await once(child, 'exit')
    t.equal(first, saved + 1, 'it starts where the checkpoint ends')
    const { metadata } = await readSafetensors(path.join(directory, 'checkpoint.safetensors'))
    saved = (JSON.parse(metadata['wbsr.checkpoint']!) as { step: number }).step
    t.ok(saved >= last - 2, `step ${saved} of at least ${last} is safe`)
  }
})
