// What goes into the result beside the enlarged video, and into which form. The network's place is taken by doubled pixels.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { assemble } from '../../lib/video/assemble.js'
import { containerOf } from '../../lib/video/containers.js'
import type { FramePipeline } from '../../lib/video/frame-pipeline.js'
import type { VideoSettings } from '../../lib/video/options.js'
import { prepareVideo } from '../../lib/video/prepare.js'
import { VideoRun } from '../../lib/video/run.js'
import { Segments } from '../../lib/video/segments.js'
import { ffmpeg, frameTimes, probed, withoutFfmpeg } from '../support/video.js'

const skip = withoutFfmpeg('libx264', 'libvpx-vp9', 'libopus', 'flac')
if (skip) {
  t.pass('what is carried over', { skip })
  process.exit()
}

const home = t.testdir()
const at = (name: string) => path.join(home, name)
const CLIP = ['-f', 'lavfi', '-i', 'testsrc2=size=64x48:rate=10:duration=0.5']
const SOUND = ['-f', 'lavfi', '-i', 'sine=sample_rate=48000:duration=0.5']
const X264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p']

const settingsOf = (encoder?: string) =>
  ({
    frames: { threshold: 0 },
    target: { scale: 2 },
    encoder,
    encoderArguments: encoder === undefined || encoder === 'libx264' ? undefined : [],
    segmentFrames: 4,
  }) as unknown as VideoSettings

const prepare = (source: string, out: string, encoder?: string) =>
  prepareVideo(at(source), containerOf(out), settingsOf(encoder))

/** upscaleVideo without a network. */
async function doubled(source: string, out: string): Promise<{ frames: number; warnings: string[] }> {
  const work = await prepare(source, out)
  const { tools, facts, encoder } = work
  const pipeline = {
    forget: () => {},
    next: async (data: Uint8Array) => {
      const { width, height } = encoder
      const larger = new Uint8Array(width * height * 3)
      for (let i = 0; i < larger.length; i++) {
        const [pixel, channel] = [Math.floor(i / 3), i % 3]
        const [x, y] = [(pixel % width) >> 1, Math.floor(pixel / width) >> 1]
        larger[i] = data[(y * facts.width + x) * 3 + channel]!
      }
      return { data: larger, flops: 1, saved: 0 }
    },
  } as unknown as FramePipeline
  const segments = await Segments.open(at(out), {}, false)
  try {
    const run = new VideoRun(work, segments, pipeline)
    await run.all()
    await assemble(tools, at(source), at(out), containerOf(out), facts, segments, undefined)
    await segments.remove()
    return { frames: run.done, warnings: [...facts.warnings, ...run.warnings] }
  } finally {
    await segments.release()
  }
}

const streamsOf = (file: string) =>
  probed(at(file)).streams.map(({ codec_type, codec_name }) => `${codec_type} ${codec_name}`)

t.test('sound that a container does not take is encoded again, before anything else is done', async (t) => {
  for (const [codec, ends, into] of [
    ['pcm_s16le', 'mov>mp4', 'aac'],
    ['flac', 'mkv>mp4', 'copy'],
    ['aac', 'mkv>webm', 'libopus'],
  ] as const) {
    const [from, to] = ends.split('>')
    const source = `${codec}.${from}`
    ffmpeg(...CLIP, ...SOUND, ...X264, '-c:a', codec, at(source))
    const { facts } = await prepare(source, `out.${to}`)
    const sound = facts.others.find(({ kind }) => kind === 'audio')
    t.equal(sound?.into, into, `${codec} in ${to}`)
    if (into === 'copy') t.same(facts.warnings, [])
    else
      t.match(facts.warnings, [new RegExp(`sound \\(\\w+\\) is encoded again with ${into}, as ${to} does not take it`)])
  }
  await doubled('pcm_s16le.mov', 'sound.mp4')
  t.same(streamsOf('sound.mp4'), ['video h264', 'audio aac'])
  t.ok(Math.abs(probed(at('sound.mp4')).streams[1].duration - 0.5) < 0.05)
})

t.test('an encoder whose video the container does not take is refused before anything is done', async (t) => {
  ffmpeg(...CLIP, ...X264, at('plain.mp4'))
  await t.rejects(prepare('plain.mp4', 'out.webm', 'libx264'), {
    code: 'WBSR_INVALID_FILE',
    message: /Writing webm failed: .*Only VP8 or VP9 or AV1/s,
  })
})

t.test('several subtitles, what they are for, files and covers', async (t) => {
  writeFileSync(at('a.srt'), '1\n00:00:00,100 --> 00:00:00,300\nHello\n')
  writeFileSync(at('font.ttf'), 'letters')
  ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=32x32', '-frames:v', '1', at('cover.png'))
  ffmpeg(
    ...[...CLIP, ...SOUND, ...SOUND, '-i', at('a.srt'), '-i', at('a.srt')],
    ...['-map', '0', '-map', '1', '-map', '2', '-map', '3', '-map', '4', ...X264, '-c:a', 'aac'],
    ...['-c:s:0', 'srt', '-c:s:1', 'ass', '-metadata:s:a:1', 'title=Commentary', '-metadata:s:v:0', 'BPS=12345'],
    ...['-disposition:v', 'default', '-disposition:a:0', '0', '-disposition:a:1', 'default'],
    ...['-disposition:s:0', '0', '-disposition:s:1', 'forced'],
    ...[
      '-attach',
      at('font.ttf'),
      '-metadata:s:t:0',
      'mimetype=application/x-truetype-font',
      '-metadata:s:t:0',
      'filename=font.ttf',
    ],
    ...['-attach', at('cover.png'), '-metadata:s:t:1', 'mimetype=image/png', '-metadata:s:t:1', 'filename=cover.png'],
    at('rich.mkv'),
  )
  const facts = (file: string) =>
    probed(at(file)).streams.map(({ codec_name, disposition, tags }) => ({
      codec: codec_name,
      uses: Object.keys(disposition).filter((name) => disposition[name] === 1),
      title: tags?.title,
      file: tags?.filename,
    }))
  t.same((await doubled('rich.mkv', 'rich-x2.mkv')).warnings, [])
  t.same(facts('rich-x2.mkv'), facts('rich.mkv'))
  t.equal(probed(at('rich-x2.mkv')).streams[0].tags.BPS, undefined, 'the rate of the source is not that of the result')

  const { warnings } = await doubled('rich.mkv', 'rich.mp4')
  t.match(warnings, [/as mp4 does not take it: attachment \(ttf\)/, /subtitles \(ass\) become mov_text/])
  t.same(streamsOf('rich.mp4'), [
    'video h264',
    ...['audio aac', 'audio aac', 'subtitle mov_text', 'subtitle mov_text'],
    'video png',
  ])
  t.equal(probed(at('rich.mp4')).streams[2].tags.handler_name, 'Commentary')
  await doubled('rich.mp4', 'back.mkv')
  t.match(facts('back.mkv').at(-1), { codec: 'png', uses: ['attached_pic'], file: 'cover.png' })
})

t.test('a file that was cut: what is there is enlarged, and it is said', async (t) => {
  ffmpeg(...CLIP, '-t', '0.5', ...X264, '-g', '2', '-movflags', '+faststart', at('whole.mp4'))
  const bytes = readFileSync(at('whole.mp4'))
  writeFileSync(at('cut.mp4'), bytes.subarray(0, Math.floor(bytes.length * 0.75)))
  const { frames, warnings } = await doubled('cut.mp4', 'cut-x2.mp4')
  t.ok(frames > 0 && frames < 5, `${frames} of 5 frames`)
  t.match(warnings, [/missing or damaged, as ffmpeg says: \S/])
  t.same((await doubled('whole.mp4', 'whole-x2.mp4')).warnings, [])
})

t.test('a size that changes in the middle', async (t) => {
  for (const [name, size, offset] of [
    ['a.ts', '64x48', '0'],
    ['b.ts', '96x64', '0.5'],
  ] as const)
    ffmpeg(
      '-f',
      'lavfi',
      '-i',
      `testsrc2=size=${size}:rate=10:duration=0.5`,
      ...X264,
      '-output_ts_offset',
      offset,
      at(name),
    )
  writeFileSync(at('change.ts'), Buffer.concat([readFileSync(at('a.ts')), readFileSync(at('b.ts'))]))
  t.equal((await doubled('change.ts', 'change.mkv')).frames, 10)
  t.equal(frameTimes(at('change.mkv')).length, 10)
})

t.test('the last frame is shown as long as the others', async (t) => {
  ffmpeg(...CLIP, at('moving.gif'))
  await doubled('moving.gif', 'moving.mp4')
  const [video] = probed(at('moving.mp4')).streams
  t.match(video, { avg_frame_rate: '10/1', duration: '0.500000' })
})
