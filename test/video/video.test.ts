// Videos through the user's ffmpeg: what is kept of them, how a run goes on, and what is said where something fails.
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { loadModel, upscaleVideo, type VideoProgress } from '../../lib/index.js'
import { tinyModel } from '../support/cli.js'
import { ffmpeg, frameHashes, frameTimes, probed, rgbFrames, turned, withoutFfmpeg } from '../support/video.js'

const skip = withoutFfmpeg('libx264')
if (skip) {
  t.pass('video', { skip })
  process.exit()
}

const home = t.testdir()
const at = (name: string) => path.join(home, name)
const model = await loadModel(await tinyModel(at('x2.safetensors')))
t.teardown(() => model.dispose())
const X264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-crf', '10']
// Lossless for the eye, and quick.
const fast = { encoder: 'libx264', encoderArguments: ['-preset', 'superfast', '-crf', '12'] }

const video = (file: string) => probed(file).streams.find(({ codec_type }) => codec_type === 'video')
const near = (a: number[], b: number[], tolerance: number) =>
  a.length === b.length && a.every((time, i) => Math.abs(time - b[i]!) <= tolerance)

/** dB that a smooth clip has against itself, enlarged and shrunk; wrong colours or frames have less than 30. */
const SAME = 34

/** PSNR of RGB frames. */
function psnrOf(a: Buffer, b: Buffer): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2
  return a.length === b.length ? 10 * Math.log10(255 ** 2 / (sum / a.length)) : 0
}

t.test('sound, subtitles, chapters, words, colours and times are kept', async (t) => {
  writeFileSync(at('s.srt'), '1\n00:00:00,200 --> 00:00:00,900\nHello\n')
  writeFileSync(
    at('meta.txt'),
    ';FFMETADATA1\ntitle=A clip\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=500\nEND=1300\ntitle=Two\n',
  )
  const source = at('all.mp4')
  ffmpeg(
    ...['-f', 'lavfi', '-i', 'testsrc2=size=96x64:rate=30000/1001:duration=1.3,boxblur=3:2'],
    ...['-f', 'lavfi', '-i', 'sine=frequency=440:duration=1.3', '-i', at('s.srt'), '-i', at('meta.txt')],
    ...['-map', '0:v', '-map', '1:a', '-map', '2:s', '-map_metadata', '3', '-map_chapters', '3'],
    ...[
      '-c:v',
      'libx264',
      '-preset',
      'medium',
      '-bf',
      '3',
      '-crf',
      '10',
      '-pix_fmt',
      'yuv420p',
      '-c:a',
      'aac',
      '-c:s',
      'mov_text',
    ],
    ...['-metadata:s:a:0', 'language=fra', '-vf', 'scale=out_color_matrix=bt709:out_range=tv,setsar=4/3'],
    ...['-colorspace', 'bt709', '-color_primaries', 'bt709', '-color_trc', 'bt709', '-color_range', 'tv', source],
  )
  const out = at('all-x2.mp4')
  const seen: VideoProgress[] = []
  const result = await upscaleVideo(model, source, out, { segmentFrames: 10, onProgress: (p) => seen.push(p) })
  t.match(result, { width: 192, height: 128, frames: 39, resumed: 0, encoder: 'libx264', pixelFormat: 'yuv420p' })
  t.same(result.warnings, [])
  const [before, after] = [probed(source), probed(out)]
  t.same(
    after.streams
      .filter(({ codec_type }) => codec_type !== 'data')
      .map(({ codec_type, codec_name }) => `${codec_type} ${codec_name}`),
    ['video h264', 'audio aac', 'subtitle mov_text'],
  )
  const [a, b] = [video(source), video(out)]
  for (const key of ['time_base', 'avg_frame_rate', 'nb_frames', 'start_pts', 'sample_aspect_ratio'])
    t.equal(b[key], a[key], key)
  for (const key of ['color_space', 'color_primaries', 'color_transfer', 'color_range']) t.equal(b[key], a[key], key)
  t.same([b.width, b.height], [192, 128])
  t.same(frameTimes(out), frameTimes(source))
  const hash = (file: string) => ffmpeg('-i', file, '-map', '0:a', '-c', 'copy', '-f', 'md5', '-')
  t.equal(hash(out), hash(source), 'the sound is the same')
  t.equal(after.streams[1].start_time, before.streams[1].start_time)
  t.equal(after.streams[1].tags.language, 'fra')
  const text = (file: string) => ffmpeg('-i', file, '-map', '0:s', '-f', 'srt', '-')
  t.equal(text(out), text(source))
  t.match(after.format.tags.title, 'A clip')
  t.same(
    after.chapters.map(({ start_time, end_time, tags }) => [start_time, end_time, tags.title]),
    before.chapters.map(({ start_time, end_time, tags }) => [start_time, end_time, tags.title]),
  )
  t.notOk(existsSync(`${out}.wbsr`), 'nothing is left beside it')
  // Shrunk again it is the source: colours, and which frame comes when.
  const shrunk = psnrOf(rgbFrames(out, 'scale=96:64:flags=area'), rgbFrames(source))
  t.ok(shrunk > SAME, `${shrunk} dB`)
  t.equal(seen.length, 39)
  t.match(seen.at(-1), { done: 39, total: 39, eta: 0 })

  const other = await upscaleVideo(model, source, at('all.mkv'), { scale: 1.5, ...fast })
  t.match(other, { width: 144, height: 96 })
  t.same(
    probed(at('all.mkv')).streams.map(({ codec_name }) => codec_name),
    ['h264', 'aac', 'subrip'],
  )
  // Matroska has milliseconds, and begins at 0: where the sound begins before the picture, all is later.
  const sinceFirst = (times: number[]) => times.map((time) => time - times[0]!)
  t.ok(near(sinceFirst(frameTimes(at('all.mkv'))), sinceFirst(frameTimes(source)), 0.0011))
})

t.test('frames at irregular times, and a start that is not 0', async (t) => {
  const source = at('vfr.mp4')
  ffmpeg(
    ...[
      '-f',
      'lavfi',
      '-i',
      "testsrc2=size=64x48:rate=50:duration=1.4,boxblur=3:2,select='lt(mod(n\\,9)\\,4)+eq(n\\,35)'",
    ],
    ...['-fps_mode', 'passthrough', ...X264, '-output_ts_offset', '0.7', source],
  )
  const times = frameTimes(source)
  t.ok(new Set(times.slice(1).map((time, i) => (time - times[i]!).toFixed(3))).size > 2, 'the clip is irregular')
  const out = at('vfr-x2.mp4')
  await upscaleVideo(model, source, out, { segmentFrames: 7, ...fast })
  t.same(frameTimes(out), times)
  const shrunk = psnrOf(rgbFrames(out, 'scale=64:48:flags=area'), rgbFrames(source))
  t.ok(shrunk > SAME, `${shrunk} dB`)
})

t.test('ten bits, and the tags of wide colours', async (t) => {
  const source = at('deep.mkv')
  ffmpeg(
    ...['-f', 'lavfi', '-i', 'gradients=size=64x48:rate=10:duration=0.5,format=yuv422p10le', ...X264],
    ...[
      '-profile:v',
      'high422',
      '-colorspace',
      'bt2020nc',
      '-color_primaries',
      'bt2020',
      '-color_trc',
      'smpte2084',
      source,
    ],
  )
  const { warnings, pixelFormat } = await upscaleVideo(model, source, at('deep-x2.mkv'), fast)
  t.equal(pixelFormat, 'yuv422p10le')
  t.match(warnings, [/HDR \(PQ\)/])
  const { pix_fmt, color_space, color_primaries, color_transfer } = video(at('deep-x2.mkv'))
  t.same([pix_fmt, color_space, color_primaries, color_transfer], ['yuv422p10le', 'bt2020nc', 'bt2020', 'smpte2084'])
})

t.test(
  'RGB: the result says which matrix its colours were made with',
  { skip: withoutFfmpeg('libx264rgb') },
  async (t) => {
    for (const [height, matrix] of [
      [48, 'smpte170m'],
      [360, 'bt709'],
    ] as const) {
      const source = at(`rgb-${height}.mp4`)
      const clip = `testsrc2=size=64x${height}:rate=10:duration=0.3,boxblur=3:2`
      ffmpeg('-f', 'lavfi', '-i', clip, '-c:v', 'libx264rgb', '-crf', '4', source)
      const out = at(`rgb-${height}-x2.mp4`)
      await upscaleVideo(model, source, out, fast)
      t.match(video(out), { color_space: matrix, color_range: 'tv' })
      const shrunk = psnrOf(rgbFrames(out, `scale=64:${height}:flags=area`), rgbFrames(source))
      t.ok(shrunk > SAME, `${shrunk} dB`)
    }
  },
)

t.test('a rotated video comes out upright', async (t) => {
  ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=80x48:rate=10:duration=0.3,boxblur=3:2', ...X264, at('flat.mp4'))
  const source = at('turned.mp4')
  turned(at('flat.mp4'), source)
  t.equal(Math.abs(video(source).side_data_list[0].rotation), 90)
  const result = await upscaleVideo(model, source, at('upright.mp4'), fast)
  t.match(result, { width: 96, height: 160 })
  t.equal(video(at('upright.mp4')).side_data_list, undefined)
  // ffmpeg turns the source's frames as a player does.
  const shrunk = psnrOf(rgbFrames(at('upright.mp4'), 'scale=48:80:flags=area'), rgbFrames(source))
  t.ok(shrunk > SAME, `${shrunk} dB`)
})

t.test('what did not change is not computed again', async (t) => {
  const source = at('still.mkv')
  ffmpeg(
    ...['-f', 'lavfi', '-i', 'testsrc2=size=320x256:rate=10:duration=0.1,loop=9:1,setpts=N/10/TB'],
    ...['-c:v', 'libx264', '-qp', '0', source],
  )
  const { saved, frames } = await upscaleVideo(model, source, at('still-x2.mkv'), fast)
  t.equal(frames, 10)
  t.ok(Math.abs(saved - 0.9) < 1e-9, `${saved}: nine of ten`)
})

t.test('a run that was stopped goes on, to the same frames', async (t) => {
  const source = at('long.mp4')
  ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=96x64:rate=25:duration=5', ...X264, '-g', '12', source)
  const options = { ...fast, segmentFrames: 15 }
  await upscaleVideo(model, source, at('whole.mp4'), options)
  const out = at('parts.mp4')
  let runs = 0
  for (const stopAt of [20, 70, 76, 1e9]) {
    const abort = new AbortController()
    const first: VideoProgress[] = []
    const running = upscaleVideo(model, source, out, {
      ...options,
      signal: abort.signal,
      onProgress: (progress) => {
        first.push(progress)
        if (progress.done === stopAt) abort.abort()
      },
    })
    if (stopAt < 1e9) await t.rejects(running, { code: 'WBSR_ABORTED' })
    else t.match(await running, { frames: 125, resumed: 75 })
    t.equal(first[0]!.done, [1, 16, 61, 76][runs], 'only what was in hand is lost')
    t.equal(existsSync(out), stopAt === 1e9, 'no half of a file')
    runs++
  }
  t.same(frameHashes(out), frameHashes(at('whole.mp4')))
  t.same(frameTimes(out), frameTimes(at('whole.mp4')))

  // Of other options nothing is taken over.
  const abort = new AbortController()
  const stopped = upscaleVideo(model, source, out, {
    ...options,
    signal: abort.signal,
    onProgress: ({ done }) => done === 40 && abort.abort(),
  })
  await t.rejects(stopped, { code: 'WBSR_ABORTED' })
  t.equal(readdirSync(`${out}.wbsr`).filter((name) => /^segment-.*nut$/.test(name)).length >= 2, true)
  const other = await upscaleVideo(model, source, out, { ...options, router: { subnet: 0 } })
  t.equal(other.resumed, 0)
  t.match(other.warnings, [/begins anew/])
})

const clip = path.resolve('../shared/data/video/carphone_pristine.mp4')
t.test('a clip of a camera', { skip: existsSync(clip) ? false : '../shared/data/video is not there' }, async (t) => {
  const out = at('carphone.mp4')
  const { frames, saved, width, height } = await upscaleVideo(model, clip, out, { ...fast, scale: 1.5 })
  t.same([frames, width, height], [120, 264, 216])
  t.ok(saved < 0.5, 'the noise of a camera changes nearly everything')
  const [a, b] = [video(clip), video(out)]
  for (const key of ['time_base', 'nb_frames', 'sample_aspect_ratio', 'avg_frame_rate']) t.equal(b[key], a[key], key)
  t.same(frameTimes(out), frameTimes(clip))
  const shrunk = psnrOf(rgbFrames(out, 'scale=176:144:flags=area'), rgbFrames(clip))
  t.ok(shrunk > 30, `${shrunk} dB`)
})

t.test('what is refused, and in which words', async (t) => {
  const source = at('flat.mp4')
  mkdirSync(at('folder.mp4'))
  symlinkSync(source, at('link.mp4'))
  writeFileSync(at('text.mp4'), 'no video')
  ffmpeg('-f', 'lavfi', '-i', 'sine=duration=0.2', at('sound.mp4'))
  const cases: [() => Promise<unknown>, { code?: string; message?: RegExp }][] = [
    [
      () => upscaleVideo(model, at('none.mp4'), at('o.mp4')),
      { code: 'WBSR_NOT_FOUND', message: /none\.mp4 does not exist/ },
    ],
    [
      () => upscaleVideo(model, source, source),
      { code: 'WBSR_INVALID_OPTION', message: /another file than the input/ },
    ],
    [
      () => upscaleVideo(model, source, at('link.mp4')),
      { code: 'WBSR_INVALID_OPTION', message: /another file than the input/ },
    ],
    [() => upscaleVideo(model, source, at('o.gif')), { code: 'WBSR_INVALID_OPTION', message: /\.mp4, .*for output/ }],
    [
      () => upscaleVideo(model, at('text.mp4'), at('o.mp4')),
      { code: 'WBSR_INVALID_FILE', message: /Reading .*text\.mp4 failed/ },
    ],
    [
      () => upscaleVideo(model, at('sound.mp4'), at('o.mp4')),
      { code: 'WBSR_INVALID_FILE', message: /has no video stream/ },
    ],
    [
      () => upscaleVideo(model, source, at('o.mp4'), { encoder: 'none' }),
      { code: 'WBSR_INVALID_OPTION', message: /for encoder/ },
    ],
    [() => upscaleVideo(model, source, at('o.mp4'), { width: 101 }), { message: /an even number.* for width/ }],
    [() => upscaleVideo(model, source, at('folder.mp4'), fast), { code: 'WBSR_IO', message: /it is a folder/ }],
    [
      () => upscaleVideo(model, source, at('p.mp4'), { encoder: 'libx264', encoderArguments: ['-crf', 'high'] }),
      { code: 'WBSR_INVALID_FILE', message: /Encoding with libx264 failed: .*crf/s },
    ],
  ]
  for (const [run, expected] of cases) {
    const error: unknown = await run().then(
      () => 'nothing was wrong',
      (thrown: unknown) => thrown,
    )
    t.match(error, expected)
  }
  t.notOk(existsSync(at('o.mp4')) || existsSync(at('p.mp4')))
  const { WBSR_FFMPEG: before } = process.env
  process.env['WBSR_FFMPEG'] = at('nowhere')
  await t.rejects(upscaleVideo(model, source, at('o.mp4')), {
    code: 'WBSR_NOT_FOUND',
    message: /Video needs .*nowhere\/ff\w+, which was not found: install ffmpeg/,
  })
  if (before === undefined) delete process.env['WBSR_FFMPEG']
  else process.env['WBSR_FFMPEG'] = before
  const both = await Promise.allSettled([1, 2].map(() => upscaleVideo(model, source, at('two.mp4'), fast)))
  t.same(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'], 'one result is written once at a time')
})
