// Run by test/stream/tile-reader.test.ts in a process of its own: streams a large picture through tiles and prints the peak of
// its resident memory in MiB. Arguments: the picture, the file to write. Needs --expose-gc: garbage is collected as it
// comes, so that the peak shows what is held and not how long V8 waits (it lets some 64 MiB of typed arrays pile up).
import { readFileSync, writeFileSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { stitchTo } from '../../lib/stream/stitch.js'
import { TileReader } from '../../lib/stream/tile-reader.js'
import type { Tile } from '../../lib/types.js'

async function* collecting(tiles: AsyncIterable<Tile>) {
  let count = 0
  for await (const tile of tiles) {
    if (++count % 64 === 0) global.gc!()
    yield tile
  }
}

// Forget the peak of loading TypeScript (Linux: VmHWM starts anew).
global.gc!()
writeFileSync('/proc/self/clear_refs', '5')
await pipeline(
  new TileReader(process.argv[2]!, { size: 128 }, 4 << 20),
  collecting,
  stitchTo(process.argv[3]!, { compressionLevel: 1 }),
)
const kilobytes = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]
process.stdout.write(String(Math.round(Number(kilobytes) / 1024)))
