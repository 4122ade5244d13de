// Writes weights/ATTRIBUTION.md: who made the photographs that the shipped models were trained on, from the MANIFEST.tsv of
// their folder.
//
//     node train/attribution.mjs ../shared/data/train/free
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'

const ADDRESSES = {
  'CC0-1.0': 'https://creativecommons.org/publicdomain/zero/1.0/',
  'CC-BY-2.0': 'https://creativecommons.org/licenses/by/2.0/',
  'CC-BY-2.5': 'https://creativecommons.org/licenses/by/2.5/',
  'CC-BY-3.0': 'https://creativecommons.org/licenses/by/3.0/',
  'CC-BY-4.0': 'https://creativecommons.org/licenses/by/4.0/',
}

const folder = process.argv[2]
if (!folder) {
  console.error('Usage: node train/attribution.mjs FOLDER (with MANIFEST.tsv)')
  process.exit(2)
}
const [header, ...lines] = readFileSync(path.join(folder, 'MANIFEST.tsv'), 'utf8').trimEnd().split('\n')
const keys = header.split('\t')
const photographs = lines.map((line) => Object.fromEntries(line.split('\t').map((value, i) => [keys[i], value])))
const counts = new Map()
for (const photograph of photographs) counts.set(photograph.licence, (counts.get(photograph.licence) ?? 0) + 1)
const licences = [...counts].sort((a, b) => b[1] - a[1])
const unknown = licences
  .map(([licence]) => licence)
  .filter((licence) => !(licence in ADDRESSES) && licence !== 'public domain')
if (unknown.length > 0) throw new Error(`licences without an address: ${unknown.join(', ')}`)

const cell = (text) => text.replaceAll('|', '\\|')
const text = `# Photographs that the models were trained on

The models of this folder were trained on ${photographs.length} photographs whose licences allow any use, also commercial. The weights
contain none of them. Thanks to their authors.

${licences.map(([licence, count]) => `- ${count} ${licence}${ADDRESSES[licence] ? `: <${ADDRESSES[licence]}>` : ''}`).join('\n')}

They were scaled down and saved as JPEG before; the last column says what was done to each. Written by train/attribution.mjs.

| photograph | author | licence | source | change |
| --- | --- | --- | --- | --- |
${photographs
  .map(({ file, author, licence, source, commit, path_in_source, change }) =>
    [
      path.parse(file).name,
      author,
      licence,
      `${source}${commit === '-' ? '' : ` ${commit}`}, ${path_in_source}`,
      change,
    ]
      .map(cell)
      .join(' | '),
  )
  .map((row) => `| ${row} |`)
  .join('\n')}
`
writeFileSync(path.join(import.meta.dirname, '..', 'weights/ATTRIBUTION.md'), text)
