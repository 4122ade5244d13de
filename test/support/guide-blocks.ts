// The code blocks of the documents, and what is done with each.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

export interface Block {
  document: string
  /** Line of the first line of code, from 1. */
  line: number
  language: string
  /** As it stands in the document. */
  text: string
  /** What the comment before it says: `<!-- not run: reason -->`. */
  notRun?: string
  /** `<!-- file: NAME -->`: a file that other blocks use. */
  file?: string
  /** `<!-- run with: A = B; C = D -->`: parts that are replaced before it runs. */
  replacements: [string, string][]
}

const BLOCK = /^(?:<!-- (not run|file|run with): (.*?) -->\n\n)?```(\w*)\n(.*?)^```$/gms

/** The blocks of a document that name a language: those without one are drawings. */
export function blocksOf(root: string, document: string): Block[] {
  const source = readFileSync(path.join(root, document), 'utf8')
  const blocks: Block[] = []
  for (const { 0: whole, 1: kind, 2: words, 3: language, 4: text, index } of source.matchAll(BLOCK)) {
    if (language === '') continue
    const line = source.slice(0, index + whole.indexOf('```') + 1).split('\n').length + 1
    blocks.push({
      document,
      line,
      language: language!,
      text: text!,
      ...(kind === 'not run' && { notRun: words! }),
      ...(kind === 'file' && { file: words! }),
      replacements:
        kind === 'run with' ? words!.split('; ').map((pair) => pair.split(' = ', 2) as [string, string]) : [],
    })
  }
  return blocks
}

export const guides = (root: string): string[] => [
  'README.md',
  ...readdirSync(path.join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
]

/**
 * What makes every block quick, besides its own replacements: two steps in place of any number of them, and of `wbsr train`, whose
 * defaults are large, small networks and patches.
 */
const QUICK: [RegExp, string][] = [
  [/\b(steps"?): \d+/g, '$1: 2'],
  [/--steps \d+/g, '--steps 2 --batch 1 --patch 32'],
  [/wbsr train photos\//g, 'wbsr train photos/ --widths 16,32 --depths 1,2'],
]

/** What is run. @throws Error: a replacement replaces nothing */
export function codeOf({ document, line, text, replacements }: Block): string {
  let code = text
  for (const [from, to] of replacements) {
    if (!code.includes(from)) throw new Error(`${document}:${line}: nothing to replace: ${from}`)
    code = code.replaceAll(from, to)
  }
  for (const [from, to] of QUICK) code = code.replaceAll(from, to)
  return code
}
