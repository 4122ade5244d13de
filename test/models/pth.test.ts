// Files of torch.save: both containers, types and strides; what is refused; and the published files of ../shared.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { ReadBudget } from '../../lib/files/read-budget.js'
import type { StoredTensor } from '../../lib/files/tensor.js'
import { isPth, readPth } from '../../lib/models/formats/pth.js'
import { protocol, stop, type TorchTensor, type TorchValue, torchLegacy, torchZip } from './helpers/pickle.js'
import { zipOf } from './helpers/zip.js'

const read = (bytes: Buffer) => readPth('x.pth', bytes, new ReadBudget('x.pth', bytes.length))
const values = (contents: unknown, key: string) => {
  const tensor = (contents as Map<string, StoredTensor>).get(key)!
  return { shape: tensor.shape, data: [...tensor.read()] }
}
const floats = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.fround(Math.sin(i)))

const weight: TorchTensor = { shape: [2, 3, 2, 2], data: floats(24) }
const contents: TorchValue = new Map<string, TorchValue>([
  ['epoch', 7],
  [
    'params',
    new Map<string, TorchValue>([
      ['a.weight', weight],
      ['a.bias', { shape: [2], data: floats(2) }],
    ]),
  ],
])

t.test('zip and legacy files hold the same', async (t) => {
  const files = {
    zip: torchZip(contents),
    'zip, deflated, with folders': torchZip(contents, { deflate: true, folders: true, root: 'some name.pth' }),
    legacy: torchLegacy(contents),
  }
  for (const [name, bytes] of Object.entries(files)) {
    t.ok(isPth(bytes), name)
    const found = (await read(bytes)) as Map<string, unknown>
    t.equal(found.get('epoch'), 7, name)
    t.same(values(found.get('params'), 'a.weight'), { shape: [2, 3, 2, 2], data: [...floats(24)] }, name)
    t.same(values(found.get('params'), 'a.bias'), { shape: [2], data: [...floats(2)] }, name)
  }
})

t.test('types, strides and offsets', async (t) => {
  const state = new Map<string, TorchValue>([
    ['half', { shape: [4], type: 'Half', data: new Uint16Array([0x3c00, 0xc000, 0x0001, 0x7bff]) }],
    ['bfloat16', { shape: [2], type: 'BFloat16', data: new Uint16Array([0x3f80, 0xc040]) }],
    ['double', { shape: [2], type: 'Double', data: new Float64Array([0.1, -3]) }],
    ['long', { shape: [], type: 'Long', data: new BigInt64Array([12n]) }],
    // As channels-last weights are stored: (2, 3, 2, 2) with the channels innermost.
    ['last', { shape: [2, 3, 2, 2], strides: [12, 1, 6, 3], data: Float32Array.from({ length: 24 }, (_, i) => i) }],
    ['part', { shape: [2, 2], strides: [4, 1], offset: 1, data: Float32Array.from({ length: 8 }, (_, i) => i) }],
    ['empty', { shape: [0, 3], data: new Float32Array(0) }],
  ])
  for (const bytes of [torchZip(state), torchLegacy(state)]) {
    const found = await read(bytes)
    t.same(values(found, 'half').data, [1, -2, 2 ** -24, 65504])
    t.same(values(found, 'bfloat16').data, [1, -3])
    t.same(values(found, 'double').data, [Math.fround(0.1), -3])
    t.same(values(found, 'long'), { shape: [], data: [12] })
    const last = values(found, 'last').data
    for (let o = 0; o < 2; o++)
      for (let i = 0; i < 3; i++)
        for (let y = 0; y < 2; y++)
          for (let x = 0; x < 2; x++) t.equal(last[((o * 3 + i) * 2 + y) * 2 + x], o * 12 + i + y * 6 + x * 3)
    t.same(values(found, 'part').data, [1, 2, 5, 6])
    t.same(values(found, 'empty').data, [])
  }
})

t.test('what is refused, and why', async (t) => {
  const refuse = async (bytes: Buffer, message: RegExp) => {
    await t.rejects(
      (async () => {
        const found = await read(bytes)
        for (const value of (found as Map<string, StoredTensor>).values()) value.read?.()
      })(),
      { code: 'WBSR_INVALID_FILE', message },
    )
  }
  const pickle = (...parts: (string | Buffer)[]) =>
    torchZip(null, {
      pickle: Buffer.concat([
        protocol,
        ...parts.map((p) => (typeof p === 'string' ? Buffer.from(p, 'latin1') : p)),
        stop,
      ]),
    })
  const one = (tensor: TorchTensor) => torchZip(new Map([['a', tensor]]))

  await refuse(pickle('cos\nsystem\n', '(X\x04\x00\x00\x00true', 'tR'), /names os\.system.*nothing was executed/)
  await refuse(pickle('c__main__\nNet\n', ')', Buffer.from([0x81])), /names __main__\.Net.*save the state_dict alone/)
  await refuse(pickle('ctorch\nFloatStorage\n', ')R'), /calls torch\.FloatStorage/)
  // INST, OBJ, EXT1, and the text opcodes of protocol 0.
  for (const opcode of ['ios\nsystem\n', 'o', '\x82\x01', 'I1\n', "S'a'\n", 'Pid\n'])
    await refuse(pickle('(', Buffer.from(opcode, 'latin1')), /has the opcode 0x[0-9a-f]+ at byte 3/)
  await refuse(pickle('h\x07'), /memo entry 7/)
  await refuse(pickle('\x85'), /more from the stack/)
  await refuse(pickle(Buffer.from([0x58, 0xff, 0xff, 0xff, 0x7f])), /truncated/)
  await refuse(one({ shape: [5], data: floats(4) }), /reaches outside of its storage of 4 elements/)
  await refuse(one({ shape: [2 ** 20, 2 ** 20, 2 ** 20], data: floats(4) }), /reaches outside/)
  await refuse(one({ shape: [2], offset: 3, data: floats(4) }), /reaches outside/)
  await refuse(one({ shape: [8], claimed: 8, data: floats(4) }), /storage 0 has 16 bytes where 8 numbers/)
  // One number stretched to a gigabyte by strides of 0.
  await refuse(one({ shape: [2 ** 28], strides: [0], data: floats(1) }), /cannot need/)
  await refuse(torchZip(contents, { byteOrder: 'big' }), /big-endian/)

  await refuse(zipOf([{ name: 'readme.txt', data: Buffer.from('hello') }]), /without data\.pkl/)
  const program = [
    { name: 'm/data.pkl', data: Buffer.concat([protocol, Buffer.from('}'), stop]) },
    { name: 'm/constants.pkl', data: Buffer.alloc(0) },
  ]
  await refuse(zipOf(program), /TorchScript/)
  await refuse(zipOf([program[0]!, program[0]!]), /appears twice/)
  const bomb = { name: 'm/data.pkl', data: Buffer.alloc(64), deflate: true }
  await refuse(zipOf([{ ...bomb, claimed: 2 ** 31 }]), /cannot need/)
  await refuse(zipOf([{ ...bomb, claimed: 8 }]), /cannot be read/)
  await refuse(zipOf([{ ...bomb, crc: 1 }]), /checksum differs/)
  const whole = torchZip(contents)
  for (const length of [whole.length - 1, whole.length - 30, 100, 4])
    await refuse(whole.subarray(0, length), /damaged zip/)

  const legacy = torchLegacy(contents)
  for (const length of [legacy.length - 1, legacy.length - 9, 200, 3])
    await refuse(legacy.subarray(0, length), /truncated|more from the stack/)
  await refuse(Buffer.concat([protocol, Buffer.from('}'), stop]), /torch\.save did not write/)
})

t.test('a mapping that holds itself is read in finite time', async (t) => {
  // {} memoised, then put into itself under "a".
  const cyclic = Buffer.concat([protocol, Buffer.from('}q\x00X\x01\x00\x00\x00ah\x00s'), stop])
  const found = (await read(torchZip(null, { pickle: cyclic }))) as Map<string, unknown>
  t.equal(found.get('a'), found)
})

const zoo = path.resolve(import.meta.dirname, '../../../shared/data/zoo')

t.test('published files are readable', { skip: existsSync(zoo) ? false : '../shared/data is not here' }, async (t) => {
  const files = readdirSync(zoo, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.pth'))
  t.ok(files.length >= 10)
  for (const name of files) {
    const bytes = readFileSync(path.join(zoo, name))
    let found = (await readPth(name, bytes, new ReadBudget(name, bytes.length))) as Map<string, unknown>
    found = (found.get('params') ?? found.get('params_ema') ?? found) as Map<string, unknown>
    const damaged = [...found].filter(([, value]) => {
      const { shape, read: values } = value as StoredTensor
      const data = values()
      return data.length !== shape.reduce((a, b) => a * b, 1) || !data.every(Number.isFinite)
    })
    t.ok(found.size > 20, name)
    t.same(damaged, [], name)
  }
})
