// Videos on a fleet: the frames and streams that one machine makes, whoever does which segment.
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { openFleet } from '../../lib/fleet/fleet.js'
import type { FleetVideoOptions } from '../../lib/fleet/index.js'
import { LocalFiles } from '../../lib/fleet/local-files.js'
import { readManifest, segmentKey, type VideoManifest } from '../../lib/fleet/manifest.js'
import { planVideo } from '../../lib/fleet/plan.js'
import { assembleVideo, runSegment } from '../../lib/fleet/run-video.js'
import { startFleetWorker } from '../../lib/fleet/start-worker.js'
import type { Store } from '../../lib/fleet/store.js'
import { stateOf } from '../../lib/models/model.js'
import { upscaleVideo } from '../../lib/video/upscale-video.js'
import { start, skip as unbuilt, wbsr } from '../support/cli.js'
import { leftovers, testFleet } from '../support/fleet.js'
import { RedisServer, withoutRedis } from '../support/redis.js'
import { ffmpeg, frameHashes, frameTimes, probed, turned, withoutFfmpeg } from '../support/video.js'

const skip = withoutRedis() || withoutFfmpeg('libx264') || unbuilt
if (skip) t.test('videos of a fleet', { skip }, () => {})
else await withRedis(await RedisServer.start())

async function withRedis(redis: RedisServer) {
  const { folder, store, connection, model, fleet } = await testFleet(redis)
  const at = (name: string) => path.join(folder, name)
  const X264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-crf', '10']
  const options: FleetVideoOptions = {
    encoder: 'libx264',
    encoderArguments: ['-preset', 'superfast', '-crf', '12'],
    segmentFrames: 10,
    router: 'projection',
  }

  /** Sound, subtitles, chapters, B-frames, long groups of pictures, irregular times that begin late; turned by 90 degrees. */
  function richClip(name: string): string {
    writeFileSync(at('s.srt'), '1\n00:00:00,200 --> 00:00:00,900\nHello\n')
    writeFileSync(
      at('m.txt'),
      ';FFMETADATA1\ntitle=A clip\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=500\nEND=5000\ntitle=Two\n',
    )
    const picture = "testsrc2=size=80x48:rate=25:duration=5,select='lt(mod(n\\,9)\\,4)+eq(n\\,35)'"
    ffmpeg(
      ...['-f', 'lavfi', '-i', picture, '-f', 'lavfi', '-i', 'sine=frequency=440:duration=5', '-i', at('s.srt')],
      ...['-i', at('m.txt'), '-map', '0:v', '-map', '1:a', '-map', '2:s', '-map_metadata', '3', '-map_chapters', '3'],
      ...['-fps_mode', 'passthrough', ...X264, '-preset', 'medium', '-bf', '3', '-g', '40', '-pix_fmt', 'yuv420p'],
      ...['-colorspace', 'bt709', '-color_primaries', 'bt709', '-color_trc', 'bt709', '-color_range', 'tv'],
      ...['-c:a', 'aac', '-c:s', 'mov_text', '-metadata:s:a:0', 'language=fra', '-output_ts_offset', '0.7'],
      at(`flat-${name}`),
    )
    turned(at(`flat-${name}`), at(name))
    return at(name)
  }

  const same = (t: Test, found: string, wanted: string) => {
    t.same(frameHashes(found), frameHashes(wanted), 'the same frames')
    t.same(frameTimes(found), frameTimes(wanted), 'at the same times')
    const facts = (file: string) => {
      const { streams, chapters, format } = probed(file)
      const { filename: _name, ...rest } = format
      return { streams, chapters, format: rest }
    }
    t.same(facts(found), facts(wanted), 'the same streams, chapters and tags')
  }
  const nothingLeft = async (t: Test, id: string) =>
    t.same(await leftovers(store, id), [], 'no partial file and no segment is left')

  t.test(
    'frames, times, sound, subtitles, chapters, colours and rotation of one machine, by two workers',
    async (t) => {
      const clip = richClip('rich.mp4')
      const alone = await upscaleVideo(model, clip, at('alone.mp4'), options)
      const run = await fleet.submitVideo(model, clip, 'out/rich.mp4', options)
      t.match(await run.status(), { state: 'waiting', total: Math.ceil(alone.frames / 10), done: 0 })
      const did = new Map<string, number>()
      const workers = await Promise.all([1, 2].map(() => startFleetWorker({ connection, store, threads: 1 })))
      for (const worker of workers) {
        t.teardown(() => worker.close(true))
        worker.on('done', ({ kind }) => did.set(kind, (did.get(kind) ?? 0) + 1))
      }
      const result = await run.result()
      t.same(Object.fromEntries(did), { segment: Math.ceil(alone.frames / 10), video: 1 })
      t.match(result, { width: alone.width, height: alone.height, frames: alone.frames, warnings: alone.warnings })
      t.ok(alone.width < alone.height, 'upright')
      same(t, store.file!('out/rich.mp4'), at('alone.mp4'))
      await nothingLeft(t, run.id)
      const used = Number(/used_memory:(\d+)/.exec(redis.command('info', 'memory'))![1])
      t.ok(used < 10e6, `${used} bytes in Redis: no frames`)
      // Again: it is there already.
      t.match(await (await fleet.submitVideo(model, clip, 'out/rich.mp4', options)).result(), { frames: alone.frames })
      t.equal(did.get('video'), 1)
      await Promise.all(workers.map((worker) => worker.close()))
    },
  )

  t.test('ten bits, another size and a threshold, in a store that is no folder', async (t) => {
    const clip = at('deep.mkv')
    ffmpeg(
      ...['-f', 'lavfi', '-i', 'gradients=size=64x48:rate=25:duration=1.4,format=yuv422p10le', ...X264],
      ...['-profile:v', 'high422', '-colorspace', 'bt2020nc', '-color_primaries', 'bt2020', clip],
    )
    const some = { ...options, scale: 1.5, threshold: 2 }
    await upscaleVideo(model, clip, at('deep-alone.mkv'), some)
    // As of S3: without files of this machine.
    const { label } = store
    const distant: Store = {
      label,
      size: (key) => store.size(key),
      read: (key, from, bytes) => store.read(key, from, bytes),
      stream: (key) => store.stream(key),
      write: (key, content) => store.write(key, content),
      remove: (key) => store.remove(key),
      removeFolder: (key) => store.removeFolder(key),
      list: (prefix) => store.list(prefix),
    }
    const other = await openFleet({ connection, store: distant })
    t.teardown(() => other.close())
    const worker = await startFleetWorker({ connection, store: distant })
    t.teardown(() => worker.close(true))
    const run = await other.submitVideo(model, clip, 'out/deep.mkv', some)
    t.match(await run.result(), { width: 96, height: 72, frames: 35 })
    same(t, store.file!('out/deep.mkv'), at('deep-alone.mkv'))
    t.equal(probed(store.file!('out/deep.mkv')).streams[0].pix_fmt, 'yuv422p10le')
    await nothingLeft(t, run.id)
    await worker.close()
  })

  t.test('workers that are killed in the middle of segments: others do them again', async (t) => {
    const clip = at('long.mp4')
    ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=160x96:rate=25:duration=3', ...X264, '-g', '50', clip)
    await upscaleVideo(model, clip, at('long-alone.mp4'), { ...options, segmentFrames: 25 })
    const run = await fleet.submitVideo(model, clip, 'out/long.mp4', { ...options, segmentFrames: 25 })
    let kills = 0
    let over = false
    let alive: ChildProcessWithoutNullStreams
    const next = () => {
      if (over) return
      const child = start(['fleet', 'worker', '--redis', connection, '--store', store.label, '--lock', '1', '--json'])
      alive = child
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (JSON.parse(line).event === 'start' && kills < 3 && child.kill('SIGKILL')) kills++
      })
      child.once('exit', next)
    }
    next()
    await run.result()
    over = true
    alive!.kill('SIGTERM')
    await once(alive!, 'exit')
    t.equal(kills, 3)
    same(t, store.file!('out/long.mp4'), at('long-alone.mp4'))
    await nothingLeft(t, run.id)
  })

  t.test('a segment done twice, in any order; a file that cannot be entered; frames that are not those', async (t) => {
    // Without an index and with one keyframe.
    const clip = at('bare.h264')
    ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=64x48:rate=25:duration=1', ...X264, '-g', '999', clip)
    await upscaleVideo(model, clip, at('bare-alone.mkv'), options)
    const run = await fleet.submitVideo(model, clip, 'out/bare.mkv', options)
    const manifest = (await readManifest(store, run.id)) as VideoManifest
    const files = new LocalFiles(store)
    const { signal } = new AbortController()
    const segment = (index: number, job = manifest) => runSegment(stateOf(model), store, files, job, index, signal)
    t.equal(manifest.segments.length, 3)
    for (const index of [2, 0, 1]) t.match(await segment(index), { found: false, warnings: [] })
    t.match(await segment(1), { found: true, flops: 0 })
    await store.remove(segmentKey(run.id, 1))
    await t.rejects(assembleVideo(store, files, manifest, signal), {
      code: 'WBSR_NOT_FOUND',
      message: /Segment 1 of job/,
    })
    t.match(await segment(1), { found: false })
    await assembleVideo(store, files, manifest, signal)
    same(t, store.file!('out/bare.mkv'), at('bare-alone.mkv'))
    await run.cancel()

    const changed = (change: object): VideoManifest => ({
      ...manifest,
      id: 'wchanged',
      segments: manifest.segments.map((part) => ({ ...part, ...change })),
    })
    const longer = changed({ frames: 26, digest: 'longer' })
    await t.rejects(segment(2, longer), {
      code: 'WBSR_INVALID_FILE',
      message: /other frames.* 5 of the 26 of segment 2/,
    })
    t.equal(await store.size(segmentKey('wchanged', 2)), null)
    t.match(await segment(1, changed({ digest: 'other' })), { warnings: [/segment 1: some frames are damaged/] })
    await files.dispose()
  })

  t.test('another version of ffmpeg, and none, are refused', async (t) => {
    const run = await fleet.submitVideo(model, at('long.mp4'), 'out/refused.mkv', options)
    const folder = at('tools')
    mkdirSync(folder)
    for (const name of ['ffmpeg', 'ffprobe']) {
      writeFileSync(path.join(folder, name), `#!/bin/sh\necho "${name} version 9.9-other Copyright"\n`)
      chmodSync(path.join(folder, name), 0o755)
    }
    t.teardown(() => {
      delete process.env['WBSR_FFMPEG']
    })
    for (const [tools, message] of [
      [folder, /was made with ffmpeg \S+, this worker has 9\.9-other/],
      [at('nowhere'), /Video needs .*install ffmpeg/],
    ] as const) {
      process.env['WBSR_FFMPEG'] = tools
      const worker = await startFleetWorker({ connection, store, refuseSeconds: 0.2 })
      const [{ kind }, reason] = await once(worker, 'refused')
      t.equal(kind, 'segment')
      t.match(reason, message)
      await worker.close(true)
    }
    await run.cancel()
  })

  t.test('prices; and what is wrong is said at once', async (t) => {
    const still = at('still.mkv')
    ffmpeg(
      '-f',
      'lavfi',
      '-i',
      'testsrc2=size=64x48:rate=10:duration=0.1,loop=24:1,setpts=N/10/TB',
      '-c:v',
      'libx264',
      '-qp',
      '0',
      still,
    )
    const price = await planVideo(model, still, options)
    t.match(price, { kind: 'video', input: { width: 64, height: 48 }, output: { width: 128, height: 96 } })
    t.same(
      price.bands.map(({ first, end }) => [first, end]),
      [
        [0, 10],
        [10, 20],
        [20, 25],
      ],
    )
    t.equal(new Set(price.bands.map(({ flops }) => flops)).size, 1, 'only the first frame of each has to be computed')
    const planned = await wbsr(['fleet', 'plan', at('long.mp4'), '--json', '--segment', '25', '--model', 'wbsr:x2'])
    t.equal(planned.status, 0, planned.said)
    t.equal(JSON.parse(planned.text).prices[0].bands.length, 3)
    const usage = await wbsr(['fleet', 'plan', 'photo.png', '--segment', '25'])
    t.match(usage.said, /Expected a video with --scale/)
    const wrong: [string, string, object, { code: string; message: RegExp }][] = [
      [at('none.mp4'), 'out/x.mp4', {}, { code: 'WBSR_NOT_FOUND', message: /none\.mp4 does not exist/ }],
      [still, 'out/x.gif', {}, { code: 'WBSR_INVALID_OPTION', message: /for output/ }],
      [still, '../x.mp4', {}, { code: 'WBSR_INVALID_OPTION', message: /for output/ }],
      [still, 'out/x.mp4', { resume: true }, { code: 'WBSR_INVALID_OPTION', message: /no other keys/ }],
      [still, 'out/x.mp4', { rate: 0 }, { code: 'WBSR_INVALID_OPTION', message: /for rate/ }],
      [at('s.srt'), 'out/x.mp4', {}, { code: 'WBSR_INVALID_FILE', message: /no video stream/ }],
    ]
    for (const [input, output, more, expected] of wrong)
      await t.rejects(fleet.submitVideo(model, input, output, { ...options, ...more }), expected)
    t.notOk(existsSync(store.file!('out/x.mp4')))
  })
}
