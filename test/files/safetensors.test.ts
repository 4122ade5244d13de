import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { readSafetensors, type Tensor, writeSafetensors } from '../../lib/files/safetensors.js'
import { naming } from '../support/naming.js'

const tensors: Tensor[] = [
  { name: 'odd', dtype: 'U8', shape: [3], data: new Uint8Array([1, 2, 255]) },
  { name: 'w', dtype: 'F32', shape: [2, 1, 3], data: new Float32Array([0, -1.5, 3e38, 1e-40, NaN, -0]) },
  { name: 'd', dtype: 'F64', shape: [2], data: new Float64Array([Math.PI, -1e300]) },
  { name: 'scalar', dtype: 'I64', shape: [], data: new BigInt64Array([-(2n ** 63n)]) },
  { name: 'empty', dtype: 'I32', shape: [0, 4], data: new Int32Array(0) },
  { name: '__proto__', dtype: 'I16', shape: [1], data: new Int16Array([-7]) },
]

t.test('round trip of types, shapes and metadata', async (t) => {
  const file = path.join(t.testdir({}), 'a.safetensors')
  await writeSafetensors(file, tensors.slice(0, 5), { format: 'wbsr', json: '{"a":"ä\\""}' })
  const fromFile = await readSafetensors(file)
  const raw = readFileSync(file)
  t.equal(Number(raw.readBigUInt64LE(0)) % 8, 0, 'data starts at a multiple of 8 bytes')
  for (const read of [
    fromFile,
    await readSafetensors(raw),
    await readSafetensors(Buffer.concat([Buffer.alloc(1), raw]).subarray(1)),
  ]) {
    t.same(read.metadata, { format: 'wbsr', json: '{"a":"ä\\""}' })
    for (const tensor of tensors.slice(0, 5)) t.same(read.tensors.get(tensor.name), tensor)
    t.equal(read.tensors.size, 5)
  }
  const header = JSON.parse(raw.subarray(8, 8 + Number(raw.readBigUInt64LE(0))).toString()) as Record<
    string,
    { data_offsets: [number, number] }
  >
  t.equal(header.w!.data_offsets[0] % 4, 0, 'aligned in the file although a tensor of 3 bytes came first')
  await writeSafetensors(file, [])
  t.same(await readSafetensors(file), { tensors: new Map(), metadata: {} })
})

t.test('options of the writer', async (t) => {
  const file = path.join(t.testdir({}), 'a.safetensors')
  const write = (tensor: object, metadata = {}) => writeSafetensors(file, [tensor as Tensor], metadata)
  await t.rejects(write({ name: 'a', dtype: 'F32', shape: [3], data: new Float32Array(2) }), {
    code: 'WBSR_INVALID_OPTION',
    message: 'Expected a shape of 2 elements for shape of tensor a but received [3]',
  })
  await t.rejects(write({ name: 'a', dtype: 'F32', shape: [2], data: new Float64Array(2) }), {
    message: /Expected a Float32Array \(F32\) for data of tensor a/,
  })
  await t.rejects(write({ name: 'a', dtype: 'F8', shape: [2], data: new Float64Array(2) }), {
    message: /for dtype of tensor a but received "F8"/,
  })
  await t.rejects(write({ name: '__metadata__', dtype: 'F64', shape: [2], data: new Float64Array(2) }), {
    message: /distinct tensor names/,
  })
  await t.rejects(write(tensors[0]!, { a: 1 }), { message: 'Expected a string for metadata.a but received 1' })
  t.notOk(existsSync(file))
})

/** A file of that header (text or JSON) and that much data. */
function build(header: unknown, data = 0): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const start = Buffer.alloc(8)
  start.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([start, text, Buffer.alloc(data)])
}

t.test('half precision is rounded to nearest, ties to even', async (t) => {
  const file = path.join(t.testdir({}), 'h.safetensors')
  const cases: [number, number][] = [
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [65519, 0x7bff],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [1 + 2 ** -11 + 2 ** -20, 0x3c01],
    [2 - 2 ** -12, 0x4000],
    [2 ** -24, 1],
    [2 ** -25, 0],
    [1.5 * 2 ** -24, 2],
    [2 ** -14 - 2 ** -26, 0x400],
    [-0, 0x8000],
    [0.1, 0x2e66],
  ]
  const data = Float32Array.from(cases, ([value]) => value)
  const extra = new Float32Array([3])
  await writeSafetensors(file, [
    { name: 'h', dtype: 'F16', shape: [data.length], data },
    { name: 'f', dtype: 'F32', shape: [1], data: extra },
  ])
  const bytes = readFileSync(file)
  // Wider types come first.
  const at = 8 + Number(bytes.readBigUInt64LE(0)) + 4
  t.same(
    cases.map((_, i) => bytes.readUInt16LE(at + 2 * i)),
    cases.map(([, half]) => half),
  )
  t.equal(bytes.length, at + 2 * data.length)
  const { tensors } = await readSafetensors(file)
  t.same(tensors.get('f')!.data, extra)
  t.match(tensors.get('h'), { dtype: 'F16', shape: [data.length] })
  tensors.get('h')!.data.forEach((value, i) => {
    const size = Math.max(Math.abs(data[i]!), 2 ** -14)
    t.ok(Math.abs(Number(value) - data[i]!) <= size * 2 ** -11, `${data[i]}`)
  })
  for (const value of [65520, -1e9, Infinity])
    await t.rejects(
      writeSafetensors(file, [{ name: 'h', dtype: 'F16', shape: [1], data: new Float32Array([value]) }]),
      { code: 'WBSR_INVALID_OPTION', message: /values within 65504 \(F16\) for data of tensor h/ },
    )
})

t.test('half precision is widened', async (t) => {
  const header = build({
    h: { dtype: 'F16', shape: [7], data_offsets: [0, 14] },
    b: { dtype: 'BF16', shape: [2], data_offsets: [14, 18] },
  })
  const halves = new Uint16Array([0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x7e00, 0x8000, 0x3f80, 0xc049])
  const { tensors } = await readSafetensors(Buffer.concat([header, Buffer.from(halves.buffer)]))
  t.same(tensors.get('h')!.data, new Float32Array([1, -2, 2 ** -24, 65504, Infinity, NaN, -0]))
  t.same(tensors.get('b')!.data, new Float32Array([1, -3.140625]))
})

t.test('errors for damaged files name what was expected', async (t) => {
  const a = { dtype: 'F32', shape: [2], data_offsets: [0, 8] }
  const cases: [string, Buffer, RegExp][] = [
    ['empty', Buffer.alloc(0), /expected at least 8 bytes but it has 0/],
    [
      'truncated header',
      build({ a }, 8).subarray(0, 20),
      /truncated: the header should have \d+ bytes but only 12 follow/,
    ],
    ['truncated data', build({ a }, 7), /tensor a: data_offsets 0\.\.8 are outside of the 7 bytes/],
    ['huge header', Buffer.from('ffffffffffffff7f', 'hex'), /header of \d+ bytes is too large/],
    ['not JSON', build('{"a":'), /its header is not JSON/],
    ['not UTF-8', Buffer.concat([build('xx').subarray(0, 8), Buffer.from([0xff, 0xfe])]), /its header is not JSON/],
    ['a list', build([a]), /expected a JSON object/],
    ['null', build('null'), /expected a JSON object/],
    ['entry', build({ a: 3 }), /tensor a: expected an object/],
    ['missing key', build({ a: { dtype: 'F32', shape: [2] } }, 8), /tensor a: data_offsets is missing/],
    ['unknown key', build({ a: { ...a, x: 1 } }, 8), /tensor a: unknown key x/],
    ['dtype', build({ a: { ...a, dtype: 'F4' } }, 8), /unknown dtype "F4", expected one of F64/],
    ['shape', build({ a: { ...a, shape: [-2] } }, 8), /expected a list of sizes as shape but found \[-2\]/],
    ['offsets', build({ a: { ...a, data_offsets: [0] } }, 8), /expected two data_offsets/],
    ['reversed', build({ a: { ...a, data_offsets: [8, 0] } }, 8), /8\.\.0 are outside/],
    ['size', build({ a: { ...a, shape: [3] } }, 8), /shape \[3\] of F32 needs 12 bytes but has 8/],
    ['overlap', build({ a, b: { ...a, data_offsets: [4, 12] } }, 12), /tensor b: data_offsets 4\.\.12 overlap/],
    ['hole', build({ a, b: { ...a, data_offsets: [12, 20] } }, 20), /bytes 8\.\.12 belong to no tensor/],
    ['rest', build({ a }, 9), /expected 8 bytes of data but it has 9/],
    ['twice', build(`{"a":${JSON.stringify(a)},"\\u0061":${JSON.stringify(a)}}`, 8), /key "a" appears twice/],
    [
      'twice inside',
      build('{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
      /key "dtype" appears twice/,
    ],
    ['metadata', build({ __metadata__: { a: 1 } }), /expected an object of strings as __metadata__/],
  ]
  const dir = t.testdir({})
  for (const [name, buffer, message] of cases) {
    const file = path.join(dir, 'x.safetensors')
    writeFileSync(file, buffer)
    await t.rejects(readSafetensors(file), { code: 'WBSR_INVALID_FILE', message }, name)
    await t.rejects(readSafetensors(file), { message: naming(file) }, `${name} names the file`)
    await t.rejects(readSafetensors(buffer), { code: 'WBSR_INVALID_FILE', message }, `${name} in memory`)
  }
  await t.rejects(readSafetensors(path.join(dir, 'none')), { code: 'WBSR_NOT_FOUND', message: /none does not exist/ })
  await t.rejects(readSafetensors(dir), { code: 'WBSR_INVALID_FILE', message: /is a folder/ })
})

const published = '../shared/data/weights/edsr_r8f64_x2.safetensors'
t.test('a published file', { skip: existsSync(published) ? false : `${published} is not here` }, async (t) => {
  const { tensors } = await readSafetensors(published)
  t.ok(tensors.size > 10)
  for (const { shape, data } of tensors.values())
    t.equal(
      shape.reduce((a, b) => a * b, 1),
      data.length,
    )
})
