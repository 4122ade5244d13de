// Finding files: patterns (*, ?, **, {a,b}, {01..99}) and folders, with a word about what is no file.
//
// brace-expansion does the braces. The walk is ours: tinyglobby and glob leave out FIFOs, dangling links and folders that
// cannot be read, which a run has to report, and tinyglobby either enters linked folders twice or drops linked files. Node
// has fs.glob from version 22 on only.
import type { Dirent } from 'node:fs'
import { lstat, readdir, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { expand } from 'brace-expansion'

/** `a{b,c{d,e}}` -> ab, acd, ace; `{08..10}` -> 08, 09, 10. Other braces stay as they are. */
export const expandBraces = (pattern: string): string[] => expand(pattern)

/** Whether a path is a pattern. */
export function isPattern(value: string): boolean {
  return /[*?]/.test(value) || expandBraces(value).length > 1
}

function segmentMatcher(segment: string): RegExp {
  const source = segment
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*+/g, '[^/]*')
    .replace(/\?/g, '[^/]')
  // As in a shell, only a pattern with a leading dot matches hidden files.
  return new RegExp(`^${segment.startsWith('.') ? '' : '(?!\\.)'}${source}$`, 'u')
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? ''

/** Entries of a folder in order of name; none when it cannot be entered because it is no folder. */
async function entries(folder: string): Promise<Dirent[]> {
  try {
    return (await readdir(folder || '.', { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(codeOf(error))) return []
    throw error
  }
}

/** 'file' and 'folder', or in words what a path is that cannot be read as either. */
export type Kind = 'file' | 'folder' | (string & {})

/** What a path is, links followed; null: nothing. Opens nothing, so that a FIFO without a writer does not block. */
export async function kindOf(file: string): Promise<Kind | null> {
  try {
    const found = await stat(file)
    if (found.isDirectory()) return 'folder'
    if (found.isFile()) return 'file'
    if (found.isFIFO()) return 'a FIFO'
    if (found.isSocket()) return 'a socket'
    return 'a device'
  } catch (error) {
    if (codeOf(error) === 'EACCES') return 'not accessible (EACCES)'
    if (!['ENOENT', 'ENOTDIR', 'ELOOP'].includes(codeOf(error))) throw error
  }
  const link = await lstat(file).catch(() => null)
  return link?.isSymbolicLink() ? 'a link that leads nowhere' : null
}

/** Files that were found, and paths in their place that are something else. */
export interface Found {
  files: string[]
  others: { file: string; kind: string }[]
}

/**
 * Files that match a pattern without braces (see expandBraces); others: FIFOs, sockets, devices, dangling links and folders
 * whose names match. `**` does not enter linked folders.
 */
export async function glob(pattern: string): Promise<Found> {
  const found = new Set<string>()
  const others = new Map<string, string>()
  const list = (folder: string): Promise<Dirent[]> =>
    entries(folder).catch((error: unknown) => {
      others.set(folder, `a folder that cannot be read (${codeOf(error)})`)
      return []
    })
  const walk = async (folder: string, segments: string[]): Promise<void> => {
    const [segment, ...rest] = segments as [string, ...string[]]
    const join = (name: string): string => (folder === '' ? name : path.join(folder, name))
    if (segment === '**') {
      await walk(folder, rest.length > 0 ? rest : ['*'])
      for (const entry of await list(folder)) {
        if (entry.isDirectory() && !entry.name.startsWith('.')) await walk(join(entry.name), segments)
      }
      return
    }
    const names = /[*?]/.test(segment)
      ? (await list(folder)).map((entry) => entry.name).filter((name) => segmentMatcher(segment).test(name))
      : [segment]
    for (const name of names) {
      const kind = await kindOf(join(name))
      if (rest.length > 0) {
        if (kind === 'folder') await walk(join(name), rest)
      } else if (kind === 'file') found.add(join(name))
      else if (kind !== null) others.set(join(name), kind === 'folder' ? 'a folder' : kind)
    }
  }
  const absolute = pattern.startsWith('/')
  await walk(
    absolute ? '/' : '',
    pattern.split('/').filter((segment) => segment !== ''),
  )
  return { files: [...found], others: [...others].map(([file, kind]) => ({ file, kind })) }
}

/**
 * All files below a folder, links followed (each folder once on a way, so that links cannot lead in circles), none hidden;
 * others: FIFOs, sockets, devices, dangling links, folders without files and those that cannot be read.
 */
export async function filesBelow(folder: string): Promise<Found> {
  const files: string[] = []
  const others: Found['others'] = []
  const walk = async (current: string, above: readonly string[]): Promise<void> => {
    const real = await realpath(current)
    if (above.includes(real)) return
    for (const entry of await entries(current)) {
      if (entry.name.startsWith('.')) continue
      const file = path.join(current, entry.name)
      const kind = entry.isDirectory() ? 'folder' : entry.isFile() ? 'file' : await kindOf(file)
      if (kind === 'file') files.push(file)
      else if (kind === 'folder') {
        const before = files.length
        try {
          await walk(file, [...above, real])
          if (files.length === before) others.push({ file, kind: 'a folder' })
        } catch (error) {
          others.push({ file, kind: `a folder that cannot be read (${codeOf(error)})` })
        }
      } else if (kind !== null) others.push({ file, kind })
    }
  }
  await walk(folder, [])
  return { files, others }
}
