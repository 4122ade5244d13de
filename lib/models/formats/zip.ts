// Zip archives by yauzl, with the checks that it leaves to its callers: checksums, repeated names, and a bound on what is
// inflated.
import { isNativeError } from 'node:util/types'
import { crc32 } from 'node:zlib'
import yauzl, { type Entry, type ZipFile } from 'yauzl'
import { damaged, type ReadBudget } from '../../files/read-budget.js'

export interface ZipArchive {
  names: readonly string[]
  /** The bytes of a file in the archive. @throws WbsrError WBSR_INVALID_FILE */
  read(name: string): Promise<Buffer>
}

const MAX_ENTRIES = 100_000

const reason = (error: unknown) => (isNativeError(error) ? error.message : String(error))

function openArchive(bytes: Buffer): Promise<ZipFile> {
  return new Promise((resolve, reject) => {
    yauzl.fromBuffer(bytes, { lazyEntries: true }, (error, zip) => (error ? reject(error) : resolve(zip)))
  })
}

function listEntries(zip: ZipFile): Promise<Entry[]> {
  return new Promise((resolve, reject) => {
    const entries: Entry[] = []
    zip.on('error', reject)
    zip.on('end', () => resolve(entries))
    zip.on('entry', (entry: Entry) => {
      if (entries.length >= MAX_ENTRIES) return reject(new Error(`it has more than ${MAX_ENTRIES} entries`))
      entries.push(entry)
      zip.readEntry()
    })
    zip.readEntry()
  })
}

function readEntry(zip: ZipFile, entry: Entry): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    zip.openReadStream(entry, (error, stream) => {
      if (error) return reject(error)
      const parts: Buffer[] = []
      let length = 0
      stream.on('error', reject)
      stream.on('data', (part: Buffer) => {
        length += part.length
        if (length > entry.uncompressedSize) {
          stream.destroy()
          return reject(new Error(`it has more than the ${entry.uncompressedSize} bytes that it should have`))
        }
        parts.push(part)
      })
      stream.on('end', () => resolve(parts.length === 1 ? parts[0]! : Buffer.concat(parts, length)))
    })
  })
}

/** @throws WbsrError WBSR_INVALID_FILE */
export async function readZip(file: string, bytes: Buffer, budget: ReadBudget): Promise<ZipArchive> {
  let zip: ZipFile
  const entries = new Map<string, Entry>()
  try {
    zip = await openArchive(bytes)
    for (const entry of await listEntries(zip)) {
      if (entry.fileName.endsWith('/')) continue
      if (entries.has(entry.fileName)) throw new Error(`entry ${entry.fileName} appears twice`)
      entries.set(entry.fileName, entry)
    }
  } catch (error) {
    throw damaged(file, `is a damaged zip archive: ${reason(error)}`, error)
  }
  return {
    names: [...entries.keys()],
    async read(name) {
      const entry = entries.get(name)
      if (!entry) throw damaged(file, `its archive lacks ${name}`)
      budget.take(entry.uncompressedSize, `the archive's entry ${name}`)
      let data: Buffer
      try {
        data = await readEntry(zip, entry)
      } catch (error) {
        throw damaged(file, `the archive's entry ${name} cannot be read: ${reason(error)}`, error)
      }
      if (data.length !== entry.uncompressedSize)
        throw damaged(
          file,
          `the archive's entry ${name} has ${data.length} bytes where ${entry.uncompressedSize} are expected`,
        )
      // PyTorch has an option to leave checksums out, which are then 0.
      if (entry.crc32 !== 0 && crc32(data) !== entry.crc32)
        throw damaged(file, `the archive's entry ${name} is damaged: its checksum differs`)
      return data
    },
  }
}
