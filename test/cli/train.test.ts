// wbsr train, as it is built.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { drawPicture, ended, sizeOf, skip, start, until, wbsr } from '../support/cli.js'

if (skip) {
  t.pass('the built program', { skip })
  process.exit()
}

const home = t.testdir()
const at = (...names: string[]) => path.join(home, ...names)
const env = { XDG_CACHE_HOME: at('cache') }
mkdirSync(at('photos'))
await drawPicture(at('photos/a.png'), 160, 120)
await drawPicture(at('photos/b.png'), 120, 120, 2)
writeFileSync(at('photos/bad.png'), 'no picture')
const NETWORK = [
  '--widths',
  '8,16',
  '--depths',
  '1,2',
  '--batch',
  '2',
  '--patch',
  '32',
  '--loss',
  'l1',
  '--device',
  'cpu',
]
const run = (...args: string[]) => wbsr(['train', 'photos', ...NETWORK, ...args], { cwd: home, env })

t.test('trains, and goes on from where it was', async (t) => {
  const { status, said } = await run('-o', 'm.safetensors', '--steps', '6', '--validation', 'photos/b.png')
  t.equal(status, 0, said)
  t.match(said, /2 photographs, \d+ patches, 1 to validate on; 6 steps/)
  t.match(said, /warning: photos\/bad\.png is left out/)
  t.match(said, /step 6: bicubic [\d.]+ dB, smallest subnet [+-][\d.]+, largest [+-][\d.]+/)
  t.match(said, /m\.safetensors: x2, 4 subnets/)
  t.ok(existsSync(at('m.run/checkpoint.safetensors')))
  t.match(said, /m\.run\/report\.html shows the run in a browser/)
  t.match(readFileSync(at('m.run/report.html'), 'utf8'), /Step 6 of 6/)
  const used = await wbsr(['upscale', 'photos/a.png', '-m', 'm.safetensors', '-o', 'a2.png'], { cwd: home })
  t.equal(used.status, 0, used.said)
  t.same(await sizeOf(at('a2.png')), [320, 240])

  const again = await run('-o', 'm.safetensors', '--steps', '6', '--validation', 'photos/b.png')
  t.match(again.said, /6 steps, 6 of them done before/)
  const other = await run('-o', 'm.safetensors', '--steps', '7', '--validation', 'photos/b.png')
  t.equal(other.status, 1, 'another run than that of the checkpoint')
  t.match(other.said, /steps/)
  const more = await run('-o', 'more.safetensors', '--steps', '3', '--extend', 'm.run', '--json')
  t.equal(more.status, 0, more.said)
  t.match(JSON.parse(more.text.split('\n').find((line) => line.includes('"start"'))!), { steps: 9, extendedFrom: 6 })
  const from = await run('-o', 'from.safetensors', '--steps', '2', '--from', 'm.safetensors', '--no-checkpoint')
  t.equal(from.status, 0, from.said)
  t.notOk(existsSync(at('from.run')))
  t.ok(existsSync(at('from.report.html')))
})

t.test('Ctrl+C leaves a checkpoint, and the same command goes on', async (t) => {
  const args = ['train', 'photos', ...NETWORK, '-o', 'long.safetensors', '--steps', '100000']
  const child = start(args, { cwd: home, env })
  let said = ''
  child.stderr.on('data', (text) => (said += text))
  const end = ended(child)
  await until(() => /epoch \d/.test(said))
  child.kill('SIGINT')
  t.equal((await end).status, 130)
  t.match(said, /stopped; the same command goes on from long\.run/)
  const again = start(args, { cwd: home, env })
  let more = ''
  again.stderr.on('data', (text) => (more += text))
  const over = ended(again)
  await until(() => /done before/.test(more))
  again.kill('SIGINT')
  await over
  t.match(more, /100000 steps, [1-9]\d* of them done before/)
  t.notOk(existsSync(at('long.safetensors')))
})

t.test('a configuration file, and options that win over it', async (t) => {
  const config = {
    network: { name: 'srresnet', scale: 2, widths: [8], depths: [1] },
    data: { train: 'photos', cache: false },
    steps: 50,
    batchSize: 2,
    patchSize: 32,
    loss: 'l2',
    optimizer: { learningRate: 1e-3 },
    checkpoint: { directory: 'configured' },
    out: 'configured.safetensors',
  }
  writeFileSync(at('run.json'), JSON.stringify(config))
  const { status, said, text } = await wbsr(
    ['train', '-c', 'run.json', '--steps', '2', '--widths', '8,16', '--frequency', '0.05', '--json'],
    {
      cwd: home,
      env,
    },
  )
  t.equal(status, 0, said)
  const events = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.same([...new Set(events.map(({ event }) => event))].sort(), ['end', 'epoch', 'progress', 'start', 'step'])
  t.equal(events.filter(({ event }) => event === 'step').length, 2)
  const step = events.find(({ event }) => event === 'step')
  t.equal(step.learningRate, 1e-3)
  t.ok(step.frequency > 0, 'of the loss in the file')
  t.equal(events.at(-1).model, 'configured.safetensors')
  t.ok(existsSync(at('configured/checkpoint.safetensors')))
  t.match(readFileSync(at('configured.safetensors')).subarray(0, 4000).toString('latin1'), /\\"widths\\":\[8,16\]/)

  for (const [written, said] of [
    ['{', /Expected JSON in run\.json/],
    ['[]', /Expected a JSON object/],
    [
      '{"data":{"train":"photos"},"network":{"name":"gan"}}',
      /one of carn, .*srresnet, .* for network but received "gan"/,
    ],
    ['{"data":{"train":"photos"},"stepz":3}', /no other keys than .* but received "stepz"/],
    ['{}', /Expected folders or files of photographs/],
  ] as const) {
    writeFileSync(at('run.json'), written)
    const ran = await wbsr(['train', '-c', 'run.json'], { cwd: home, env })
    t.equal(ran.status, 2, ran.said)
    t.match(ran.said, said)
  }
})
