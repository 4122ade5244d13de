// sharp in, model, sharp out: reads a picture with sharp, enlarges it twice with wbsr, and writes what sharp makes of that,
// here a WebP of a given width. Raw rows flow through, so no picture is held as a whole by wbsr.
//
//   npm install wbsr sharp
//   node sharp-pipeline.mjs photo.jpg photo.webp 1600
import { pipeline } from 'node:stream/promises'
import sharp from 'sharp'
import { loadSupernet } from 'wbsr'

const [input, output, wanted = '1600'] = process.argv.slice(2)
if (input === undefined || output === undefined || !(Number(wanted) >= 1)) {
  console.error('usage: node sharp-pipeline.mjs INPUT OUTPUT [WIDTH]')
  process.exit(2)
}

const model = await loadSupernet('wbsr:x2')
const { scale } = model

// The size after the camera's orientation is applied, which autoOrient() does.
const decoder = sharp(input).autoOrient()
const { width, height } = (await decoder.metadata()).autoOrient

// Any steps of sharp may stand here, as long as the rows come out as 8-bit sRGB of a known size.
decoder.toColourspace('srgb').flatten({ background: 'white' }).raw({ depth: 'uchar' })

const encoder = sharp({ raw: { width: width * scale, height: height * scale, channels: 3 } })
  .resize({ width: Number(wanted), withoutEnlargement: true })
  .webp({ quality: 85 })

const [, info] = await Promise.all([
  pipeline(decoder, model.upscaleStream({ width, height, channels: 3 }), encoder),
  encoder.toFile(output),
])
console.log(`${output}: ${info.width} x ${info.height}, ${info.size} bytes`)
model.dispose()
