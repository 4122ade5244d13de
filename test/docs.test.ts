// What the code and the documents cite exists: documents, their sections, and the files and headings that links lead to.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const read = (file: string) => readFileSync(path.join(root, file), 'utf8')
const below = (folder: string, extension: RegExp) =>
  readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => extension.test(name) && !/(^|\/)(node_modules|peers)\//.test(name))
    .map((name) => path.join(folder, name))
    .sort()

const documents = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...['docs', 'bench', 'test', 'third-party', 'weights'].flatMap((folder) => below(folder, /\.md$/)),
]
const sources = ['lib', 'native', 'test', 'bench', 'examples', 'scripts', 'train', '.ci'].flatMap((folder) =>
  below(folder, /\.(ts|mjs|cc|h|cu|inc|py|sh|cmake)$|CMakeLists\.txt$|\/run$/),
)
sources.push('CMakeLists.txt')

/** Headings as GitHub links to them. */
const anchors = (document: string) =>
  [...read(document).matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  )

t.test('cited documents and sections exist', async (t) => {
  let cited = 0
  for (const file of [...sources, ...documents]) {
    // "method.md section 6", "method.md 2, 3, 6", "bench/README.md"
    for (const [citation, name, numbers] of read(file).matchAll(
      /([\w./-]*\w\.md)\b(?:`?\)?,? (?:sections? )?((?:\d+(?:, |(?= and )| and )?)+)(?![\d.]*[\w%]))?/g,
    )) {
      if (name!.startsWith('../shared/')) continue // not part of the project
      const found = [path.join('docs', name!), name!, path.join(path.dirname(file), name!)].find((candidate) =>
        existsSync(path.join(root, candidate)),
      )
      if (!found) {
        t.fail(`${file} cites ${citation}, which does not exist`)
        continue
      }
      cited++
      for (const number of numbers?.match(/\d+/g) ?? [])
        if (!new RegExp(`^## ${number}\\. `, 'm').test(read(found)))
          t.fail(`${file} cites ${citation}: ${found} has no section ${number}`)
    }
  }
  t.ok(cited > 30, `${cited} citations`)
})

t.test('links lead somewhere', async (t) => {
  for (const document of documents) {
    for (const [link, target] of read(document).matchAll(/\]\(([^()\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue
      const [file, anchor] = target!.split('#') as [string, string?]
      const to = file === '' ? document : path.join(path.dirname(document), decodeURIComponent(file))
      if (!existsSync(path.join(root, to))) t.fail(`${document}: ${link}`)
      else if (anchor !== undefined && !anchors(to).includes(anchor)) t.fail(`${document}: ${link} has no such heading`)
    }
  }
  t.ok(documents.includes('README.md') && documents.length > 5)
})

t.test('paths in the documents exist', async (t) => {
  let named = 0
  for (const document of documents.filter((name) => name !== 'CHANGELOG.md')) {
    for (const [, name] of read(document).matchAll(
      /(?<![\w./-])((?:lib|native|test|bench|scripts|docs)\/[\w./-]*[\w/])(?![\w*])/g,
    )) {
      if (/NAME|^bench\/peers/.test(name!)) continue
      named++
      const there = ['', '.ts', '.cc', '.h', '.cu'].some((extension) => existsSync(path.join(root, name! + extension)))
      if (!there) t.fail(`${document} names ${name}, which does not exist`)
    }
  }
  t.ok(named > 20, `${named} paths`)
})
