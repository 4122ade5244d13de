// The folder in which a reader of the guides works: pictures, models and clips under the names that the guides use, all small.
import { chmodSync, copyFileSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { SupernetModel } from '../../lib/models/model.js'
import { span } from '../../lib/networks/span.js'
import { torchZip } from '../models/helpers/pickle.js'
import { stateDict } from '../models/helpers/samples.js'
import { picture } from './data-pictures.js'
import { realState } from './real-state.js'
import { ffmpeg } from './video.js'

/** Width and height of every picture. in.png is as large as docs/stream.md says; photographs hold a patch of 128 pixels. */
const PICTURES: Record<string, [number, number]> = {
  'photo.jpg': [64, 48],
  'photo.png': [64, 48],
  'in.png': [150, 100],
  'small.jpg': [48, 32],
  'small.png': [48, 32],
  'original.png': [96, 64],
  'before.png': [64, 48],
  'after.png': [64, 48],
  'a-lr.png': [24, 24],
  'b-lr.png': [24, 24],
  'map.tif': [64, 48],
  'photos/a.jpg': [144, 128],
  'photos/b.jpg': [128, 144],
  'held-out/a.png': [144, 128],
  'scans/1990/a.tif': [48, 32],
  'set5/hr/a.png': [96, 64],
  'b100/hr/a.png': [96, 64],
  'b100/lr_x2/a.png': [48, 32],
}

const SERVER = `
import { createServer } from 'node:http'
import sharp from 'sharp'
import { loadSupernet } from 'wbsr'

const model = await loadSupernet('wbsr:x2')
const server = createServer(async (request, response) => {
  const { data, width, height, channels } = await model.upscale(Buffer.concat(await request.toArray()))
  response.end(await sharp(data, { raw: { width, height, channels } }).webp().toBuffer())
})
await new Promise((listening) => server.listen(0, listening))
const body = await sharp({ create: { width: 16, height: 12, channels: 3, background: 'teal' } }).png().toBuffer()
const answer = await fetch('http://127.0.0.1:' + server.address().port, { method: 'POST', body })
const { format, width, height } = await sharp(Buffer.from(await answer.arrayBuffer())).metadata()
console.log(format, width, height)
server.closeAllConnections()
server.close()
`

/**
 * Programs as a reader has them. What installs does nothing here (test/package.test.ts does that), npx runs what is installed,
 * and what runs until it is stopped goes on in the background once it has said that it is ready.
 */
const programs = (root: string): Record<string, string> => ({
  npm: 'exit 0',
  'apt-get': 'exit 0',
  npx: 'exec "$@"',
  esbuild: `exec '${root}/node_modules/.bin/esbuild' "$@"`,
  // webpack-cli, which npm does not install with webpack: the configuration by webpack's own API.
  webpack: `exec node --input-type=module -e "
    import webpack from '${root}/node_modules/webpack/lib/index.js'
    const { default: configuration } = await import(process.cwd() + '/$2')
    webpack(configuration, (error, stats) => {
      if (!error && !stats.hasErrors()) return
      console.error(error ?? stats.toString())
      process.exitCode = 1
    })"`,
  wbsr: `case "$1 $2" in
  serve*) [[ "$*" == *--port* ]] || set -- "$@" --port "$GUIDE_PORT" ;;
  "fleet worker"*) ;;
  *) exec node '${root}/dist/cli/main.js' "$@" ;;
esac
log=$(mktemp -p "$PWD")
node '${root}/dist/cli/main.js' "$@" > "$log" 2>&1 &
echo $! >> background.pids
until [ -s "$log" ]; do kill -0 $! || { cat "$log"; exit 1; }; sleep 0.05; done`,
})

/** Fills `folder`. @param clips whether ffmpeg is there to make the clips */
export async function guideFolder(root: string, folder: string, clips: boolean): Promise<void> {
  for (const [i, [name, [width, height]]] of Object.entries(PICTURES).entries()) {
    const file = path.join(folder, name)
    mkdirSync(path.dirname(file), { recursive: true })
    await sharp(picture(width, height, i).data, { raw: { width, height, channels: 3 } }).toFile(file)
  }
  copyFileSync(path.join(root, 'weights/x2.safetensors'), path.join(folder, 'x2.safetensors'))
  for (const name of ['4x-AnyModel.pth', 'x4.pth']) writeFileSync(path.join(folder, name), torchZip(stateDict))
  const model = new SupernetModel(realState(span({ scale: 4, widths: [28], depths: [6] })))
  await model.exportSafetensors(path.join(folder, 'span_x4.pth')) // recognised by its contents
  model.dispose()
  if (clips) {
    const source = ['-f', 'lavfi', '-i', 'testsrc2=s=64x48:r=10:d=0.4', '-pix_fmt', 'yuv420p']
    for (const name of ['in.mp4', 'in.mkv', 'clip.mp4']) ffmpeg(...source, path.join(folder, name))
  }
  writeFileSync(path.join(folder, 'server.js'), SERVER)
  const modules = path.join(folder, 'node_modules')
  mkdirSync(modules)
  symlinkSync(root, path.join(modules, 'wbsr'))
  symlinkSync(path.join(root, 'node_modules/sharp'), path.join(modules, 'sharp'))
  const bin = path.join(folder, 'bin')
  mkdirSync(bin)
  for (const [name, script] of Object.entries(programs(root))) {
    writeFileSync(path.join(bin, name), `#!/bin/bash\n${script}\n`)
    chmodSync(path.join(bin, name), 0o755)
  }
}

/** A copy for a job of its own. */
export function copyGuideFolder(from: string, to: string): string {
  cpSync(from, to, { recursive: true, verbatimSymlinks: true })
  return to
}
