// Run by peak-memory.ts in a process of its own: streams a picture through tiles, or through a network too, or through the
// network twice and a resize by bands, and prints the peak of its resident memory in MiB. Arguments: copy, upscale or file, the
// picture, the file to write. Needs --expose-gc:
// garbage is collected as it comes, so that the peak shows what is held and not how long V8 waits (it lets some 64 MiB
// of typed arrays pile up).
import { readFileSync, writeFileSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { srresnet } from '../../lib/networks/srresnet.js'
import { createInferStream } from '../../lib/stream/infer-stream.js'
import { stitchTo } from '../../lib/stream/stitch.js'
import { TileReader } from '../../lib/stream/tile-reader.js'
import { upscaleFile } from '../../lib/stream/upscale-file.js'
import type { Tile } from '../../lib/types.js'
import { realState } from './real-state.js'

const [what, input, output] = process.argv.slice(2) as [string, string, string]

async function* collecting(tiles: AsyncIterable<Tile>) {
  let count = 0
  for await (const tile of tiles) {
    if (++count % 64 === 0) global.gc!()
    yield tile
  }
}

const state = realState(srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] }))
const upscaling = () => createInferStream(state, { router: 'projection' })
const work = what === 'upscale' ? upscaling() : new PassThrough({ objectMode: true, highWaterMark: 1 })

// Forget the peak of loading TypeScript (Linux: VmHWM starts anew).
global.gc!()
writeFileSync('/proc/self/clear_refs', '5')
const stream = () =>
  pipeline(
    new TileReader(input, { size: what === 'upscale' ? 64 : 128 }, 4 << 20),
    work,
    collecting,
    stitchTo(output, { compressionLevel: 1 }),
  )
const options = { scale: 2.5, router: 'projection', compressionLevel: 1, onProgress: () => global.gc!() } as const
await (what === 'file' ? upscaleFile(state, input, output, options) : stream())
const kilobytes = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]
process.stdout.write(String(Math.round(Number(kilobytes) / 1024)))
