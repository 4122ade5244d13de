// Programs that a test needs and that may be absent.
import { accessSync, constants } from 'node:fs'
import path from 'node:path'

/** The file of a program of PATH; undefined: there is none. */
export function findProgram(name: string): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(path.delimiter)
    .map((folder) => path.join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}
