// Folders that go when the process does, however it ends, but for SIGKILL.
import { rmSync } from 'node:fs'

const folders = new Set<string>()
let armed = false

export function rememberFolder(folder: string): void {
  folders.add(folder)
  if (armed) return
  armed = true
  process.on('exit', () => {
    for (const name of folders) rmSync(name, { recursive: true, force: true })
  })
}

export function loseTemporary(folder: string): void {
  folders.delete(folder)
}
