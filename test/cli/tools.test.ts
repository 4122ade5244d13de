// wbsr models, import, export, doctor, completion and help, as they are built.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { makeProgram } from '../../lib/cli/program.js'
import { loadModel, shippedModels } from '../../lib/index.js'
import { drawPicture, sizeOf, skip, tinyModel, wbsr } from '../support/cli.js'

if (skip) {
  t.pass('the built program', { skip })
  process.exit()
}

const home = t.testdir()
const at = (...names: string[]) => path.join(home, ...names)
const model = await tinyModel(at('x2.safetensors'))

t.test('models', async (t) => {
  t.match((await wbsr(['models'])).text, / {2}rcan +RCAN\n/)
  const { status, text } = await wbsr(['models', model])
  t.equal(status, 0)
  t.match(text, /srresnet, x2, \d+ parameters \(16 channels, 2 blocks; wbsr\)/)
  t.match(text, /\n {2}3 +16 +2 +0\.06105 +21763/)
  const json = await wbsr(['models', model, at('none'), '--json'])
  t.equal(json.status, 3)
  t.match(JSON.parse(json.text), [{ file: model, calibrated: false, subnets: [{ index: 0 }, {}, {}, {}] }])
  t.match(json.said, /none does not exist/)
})

t.test('export and import', async (t) => {
  const onnx = await wbsr(['export', model, at('x2.onnx'), '--subnet', '0'])
  t.equal(onnx.status, 0, onnx.said)
  t.match(onnx.said, /subnet 0 \(width 8, depth 1\)/)
  const back = await wbsr(['import', at('x2.onnx'), at('back.safetensors')])
  t.equal(back.status, 0, back.said)
  await using a = await loadModel(model)
  await using b = await loadModel(at('back.safetensors'))
  const picture = { data: Uint8Array.from({ length: 20 * 20 * 3 }, (_, i) => (i * 37) % 256), width: 20, height: 20 }
  const [x, y] = await Promise.all([
    a.upscale({ ...picture, channels: 3 }, { router: { subnet: 0 }, tile: 'image' }),
    b.upscale({ ...picture, channels: 3 }, { tile: 'image' }),
  ])
  t.ok(x.data.every((value, i) => Math.abs(value - y.data[i]!) <= 1))
  t.equal((await wbsr(['export', model, at('w.safetensors')])).status, 0)
  t.ok(existsSync(at('w.safetensors')))
  const wrong = await wbsr(['export', model, at('x.pth')])
  t.equal(wrong.status, 2)
  t.match(wrong.said, /ending in \.onnx or \.safetensors/)
  t.equal((await wbsr(['export', model, at('y.onnx'), '--subnet', '7'])).status, 2)
  writeFileSync(at('damaged.pth'), 'no model')
  const damaged = await wbsr(['import', at('damaged.pth'), at('d.safetensors')])
  t.equal(damaged.status, 1)
  t.notOk(existsSync(at('d.safetensors')))
})

t.test('evaluate', async (t) => {
  mkdirSync(at('hr'))
  await drawPicture(at('hr/a.png'), 64, 48)
  const { status, said, text } = await wbsr(['evaluate', at('hr'), `other=${at('hr/a.png')}`, '-m', model, '--no-ssim'])
  t.equal(status, 0, said)
  t.match(text, /^hr, x2: 1 pictures, LR: /)
  t.match(text, /\nother, x2: 1 pictures/)
  t.match(text, /\| bicubic +\| +\d+\.\d\d \|/)
  const json = await wbsr(['evaluate', at('hr'), '-m', model, '--no-ssim', '--json'])
  t.match(JSON.parse(json.text), { sets: [{ name: 'hr', pictures: [{}] }], model: { scale: 2 } })
  // Files are one set; what is compared can be chosen.
  await drawPicture(at('b.png'), 48, 48)
  const runs = 'smallest,subnet:1,projection,largest,tile:32'
  const chosen = ['evaluate', at('hr/a.png'), at('b.png'), '-m', model, '--no-ssim', '--runs', runs, '--json']
  const { sets } = JSON.parse((await wbsr(chosen)).text)
  t.same(
    sets.map(({ name, pictures }: { name: string; pictures: unknown[] }) => [name, pictures.length]),
    [['pictures', 2]],
  )
  t.same(Object.keys(sets[0].summary).sort(), [
    'bicubic',
    'largest',
    'projection tile 32',
    'smallest',
    'subnet 1 tile 32',
  ])
  const wrong = await wbsr(['evaluate', at('hr'), '-m', model, '--runs', 'smallest,fast'])
  t.equal(wrong.status, 2)
  t.match(wrong.said, /Expected smallest, largest, subnet:N, .* with commas between them/)
  t.equal((await wbsr(['evaluate', at('hr'), '-m', model, '--pictures', 'sr'])).status, 2)
  t.equal((await wbsr(['evaluate', at('none'), '-m', model])).status, 1)
})

t.test('doctor', async (t) => {
  const { status, text } = await wbsr(['doctor', '--json', '--device', 'cpu', '--threads', '1'])
  t.equal(status, 0, text)
  const facts = JSON.parse(text)
  t.equal(facts.node, process.version)
  t.ok(facts.devices.some(({ id }: { id: string }) => id === 'cpu'))
  t.ok(facts.devices.some(({ kind }: { kind: string }) => kind === 'cuda') || facts.missing[0].reason.length > 10)
  const { ok, pictures, seconds, megapixelsPerSecond, tilesAgainstWhole } = facts.test
  const shipped = shippedModels().map(({ name, scale, parameters }) => ({
    name,
    scale,
    parameters,
    ok: true,
    message: '',
  }))
  t.same(facts.models, shipped)
  t.ok(ok && pictures > 0 && seconds >= 2 && megapixelsPerSecond > 0 && tilesAgainstWhole <= 1)
  const gone = await wbsr(['doctor', '--device', 'cuda:77'], { env: { WBSR_FFMPEG: at('none') } })
  t.equal(gone.status, 1)
  t.match(gone.text, /Self-test\n {2}failed: .*'cuda:77' cannot be used/)
  t.match(gone.text, /^ffmpeg +none\. Video needs .*WBSR_FFMPEG$/m, 'where wbsr video looks for it')
})

t.test('bench', async (t) => {
  const small = await drawPicture(at('bench.png'), 40, 30)
  const { status, text, said } = await wbsr(['bench', small, '-m', model, '--seconds', '0'])
  t.equal(status, 0, said)
  t.match(text, /x2\.safetensors on .*; 40x30 -> 80x60, pixels to pixels/)
  t.match(text, /\n {2}subnet 0 \(width 8, depth 1\) +0\.\d+ +3 +[\d.]+ +[\d.]+ +\d+ +[\d.]+ %/)
  t.match(text, /\n {2}routed, projection \(default\) /)
  const { rows, device, result } = JSON.parse((await wbsr(['bench', '-m', model, '--seconds', '0', '--json'])).text)
  t.match(device, { kind: 'cpu' })
  t.same(result, { width: 1024, height: 768 })
  t.equal(rows.length, 5)
  for (const row of rows)
    t.ok(
      row.seconds > 0 && Math.abs(row.megapixelsPerSecond * row.seconds - (1024 * 768) / 1e6) < 1e-9 && row.share > 0,
    )
  t.ok(rows[0].gigaflops < rows[3].gigaflops)
  t.equal((await wbsr(['bench', at('none.png'), '-m', model])).status, 1)
})

t.test('a picture in the place of a model, and a file that looks like an option', async (t) => {
  const file = await drawPicture(at('picture.webp'), 20, 20)
  const { status, said } = await wbsr(['upscale', file, '-m', file])
  t.equal(status, 1)
  t.match(said, /picture\.webp: is a picture \(WebP\), expected a model/)
  writeFileSync(at('notes.txt'), 'hello')
  t.match(
    (await wbsr(['upscale', file, '-m', at('notes.txt')])).said,
    /notes\.txt: is no model that wbsr reads \(\.safetens/,
  )
  await drawPicture(at('-dash.png'), 20, 20)
  const dashed = await wbsr(['upscale', '-dash.png', '-m', model], { cwd: home })
  t.equal(dashed.status, 2)
  t.match(dashed.said, /\(\.\/-dash\.png is the file of that name; or put -- before it\)/)
  t.equal((await wbsr(['upscale', '-m', model, '--', '-dash.png'], { cwd: home })).status, 0)
  t.same(await sizeOf(at('-dash-x2.png')), [40, 40])
  t.notMatch((await wbsr(['upscale', '--speed', file])).said, /is the file of that name/)
})

t.test('completion', async (t) => {
  const script = at('wbsr.bash')
  const { status, text } = await wbsr(['completion', 'bash'])
  t.equal(status, 0)
  writeFileSync(script, text)
  const complete = (...words: string[]) => {
    const source = `source '${script}'; COMP_WORDS=(wbsr ${words.map((w) => `'${w}'`).join(' ')}); COMP_CWORD=${words.length}
      compopt() { :; }; _wbsr; echo "\${COMPREPLY[*]}"`
    return spawnSync('bash', ['-c', source], { encoding: 'utf8' }).stdout.trim()
  }
  t.equal(complete('up'), 'upscale')
  t.equal(complete('upscale', '--skip'), '--skip-existing')
  t.equal(complete('upscale', '--format', 't'), 'tiff')
  t.equal(complete('train', '--ext'), '--extend')
  t.equal(complete('upscale', 'file'), '', 'files are left to the shell')
  for (const shell of ['zsh', 'fish']) {
    const { text: other } = await wbsr(['completion', shell])
    for (const name of ['upscale', 'skip-existing', 'doctor']) t.ok(other.includes(name), `${shell}: ${name}`)
    const check = spawnSync(shell, ['-n', '-c', other])
    if (check.error) t.pass(`${shell} reads its script`, { skip: `${shell} is not installed` })
    else t.equal(check.status, 0, `${shell} reads its script`)
  }
  t.equal((await wbsr(['completion', 'ksh'])).status, 2)
})

t.test('every command has help with examples that its options allow', async (t) => {
  const { status, text } = await wbsr(['--help'])
  t.equal(status, 0)
  t.match(text, /Exit status: 0 done; 1 .*; 2 .*; 3 /s)
  t.match((await wbsr(['--version'])).text, /^\d+\.\d+\.\d+\n$/)
  for (const command of makeProgram().commands) {
    t.match(text, new RegExp(`^ {2}${command.name()} `, 'm'))
    let help = ''
    command.configureOutput({ writeOut: (part) => (help += part) })
    command.outputHelp()
    const examples = [
      ...help.slice(help.indexOf('\nExamples:\n')).matchAll(/wbsr ([\w-]+)([^>|\n]*?)(?: {3,}.*| [>|].*)?$/gm),
    ].map(([, name, rest]) => ({
      name,
      rest: rest!,
    }))
    t.ok(examples.length > 0, `${command.name()} has examples`)
    const known = [...command.options, ...command.createHelp().visibleOptions(command)].flatMap(({ short, long }) => [
      short,
      long,
    ])
    for (const { name, rest } of examples) {
      t.equal(name, command.name())
      for (const [word] of rest.replace(/'[^']*'/g, '').matchAll(/(?<=^| )--?[a-z][\w-]*/g))
        t.ok(known.includes(word), `${name} ${word}`)
    }
  }
})
