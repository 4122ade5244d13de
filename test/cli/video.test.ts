// wbsr video, as it is built.
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { ended, start, tinyModel, skip as unbuilt, until, wbsr } from '../support/cli.js'
import { ffmpeg, frameHashes, probed, withoutFfmpeg } from '../support/video.js'

const home = t.testdir()
const at = (name: string) => path.join(home, name)
const skip = unbuilt || withoutFfmpeg('libx264')

t.test('without ffmpeg', { skip: unbuilt }, async (t) => {
  writeFileSync(at('some.mp4'), 'some video')
  const model = await tinyModel(at('x2.safetensors'))
  const { status, said } = await wbsr(['video', at('some.mp4'), at('o.mp4'), '-m', model], {
    env: { WBSR_FFMPEG: home },
  })
  t.equal(status, 1)
  t.match(said, /error: Video needs .*ff(mpeg|probe), which was not found: install ffmpeg \(Debian and Ubuntu: apt-get/)
})

t.test('a video', { skip }, async (t) => {
  const model = await tinyModel(at('x2.safetensors'))
  const source = at('in.mp4')
  ffmpeg(
    ...['-f', 'lavfi', '-i', 'testsrc2=size=96x64:rate=25:duration=6', '-f', 'lavfi', '-i', 'sine=duration=6'],
    ...['-c:v', 'libx264', '-preset', 'ultrafast', source],
  )
  const args = (out: string, ...more: string[]) => [
    ...['video', source, out, '-m', model, '--encoder-options', "-preset 'superfast' -crf 14", '--segment', '12'],
    ...more,
  ]
  const whole = await wbsr(args(at('whole.mp4')))
  t.equal(whole.status, 0, whole.said)
  t.match(
    whole.said,
    /in\.mp4 -> .*whole\.mp4 {2}150 frames of 192x128 \(libx264, yuv420p\) in .*, [\d.]+ % of the work saved/,
  )
  t.same(
    probed(at('whole.mp4')).streams.map(({ codec_type }) => codec_type),
    ['video', 'audio'],
  )

  for (const [signal, status] of [
    ['SIGKILL', 'SIGKILL'],
    ['SIGINT', 130],
  ] as const) {
    const out = at(`${signal}.mp4`)
    const child = start(args(out))
    const end = ended(child)
    const segments = () =>
      existsSync(`${out}.wbsr`) ? readdirSync(`${out}.wbsr`).filter((name) => /^segment/.test(name)) : []
    await until(() => segments().length >= 3)
    child.kill(signal)
    const ran = await end
    t.equal(ran.status, status, ran.said)
    t.notOk(existsSync(out))
    const again = await wbsr(args(out, '--json'))
    t.equal(again.status, 0, again.said)
    const last = JSON.parse(again.text.trim().split('\n').at(-1)!)
    t.match(last, { event: 'end', frames: 150 })
    t.ok(last.resumed >= 24 && last.resumed % 12 === 0, `${last.resumed} frames were done before`)
    t.same(frameHashes(out), frameHashes(at('whole.mp4')), `after ${signal}`)
    t.notOk(existsSync(`${out}.wbsr`))
  }
  t.same(
    readdirSync(home).filter((name) => name.endsWith('.tmp')),
    [],
  )
  // ffmpeg by itself takes the one for a protocol, the other for an option.
  for (const name of ['12:30.mp4', '-12.mp4']) {
    ffmpeg('-i', `file:${source}`, '-c', 'copy', '-t', '0.2', `file:${at(name)}`)
    const ran = await wbsr(['video', '-m', model, '--', name, `x2 ${name}`], { cwd: home })
    t.equal(ran.status, 0, ran.said)
    t.equal(probed(at(`x2 ${name}`)).streams.length, 2)
  }
  const wrong = await wbsr(['video', source, at('x.gif'), '-m', model])
  t.equal(wrong.status, 2)
  t.equal((await wbsr(['video', '-', at('x.mp4'), '-m', model])).status, 2)
})

t.test('two processes that write one result', { skip }, async (t) => {
  const model = await tinyModel(at('two.safetensors'))
  ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=64x48:rate=25:duration=1', '-c:v', 'libx264', at('two.mp4'))
  const args = ['video', at('two.mp4'), at('one.mp4'), '-m', model, '--segment', '5']
  const first = start(args)
  const end = ended(first)
  await until(() => existsSync(at('one.mp4.wbsr/manifest.json')))
  // However slow the second is, the first is not done meanwhile.
  first.kill('SIGSTOP')
  const second = await wbsr(args)
  first.kill('SIGCONT')
  t.equal(second.status, 1)
  t.match(second.said, /error: Cannot write .*one\.mp4: process \d+ is writing it/)
  const ran = await end
  t.equal(ran.status, 0, ran.said)
  t.equal(probed(at('one.mp4')).streams[0].nb_frames, '25')
})
