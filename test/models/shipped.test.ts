// The models that come with the package: found by name, listed with their cards, chosen by picture.
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import t from 'tap'
import { lossyFormat } from '../../lib/images/lossy.js'
import { loadModel, loadSupernet, shippedModels } from '../../lib/index.js'
import { chooseModel } from '../../lib/models/shipped.js'
import { packageIn, unbuilt } from '../support/package.js'
import { cuttings } from '../support/training.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')

t.test('a name that no model has is refused with those that there are', async (t) => {
  const error = {
    code: 'WBSR_INVALID_OPTION',
    message: /^Expected a file or a model of the package \(.+\) for file but received "wbsr:nope"$/,
  }
  await t.rejects(loadSupernet('wbsr:nope'), error)
  await t.rejects(loadModel('wbsr:nope'), error)
})

t.test('a picture that was stored with loss is known by its first bytes', async (t) => {
  const picture = sharp({ create: { width: 40, height: 30, channels: 3, background: '#4080c0' } })
  const profile = { icc: 'p3' } as const
  for (const [format, bytes] of [
    ['JPEG', await picture.clone().jpeg().toBuffer()],
    ['WebP', await picture.clone().webp().toBuffer()],
    ['WebP', await picture.clone().withMetadata(profile).webp().toBuffer()],
    [null, await picture.clone().webp({ lossless: true }).toBuffer()],
    [null, await picture.clone().withMetadata(profile).webp({ lossless: true }).toBuffer()],
    ['AVIF', await picture.clone().avif().toBuffer()],
    [null, await picture.clone().png().toBuffer()],
    [null, await picture.clone().tiff().toBuffer()],
    [null, await picture.clone().gif().toBuffer()],
    [null, Buffer.from('RIFF')],
  ] as const)
    t.equal(await lossyFormat(bytes), format)
  t.equal(await lossyFormat({ data: new Uint8Array(3), width: 1, height: 1, channels: 3 }), null)
  const frames = Buffer.concat([1, 2].map((i) => Buffer.alloc(16 * 16 * 3, 90 * i)))
  const animation = (lossless: boolean) =>
    sharp(frames, { raw: { width: 16, height: 32, channels: 3, pageHeight: 16 } })
      .webp({ lossless })
      .toBuffer()
  t.equal(await lossyFormat(await animation(false)), 'WebP')
  t.equal(await lossyFormat(await animation(true)), null)
  await t.rejects(lossyFormat(path.join(root, 'none.jpg')), { code: 'WBSR_NOT_FOUND' })
})

t.test('which model suits a picture', async (t) => {
  const plain = { name: 'wbsr:x2', input: 'clean' } as const
  const photo = { name: 'wbsr:x2-photo', input: 'lossy' } as const
  t.same(chooseModel([plain, photo], 'JPEG'), {
    name: 'wbsr:x2-photo',
    reason: 'the picture is stored as JPEG, with loss',
  })
  t.same(chooseModel([photo, plain], null), { name: 'wbsr:x2', reason: 'the picture is stored without loss' })
  t.same(chooseModel([plain], 'WebP'), {
    name: 'wbsr:x2',
    reason: 'the picture is stored as WebP, with loss, but the package has no model for that',
  })
  t.equal(chooseModel([photo], null).name, 'wbsr:x2-photo')
})

t.test('a package with a model: by name, listed, chosen, trained on', { skip: unbuilt() }, async (t) => {
  const inPackage = packageIn(t, null)
  const folder = t.testdirName
  const train = path.join(folder, 'photos')
  mkdirSync(train)
  await cuttings(train)
  const common = `import * as wbsr from './dist/index.js'\nconst print = (value) => console.log(JSON.stringify(value))\n`
  const error = 'const failure = (error) => ({ code: error.code, message: error.message })\n'
  t.same(
    inPackage(`${common}${error}print({
      listed: wbsr.shippedModels(),
      load: await wbsr.loadSupernet('wbsr:x2').catch(failure),
      chosen: await wbsr.defaultModelFor(Buffer.from([255, 216, 255])).catch(failure),
    })`),
    {
      listed: [],
      load: {
        code: 'WBSR_INVALID_OPTION',
        message:
          'Expected a file or a model of the package (none, this package has no weights) for file but received "wbsr:x2"',
      },
      chosen: {
        code: 'WBSR_INVALID_OPTION',
        message: 'Expected a scale of a model of the package (it has none) for scale but received 2',
      },
    },
  )
  mkdirSync(path.join(folder, 'weights'))
  const made = inPackage(`${common}
    const model = await wbsr.trainSupernet({
      network: wbsr.srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] }),
      data: { train: 'photos', cache: false }, steps: 2, batchSize: 2, patchSize: 32, loss: 'l1', device: 'cpu',
    })
    await model.save('weights/x2.safetensors', { precision: 'f16' })
    await model.save('full.safetensors')
    print({ parameters: model.subnets.at(-1).parameters })`)
  const card = { name: 'wbsr:x2', scale: 2, input: 'clean', parameters: made.parameters }
  writeFileSync(path.join(folder, 'weights', 'x2.json'), JSON.stringify(card))
  // A card without weights, and other files, are nothing.
  writeFileSync(path.join(folder, 'weights', 'x4.json'), '{}')
  writeFileSync(path.join(folder, 'weights', 'README.md'), '')
  const half = statSync(path.join(folder, 'weights', 'x2.safetensors')).size
  const full = statSync(path.join(folder, 'full.safetensors')).size
  t.ok(full - half >= 2 * made.parameters && full - half < 2 * made.parameters + 100, `${half} and ${full} bytes`)
  const used = inPackage(`${common}${error}
    const picture = { data: new Uint8Array(48 * 40 * 3).map((_, i) => (i * 7919) % 256), width: 48, height: 40, channels: 3 }
    const options = { device: 'cpu', threads: 1 }
    const [one, other, full] = [
      await wbsr.loadSupernet('wbsr:x2', options), await wbsr.loadModel('wbsr:x2', options),
      await wbsr.loadSupernet('full.safetensors', options),
    ]
    const results = await Promise.all([one, other, full].map(async (model) => (await model.upscale(picture)).data))
    const tuned = await wbsr.trainSupernet({
      network: one.network, from: 'wbsr:x2', data: { train: 'photos', cache: false }, steps: 1, batchSize: 2, patchSize: 32,
      loss: 'l1', device: 'cpu', onStart: (report) => { taken = report.from },
    })
    var taken
    print({
      listed: wbsr.shippedModels(),
      router: one.router !== null,
      same: Buffer.from(results[0]).equals(Buffer.from(results[1])),
      most: results[0].reduce((most, value, i) => Math.max(most, Math.abs(value - results[2][i])), 0),
      jpeg: await wbsr.defaultModelFor(Buffer.from([255, 216, 255])),
      taken: taken.initialised,
      nope: await wbsr.loadSupernet('wbsr:nope').catch(failure),
      scale: await wbsr.defaultModelFor(picture, { scale: 3 }).catch(failure),
    })`)
  t.match(used, {
    listed: [card],
    router: true,
    same: true,
    jpeg: { name: 'wbsr:x2' },
    taken: [],
    nope: { message: /package \(wbsr:x2\) for file/ },
    scale: { message: 'Expected a scale of a model of the package (2) for scale but received 3' },
  })
  t.ok(used.most <= 1, `rounding to half floats changes pixels by ${used.most} of 255`)
  writeFileSync(path.join(folder, 'weights', 'x2.json'), '{ "name": "wbsr:x4" }')
  t.match(inPackage(`${common}${error}print(await wbsr.loadSupernet('wbsr:x2').catch(failure))`), {
    code: 'WBSR_INVALID_FILE',
    message: /x2\.json: expected the card of wbsr:x2 with its scale and input/,
  })
})

const shipped = shippedModels()
const skip = shipped.length === 0 ? 'weights/ has no models yet (train/ship.mjs makes them)' : false

t.test('the models in weights/ are what their cards say', { skip }, async (t) => {
  for (const card of shipped) {
    using model = await loadSupernet(card.name, { device: 'cpu' })
    const file = path.join(root, 'weights', `${card.name.slice('wbsr:'.length)}.safetensors`)
    t.match(card, { scale: model.scale, bytes: statSync(file).size, parameters: model.subnets.at(-1)!.parameters })
    t.same(card.network.widths, model.network.widths)
    t.same(card.network.depths, model.network.depths)
    t.not(model.router, null, `${card.name} is calibrated`)
    t.ok(card.bytes < 1.5e6, `${card.bytes} bytes`)
    t.ok(card.scores.length > 0 && card.limits.length > 0)
    for (const { set, bicubic, smallest, largest } of card.scores)
      t.ok(bicubic < smallest && smallest <= largest + 0.02, `${card.name} on ${set}`)
    t.ok(existsSync(path.join(root, card.data.attribution)))
  }
})
