// Run in a process of its own, with --expose-gc: enlarges pictures from memory and from file to file, and prints the resident
// memory in MiB after as many of them as each argument says, as JSON.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { SupernetModel } from '../../lib/models/model.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { makePng } from './encoded.js'
import { picture } from './infer-pictures.js'
import { realState } from './real-state.js'

const resident = () => {
  for (let i = 0; i < 3; i++) global.gc!()
  return Math.round(Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024)
}

const folder = mkdtempSync(path.join(tmpdir(), 'wbsr-many-'))
const file = path.join(folder, 'out.png')
const model = new SupernetModel(realState(srresnet({ scale: 2, widths: [8], depths: [1] }), { threads: 1 }))
const counts = process.argv.slice(2).map(Number)
const figures: number[] = []
const png = makePng(picture(60, 40))
try {
  for (let done = 1; done <= counts.at(-1)!; done++) {
    // Sizes change, so that nothing is right by being reused.
    if (done % 4 === 0) await model.upscaleFile(png, file, { scale: 1 + (done % 7) / 7, router: { subnet: 0 } })
    else await model.upscale(done % 2 ? png : picture(30 + (done % 50), 50), { router: { subnet: 0 } })
    if (counts.includes(done)) figures.push(resident())
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.stdout.write(JSON.stringify(figures))
