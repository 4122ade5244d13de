// File patterns: *, ?, ** and {a,b}. Node 20 has no fs.glob, and these four are all that image lists need.
import type { Dirent } from 'node:fs'
import { readdir, realpath, stat } from 'node:fs/promises'
import path from 'node:path'

/** Whether a path is a pattern. */
export function isPattern(value: string): boolean {
  return /[*?]|\{[^{}]*,/.test(value) || expandBraces(value).length > 1
}

/** `a{b,c{d,e}}` -> abb... as a shell does: ab, acd, ace. Braces without a comma stay as they are. */
export function expandBraces(pattern: string): string[] {
  for (let open = pattern.indexOf('{'); open >= 0; open = pattern.indexOf('{', open + 1)) {
    const parts: string[] = []
    let depth = 0
    let from = open + 1
    for (let i = open; i < pattern.length; i++) {
      const c = pattern[i]
      if (c === '{') depth++
      else if (c === ',' && depth === 1) {
        parts.push(pattern.slice(from, i))
        from = i + 1
      } else if (c === '}' && --depth === 0) {
        if (parts.length === 0) break
        parts.push(pattern.slice(from, i))
        return parts.flatMap((part) => expandBraces(pattern.slice(0, open) + part + pattern.slice(i + 1)))
      }
    }
  }
  return [pattern]
}

function segmentMatcher(segment: string): RegExp {
  const source = segment
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*+/g, '[^/]*')
    .replace(/\?/g, '[^/]')
  // As in a shell, names with a leading dot must be asked for.
  return new RegExp(`^${segment.startsWith('.') ? '' : '(?!\\.)'}${source}$`, 'u')
}

/** Entries of a folder in order of name; none when it cannot be entered because it is no folder. */
async function entries(folder: string): Promise<Dirent[]> {
  try {
    return (await readdir(folder || '.', { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return []
    throw error
  }
}

/** What a path is, links followed; null: nothing, or a link that leads nowhere. */
export async function kindOf(file: string): Promise<'file' | 'folder' | null> {
  try {
    const found = await stat(file)
    return found.isDirectory() ? 'folder' : 'file'
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) return null
    throw error
  }
}

/** Files that match a pattern without braces (see expandBraces). `**` does not enter linked folders. */
export async function glob(pattern: string): Promise<string[]> {
  const found = new Set<string>()
  const walk = async (folder: string, segments: string[]): Promise<void> => {
    const [segment, ...rest] = segments as [string, ...string[]]
    const join = (name: string): string => (folder === '' ? name : path.join(folder, name))
    if (segment === '**') {
      await walk(folder, rest.length > 0 ? rest : ['*'])
      for (const entry of await entries(folder)) {
        if (entry.isDirectory() && !entry.name.startsWith('.')) await walk(join(entry.name), segments)
      }
      return
    }
    const names = /[*?]/.test(segment)
      ? (await entries(folder)).map((entry) => entry.name).filter((name) => segmentMatcher(segment).test(name))
      : [segment]
    for (const name of names) {
      const kind = await kindOf(join(name))
      if (kind === 'folder' && rest.length > 0) await walk(join(name), rest)
      if (kind === 'file' && rest.length === 0) found.add(join(name))
    }
  }
  const absolute = pattern.startsWith('/')
  await walk(
    absolute ? '/' : '',
    pattern.split('/').filter((segment) => segment !== ''),
  )
  return [...found]
}

/** All files below a folder, links followed (each folder once on a way, so that links cannot lead in circles), none hidden. */
export async function filesBelow(folder: string): Promise<string[]> {
  const found: string[] = []
  const walk = async (current: string, above: readonly string[]): Promise<void> => {
    const real = await realpath(current)
    if (above.includes(real)) return
    for (const entry of await entries(current)) {
      if (entry.name.startsWith('.')) continue
      const file = path.join(current, entry.name)
      const kind = entry.isDirectory() ? 'folder' : entry.isFile() ? 'file' : await kindOf(file)
      if (kind === 'folder') await walk(file, [...above, real])
      else if (kind === 'file') found.push(file)
    }
  }
  await walk(folder, [])
  return found
}
